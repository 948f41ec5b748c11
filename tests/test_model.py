"""The public functions: fit, sample, encode, reconstruct, log_evidence, evaluate, on stored values."""

import json
import math
import random

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
import torch
from scipy import stats
from sklearn.datasets import load_digits

import backstory
from backstory import InputError
from backstory.distributions.base import soft_clamp_inverse
from backstory.distributions.delta import Delta
from backstory.models.posteriors import LOG_STD_HIGH, LOG_STD_LOW

SMALL = {"latent": 3, "hidden": (16,), "epochs": 2, "progress": False, "device": "cpu"}
ROWS = 120


def digits():
    return load_digits().images[:ROWS].astype(np.uint8)


def columns():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(ROWS, 1))
    values = z * [1, 20, -0.3, 4] + rng.normal(size=(ROWS, 4)) * [0.5, 5, 0.1, 1] + [0, 300, 7, -2]
    return pd.DataFrame(values, columns=["a", "b", "c", "d"])


def frame():
    return columns().assign(whole=np.arange(ROWS) % 7)


def shades():
    return np.random.default_rng(0).random((ROWS, 9, 8)).astype(np.float32)


def black_and_white():
    return np.where(digits() > 7, 255, 0).astype(np.uint8)


def with_holes(values, fraction=0.3):
    hidden = np.random.default_rng(1).random(values.shape) < fraction
    return (
        values.mask(hidden)
        if isinstance(values, pd.DataFrame)
        else np.where(hidden, np.float32("nan"), values)
    )


CASES = {
    "levels": (digits, {}),
    "categorical": (digits, {"likelihood": "categorical"}),
    "binarised": (digits, {"likelihood": "bernoulli"}),
    "dequantised": (digits, {"likelihood": "gaussian"}),
    "binary": (black_and_white, {}),
    "float images": (shades, {}),
    "fixed": (shades, {"likelihood": "gaussian-fixed", "sigma": 0.1}),
    "predicted": (shades, {"likelihood": "gaussian-predicted"}),
    "table": (frame, {"likelihood": "joint"}),
    "conv": (digits, {"network": "conv", "hidden": None}),
    "resnet": (digits, {"network": "resnet", "hidden": None}),
    "linear": (columns, {"network": "linear", "likelihood": "gaussian", "hidden": None}),
    "mixture prior": (columns, {"prior": "mixture", "components": 3}),
    "table with holes": (lambda: with_holes(frame()), {"objective": "iwae", "samples": 5}),
    "student with holes": (lambda: with_holes(columns()), {"likelihood": "student"}),
    "images with holes": (lambda: with_holes(shades()), {}),
    "binarised with holes": (lambda: with_holes(shades()), {"likelihood": "bernoulli"}),
    "conv with holes": (lambda: with_holes(shades()), {"network": "conv", "hidden": None}),
    "autoencoder": (digits, {"posterior": "delta"}),
    "autoencoder with a density": (columns, {"posterior": "delta", "prior": "mixture", "components": 2}),
}
_fitted: dict = {}


def fitted(name):
    """A model of each case, fitted once in a process; tests must not change it."""
    if name not in _fitted:
        make, options = CASES[name]
        data = backstory.load(make())
        _fitted[name] = data, backstory.fit(data, **{**SMALL, **options})
    return _fitted[name]


def numbers(model, data):
    """Everything that a model says about some data."""
    q = model.encode(data)
    evaluation = model.evaluate(data, samples=20)
    can = not model.vae.is_autoencoder or model.options.prior.name == "mixture"
    sample = model.sample(5, seed=1, frame=False) if can else None
    return [q.mean, q.std, model.reconstruct(data), model.reconstruct(data, mean=False), evaluation, sample]


def equal(a, b):
    if isinstance(a, list):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray | torch.Tensor):
        return a.dtype == b.dtype and np.array_equal(np.asarray(a), np.asarray(b))
    return a == b


