"""The methods side by side, at the level of the model's units and of stored values."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import backstory
from backstory.errors import InputError
from backstory.inference import evidence
from backstory.inference.requests import EvidenceRequest


def log_evidence(vae, batches, method="is", samples=None, **options):
    rows = sum(map(len, batches()))
    return evidence.log_evidence(vae, batches, EvidenceRequest.of(method, samples, 0, **options), rows)


def test_the_methods_agree(linear_gaussian):
    exact = linear_gaussian(rows=20, encoder_error=0.05)
    truth = exact.log_evidence
    e = {m: log_evidence(exact.vae, lambda: exact.x.split(8), m) for m in ("is", "exact")}
    e["ais"] = log_evidence(exact.vae, lambda: exact.x.split(8), "ais", 25, steps=30, start="prior")
    e |= {m: log_evidence(exact.vae, lambda: exact.x.split(8), m) for m in ("variational", "auto")}
    torch.testing.assert_close(e["exact"].log_evidence, truth)
    assert (e["exact"].standard_error == 0).all()
    assert torch.isnan(e["exact"].ess).all()
    for method in ("is", "ais", "variational", "auto"):
        away = (e[method].log_evidence - truth).abs()
        assert (away < 5 * e[method].standard_error + 1e-3).all()
    assert [e[m].samples for m in ("is", "ais", "exact")] == [1000, 25, 100]
    assert torch.isnan(e["ais"].pareto_k).all()  # of so few chains
    assert torch.isfinite(e["ais"].acceptance).all()
    assert torch.isnan(e["is"].acceptance).all()
    for other in ("ais", "exact"):
        assert float((e[other].elbo - e["is"].elbo).mean()) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"method": "ai"}, "did you mean 'ais'"),
        ({"samples": 0}, "samples has to be at least 1, got 0"),
        ({"method": "ais", "samples": 0}, "samples has to be at least 1, got 0"),
        ({"steps": 3}, "steps belongs to method ais, got method is"),
        ({"method": "exact", "resume": "rows"}, "resume belongs to method ais, got method exact"),
        ({"method": "ais", "step": 3}, "no option 'step'; did you mean 'steps'"),
        ({"method": "ais", "leapfrog": -3}, "leapfrog has to be at least 1"),
        ({"method": "ais", "schedule": "linea"}, "did you mean 'linear'"),
        ({"method": "exact"}, "linear-Gaussian models alone"),
    ],
)
def test_what_cannot_be_is_refused(small_vae, levels, arguments, says):
    with pytest.raises(InputError, match=says):
        log_evidence(small_vae(), lambda: [levels()], **arguments)


@pytest.mark.parametrize("method", ["is", "ais", "exact"])
def test_an_autoencoder_has_no_evidence(small_vae, levels, method):
    with pytest.raises(InputError, match="plain autoencoder has no distribution"):
        log_evidence(small_vae(posterior="delta"), lambda: [levels()], method)


@pytest.fixture(scope="module")
def grey():
    """A model of grey images that are binarised anew at each use."""
    rng = np.random.default_rng(0)
    images = (255 * rng.uniform(size=(30, 5, 5)) ** 3).astype(np.uint8)
    options = {"likelihood": "bernoulli", "network": "plain", "hidden": (8,), "latent": 2, "epochs": 2}
    return backstory.fit(images, progress=False, **options), images


def test_every_method_and_every_k_sees_the_same_binarised_rows(grey, monkeypatch, short_burn_in):
    model, images = grey
    monkeypatch.setattr("backstory.data.values.BATCH", 10)
    seen = {}
    encode = type(model.vae).encode

    def spy(self, observation):
        seen.setdefault(name, []).append(observation.x.clone())
        return encode(self, observation)

    monkeypatch.setattr(type(model.vae), "encode", spy)
    name = "few"
    model.log_evidence(images, 3, seed=5)
    name = "many"
    model.log_evidence(images, 40, seed=5)
    name = "ais"
    model.log_evidence(images, 2, seed=5, method="ais", steps=2)
    few, many, annealed = (torch.cat(seen[name]) for name in ("few", "many", "ais"))
    assert torch.equal(few, many)
    assert torch.equal(annealed, torch.cat([few, few]))


def test_evaluation_by_annealing(grey, tmp_path, short_burn_in):
    model, images = grey
    how = {"samples": 6, "method": "ais", "steps": 8, "resume": tmp_path / "rows"}
    e = model.evaluate(images, **how)
    assert e.method == "ais"
    assert e.samples == 6
    assert 0 < e.acceptance <= 1
    assert e.pareto_k is None  # of six weights
    assert e.log_evidence > e.elbo - 0.1
    assert e.log_evidence == pytest.approx(model.evaluate(images, 3_000).log_evidence, abs=0.2)
    again = model.evaluate(images, **how)
    assert again.log_evidence == pytest.approx(e.log_evidence, rel=1e-12)
    assert again.acceptance == e.acceptance


def test_the_evidence_of_what_was_observed(linear_gaussian):
    """All three methods, on rows with holes, against the marginal density of the entries that are there."""
    exact = linear_gaussian(rows=6)
    vae, x = exact.vae, exact.x.clone()
    hidden = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.4
    hidden[0] = True
    x[hidden] = math.nan
    vae.inputs.incomplete = True
    mask_blind = vae.encoder
    vae.encoder = torch.nn.Module()
    vae.encoder.forward = lambda y: mask_blind(y[..., 0])
    expected = [
        stats.multivariate_normal(exact.mean[seen], exact.covariance[seen][:, seen]).logpdf(row[seen])
        if seen.any()
        else 0.0
        for row, seen in zip(x.numpy(), ~hidden.numpy(), strict=True)
    ]
    for method, options in {
        "exact": {},
        "is": {"samples": 20_000},
        "ais": {"samples": 64, "steps": 60},
    }.items():
        found = log_evidence(vae, lambda: [x], method, **options)
        error = 5 * found.standard_error.numpy() + 1e-6
        assert (np.abs(found.log_evidence.numpy() - expected) < error).all(), method


def test_evaluation_in_closed_form():
    x = np.random.default_rng(0).normal(size=(200, 4)) @ np.diag([1, 2, 3, 4]) + 5
    model = backstory.fit(x, network="linear", likelihood="gaussian", latent=2, epochs=30, progress=False)
    e, other = model.evaluate(x, method="exact"), model.evaluate(x)
    assert e.standard_error == 0
    assert e.ess is None
    assert e.log_evidence == pytest.approx(other.log_evidence, abs=0.02)
    exact = model.exact()
    assert float(exact.log_evidence(torch.from_numpy(x)).mean()) == pytest.approx(e.log_evidence, abs=1e-4)
    assert exact.posterior(torch.from_numpy(x)).mean.shape == (200, 2)
    gap = model.inference_gap(x[:50], steps=50, samples=200, seed=1)
    assert gap.evidence.shape == (50,)
    assert math.isfinite(float(gap.amortisation.mean()))


def test_heavy_tails_are_told_in_one_line(grey, caplog):
    model, images = grey
    with torch.no_grad():
        q = model.encode(images)
    bias = next(m for m in reversed(list(model.vae.encoder.modules())) if isinstance(m, torch.nn.Linear)).bias
    kept = bias.detach().clone()
    with torch.no_grad():
        bias[2:] -= 2  # an encoder that is far too sure
    e = model.evaluate(images, 500)
    with torch.no_grad():
        bias.copy_(kept)
    assert q.std.min() > 0.1
    assert e.pareto_k > 0.6
    (record,) = [r for r in caplog.records if r.levelname == "WARNING"]
    assert "too heavy-tailed to trust" in record.getMessage()
    assert "`method` auto" in record.getMessage()
    caplog.clear()
    model.evaluate(images, 500)
    assert not caplog.records
