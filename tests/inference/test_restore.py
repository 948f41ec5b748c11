"""Restoration against closed forms (linear-Gaussian models) and quadrature (one latent unit)."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from backstory.distributions.base import soft_clamp_inverse
from backstory.distributions.full_gaussian import FullGaussian
from backstory.errors import InputError
from backstory.inference.codes import CodeSearch
from backstory.inference.conditional import condition
from backstory.inference.convergence import convergence
from backstory.inference.damaged import Damaged, damage, observe
from backstory.inference.effort import METHODS, Effort, affordable
from backstory.inference.hmc import Rows
from backstory.inference.linear_gaussian import LinearGaussian
from backstory.inference.operators import Blur, Downscale, Linear, Mask, Noise
from backstory.inference.requests import RestorationRequest as Request
from backstory.inference.restoration import Restoration, coverage
from backstory.inference.restore import Restored, restore
from backstory.inference.tempering import pick
from backstory.inference.variational import _gradient
from backstory.models.defaults import resolve
from backstory.models.posteriors import LOG_STD_HIGH, LOG_STD_LOW
from backstory.options import ModelOptions

SHAPE = (3, 4)
QUICK = Effort(proposals=1000, steps=60, chains=8, temperatures=20, transitions=100, leapfrog=3)
MANY = Effort(proposals=8000)  # for weights alone: the encoder does not know what was done to x
TINY = Effort(proposals=50, steps=12, gradient_draws=2, chains=3, temperatures=3, transitions=6, leapfrog=2)
CORRECTED = METHODS[1:]  # the encoder's q is not corrected
FIELDS = ("mean", "std", "draws", "codes", "log_evidence", "ess", "pareto_k", "r_hat", "acceptance")


def partly(shape, share=0.5, seed=3):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share


def draw(vae, rows, seed=0):
    """Data of the model itself."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        return vae.decode(vae.prior().sample(rows, generator)).sample(generator)


def compare(a, b, **tolerance):
    assert a.methods == b.methods
    for name in FIELDS:
        torch.testing.assert_close(getattr(a, name), getattr(b, name), equal_nan=True, **tolerance)


# -- closed form --------------------------------------------------------------------------------------------

OPERATORS = {
    "missing": Mask(partly((4, *SHAPE))),
    "noise": Noise(0.2),
    "noise, partly seen": Mask(partly((4, *SHAPE))) @ Noise(0.2),
    "downscaled": Downscale(2),
    "downscaled with noise": Noise(0.1) @ Downscale(2),
    "blurred": Noise(0.05) @ Blur(0.8),
    "blurred, partly seen": Mask(partly((4, *SHAPE))) @ Noise(0.05) @ Blur(0.8),
    "sums": Noise(0.1) @ Linear(lambda x: x.sum(2)),
}


@torch.no_grad()
def exact_encoder(vae):
    """Gives a linear model the mean and the deviations of p(z|x) for its q(z|x)."""
    probes = torch.cat([torch.zeros(1, 12), torch.eye(12)]).double() * vae.scale + vae.shift
    posterior = LinearGaussian.of(vae).posterior(probes.reshape(-1, *SHAPE))
    last, latent = vae.encoder.layers[-1], posterior.mean.shape[1]
    last.weight.zero_()
    last.weight[:latent] = (posterior.mean[1:] - posterior.mean[0]).T
    last.bias[:latent] = posterior.mean[0]
    std = posterior.covariance[0].diagonal().sqrt()
    last.bias[latent:] = soft_clamp_inverse(std.log(), LOG_STD_LOW, LOG_STD_HIGH)
    return vae


def linear_case(small_vae, name, rows=4):
    vae = exact_encoder(small_vae(likelihood="gaussian", network="linear", hidden=None))
    operator = OPERATORS[name]
    y = damage(operator, draw(vae, rows), 4.0, torch.Generator().manual_seed(1))
    seen = observe(operator, y, SHAPE, 4.0)
    matrix = seen.linear.forward(torch.eye(12).double().reshape(-1, *SHAPE)).flatten(1).T
    exact = LinearGaussian.of(vae)
    kept = [seen.observed[row].flatten() for row in range(rows)]
    parts = [
        exact.restored(seen.y[i].flatten()[None, k], matrix[k], float(seen.sigma)) for i, k in enumerate(kept)
    ]
    mean = torch.cat([part.mean for part in parts]).detach()
    return vae, seen, mean, torch.cat([part.covariance for part in parts]).detach()