# -- results of every kind of model -----------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_what_the_public_functions_return(name):
    data, model = fitted(name)
    shape, n = data.schema.shape, len(data)
    q = model.encode(data)
    assert q.mean.shape == q.std.shape == (n, 3)
    assert isinstance(q, Delta) == name.startswith("autoencoder")
    means = model.reconstruct(data)
    assert means.shape == data.values.shape
    assert means.dtype == np.float32
    draws = model.reconstruct(data, mean=False)
    assert draws.dtype == data.values.dtype
    assert not np.array_equal(draws, model.reconstruct(data, mean=False, seed=1))
    if name != "autoencoder":
        x = model.sample(4, seed=0, frame=False)
        assert x.shape == (4, *shape)
        assert x.dtype == data.values.dtype
        if data.schema.levels is not None:
            levels = np.arange(data.schema.levels) * (data.schema.maximum / (data.schema.levels - 1))
            assert np.isin(x, levels).all()
        shown = model.sample(4, mean=True, seed=0, frame=False)
        assert shown.shape == (4, *shape)
        assert shown.dtype == np.float32
        assert not np.array_equal(x, shown)
    if data.schema.integer_columns:
        whole = model.sample(50, seed=0, frame=False)[:, -1]
        assert (whole == np.rint(whole)).all()


@pytest.mark.parametrize("name", CASES)
def test_evaluation(name):
    data, model = fitted(name)
    e = model.evaluate(data, samples=30)
    assert e.n == ROWS
    assert 0 <= e.active_units <= 3
    if name.startswith("autoencoder"):
        for nothing in (e.elbo, e.kl, e.log_evidence, e.standard_error, e.ess, e.bits_per_dim):
            assert nothing is None
        assert math.isfinite(e.reconstruction)
        return
    assert e.elbo == pytest.approx(e.reconstruction - e.kl, rel=1e-9)
    assert e.elbo < e.log_evidence + 5 * e.standard_error + 0.01
    assert 1 <= e.ess <= 30
    assert e.samples == 30
    per_row = model.log_evidence(data, samples=30)
    assert per_row.log_evidence.shape == (ROWS,)
    assert float(per_row.log_evidence.mean()) == pytest.approx(e.log_evidence, rel=1e-12)
    expected = float(per_row.standard_error.square().sum().sqrt()) / ROWS
    assert e.standard_error == pytest.approx(expected, rel=1e-6)
    if not model.schema.discrete:
        assert e.bits_per_dim is None
    else:
        there = np.isfinite(data.values).sum()
        assert e.bits_per_dim == pytest.approx(-e.log_evidence * ROWS / there / math.log(2))
    assert model.evaluate(data, samples=1).standard_error is None


def test_a_model_learns_from_what_is_there():
    """30 % of the entries are missing: it is nearly as good on whole rows as what the data was drawn from."""
    rng = np.random.default_rng(0)
    w, sigma = rng.normal(size=(5, 2)), np.array([0.5, 0.8, 0.3, 1.0, 0.6])
    x = rng.normal(size=(1500, 2)) @ w.T + sigma * rng.normal(size=(1500, 5))
    train, test = with_holes(pd.DataFrame(x[:1000])), x[1000:]
    model = backstory.fit(
        train,
        **{**SMALL, "hidden": None, "latent": 2, "epochs": 100, "lr": 1e-2},
        network="linear",
        likelihood="gaussian-per-entry",
        objective="iwae",
        samples=10,
    )
    truth = stats.multivariate_normal(np.zeros(5), w @ w.T + np.diag(sigma**2))
    gap = truth.logpdf(test).mean() - model.evaluate(test, method="exact").log_evidence
    assert abs(gap) < 0.06
    filled = np.where(train.isna(), train.mean(), train)
    naive = stats.multivariate_normal(filled.mean(0), np.cov(filled.T)).logpdf(test).mean()
    assert truth.logpdf(test).mean() - naive > 0.15  # what filling the holes first would cost


