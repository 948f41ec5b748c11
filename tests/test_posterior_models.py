"""All that a model does, where q(z|x) is no diagonal Gaussian: correlated units, levels, flows, mixtures."""

import numpy as np
import pandas as pd
import pytest
import torch
from interrupting import interrupted_at
from sklearn.datasets import load_digits

import backstory
from backstory import InputError
from backstory.cli.main import main
from backstory.distributions.flow import ConditionalFlow
from backstory.distributions.full_gaussian import FullGaussian
from backstory.distributions.mixture_posterior import MixturePosterior
from backstory.distributions.top_down import TopDownPosterior
from backstory.inference.effort import METHODS
from backstory.inference.moments import posterior_moments
from backstory.opening import unpack

POSTERIORS = {
    "full": {"posterior": "full", "latent": 4},
    "hierarchy": {"hierarchy": (3, 1)},
    "flow": {"posterior": "flow", "posterior_width": 8, "latent": 4},
    "mixture": {"posterior": "mixture", "posterior_components": 3, "latent": 4},
}
RECORDS = {
    "full": FullGaussian,
    "hierarchy": TopDownPosterior,
    "flow": ConditionalFlow,
    "mixture": MixturePosterior,
}
SMALL = {"hidden": (16,), "epochs": 2, "progress": False, "device": "cpu", "compile": False}
QUICK = {"proposals": 50, "steps": 12, "gradient_draws": 2, "chains": 3, "temperatures": 3, "transitions": 6}
ANNEALING = {"method": "ais", "samples": 4, "steps": 5}


def digits():
    return load_digits().images[:120].astype(np.uint8)


def table():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(120, 1))
    values = z * [1, 20, -0.3, 4] + rng.normal(size=(120, 4)) * [0.5, 5, 0.1, 1] + [0, 300, 7, -2]
    frame = pd.DataFrame(values, columns=list("abcd")).assign(level=np.where(z[:, 0] > 0, "high", "low"))
    return frame.mask(rng.random(frame.shape) < 0.2)


DATA = {"digits": (digits, {}), "table": (table, {"likelihood": "joint"})}


@pytest.fixture(scope="module", params=[(p, d) for p in POSTERIORS for d in DATA], ids="-".join)
def case(request):
    """A model, a few observations as it takes them, and which of the posteriors it has."""
    posterior, data = request.param
    make, options = DATA[data]
    model = backstory.fit(make(), **SMALL, **POSTERIORS[posterior], **options)
    return model, backstory.load(make(), schema=model.schema).values[:6], posterior


def same(a, b):
    torch.testing.assert_close(a, b, equal_nan=True)


def test_codes_keep_their_correlations(case):
    model, x, posterior = case
    q = model.encode(x)
    assert isinstance(q, RECORDS[posterior])
    z = q.sample(4000, torch.Generator().manual_seed(0))
    assert z.shape == (4000, 6, 4)
    assert not z.requires_grad
    same(q.log_prob(z[:3]), model.vae.encode(next(batches(model, x))).log_prob(z[:3]).detach())
    moments = posterior_moments(q)
    torch.testing.assert_close(moments.std, z.std(0), rtol=0.15, atol=0)
    one = model.encode(x[3:4])
    same(one.centre, q.centre[3:4])
    same(one.log_prob(z[:3, 3:4]), q.log_prob(z[:3])[:, 3:4])


def batches(model, x):
    return model._batches(x).draw(torch.Generator().manual_seed(0))


def test_samples_are_drawn_at_any_temperature(case):
    model, _, _ = case
    assert model.sample(3, seed=1, frame=False).shape == (3, *model.schema.shape)
    cold = model.sample(3, mean=True, temperature=0.0, seed=1, frame=False)
    np.testing.assert_array_equal(cold[0], cold[1])
    assert model.reconstruct(model.sample(2, seed=1)).shape == (2, *model.schema.shape)