@pytest.mark.parametrize("method", CORRECTED)
@pytest.mark.parametrize("name", OPERATORS)
def test_mean_and_deviation_are_those_of_the_closed_form(small_vae, name, method):
    vae, seen, mean, covariance = linear_case(small_vae, name)
    found = restore(
        vae,
        seen,
        Request(draws=1, method=method, effort=MANY if method == "importance" else QUICK),
    )
    assert found.methods == (method,) * 4
    std = covariance.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt().reshape(4, *SHAPE)
    error = 5 * std / found.ess.sqrt().view(-1, 1, 1) + 1e-6
    assert bool(((found.mean - mean.reshape(4, *SHAPE)).abs() < error).all())
    assert bool(((found.std - std).abs() < error).all())
    assert float(found.ess.min()) > (20 if method == "importance" else 100)


@pytest.mark.parametrize("method", CORRECTED)
@pytest.mark.parametrize("name", ["missing", "noise", "downscaled"])
def test_draws_have_the_covariance_of_the_closed_form(small_vae, name, method):
    vae, seen, mean, covariance = linear_case(small_vae, name)
    found = restore(
        vae,
        seen,
        Request(draws=1500, method=method, effort=MANY if method == "importance" else QUICK),
    )
    assert found.draws.shape == (1500, 4, *SHAPE)
    assert found.codes.shape == (1500, 4, 3)
    for row in range(4):
        x = found.draws[:, row].flatten(1)
        scale = covariance[row].diagonal().clamp(min=1e-12).sqrt()
        relative = (torch.cov(x.T) - covariance[row]) / scale / scale[:, None]
        assert float(relative.abs().max()) < 0.3
        assert float(((x.mean(0) - mean[row]) / scale).abs().max()) < 0.25


@pytest.mark.parametrize("method", ["importance", "variational"])
@pytest.mark.parametrize("name", ["missing", "noise", "sums"])
def test_the_evidence_of_y_is_that_of_the_closed_form(small_vae, name, method):
    vae, seen, _, _ = linear_case(small_vae, name)
    found = restore(vae, seen, Request(draws=1, method=method, effort=QUICK))
    exact = LinearGaussian.of(vae)
    if seen.exact:
        expected = exact.log_evidence(seen.y, seen.observed)
    else:
        a = seen.linear.forward(torch.eye(12).double().reshape(-1, *SHAPE)).flatten(1).T
        c = a @ exact.covariance @ a.T + seen.sigma**2 * torch.eye(len(a)).double()
        p = torch.distributions.MultivariateNormal(a @ exact.bias, c)
        expected = p.log_prob(seen.y.flatten(1))
    error = 5 / found.ess.sqrt()
    assert bool(((found.log_evidence - expected.detach()).abs() < error).all())


def test_the_encoder_is_taken_at_its_word(small_vae):
    vae, seen, _, _ = linear_case(small_vae, "missing")
    found = restore(vae, seen, Request(draws=2000, method="encoder", effort=Effort(proposals=2000)))
    with torch.no_grad():
        q = vae.encode(torch.where(seen.observed, seen.y, vae.shift))
    assert float(((found.codes.mean(0) - q.mean) / q.std).abs().max()) < 0.1
    torch.testing.assert_close(found.codes.std(0), q.std, rtol=0.1, atol=0)
    assert bool(found.ess.isnan().all())
    assert bool(found.log_evidence.isnan().all())


@pytest.mark.parametrize("encoder_error", [0.0, 0.3])
def test_intervals_cover_what_they_promise(linear_gaussian, encoder_error):
    """On data of the model itself, whose exact encoder makes even that method right where all was seen."""
    exact = linear_gaussian(rows=150, encoder_error=encoder_error)
    mask, unit = partly(exact.x.shape, 0.6), exact.vae.scale
    for operator, where in ((Mask(mask), ~mask), (Mask(mask) @ Noise(0.4), None)):
        y = damage(operator, exact.x, unit, torch.Generator().manual_seed(5))
        found = restore(exact.vae, observe(operator, y, (6,), unit), Request(draws=19, method="importance"))
        for level in (0.5, 0.9):
            assert coverage(found, exact.x, level, where) == pytest.approx(level, abs=0.06)