@pytest.mark.parametrize("name", ["levels", "binarised", "dequantised", "table"])
@pytest.mark.parametrize("chunk", [1, 77, 100_000])
def test_chunks_do_not_change_an_evaluation(name, chunk):
    data, model = fitted(name)
    values = data.values[:20]
    whole, cut = (model.log_evidence(values, samples=25, chunk=c) for c in (None, chunk))
    torch.testing.assert_close(cut.log_evidence, whole.log_evidence, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(cut.elbo, whole.elbo, rtol=1e-5, atol=1e-4)


def test_more_rows_than_a_batch():
    data, model = fitted("levels")
    many = np.concatenate([data.values] * 5)[:501]
    q, whole = model.encode(many), model.encode(data)
    torch.testing.assert_close(q.mean, whole.mean.repeat(5, 1)[:501])
    assert model.log_evidence(many, samples=2).log_evidence.shape == (501,)
    assert model.reconstruct(many).shape == (501, 8, 8)
    assert model.encode(data.values[:1]).mean.shape == (1, 3)


def test_values_may_come_in_any_container():
    data, model = fitted("levels")
    expected = model.encode(data).mean
    for same in (data.values, torch.from_numpy(data.values), data.values.astype(np.int64)):
        assert torch.equal(model.encode(same).mean, expected)
    read_only = data.values.copy()
    read_only.flags.writeable = False
    assert torch.equal(model.encode(read_only).mean, expected)
    table, other = fitted("table")
    assert torch.equal(other.encode(frame()).mean, other.encode(table).mean)
    assert torch.equal(other.encode(frame().values.tolist()).mean, other.encode(table).mean)


def test_the_models_pieces():
    data, model = fitted("table")
    assert model.prior().mean.shape == (3,)
    z = model.encode(data).sample(2)
    assert model.decode(z).mean.shape == model.decode(z.numpy()).mean.shape == (2, ROWS, 5)
    terms = model.terms(data, samples=4, generator=torch.Generator().manual_seed(0))
    assert terms.log_weight.shape == (4, ROWS)


# -- randomness -------------------------------------------------------------------------------------------


def global_states():
    return [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()]  # noqa: NPY002


@pytest.mark.parametrize("name", ["levels", "binarised", "dequantised", "autoencoder"])
def test_no_function_touches_the_global_random_state(name, tmp_path):
    data, _ = fitted(name)
    before = global_states()
    make, options = CASES[name]
    fresh = backstory.fit(make(), **{**SMALL, **options, "epochs": 1})
    fresh.fit_prior(data, components=2)
    fresh.sample(3, seed=0)
    fresh.sample(3)
    fresh.encode(data)
    fresh.reconstruct(data, mean=False)
    if name != "autoencoder":
        fresh.log_evidence(data, samples=3)
    fresh.evaluate(data, samples=3)
    fresh.save(tmp_path / "run")
    backstory.open(tmp_path / "run")
    assert global_states() == before


def test_the_same_seed_gives_the_same_model_and_another_seed_another():
    one, two, other = (backstory.fit(digits(), **{**SMALL, "seed": seed}) for seed in (5, 5, 6))
    weights = [m.vae.state_dict() for m in (one, two, other)]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    assert not all(torch.equal(weights[0][k], weights[2][k]) for k in weights[0])
    assert equal(numbers(one, digits()), numbers(two, digits()))
    assert np.array_equal(one.splits.train, two.splits.train)
    assert not np.array_equal(one.splits.train, other.splits.train)
    assert {k: v for k, v in one.summary.items() if k != "seconds"} == {
        k: v for k, v in two.summary.items() if k != "seconds"
    }


def test_seeds_of_samples():
    _, model = fitted("levels")
    assert np.array_equal(model.sample(6, seed=3), model.sample(6, seed=3))
    assert not np.array_equal(model.sample(6, seed=3), model.sample(6, seed=4))
    torch.manual_seed(0)
    first = model.sample(6)
    torch.manual_seed(0)
    assert not np.array_equal(first, model.sample(6))  # without a seed each call draws anew


def test_encoding_is_no_draw():
    data, model = fitted("levels")
    assert torch.equal(model.encode(data, seed=0).mean, model.encode(data, seed=1).mean)
    assert np.array_equal(model.reconstruct(data, seed=0), model.reconstruct(data, seed=1))


# -- dynamic binarisation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_pixels_are_one_with_the_probability_of_their_grey_value(dtype):
    n, levels = 100_000, [0, 1, 2, 127, 128, 254, 255]
    values = np.tile(np.array(levels), (n, 1)).reshape(n, 1, len(levels)).astype(dtype)
    schema = backstory.Schema(
        kind="images", shape=(1, 7), dtype=dtype, levels=256, maximum=255, presentation="binarised"
    )
    x = schema.prepare(values, torch.Generator().manual_seed(0))
    assert set(x.unique().tolist()) == {0.0, 1.0}
    frequency = x.mean(0)[0].tolist()
    assert frequency[0] == 0
    assert frequency[-1] == 1
    for value, share in zip(levels, frequency, strict=True):
        p = value / 255
        assert abs(share - p) <= 5 * math.sqrt(p * (1 - p) / n)


@pytest.mark.parametrize(("dtype", "maximum"), [("uint8", 16), ("float64", 1.0), ("uint16", 65535)])
def test_binarisation_of_other_ranges(dtype, maximum):
    n, parts = 50_000, np.array([0, 0.25, 0.5, 1.0])
    values = np.tile(parts * maximum, (n, 1)).reshape(n, 2, 2).astype(dtype)
    levels = None if dtype == "float64" else int(maximum) + 1
    schema = backstory.Schema(
        kind="images", shape=(2, 2), dtype=dtype, levels=levels, maximum=maximum, presentation="binarised"
    )
    frequency = schema.prepare(values, torch.Generator().manual_seed(0)).mean(0).flatten().numpy()
    assert frequency[0] == 0
    assert frequency[-1] == 1
    expected = values[0].reshape(-1) / maximum
    np.testing.assert_allclose(frequency, expected, atol=5 * math.sqrt(0.25 / n))


def test_binarised_models_speak_in_grey_values():
    data, model = fitted("binarised")
    means = model.reconstruct(data)
    assert 0 <= means.min() < means.max() <= 16
    assert set(np.unique(model.sample(5, seed=0))) <= {0, 16}
    assert "binarised at random" in " ".join(backstory.models.build.describe(model.schema, model.options))
    same, other = (model.evaluate(data, samples=5, seed=s).log_evidence for s in (0, 1))
    assert same == model.evaluate(data, samples=5, seed=0).log_evidence
    assert same != other


def test_dequantised_evidence_bounds_the_probability_of_levels():
    """x + u − ½ with u uniform: a model that knows P(v) as a density gets no more than log P(v)."""
    schema = backstory.Schema(
        kind="array", shape=(1,), dtype="uint8", levels=5, maximum=4, presentation="dequantised"
    )
    values = np.repeat(np.arange(5, dtype=np.uint8), 20_000)[:, None]
    x = schema.prepare(values, torch.Generator().manual_seed(0)).numpy()
    assert (np.abs(x - values) <= 0.5).all()
    for level in range(5):
        part = x[values[:, 0] == level]
        assert part.mean() == pytest.approx(level, abs=5 / math.sqrt(12 * 20_000))
        assert part.std() == pytest.approx(1 / math.sqrt(12), rel=0.02)


def test_a_model_that_knows_nothing_needs_log2_levels_bits():
    data = backstory.load(digits())
    model = backstory.fit(data, **{**SMALL, "likelihood": "categorical", "epochs": 1})
    encoder, decoder = model.vae.encoder.layers[-1], model.vae.decoder.layers[-1]
    for layer in (encoder, decoder):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    encoder.bias.data[3:] = soft_clamp_inverse(torch.zeros(3), LOG_STD_LOW, LOG_STD_HIGH)
    e = model.evaluate(data, samples=10)
    assert e.bits_per_dim == pytest.approx(math.log2(17), rel=1e-5)
    assert e.log_evidence == pytest.approx(-64 * math.log(17), rel=1e-5)
    assert e.kl == pytest.approx(0, abs=1e-5)
    assert e.ess == pytest.approx(10, rel=1e-4)


# -- units ------------------------------------------------------------------------------------------------


def test_evidence_of_a_table_is_in_the_tables_own_units():
    """The same data in other units gives the same model, and log p shifts by −Σ log c."""
    factors = np.array([1e3, 1e-3, 2.54, 60.0])
    values = columns()
    one = backstory.fit(values, **SMALL)
    other = backstory.fit(values * factors, **SMALL)
    a, b = one.evaluate(values, samples=10), other.evaluate(values * factors, samples=10)
    assert b.log_evidence == pytest.approx(a.log_evidence - np.log(factors).sum(), abs=1e-2)
    assert b.kl == pytest.approx(a.kl, abs=1e-2)
    np.testing.assert_allclose(other.sample(5, seed=0), one.sample(5, seed=0) * factors, rtol=1e-3, atol=1e-2)


# -- the plain autoencoder --------------------------------------------------------------------------------


def test_an_autoencoder_refuses_to_sample_until_a_density_is_fitted():
    data = backstory.load(digits())
    model = backstory.fit(data, **{**SMALL, "posterior": "delta"})
    with pytest.raises(InputError, match=r"plain autoencoder.*nothing to sample from.*fit_prior"):
        model.sample(3)
    with pytest.raises(InputError, match=r"no distribution of z and so no p\(x\)"):
        model.log_evidence(data)
    before = model.evaluate(data).reconstruction
    direct = model.vae.decode(model.encode(data).mean).log_prob(torch.from_numpy(data.values).float())
    assert before == pytest.approx(float(direct.detach().mean()), rel=1e-5)
    assert model.fit_prior(data, components=4) is model
    assert model.options.prior.name == "mixture"
    assert model.options.prior.components == 4
    assert model.sample(7, seed=0).shape == (7, 8, 8)
    assert model.evaluate(data).reconstruction == before  # the codes and the decoder are the same
    with pytest.raises(InputError, match="no distribution of z"):
        model.log_evidence(data)


def test_a_density_of_the_codes_in_place_of_a_vaes_prior():
    data, _ = fitted("levels")
    model = backstory.fit(data, **SMALL)
    before = model.evaluate(data, samples=200)
    after = model.fit_prior(data, components=3).evaluate(data, samples=200)
    assert after.log_evidence > before.log_evidence - 0.5
    assert after.elbo == pytest.approx(after.reconstruction - after.kl, rel=1e-6)
    for components in (0, -1, ROWS + 1):
        with pytest.raises(InputError, match=rf"mixture .*got {components}"):
            model.fit_prior(data, components=components)


def test_what_score_compares_with_goes_with_the_prior_that_it_was_of():
    data, _ = fitted("linear")
    for ensemble in (1, 2):
        model = backstory.fit(data, **SMALL | {"validation": 0.3, "ensemble": ensemble})
        assert model.score(data).p_value.shape == (len(data),)
        with pytest.raises(InputError, match="has another prior since"):
            model.fit_prior(data, components=2).score(data)


# -- rows -------------------------------------------------------------------------------------------------


def test_the_parts_of_a_run():
    data = backstory.load(digits())
    model = backstory.fit(data, **{**SMALL, "epochs": 1, "validation": 0.25})
    assert len(model.rows(data, "validation")) == 30
    assert len(model.rows(data, "train")) == 90
    assert not set(model.rows(data, "train")) & set(model.rows(data, "validation"))
    assert np.array_equal(model.rows(data, "all"), np.arange(ROWS))
    assert np.array_equal(model.rows(data), np.arange(ROWS))
    assert model.trained_on(data)
    assert model.count_trained_on(data.values[model.rows(data, "train")]) == 90
    other = backstory.load(load_digits().images[ROWS : ROWS + 50].astype(np.uint8))
    assert not model.trained_on(other)
    assert model.count_trained_on(other.values) == 0
    with pytest.raises(
        InputError, match="with a test part in this run, got array without one; use `split` all"
    ):
        model.rows(data, "test")
    with pytest.raises(InputError, match="with a train part"):
        model.rows(other, "train")
    with pytest.raises(InputError, match="did you mean 'validation'"):
        model.rows(data, "valid")


def test_the_datas_own_test_part_is_the_part_of_a_run():
    data = backstory.load("digits")
    model = backstory.fit(data, **{**SMALL, "epochs": 1})
    assert np.array_equal(model.rows(data, "test"), data.test_rows)
    assert np.array_equal(model.rows(data), data.test_rows)


# -- mistakes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (lambda x: x[:, :7], r"expected observations of shape \(N, 8, 8\), got \(120, 7, 8\)"),
        (lambda x: x[0], r"expected observations of shape \(N, 8, 8\), got \(8, 8\)"),
        (lambda x: x[:0], r"at least one observation"),
        (lambda x: x * 4, r"expected levels between 0 and 16, in array, got numbers from 0 to 64"),
        (
            lambda x: x.astype(int) - 1,
            r"expected levels between 0 and 16, in array, got numbers from -1 to 15",
        ),
        (lambda x: x.astype(str), r"expected an array of numbers, got type <U"),
        (lambda x: x.astype(complex), r"expected an array of numbers, got type complex"),
    ],
)
def test_values_that_do_not_fit_the_model(values, message):
    data, model = fitted("levels")
    for use in (model.encode, model.reconstruct, model.log_evidence, model.evaluate):
        with pytest.raises(InputError, match=message) as caught:
            use(values(data.values))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["linear", "float images"])