def test_evidence_does_not_depend_on_chunks_or_company(case, short_burn_in):
    model, x, _ = case
    whole, parts = (model.log_evidence(x, 70, chunk=chunk) for chunk in (None, 5))
    torch.testing.assert_close(whole.log_evidence, parts.log_evidence, rtol=1e-5, atol=1e-5)
    assert torch.isfinite(whole.log_evidence).all()
    whole, alone = (model.log_evidence(rows, **ANNEALING) for rows in (x, x[:1]))
    torch.testing.assert_close(whole.log_evidence[:1], alone.log_evidence, rtol=1e-5, atol=1e-4)
    found = model.evaluate(x, 20)
    assert found.reconstruction - found.kl == pytest.approx(found.elbo)
    np.testing.assert_allclose(
        model.score(x, reference=x).log_evidence[2:3],
        model.score(x[2:3], reference=x).log_evidence,
        rtol=1e-5,
    )


@pytest.mark.parametrize("method", METHODS)
def test_every_method_restores_a_row_whatever_its_company(case, method):
    model, x, _ = case
    y = np.array(x, dtype=float)
    y[:, : len(y[0]) // 2] = np.nan
    if not model.incomplete:
        observed = ~np.isnan(y)
        found, alone = (
            model.restore(x[rows], backstory.Mask(observed[rows]), 3, method, seed=2, **QUICK)
            for rows in (slice(0, 3), slice(0, 1))
        )
    else:
        found, alone = (
            model.restore(y[rows], None, 3, method, seed=2, **QUICK) for rows in (slice(0, 3), slice(0, 1))
        )
    assert found.codes.shape == (3, 3, 4)
    np.testing.assert_allclose(found.mean[:1], alone.mean, rtol=1e-3, atol=1e-3)


def test_it_is_saved_and_opened(case, tmp_path):
    model, x, _ = case
    opened = backstory.open(model.save(tmp_path / "run"), "cpu")
    for other in (opened, unpack(model.pack(), "cpu")):
        assert other.options == model.options
        same(other.encode(x).centre, model.encode(x).centre)
        same(other.log_evidence(x, 20).log_evidence, model.log_evidence(x, 20).log_evidence)
        np.testing.assert_array_equal(other.sample(2, seed=3), model.sample(2, seed=3))


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_it_works_in_double_precision_and_under_bfloat16(posterior):
    model = backstory.fit(digits(), precision="bf16", **SMALL, **POSTERIORS[posterior])
    assert np.isfinite(model.summary["elbo"])
    x, noise = torch.as_tensor(digits()[:4]).float(), torch.randn(50, 4, 4, dtype=torch.float64)
    single = model.vae.terms(x, noise=noise.float()).log_weight
    double = model.vae.double().terms(x.double(), noise=noise).log_weight
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_a_run_that_was_cut_off_ends_as_if_nothing_had_happened(posterior, tmp_path, monkeypatch):
    options = {**SMALL, **POSTERIORS[posterior], "epochs": 3, "batch_size": 32}
    whole = backstory.fit(digits(), **options)
    with interrupted_at(6, monkeypatch):
        model = backstory.fit(digits(), tmp_path / "run", checkpoint_every=1e6, **options)
    assert model.summary["stopped"] == "interrupted"
    backstory.fit(digits(), tmp_path / "run", resume=True, progress=False)
    again = backstory.open(tmp_path / "run", "cpu")
    for name, value in whole.vae.state_dict().items():
        assert torch.equal(again.vae.state_dict()[name], value), name


@pytest.mark.slow
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_the_compiled_step_is_the_step(posterior):
    options = {**SMALL, **POSTERIORS[posterior], "epochs": 1}
    plain, compiled = (backstory.fit(digits(), **{**options, "compile": c}) for c in (False, True))
    for name, value in plain.vae.state_dict().items():
        torch.testing.assert_close(compiled.vae.state_dict()[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_an_ensemble_puts_codes_side_by_side(posterior, tmp_path):
    model = backstory.fit(table(), ensemble=2, **SMALL, **POSTERIORS[posterior])
    x = backstory.load(table(), schema=model.schema).values[:5]
    q = model.encode(x)
    assert q.centre.shape == (5, 8)
    z = q.sample(3, torch.Generator().manual_seed(0))
    parts = [
        member.encode(x).log_prob(own) for member, own in zip(model.members, z.split(4, -1), strict=True)
    ]
    same(q.log_prob(z), parts[0] + parts[1])
    assert posterior_moments(q).std.shape == (5, 8)
    assert np.isfinite(model.evaluate(x, 20).log_evidence)
    assert model.restore(x, draws=2, **QUICK).draws.shape == (2, 5, 5)
    opened = backstory.open(model.save(tmp_path / "run"), "cpu")
    same(opened.log_evidence(x, 20).log_evidence, model.log_evidence(x, 20).log_evidence)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_a_mixture_may_take_the_place_of_the_prior(posterior, tmp_path):
    model = backstory.fit(table(), **SMALL, **POSTERIORS[posterior])
    model.fit_prior(table(), components=2)
    opened = backstory.open(model.save(tmp_path / "run"), "cpu")
    x = backstory.load(table(), schema=model.schema).values[:5]
    same(opened.log_evidence(x, 20).log_evidence, model.log_evidence(x, 20).log_evidence)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_the_command_line(posterior, tmp_path, capsys, short_burn_in):
    file, home = tmp_path / "table.csv", tmp_path / "run"
    table().to_csv(file, index=False)
    options = (
        ["--hierarchy", "3,1"] if posterior == "hierarchy" else ["--posterior", posterior, "--latent", "4"]
    )
    fast = ["--hidden", "16", "--epochs", "2", "--no-compile", "--likelihood", "joint"]
    assert main(["fit", str(file), "-o", str(home), *options, *fast]) == 0
    codes, data = tmp_path / "z.csv", str(file)
    assert main(["encode", str(home), data, "-o", str(codes), "--std", "--draws", "200"]) == 0
    q = backstory.open(home, "cpu").encode(table())
    moments = posterior_moments(q)
    np.testing.assert_allclose(pd.read_csv(codes), moments.mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(pd.read_csv(tmp_path / "z.std.csv"), moments.std, rtol=1e-4, atol=1e-5)
    draws = pd.read_csv(tmp_path / "z.draws.csv")
    expected = q.sample(200, torch.Generator().manual_seed(0))
    first = draws[draws.row == 0][[f"z_{j}" for j in range(4)]]
    np.testing.assert_allclose(first, expected[:, 0], rtol=1e-4, atol=1e-5)
    for command in (
        ["sample", str(home), "-n", "3", "-o", str(tmp_path / "x.csv"), "--temperature", "0.7"],
        ["evaluate", str(home), data, "--samples", "20"],
        ["evaluate", str(home), data, "--method", "ais", "--samples", "3", "--steps", "4"],
        ["score", str(home), data, "-o", str(tmp_path / "scores.csv")],
        ["impute", str(home), data, "-o", str(tmp_path / "full.csv"), "--method", "importance"],
        ["info", str(home)],
    ):
        assert main(command) == 0, capsys.readouterr().err
    assert not pd.read_csv(tmp_path / "full.csv").isna().any().any()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"hierarchy": (3,)}, r"two levels or more, with at least 1 unit each, got 3"),
        ({"hierarchy": (3, 0)}, r"at least 1 unit each, got 3,0"),
        ({"hierarchy": (3, 1), "latent": 5}, "latent is the sum of hierarchy, 4, got 5"),
        ({"prior": "hierarchy", "latent": 1}, "needs two units of z or more, got latent 1"),
        ({"hierarchy": (3, 1), "prior": "normal", "posterior": "full"}, "leave it out"),
        ({"posterior": "full", "objective": "free-bits"}, "free-bits needs the KL of each unit of z"),
        (
            {"hierarchy": (3, 1), "posterior": "gaussian", "objective": "free-bits"},
            "closed form, which prior hierarchy does not have",
        ),
        (
            {"hierarchy": (3, 1), "prior": "normal", "objective": "free-bits"},
            "which posterior hierarchy does",
        ),
        ({"posterior": "full", "objective": "tcvae"}, "use posterior gaussian"),
        ({"hierarchy": (3, 1), "objective": "tcvae"}, "use posterior gaussian"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(options, says):
    with pytest.raises(InputError, match=says):
        backstory.fit(digits(), **SMALL, **options)


def test_a_third_of_the_units_is_above_by_default():
    model = backstory.fit(digits(), posterior="hierarchy", **SMALL)
    assert (model.options.latent, model.options.hierarchy) == (16, (11, 5))


@pytest.mark.parametrize("options", [{"prior": "normal"}, {"prior": "mixture"}, {"posterior": "full"}])
def test_the_two_halves_of_a_hierarchy_go_with_others(options):
    model = backstory.fit(digits(), hierarchy=(3, 1), **SMALL, **options)
    assert np.isfinite(model.evaluate(digits()[:5], 20).log_evidence)
