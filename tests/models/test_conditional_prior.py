"""The prior p(z|c): its start, a closed form of p(x|c), and every question to a model that has it."""

import numpy as np
import pandas as pd
import pytest
import torch
from interrupting import interrupted_at

import backstory
from backstory import InputError
from backstory.data.observation import Observation
from backstory.distributions.diagonal_gaussian import GaussianOfRows
from backstory.inference.annealing import Annealing, bidirectional
from backstory.inference.evidence import log_evidence
from backstory.inference.requests import EvidenceRequest
from backstory.models.priors import ConditionalPrior

RNG = np.random.default_rng(0)
N, MIX = 300, np.array([[1.0, 0.5, -0.8], [0.3, -1.0, 0.6]])
C = RNG.integers(0, 2, N)
X = (RNG.normal(size=(N, 2)) + 1.5 * C[:, None]) @ MIX + 0.5 * RNG.normal(size=(N, 3))
LINEAR = {"network": "linear", "likelihood": "gaussian", "latent": 2, "prior": "conditional"}
LINEAR |= {"incomplete": True, "progress": False}
SMALL = {"prior": "conditional", "latent": 2, "hidden": (8,), "epochs": 1, "progress": False}


@pytest.fixture(scope="module")
def linear():
    """A linear-Gaussian model whose p(z|c) has another mean and σ for each of two levels."""
    model = backstory.fit(X, given=C, epochs=60, lr=1e-2, **LINEAR)
    one, other = (model.prior({"class": level}) for level in (0, 1))
    assert float((one.mean - other.mean).detach().abs().max()) > 0.5
    return model


@torch.no_grad()
def exact(model, level):
    """Mean and covariance of p(x|c) in stored units, as torch.distributions has them."""
    p = model.prior({"class": level})
    codes = torch.cat([torch.zeros(1, 2), torch.eye(2)])
    means = torch.tensor(model.schema.means(model.decode(codes, {"class": level}).mean)).double()
    weight = (means[1:] - means[0]).T
    noise = torch.tensor(model.schema.deviations(model.decode(codes, {"class": level}).variance[0].sqrt()))
    mean = means[0] + weight @ p.mean[0].double()
    spread = weight * p.std[0].double()
    return torch.distributions.MultivariateNormal(mean, spread @ spread.T + torch.diag(noise.double() ** 2))


# -- the module ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("affine", [True, False])
def test_it_begins_as_the_standard_normal(affine) -> None:
    prior = ConditionalPrior(3, 2, affine)(torch.randn(5, 2))
    assert isinstance(prior, GaussianOfRows)
    assert torch.equal(prior.mean, torch.zeros(5, 3))
    torch.testing.assert_close(prior.std, torch.ones(5, 3))


def test_draws_of_rows_are_one_of_each(generator) -> None:
    mean, log_std = torch.randn(2, 4, 3, generator=generator)
    p = GaussianOfRows(mean, log_std)
    assert p.sample(4, generator).shape == (4, 3)
    assert torch.equal(p.tempered(0.0, 4, generator), mean)
    assert torch.equal(p.of_rows(torch.tensor([2, 2])).mean, mean[[2, 2]])
    drawn = p.of_rows(torch.full((20_000,), 1)).sample(20_000, generator)
    torch.testing.assert_close(drawn.mean(0), mean[1], rtol=0, atol=0.1)
    torch.testing.assert_close(drawn.std(0), log_std[1].exp(), rtol=0.05, atol=0)


# -- p(x|c) in closed form ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["is", "variational", "ais"])
def test_the_evidence_is_that_of_the_closed_form(linear, method) -> None:
    rows, levels = X[:12], C[:12]
    truth = torch.stack(
        [exact(linear, c).log_prob(torch.tensor(x)) for x, c in zip(rows, levels, strict=True)]
    )
    found = linear.log_evidence(rows, given={"class": levels}, method=method, seed=0)
    # the model is one of float32 arrays; log p(x) is of stored values
    torch.testing.assert_close(found.log_evidence.double(), truth, rtol=0, atol=0.06)
    assert float((found.elbo.double() - truth).mean()) < 0  # a bound, from draws


def test_draws_are_of_the_closed_form(linear) -> None:
    drawn = linear.sample(20_000, seed=0, each="class").reshape(2, 20_000, 3)
    for level in (0, 1):
        p = exact(linear, level)
        np.testing.assert_allclose(drawn[level].mean(0), p.mean, rtol=0, atol=0.06)
        np.testing.assert_allclose(np.cov(drawn[level].T), p.covariance_matrix, rtol=0, atol=0.12)


@pytest.mark.parametrize("method", ["importance", "variational", "hmc"])
def test_restorations_are_those_of_the_closed_form(linear, method) -> None:
    y = np.stack([np.array([-1.0, 0.5, 2.0, 1.0]), *np.full((2, 4), np.nan)], 1)
    levels = np.array([0, 1, 0, 1])
    found = linear.restore(y, given={"class": levels}, method=method, draws=2, seed=0, proposals=4000)
    for row, level in enumerate(levels):
        p = exact(linear, level)
        v = p.covariance_matrix
        gain = v[1:, 0] / v[0, 0]
        mean = p.mean[1:] + gain * (y[row, 0] - p.mean[0])
        std = (torch.diag(v)[1:] - gain * v[1:, 0]).sqrt()
        np.testing.assert_allclose(found.mean[row, 1:], mean, rtol=0, atol=0.12)
        np.testing.assert_allclose(found.std[row, 1:], std, rtol=0, atol=0.1)