def test_values_that_are_not_finite(name, bad):
    data, model = fitted(name)
    values = data.values.copy()
    values.reshape(-1)[7] = bad
    for use in (model.encode, model.reconstruct, model.log_evidence, model.evaluate):
        with pytest.raises(InputError, match="finite number in every entry, got NaN or infinity"):
            use(values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epoch": 3}, r"fit has no option 'epoch'; did you mean 'epochs'"),
        ({"likelihod": "bernoulli"}, r"did you mean 'likelihood'"),
        ({"likelihood": "poisson"}, r"likelihood is one of .*, got 'poisson'; choose one of these"),
        ({"seed": -1}, r"seed .*got -1"),
        ({"latent": 0}, r"latent has to be at least 1, got 0"),
        ({"lr": "fast"}, r"lr has to be a number, got 'fast'"),
        ({"device": "gpu"}, r"device 'gpu' is not available"),
        ({"validation": 1.0}, r"expected a fraction from 0 to below 1 .*got 1"),
    ],
)
def test_options_that_cannot_work_leave_nothing_behind(options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        backstory.fit(digits(), tmp_path / "run", **{**SMALL, **options})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda: frame() * 0, r"column that varies"),
        (lambda: frame()[:1], r"two rows"),
        (lambda: frame().assign(far=[np.inf, *range(ROWS - 1)]), r"finite numbers"),
        (lambda: "no/such/file.csv", r"does not exist"),
    ],
)
def test_data_that_cannot_be_trained_on_leaves_nothing_behind(data, message, tmp_path):
    with pytest.raises(InputError, match=message):
        backstory.fit(data(), tmp_path / "run", **{**SMALL, "validation": 0})
    assert not list(tmp_path.iterdir())


