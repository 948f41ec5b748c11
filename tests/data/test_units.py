import numpy as np
import pytest
import torch

import backstory
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


TINY = {"epochs": 1, "hidden": (8,), "latent": 2, "progress": False}
GREY = np.random.default_rng(0).integers(0, 256, (40, 6, 5)).astype(np.uint8)


@pytest.fixture(scope="module")
def grey():
    """A model of byte images."""
    return backstory.fit(GREY, likelihood="gaussian", **TINY)


FORMS = {
    "fractions": GREY / 255,
    "floats": GREY.astype(np.float32),
    "tensor": torch.from_numpy(GREY / 255),
    "data set": backstory.load(GREY / 255),
    "one channel": (GREY / 255)[..., None],
}


@pytest.mark.parametrize("form", FORMS)
def test_one_rule_for_every_method(grey, form: str) -> None:
    x = FORMS[form]
    np.testing.assert_array_equal(grey.encode(x).mean, grey.encode(GREY).mean)
    np.testing.assert_array_equal(grey.reconstruct(x), grey.reconstruct(GREY))
    found, true = (m.log_evidence for m in (grey.log_evidence(x, 5), grey.log_evidence(GREY, 5)))
    np.testing.assert_array_equal(found, true)
    assert grey.evaluate(x, 5) == grey.evaluate(GREY, 5)
    same = grey.restore(GREY, backstory.Noise(0.1), draws=1, method="encoder").mean
    np.testing.assert_allclose(grey.restore(x, backstory.Noise(0.1), draws=1, method="encoder").mean, same)


def test_what_a_model_damages_it_can_restore(grey) -> None:
    y = grey.damage(GREY[:4], backstory.Noise(0.3), seed=1)
    fractions = y / 255
    for operator in (backstory.Noise(0.3), backstory.Noise(0.3) @ backstory.Blur(0.1)):
        levels, parts = (grey.restore(v, operator, draws=1, method="encoder").mean for v in (y, fractions))
        np.testing.assert_allclose(levels, parts, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("bad", [GREY / 255 * 1.3, GREY.astype(np.int64) + 100, GREY - 40.0])
def test_numbers_of_another_scale_are_refused(grey, bad) -> None:
    with pytest.raises(backstory.InputError, match=r"expected .* between 0 and"):
        grey.encode(bad)


def test_bytes_for_a_model_of_fractions() -> None:
    model = backstory.fit(GREY / 255, **TINY)
    np.testing.assert_allclose(model.encode(GREY).mean, model.encode(GREY / 255).mean, rtol=1e-5)


def test_deviations_are_not_shifted() -> None:
    schema = Schema(kind="images", shape=(1, 1), dtype="float64", maximum=2, origin=(-1.0,))
    units = Units(schema, factor=0.5, black=(-1.0, 0.0))
    assert units.to_model(np.array([-1.0, 1.0]), schema, levels=False).tolist() == [0, 1]
    assert units.from_model(np.array([0.0, 1.0])).tolist() == [-1, 1]
    assert units.from_model_deviations(np.array([0.0, 1.0])).tolist() == [0, 2]