def test_levels_are_inferred_as_by_the_closed_form(linear) -> None:
    joint = torch.stack([exact(linear, c).log_prob(torch.tensor(X[:40])) for c in (0, 1)], 1)
    joint = joint + torch.tensor(linear.schema.conditions[0].log_shares)
    found = linear.classify(X[:40], samples=400).probabilities
    np.testing.assert_allclose(found, torch.softmax(joint, 1), rtol=0, atol=0.05)


def test_rows_alone_are_as_among_others(linear) -> None:
    """Each row has its own p(z|c), also where a method takes some of the rows, or a few at once."""
    x = Observation(
        linear.schema.prepare(torch.tensor(X[:30])), torch.nn.functional.one_hot(torch.tensor(C[:30])).float()
    )
    for method in ("is", "variational", "auto"):
        together, chunked = (
            log_evidence(linear.vae, lambda: [x], EvidenceRequest(method, chunk=chunk), 30, lambda n: None)
            for chunk in (None, 700)
        )
        torch.testing.assert_close(together.log_evidence, chunked.log_evidence, rtol=0, atol=1e-4)


def test_draws_of_the_posterior_end_the_bracket(linear) -> None:
    given = torch.nn.functional.one_hot(torch.tensor(C[:20])).float()
    found = bidirectional(linear.vae, 20, Annealing(steps=60, chains=4), seed=0, given=given)
    assert abs(float((found.upper - found.lower).mean())) < 0.1


# -- training and every question ----------------------------------------------------------------------------


def test_a_run_keeps_it(tmp_path, linear) -> None:
    linear.save(tmp_path / "run")
    opened = backstory.open(tmp_path / "run")
    assert torch.equal(opened.prior({"class": 1}).mean, linear.prior({"class": 1}).mean)
    one, other = (m.log_evidence(X[:5], given={"class": C[:5]}, seed=1) for m in (linear, opened))
    assert torch.equal(one.log_evidence, other.log_evidence)
    with pytest.raises(InputError, match="expected the condition class of each"):
        linear.prior()


def test_a_run_that_was_cut_off_ends_as_if_nothing_had_happened(tmp_path, monkeypatch) -> None:
    options = {**SMALL, "epochs": 3, "batch_size": 50}
    whole = backstory.fit(X, given=C, **options)
    with interrupted_at(9, monkeypatch):
        backstory.fit(X, tmp_path / "run", given=C, **options)
    again = backstory.fit(X, tmp_path / "run", given=C, resume=True, progress=False)
    for name, value in whole.vae.state_dict().items():
        assert torch.equal(again.vae.state_dict()[name], value), name


@pytest.mark.parametrize(
    "options",
    [
        {"posterior": "full"},
        {"posterior": "flow"},
        {"objective": "iwae", "samples": 3},
        {"objective": "mmd"},
        {"objective": "tcvae"},
        {"objective": "free-bits"},
        {"ensemble": 2},
        {"prior_after": "mixture"},
    ],
    ids=str,
)
def test_it_goes_with_other_choices(options) -> None:
    model = backstory.fit(X, given=C, **SMALL | options)
    assert model.log_evidence(X[:5], 10, given={"class": C[:5]}).log_evidence.isfinite().all()
    assert np.isfinite(model.evaluate(X[:5], 10, given={"class": C[:5]}).kl)
    assert model.sample(3, given={"class": 1}).shape == (3, 3)


def test_a_level_may_be_missing() -> None:
    labels = np.where(np.arange(N) < 100, C.astype(object), None)
    model = backstory.fit(X, given=labels, **SMALL)
    assert model.log_evidence(X[:5], 10).log_evidence.isfinite().all()
    assert model.sample(5, seed=0).shape == (5, 3)
    assert np.isfinite(model.restore(np.where(np.arange(3) == 0, X[:4], np.nan), draws=2).mean).all()


def test_tables_whose_columns_depend_on_each_other() -> None:
    frame = pd.DataFrame(
        {"a": X[:, 0], "b": np.where(X[:, 1] > 0, "x", "y"), "kind": np.array(["p", "q"])[C]}
    )
    model = backstory.fit(frame, given="kind", likelihood="autoregressive", **SMALL)
    assert len(model.sample(4, given={"kind": "p"})) == 4
    assert model.impute(frame.assign(a=np.nan).iloc[:3])["a"].notna().all()
    assert np.isfinite(model.score(frame.iloc[:4]).log_evidence).all()


def test_it_needs_conditions() -> None:
    with pytest.raises(InputError, match=r"prior conditional is p\(z\|c\) and needs conditions"):
        backstory.fit(X, **SMALL)