def test_codes_of_the_wrong_size():
    _, model = fitted("levels")
    with pytest.raises(InputError, match=r"codes with 3 units, got shape \(2, 4\)"):
        model.decode(np.zeros((2, 4)))


# -- the exact optimum ------------------------------------------------------------------------------------


def ppca_optimum(x, latent):
    """Highest mean log-likelihood of probabilistic PCA (Tipping & Bishop 1999, eq. 8)."""
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(x.T, bias=True)))[::-1]
    noise = eigenvalues[latent:].mean()
    entries = x.shape[1]
    logs = np.log(eigenvalues[:latent]).sum() + (entries - latent) * np.log(noise)
    return -0.5 * (entries * np.log(2 * np.pi) + logs + entries)


def standardised(x):
    return (x - x.mean(0)) / x.std(0)


def simulated():
    rng = np.random.default_rng(0)
    w = np.linalg.qr(rng.normal(size=(6, 2)))[0] * [3, 1.2]
    return standardised(rng.normal(size=(500, 2)) @ w.T + 0.5 * rng.normal(size=(500, 6)))


def assert_reaches_ppca(x, optimum, latent=2, **options):
    model = backstory.fit(
        x, network="linear", likelihood="gaussian", latent=latent, validation=0, progress=False, **options
    )
    e = model.evaluate(x, samples=1000)
    assert e.log_evidence <= optimum + 3 * e.standard_error
    assert e.log_evidence == pytest.approx(optimum, abs=0.005)
    assert e.elbo == pytest.approx(e.log_evidence, abs=0.005)
    # The evidence once more, without a draw
    decoder = model.vae.decoder.layers[-1]
    w, b = (p.detach().double().numpy() for p in (decoder.weight, decoder.bias))
    variance = float(model.vae.decode(torch.zeros(1, latent)).std.detach().square().mean())
    centred = (x - model.vae.shift.numpy()) / model.vae.scale.numpy() - b
    covariance = w @ w.T + variance * np.eye(x.shape[1])
    quadratic = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(covariance), centred).mean()
    exact = -0.5 * (x.shape[1] * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1] + quadratic)
    assert exact == pytest.approx(e.log_evidence, abs=1e-3)
    assert exact == pytest.approx(optimum, abs=0.005)


