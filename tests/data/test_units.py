import numpy as np
import pytest
import torch

from backstory.data.schema import Schema
from backstory.data.units import Units, full_range

IMAGES = {"kind": "images", "shape": (2, 3)}
SCHEMAS = {
    "bytes": Schema(**IMAGES, dtype="uint8", levels=256, maximum=255),
    "levels to 16": Schema(**IMAGES, dtype="uint8", levels=17, maximum=16),
    "black and white": Schema(**IMAGES, dtype="uint8", levels=2, maximum=255),
    "binarised": Schema(**IMAGES, dtype="uint8", levels=256, maximum=255, presentation="binarised"),
    "fractions": Schema(**IMAGES, dtype="float32", maximum=1),
    "numbers": Schema(kind="array", shape=(2, 3), dtype="float64"),
}
TOPS = {"bytes": 255, "levels to 16": 16, "black and white": 1, "binarised": 1, "fractions": 1, "numbers": 1}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_difference_of_stored_values_is_one_of_x(name: str) -> None:
    schema = SCHEMAS[name]
    x = torch.tensor([[[0.0, 0.25, 1.0], [0.5, 0.75, 0.125]]])
    np.testing.assert_allclose(schema.deviations(x) * schema.factor, x, rtol=1e-6)
    if schema.presentation == "exact":
        stored = np.array([[[0, 1, 2], [3, 4, 5]]], np.float64)
        np.testing.assert_allclose(schema.present(torch.tensor(stored)), stored * schema.factor, rtol=1e-6)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_full_range_of_x(name: str) -> None:
    assert full_range(SCHEMAS[name]) == TOPS[name]
    if SCHEMAS[name].maximum is not None:
        assert SCHEMAS[name].maximum * SCHEMAS[name].factor == pytest.approx(TOPS[name])


@pytest.mark.parametrize("order", [None, [2, 0, 1]])
@pytest.mark.parametrize("factor", [1.0, 16.0])
def test_numbers_of_data_come_back(order, factor) -> None:
    schema = Schema(kind="array", shape=(3,), dtype="float64")
    units, values = Units(schema, factor, order), np.random.default_rng(0).normal(size=(4, 3))
    ours = units.to_model(values, schema, levels=True)
    np.testing.assert_array_equal(ours, values[:, order or [0, 1, 2]] * factor)
    np.testing.assert_allclose(units.from_model(ours), values, rtol=1e-15)
    draws = units.from_model(np.stack([ours, ours]))
    np.testing.assert_allclose(draws, np.stack([values, values]), rtol=1e-15)


def test_entries_of_x_are_rounded_to_levels() -> None:
    model = SCHEMAS["levels to 16"]
    values = np.array([[[0.0, 0.5, 1.0], [0.04, 0.95, 0.2]]])
    units = Units(model, 16.0)
    assert units.to_model(values, model, levels=True).tolist() == [[[0, 8, 16], [1, 15, 3]]]
    assert (units.to_model(values, model, levels=False) == values * 16).all()
