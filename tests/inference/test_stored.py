"""Restoration of stored values: units, types, what comes back as it was, and what people are told."""

import logging
import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

import backstory
from backstory import InputError
from backstory.inference.operators import Blur, Downscale, Linear, Mask, Noise
from backstory.inference.restoration import Restoration, coverage
from backstory.inference.stored import warnings

SMALL = {"latent": 3, "hidden": (16,), "epochs": 2, "progress": False, "device": "cpu"}
QUICK = {"method": "importance", "proposals": 100, "draws": 5}
ROWS = 60


def digits():
    return load_digits().images[:ROWS].astype(np.uint8)


def fractions():
    return (digits() / 16).astype(np.float32)


def columns():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(ROWS, 1)) * [1, 200, -0.3] + rng.normal(size=(ROWS, 3)) * [0.5, 5, 0.1]
    return pd.DataFrame(values, columns=["a", "b", "c"]).assign(whole=np.arange(ROWS) % 7)


CASES = {
    "levels": (digits, {"likelihood": "logistic"}),
    "categorical": (digits, {"likelihood": "categorical"}),
    "binarised": (digits, {"likelihood": "bernoulli"}),
    "dequantised": (digits, {"likelihood": "gaussian"}),
    "predicted": (digits, {"likelihood": "gaussian-predicted"}),
    "float images": (fractions, {}),
    "table": (columns, {"likelihood": "joint"}),
}
_fitted: dict = {}


def fitted(name):
    if name not in _fitted:
        make, options = CASES[name]
        data = backstory.load(make())
        _fitted[name] = data, backstory.fit(data, **{**SMALL, **options})
    return _fitted[name]


def hidden(shape, seed=0):
    return np.random.default_rng(seed).random(shape) < 0.5


@pytest.mark.parametrize("name", CASES)
def test_what_was_seen_comes_back_as_it_was(name):
    data, model = fitted(name)
    values = data.values[:6]
    seen = ~hidden(values.shape)
    found = model.restore(values, Mask(seen), **QUICK)
    assert found.mean.dtype == found.std.dtype == np.float32
    assert found.draws.dtype == data.values.dtype
    assert found.draws.shape == (5, *values.shape)
    np.testing.assert_allclose(found.mean[seen], values[seen], rtol=1e-6)
    assert (found.draws[:, seen] == values[seen]).all()
    assert (found.std[seen] == 0).all()
    assert (found.std[~seen] > 0).all()
    again = model.restore(np.where(seen, values, np.nan), **QUICK)  # NaN says the same as a mask
    np.testing.assert_array_equal(again.draws, found.draws)
    assert 0 <= coverage(found, values, 0.9, ~seen) <= 1


@pytest.mark.parametrize("name", CASES)
def test_noise_is_in_fractions_of_the_range_or_of_a_deviation(name):
    """With a little noise the restoration is the observation, in its own units; with a lot it is not."""
    data, model = fitted(name)
    values = data.values[:6].astype(float)
    spread = values.std(0) if name == "table" else data.schema.maximum
    if name == "binarised":
        values = np.where(values > 8, data.schema.maximum, 0.0)
    close = model.restore(values, Noise(0.01), **QUICK)
    assert np.abs((close.mean - values) / spread).max() < 0.1
    far = model.restore(values, Noise(5.0), **QUICK)
    assert np.abs((far.mean - values) / spread).max() > 0.3
    if data.schema.maximum is not None:
        assert far.mean.min() >= 0
        assert far.mean.max() <= data.schema.maximum


def test_maps_take_and_give_the_datas_units():
    data, model = fitted("dequantised")
    y = data.values[:6].reshape(6, 4, 2, 4, 2).mean((2, 4))
    found = model.restore(y, Downscale(2), **QUICK)
    back = found.mean.astype(float).reshape(6, 4, 2, 4, 2).mean((2, 4))
    np.testing.assert_allclose(back, y, atol=0.5)  # but for what was cut off below zero
    data, model = fitted("table")
    total = data.values[:6, :2].sum(1, keepdims=True)
    found = model.restore(total, Noise(0.001) @ Linear(lambda x: x[:, :2].sum(1, keepdim=True)), **QUICK)
    np.testing.assert_allclose(found.mean[:, :2].sum(1, keepdims=True), total, atol=1.5)


def test_colour_images_lose_whole_pixels():
    colours = np.random.default_rng(0).integers(0, 256, (ROWS, 8, 8, 3), dtype=np.uint8)
    model = backstory.fit(colours, **{**SMALL, "likelihood": "gaussian", "epochs": 1})
    gone = np.isnan(model.damage(colours, missing=0.3))
    assert (gone == gone[..., :1]).all()
    assert gone.mean() == pytest.approx(0.3, abs=0.02)
    smaller = np.isnan(model.damage(colours, Downscale(2), missing=0.3))
    assert smaller.shape == (ROWS, 4, 4, 3)
    assert (smaller == smaller[..., :1]).all()


