"""Units, masks and sizes of what restoration is given."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from backstory.data.load import load
from backstory.data.schema import Schema
from backstory.errors import InputError
from backstory.jobs.damage import UNDAMAGED, Damage
from backstory.jobs.masks import read_mask
from backstory.jobs.source import ChosenRows
from backstory.jobs.units import column_order, units_of

LEVELS = Schema(kind="images", shape=(6, 4), dtype="uint8", levels=5, maximum=4)


def levels(count: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 5, (count, 6, 4)).astype(np.uint8)


@pytest.mark.parametrize(
    ("values", "factor"),
    [
        (levels(), 1.0),  # levels of the model
        (levels() / 4, 4.0),  # fractions
        (levels().astype(np.float64), 1.0),  # levels as floats
    ],
    ids=["levels", "fractions", "floats"],
)
def test_units_go_to_the_model_and_back(values, factor):
    units = units_of(LEVELS, load(values), values)
    assert units.factor == factor
    ours = units.to_model(values, LEVELS, levels=True)
    np.testing.assert_array_equal(ours, levels())
    np.testing.assert_allclose(units.from_model(ours), values)


def test_noise_may_leave_the_full_range_by_ten_deviations():
    values = levels() / 4
    values[0, 0, 0] = 1.9
    assert units_of(LEVELS, load(values), values, 0.1).factor == 4
    with pytest.raises(InputError, match="divide by the top level, 4, or say with `noise`"):
        units_of(LEVELS, load(values), values, 0.05)


def test_columns_in_another_order_go_to_the_model_and_back():
    frame = pd.DataFrame({name: np.random.default_rng(0).normal(size=9) for name in "abc"})
    model = load(frame).schema
    turned = load(frame[["c", "a", "b"]])
    assert column_order(model, turned) == [1, 2, 0]
    units = units_of(model, turned, np.asarray(turned.values), None)
    ours = units.to_model(np.asarray(turned.values), model, levels=False)
    np.testing.assert_array_equal(ours, load(frame).values)
    np.testing.assert_array_equal(units.from_model(ours), turned.values)
    assert units.schema.columns == ("c", "a", "b")


def test_an_observation_is_as_small_as_it_was_downscaled():
    colour = LEVELS.model_copy(update={"shape": (6, 5, 3)})
    assert UNDAMAGED.shape(colour) == (6, 5, 3)
    assert Damage(downscale=2).shape(colour) == (3, 3, 3)
    assert Damage(downscale=4).shape(load(np.eye(4)).schema) == (4,)
    assert not UNDAMAGED
    assert Damage(noise=0.0)
    assert Damage(noise=0.0, downscale=1).keeps
    assert not Damage(blur=1.0).keeps


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3), (8, 6, 4), (2, 6, 4), (8, 6, 4, 3)])
def test_a_mask_holds_for_all_rows_or_each_and_for_all_channels(tmp_path, shape):
    mask = np.random.default_rng(0).random(shape) < 0.5
    np.save(tmp_path / "mask.npy", mask)
    colour = np.zeros((8, 6, 4, 3), np.uint8)
    chosen = ChosenRows(load(colour), np.array([5, 1]))
    found = read_mask(tmp_path / "mask.npy", (6, 4, 3), chosen, images=True)
    assert found.shape == (2, 6, 4, 3)
    full = mask if shape[-1] == 3 else mask[..., None]
    expected = full[[5, 1]] if shape[0] == 8 else full
    np.testing.assert_array_equal(found, np.broadcast_to(expected, (2, 6, 4, 3)))


def test_a_picture_is_a_mask_that_is_white_where_something_was_observed(tmp_path):
    mask = np.random.default_rng(0).random((6, 4)) < 0.5
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    chosen = ChosenRows(load(levels()), np.arange(3))
    found = read_mask(tmp_path / "mask.png", (6, 4), chosen, images=True)
    np.testing.assert_array_equal(found, np.broadcast_to(mask, (3, 6, 4)))
    with pytest.raises(InputError, match="expected a mask of 3 × 2 for all observations, or of 8 × 3 × 2"):
        read_mask(tmp_path / "mask.png", (3, 2), chosen, images=True)