def test_a_linear_model_reaches_the_optimum_of_probabilistic_pca():
    x = simulated()
    assert_reaches_ppca(x, ppca_optimum(x, 2), epochs=100, lr=0.03)


@pytest.mark.slow
def test_red_wine_reaches_the_optimum_with_the_defaults(shared_data):
    table = pd.read_csv(shared_data / "uci" / "wine.csv.gz", header=None).to_numpy()
    x = standardised(table[:, :11])
    assert ppca_optimum(x, 2) == pytest.approx(-14.663466, abs=1e-6)
    assert_reaches_ppca(x, -14.663466)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "latent"), [("iris", 1), ("wine", 3), ("diabetes", 4), ("breast_cancer", 2)]
)
def test_other_tables_and_numbers_of_units_reach_it_too(name, latent):
    x = standardised(getattr(sklearn.datasets, f"load_{name}")().data)
    assert_reaches_ppca(x, ppca_optimum(x, latent), latent)


# -- warnings ---------------------------------------------------------------------------------------------


def test_a_collapsed_posterior_is_said_in_words(caplog):
    noise = np.random.default_rng(0).normal(size=(ROWS, 3))
    with caplog.at_level("WARNING", "backstory"):
        backstory.fit(noise, **{**SMALL, "beta": 50.0, "warmup": 0, "epochs": 20})
    assert "the posterior has collapsed" in caplog.text