def test_the_result_depends_on_the_seed_alone():
    data, model = fitted("binarised")
    first, second, other = (model.restore(data.values[:4], Noise(0.3), seed=s, **QUICK) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.draws, second.draws)
    assert (first.draws != other.draws).any()


def test_a_data_set_brings_its_own_mask():
    data, model = fitted("float images")
    seen = ~hidden(data.values.shape)
    damaged = backstory.Dataset(np.where(seen, data.values, np.nan), data.schema)
    found = model.restore(damaged, **QUICK)
    expected = model.restore(data.values, Mask(seen), **QUICK)
    np.testing.assert_array_equal(found.draws, expected.draws)


def test_people_are_told_what_came_from_the_prior(caplog):
    data, model = fitted("table")
    values = data.values[:5].copy()
    assert "observed" in model.restore(values, **QUICK).methods
    values[1:3] = np.nan
    with caplog.at_level(logging.WARNING):
        found = model.restore(values, **{**QUICK, "proposals": 1000})
    assert found.methods.count("prior") == 2
    assert "all entries of 2 of 5 rows are missing" in caplog.text
    assert torch.isfinite(found.codes[:, 1]).all()
    caplog.clear()
    values[:] = np.nan
    values[:, 0] = 50.0
    with caplog.at_level(logging.WARNING):
        model.restore(values, method="hmc", chains=2, temperatures=2, transitions=4, leapfrog=1, steps=2)
    assert "have not met" in caplog.text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda v: ((v[:, :4], None), {}), "y of shape"),
        (lambda v: ((v, Mask(np.ones((8, 7), dtype=bool))), {}), "a mask in the shape of y"),
        (lambda v: ((v, Noise(-0.5)), {}), "0 or more"),
        (lambda v: ((v * 2.0,), {}), "between 0 and 16"),
        (lambda v: ((v, Noise(0.1)), {"proposal": 5}), "did you mean 'proposals'"),
        (lambda v: ((v, Noise(0.1)), {"method": "gibbs"}), "method is one of"),
        (lambda v: ((v.astype(str),), {}), "array of numbers"),
    ],
)
def test_bad_input_is_one_sentence(make, message):
    _, model = fitted("levels")
    args, options = make(digits()[:3])
    with pytest.raises(InputError, match=message) as error:
        model.restore(*args, **options)
    assert "\n" not in str(error.value)


def test_a_function_of_ones_own_gets_one_type_everywhere():
    data, model = fitted("dequantised")
    matrix = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    sums = Linear(lambda x: x.flatten(1) @ matrix)
    y = model.damage(data, sums)
    np.testing.assert_allclose(y, data.values.reshape(ROWS, -1) @ matrix.numpy().astype(float), rtol=1e-5)
    assert model.restore(y[:3], sums, **QUICK).mean.shape == (3, 8, 8)
    assert model.evaluate_restoration(data.values[:20], sums, **QUICK).rmse < 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"operator": "blur"}, "operator such as Mask"),
        ({"draws": 2.5}, "draws has to be at least 0 and whole"),
        ({"budget": 0}, "budget has to be at least 1"),
        ({"proposals": 50.5}, "proposals has to be at least 1 for restoration and whole"),
    ],
)
def test_what_is_no_operator_and_no_number_is_refused(arguments, words):
    data, model = fitted("dequantised")
    with pytest.raises(InputError, match=words):
        model.restore(data.values[:2], **arguments)


def test_noise_next_to_none_leaves_what_was_seen():
    """Where the density of y would be singular, or no level could have made it."""
    data, model = fitted("levels")
    y = data.values[:3] + 0.3
    assert np.abs(model.restore(y, Noise(1e-25), **QUICK).mean - data.values[:3]).max() < 1e-3
    data, model = fitted("predicted")
    operator = Noise(1e-9) @ Blur(2.0)
    found = model.restore(model.damage(data.values[:3], operator), operator, **QUICK)
    assert np.isfinite(found.mean).all()


def test_a_seed_of_any_size():
    data, model = fitted("dequantised")
    assert np.isfinite(model.damage(data, Noise(0.1), seed=10**20)).all()


@pytest.mark.parametrize(("proposals", "warned"), [(2, False), (32, True)])
def test_few_effective_draws_are_a_fault_only_of_many_weights(proposals, warned):
    nothing = torch.full((5,), math.nan)
    found = Restoration(
        np.zeros((5, 1)),
        np.zeros((5, 1)),
        np.zeros((0, 5, 1)),
        torch.zeros(0, 5, 1),
        ("importance",) * 5,
        log_evidence=torch.zeros(5),
        ess=torch.full((5,), 1.1),
        pareto_k=nothing,
        r_hat=nothing,
        acceptance=nothing,
    )
    assert bool(warnings(found, proposals)) == warned