# -- quadrature ---------------------------------------------------------------------------------------------


class Even(nn.Module):
    """A decoder that cannot tell z from −z."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, z):
        return self.inner(z.square() - 1)


@torch.no_grad()
def quadrature(vae, seen):
    """E[x|y], its deviation and log p(y), by a sum over a grid of z."""
    z = torch.linspace(-9, 9, 6001).double().view(-1, 1, 1).expand(-1, len(seen), 1)
    p = vae.decode(z)
    given = condition(p, seen.prepared(p.constant_variance))
    log_joint = given.log_evidence + vae.prior().log_prob(z) + math.log(18 / 6000)
    weight = torch.softmax(log_joint, 0).view(*log_joint.shape, *[1] * len(SHAPE))
    mean = (weight * given.mean).sum(0)
    second = (weight * (given.variance + given.mean.square())).sum(0)
    return mean, (second - mean.square()).clamp(min=0).sqrt(), torch.logsumexp(log_joint, 0)


LIKELIHOODS = ["bernoulli", "categorical", "logistic", "gaussian", "gaussian-per-entry", "gaussian-predicted"]
DAMAGE = {
    "missing": Mask(partly((3, *SHAPE))),
    "noise": Mask(partly((3, *SHAPE), 0.8)) @ Noise(0.2),
    "downscaled": Noise(0.1) @ Downscale(2),
    "blurred": Noise(0.1) @ Blur(0.7),
}


def one_unit(small_vae, likelihood, name, prior="normal"):
    vae = small_vae(
        likelihood=likelihood, latent=1, prior=prior, **({"components": 3} if prior != "normal" else {})
    )
    top = 1.0 if likelihood == "bernoulli" else 4.0
    y = damage(DAMAGE[name], draw(vae, 3), top, torch.Generator().manual_seed(1))
    return vae, observe(DAMAGE[name], y, SHAPE, top)


def agrees(found, expected, sigmas=5.0):
    mean, std, log_evidence = expected
    error = sigmas * (std / found.ess.sqrt().view(-1, 1, 1)) + 1e-6
    assert bool(((found.mean - mean).abs() < error).all())
    assert bool(((found.std - std).abs() < error).all())
    if not found.log_evidence.isnan().any():
        assert bool(((found.log_evidence - log_evidence).abs() < sigmas / found.ess.sqrt()).all())


@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_kind_of_data_agrees_with_quadrature(small_vae, likelihood, name):
    vae, seen = one_unit(small_vae, likelihood, name)
    agrees(
        restore(vae, seen, Request(draws=1, method="importance", effort=QUICK)),
        quadrature(vae, seen),
    )


@pytest.mark.parametrize("method", ["variational", "hmc"])
@pytest.mark.parametrize(("likelihood", "prior"), [("bernoulli", "normal"), ("logistic", "mixture")])
def test_the_costly_methods_agree_with_quadrature(small_vae, likelihood, prior, method):
    vae, seen = one_unit(small_vae, likelihood, "missing", prior)
    agrees(restore(vae, seen, Request(draws=1, method=method, effort=QUICK)), quadrature(vae, seen))


@pytest.mark.parametrize("method", CORRECTED)
def test_both_modes_are_found(small_vae, method):
    """p(z|y) is symmetric about zero; q, and any one chain, sits in one of its modes."""
    vae, _ = one_unit(small_vae, "bernoulli", "missing")
    vae.decoder = Even(vae.decoder)
    seen = observe(Noise(0.2), damage(Noise(0.2), draw(vae, 3)), SHAPE)
    effort = Effort(proposals=4000, chains=128, temperatures=30, transitions=20, steps=60, leapfrog=3)
    found = restore(vae, seen, Request(draws=1000, method=method, effort=effort))
    assert (found.codes > 0).double().mean(0).flatten().numpy() == pytest.approx([0.5] * 3, abs=0.25)
    mean, std, _ = quadrature(vae, seen)
    assert bool(((found.mean - mean).abs() < 0.2 * std + 1e-3).all())


# -- what is there stays, what is not comes from the prior ---------------------------------------------------


@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_all_or_nothing_seen(small_vae, levels, method):
    vae, x = small_vae(), levels(4)
    mask = partly(x.shape)
    mask[0], mask[2] = True, False
    found = restore(vae, observe(Mask(mask), x, SHAPE), Request(draws=400, method=method, effort=QUICK))
    assert found.methods[0] == "observed"
    assert found.methods[2] == "prior"
    for values in (found.mean[None], found.draws):
        assert bool((values[:, mask] == x[mask]).all())
    assert bool((found.std[mask] == 0).all())
    assert bool((found.std[~mask] > 0).all())
    assert float((found.codes[:, 2].mean(0)).abs().max()) < 0.25
    assert float((found.codes[:, 2].std(0) - 1).abs().max()) < 0.2
    assert bool(found.codes[:, 0].isnan().all())


def test_nothing_missing_under_noise_is_not_the_data_itself(small_vae, levels):
    found = restore(
        small_vae(),
        observe(Noise(0.1), levels(2), SHAPE, 4.0),
        Request(effort=TINY, method="importance"),
    )
    assert found.methods == ("importance",) * 2


@pytest.mark.parametrize("shape", [(5, 3), (4, 5, 3), (1, 7)])
@pytest.mark.parametrize("operator", [Downscale(2), Noise(0.1) @ Blur(1.0), Noise(0.3)])
def test_odd_and_colour_images_and_single_rows(shape, operator):
    from backstory.data.schema import Schema
    from backstory.models import build

    schema = Schema(kind="images", shape=shape, dtype="float32", maximum=1.0)
    schema, options = resolve(schema, ModelOptions(latent=2, hidden=(8,), network="mlp"))
    vae = build.build(schema, options)
    y = damage(operator, draw(vae, 1))
    for method in METHODS:
        found = restore(vae, observe(operator, y, shape), Request(draws=3, method=method, effort=TINY))
        assert found.mean.shape == (1, *shape)
        assert bool(found.draws.isfinite().all())
        assert bool((found.std > 0).all())


# -- how the work is cut ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_chunks_change_nothing(small_vae, levels, method):
    vae, x = small_vae(likelihood="gaussian"), levels(6)
    mask = partly(x.shape)
    mask[1] = False
    seen = observe(Mask(mask), x, SHAPE)
    whole = restore(vae, seen, Request(draws=7, method=method, effort=TINY))
    for chunk in (1, 7, 40):
        compare(
            restore(vae, seen, Request(draws=7, method=method, effort=TINY, chunk=chunk)),
            whole,
            rtol=1e-7,
            atol=1e-7,
        )
    some = restore(vae, seen.rows(slice(4)), Request(draws=7, method=method, effort=TINY))
    torch.testing.assert_close(some.draws, whole.draws[:, :4])
    other = restore(vae, seen, Request(draws=7, method=method, effort=TINY, seed=1))
    assert not torch.equal(other.draws, whole.draws)
    means = restore(vae, seen, Request(draws=0, method=method, effort=TINY))
    assert len(means.draws) == len(means.codes) == 0
    assert torch.equal(means.mean, whole.mean)
    assert torch.equal(means.std, whole.std)


def test_it_reports_every_row_and_leaves_the_model_as_it_was(small_vae, levels):
    vae, done = small_vae(), []
    state = torch.random.get_rng_state()
    seen = observe(Mask(partly((6, *SHAPE))), levels(6), SHAPE)
    restore(vae, seen, Request(method="hmc", effort=TINY, chunk=4), advance=done.append)
    assert sum(done) == 6
    assert len(done) > 1
    assert all(p.requires_grad and p.grad is None for p in vae.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


# -- auto ---------------------------------------------------------------------------------------------------


def test_auto_spends_no_more_than_it_has_to(linear_gaussian):
    """An exact encoder needs no more than weights; a wrong one sends its observations on."""
    for error, sigma, methods in ((0.0, 0.4, {"importance"}), (1.0, 0.05, {"variational", "hmc"})):
        exact = linear_gaussian(rows=8, encoder_error=error, sigma=sigma)
        seen = observe(Noise(0.05), exact.x, (6,), exact.vae.scale)
        found = restore(exact.vae, seen, Request(effort=QUICK))
        assert set(found.methods) <= methods
        assert not any(e < 25 for e, m in zip(found.ess, found.methods, strict=True) if m != "hmc")
        little = restore(exact.vae, seen, Request(effort=QUICK, budget=1000))
        assert set(little.methods) == methods - {"hmc"}
        assert set(restore(exact.vae, seen, Request(effort=QUICK, budget=10)).methods) == {"encoder"}
        few = restore(exact.vae, seen, Request(effort=QUICK, budget=300))
        assert set(few.methods) == {"importance"}
        assert (few.ess <= 300).all()


def test_auto_draws_more_weights_only_where_chains_cost_more():
    usual, short = Effort(), Effort(temperatures=20, transitions=20)
    plans = {
        (how, budget): affordable(how, 1, 64, budget) for how in (usual, short) for budget in (13_000, 40_000)
    }
    methods = {key: [method for method, _ in plan] for key, plan in plans.items()}
    assert methods[usual, 13_000] == ["importance", "variational", "variational"]
    assert methods[usual, 40_000] == ["importance", "variational", "variational", "hmc"]
    assert methods[short, 40_000] == methods[short, 13_000] == ["importance", "variational", "hmc"]


@pytest.mark.parametrize("units", [2, 8, 64])
@pytest.mark.parametrize("budget", [1_000, 4_000, 40_000])
def test_less_effort_keeps_to_a_budget_unless_one_round_is_above_it(units, budget):
    less = Effort().within(budget, units)
    assert less.cost("variational", units) <= max(budget, 0.5 * budget + 12 * units)
    assert less.proposals >= 400
    assert Effort().within(10**6, units) == Effort()


def test_a_few_weights_show_whether_all_will_do(linear_gaussian):
    for error, sigma, promising in ((0.0, 0.4, True), (1.0, 0.02, False)):
        exact = linear_gaussian(rows=8, encoder_error=error, sigma=sigma)
        seen = observe(Noise(0.05), exact.x, (6,), exact.vae.scale)
        search = CodeSearch(Restored(exact.vae, seen, seen.prepared(None)), Rows(0, range(8)), Effort())
        assert search.promising().tolist() == [promising] * 8


def test_costs_rise():
    costs = [Effort().cost(method, 64) for method in METHODS]
    assert costs == sorted(costs)


# -- small parts --------------------------------------------------------------------------------------------


def result(draws):
    nothing = torch.zeros(draws.shape[1])
    return Restoration(draws[0], draws[0], draws, draws, ("hmc",), *[nothing] * 5)


def test_coverage_is_right_for_any_number_of_draws_and_for_ties(generator):
    for m in (1, 4, 19, 100):
        draws = torch.randn(m + 1, 20_000, 1, generator=generator)
        for level in (0.5, 0.9):
            assert coverage(result(draws[1:]), draws[0], level) == pytest.approx(level, abs=0.02)
            coins = (draws > 0.3).float()
            assert coverage(result(coins[1:]), coins[0], level) == pytest.approx(level, abs=0.02)
    narrow = coverage(result(0.3 * draws[1:]), draws[0], 0.9)
    assert narrow == pytest.approx(2 * 0.6891 - 1, abs=0.02)  # P(|N(0, 1)| < 0.3 · 1.645)


def test_coverage_counts_what_it_is_told_to():
    draws = torch.zeros(19, 2, 2)
    truth = torch.tensor([[0.0, 9.0], [9.0, 9.0]])
    where = truth == 0
    assert coverage(result(draws), truth, 0.9, where) == pytest.approx(0.9)
    assert coverage(result(draws), truth, 0.9, (~where).numpy()) == 0
    for bad in (truth[:1], truth[..., None]):
        with pytest.raises(InputError, match="truth of shape"):
            coverage(result(draws), bad)
    with pytest.raises(InputError, match="between 0 and 1"):
        coverage(result(draws), truth, 50)
    with pytest.raises(InputError, match="no entry"):
        coverage(result(draws), truth, where=torch.zeros(2, 2, dtype=torch.bool))


def test_codes_are_picked_by_their_weights(generator):
    weight = torch.tensor([[0.5, 0.0], [0.2, 0.0], [0.3, 1.0]]).double()
    chosen = pick(weight, torch.rand(1000, 2, generator=generator).double())
    assert torch.bincount(chosen[:, 0]).tolist() == pytest.approx([500, 200, 300], abs=1)
    assert set(chosen[:, 1].tolist()) == {2}
    last = pick(torch.tensor([[0.5], [0.49], [0.0]]).double(), torch.tensor([[0.999]]).double())
    assert last.tolist() == [[1]]


def test_a_correlated_gaussian_is_that_of_torch(generator):
    root = torch.randn(2, 3, 3, generator=generator).double()
    precision = root @ root.mT + 0.1 * torch.eye(3).double()
    mean = torch.randn(2, 3, generator=generator).double()
    q = FullGaussian.of_precision(mean, torch.linalg.cholesky(precision))
    expected = torch.distributions.MultivariateNormal(q.mean, precision_matrix=precision)
    z = q.transport(torch.randn(50_000, 2, 3, generator=generator).double())
    torch.testing.assert_close(q.log_prob(z), expected.log_prob(z))
    torch.testing.assert_close(q.transport(q.whiten(z)), z)
    for row in range(2):
        covariance = expected.covariance_matrix[row]
        torch.testing.assert_close(
            torch.cov(z[:, row].T), covariance, rtol=0.05, atol=0.05 * float(covariance.max())
        )


@pytest.mark.parametrize("name", ["missing", "noise, partly seen", "blurred, partly seen"])
def test_the_variational_proposal_is_the_posterior_of_a_linear_model(small_vae, name):
    """Its precision is exact, and nearly all of its draws count."""
    vae, seen, _, _ = linear_case(small_vae, name)
    target = Restored(vae, seen, seen.prepared(LinearGaussian.of(vae).variance[0]))
    q = CodeSearch(target, Rows(0, range(4)), QUICK).fit.full
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).double()
    given = target.log_likelihood(torch.stack([z, q.mean]))
    log_joint = given + vae.prior().log_prob(torch.stack([z, q.mean]))
    gradient = _gradient(target, q.mean) - q.mean  # of log p(z, y); the mean is near its zero
    difference = q.log_prob(z[None])[0] - q.log_prob(q.mean[None])[0]
    expected = log_joint[0] - log_joint[1] - (gradient * (z - q.mean)).sum(-1)
    torch.testing.assert_close(difference, expected.detach(), rtol=1e-6, atol=1e-6)
    found = restore(vae, seen, Request(draws=1, method="variational", effort=QUICK))
    assert float(found.ess.min()) > 500


def test_convergence_knows_chains_that_have_not_met(generator):
    z = torch.randn(100, 4, 3, 2, generator=generator)
    r_hat, ess = convergence(z)
    assert float(r_hat.max()) < 1.1
    assert float(ess.min()) > 60
    apart = z.clone()
    apart[:, 0, 1, 1] += 5
    drifting = z.clone()
    drifting[:, :, 2, 0] += torch.linspace(0, 4, 100)[:, None]
    assert float(convergence(apart)[0][1]) > 1.5
    assert float(convergence(drifting)[0][2]) > 1.2
    assert float(convergence(torch.zeros(10, 4, 1, 2))[0]) == math.inf


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "mcmc"}, "got 'mcmc'; choose one of these"),
        ({"draws": -1}, "draws has to be at least 0"),
        ({"chunk": 0}, "chunk has to be at least 1"),
    ],
)
def test_bad_settings(small_vae, levels, options, message):
    seen = observe(Mask(partly((2, *SHAPE))), levels(2), SHAPE)
    with pytest.raises(InputError, match=message):
        restore(small_vae(), seen, Request(**options))


def test_bad_efforts_and_models(small_vae, levels):
    with pytest.raises(InputError, match="proposals has to be at least 1"):
        Effort(proposals=0)
    with pytest.raises(InputError, match="transitions has to be at least 4"):
        Effort(transitions=3)
    with pytest.raises(InputError, match="chains has to be at least 2"):
        Effort(chains=1)
    seen = observe(Mask(partly((2, *SHAPE))), levels(2), SHAPE)
    assert isinstance(seen, Damaged)
    with pytest.raises(InputError, match="plain autoencoder"):
        restore(small_vae(posterior="delta"), seen)


def test_what_no_code_explains_gives_no_nan(small_vae):
    """Far from anything the model makes, likelihoods underflow."""
    y = torch.full((1, *SHAPE), 1e6)
    y[0, 0, 0] = math.nan
    vae = small_vae(likelihood="gaussian").float()
    for method in METHODS:
        found = restore(vae, observe(Noise(0), y, SHAPE), Request(method=method, effort=TINY))
        assert np.isfinite(found.mean.numpy()).all()