def test_choices_are_said(capfd, caplog):
    with caplog.at_level("INFO", "backstory"):
        backstory.fit(digits(), **{**SMALL, "epochs": 1})
    assert "logistic (17 levels)" in caplog.text
    assert "elbo" in caplog.text
    assert capfd.readouterr().out == ""  # people are told on standard error, programs read standard output


def test_metrics_are_written_as_the_run_goes(tmp_path):
    model = backstory.fit(digits(), tmp_path / "run", **{**SMALL, "epochs": 3})
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    best = lines[model.summary["best_epoch"] - 1]
    assert model.summary["elbo"] == best["validation_elbo"]
    assert len(best["kl_per_unit"]) == 3


def test_draws_of_a_table_do_not_pile_up_at_the_ends_of_a_range():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"angle": rng.uniform(0, 90, 400), "steps": rng.integers(0, 20, 400) * 0.5})
    model = backstory.fit(table, likelihood="joint", **SMALL)
    drawn = model.sample(4000, seed=0)
    for end in (table["angle"].min(), table["angle"].max()):
        assert (drawn["angle"] == end).mean() < 0.001
    assert drawn["angle"].between(table["angle"].min(), table["angle"].max()).all()
    assert set(drawn["steps"]) == set(table["steps"])
    pd.testing.assert_frame_equal(model.sample(4000, seed=0), drawn)
