"""A hierarchy beside closed forms: with affine networks it is a linear-Gaussian model.

z2 ~ N(0, I),  z1 ~ N(W2 z2 + m, S1),  x ~ N(W1 z1 + W z2 + b, diag(v))
p(x) = N(W1 m + b, A A' + W1 S1 W1' + diag(v)),   A = W1 W2 + W
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from backstory.distributions.base import soft_clamp_inverse
from backstory.distributions.full_gaussian import FullGaussian
from backstory.distributions.gaussian import GaussianHead
from backstory.inference.annealing import Annealing, annealed
from backstory.inference.damaged import observe
from backstory.inference.effort import METHODS, Effort
from backstory.inference.importance import importance_sampling
from backstory.inference.linear_gaussian import LinearGaussian
from backstory.inference.operators import Mask, Noise
from backstory.inference.requests import RestorationRequest
from backstory.inference.restore import restore
from backstory.models.hierarchy import HierarchicalPosterior, HierarchicalPrior
from backstory.models.networks.mlp import MLP
from backstory.models.posteriors import LOG_STD_HIGH, LOG_STD_LOW, DiagonalPosterior, FullPosterior
from backstory.models.vae import VAE, Inputs

ENTRIES, LEVELS = 6, (3, 2)
DIAGONAL, SCALE, SIGMA = (1.5, 1.0, 0.7), 0.6, 0.4  # of W1'W1, S1 = SCALE² I, v = SIGMA²


@dataclass(frozen=True)
class TwoLevels:
    """A two-level linear-Gaussian model.

    Attributes:
        vae: the model, in double precision.
        x: data of it, (20, 6).
        flat: the same p(x) as a model of the noise u, z = map u + shift.
        map, shift: (5, 5) and (5,).
    """

    vae: VAE
    x: Tensor
    flat: LinearGaussian
    map: Tensor
    shift: Tensor

    def posterior(self, x: Tensor) -> FullGaussian:
        """p(z|x)."""
        u = self.flat.posterior(x)
        covariance = self.map @ u.covariance @ self.map.T
        return FullGaussian.of_covariance(u.mean @ self.map.T + self.shift, covariance)


@torch.no_grad()
def two_levels(posterior=None, error=0.0, skip=0.0):
    """With `error` q(z|x) is not p(z|x), with `skip` x depends on z2 directly, too."""
    rng = np.random.default_rng(0)
    w1 = np.linalg.qr(rng.normal(size=(ENTRIES, 3)))[0] * np.sqrt(DIAGONAL)
    rest = SCALE**2 + SIGMA**2 / np.array(DIAGONAL)  # variance of the estimate of z1 from x, given z2
    w2 = np.sqrt(rest)[:, None] * np.linalg.qr(rng.normal(size=(3, 2)))[0] * (1.5, 0.8)
    m, b, w = rng.normal(size=3), rng.normal(size=ENTRIES), skip * rng.normal(size=(ENTRIES, 2))
    prior, own = HierarchicalPrior(LEVELS, ()), HierarchicalPosterior(LEVELS, ())
    posterior = posterior or own
    vae = VAE(
        MLP((ENTRIES,), posterior.features_shape, ()),
        MLP((5,), (1, ENTRIES), ()),
        GaussianHead((ENTRIES,), "fixed", value=SIGMA),
        prior,
        posterior,
    ).double()
    vae.head.log_value.fill_(math.log(SIGMA))
    fill(vae.decoder.layers[-1], np.concatenate([w, w1], 1), b)
    for module in (prior, own):
        fill(module.below[0].network.layers[-1], w2, m)
        module.below[0].log_std.copy_(raw(torch.full((3,), math.log(SCALE)).double()))
    back1 = w1.T / np.array(DIAGONAL)[:, None]
    precision = np.eye(2) + (w2.T / rest) @ w2
    back2 = np.linalg.solve(precision, w2.T / rest)
    weight = np.concatenate([back2 @ back1, back1])
    bias = -weight @ b - np.concatenate([back2 @ m, np.zeros(3)])
    log_std = np.concatenate([-0.5 * np.log(np.diag(precision)), np.log(SIGMA / np.sqrt(DIAGONAL))])
    if posterior is own:
        wrong = error * rng.normal(size=weight.shape)
        spread = np.concatenate([raw(torch.tensor(log_std))]) + error
        fill(
            vae.encoder.layers[-1],
            np.concatenate([weight + wrong, np.zeros_like(weight)]),
            np.concatenate([bias, spread]),
        )
    one = torch.eye(5).double()
    one[2:, :2], one[2:, 2:] = torch.tensor(w2), SCALE * torch.eye(3).double()
    shift = torch.cat([torch.zeros(2).double(), torch.tensor(m)])
    outer = torch.tensor(np.concatenate([w, w1], 1))
    variance = torch.full((ENTRIES,), SIGMA**2).double()
    flat = LinearGaussian(outer @ one, torch.tensor(b) + outer @ shift, variance, (ENTRIES,))
    x = rng.multivariate_normal(flat.bias.numpy(), flat.covariance.numpy(), 20)
    return TwoLevels(vae, torch.tensor(x), flat, one, shift)


def fill(layer, weight, bias):
    layer.weight.copy_(torch.as_tensor(weight))
    layer.bias.copy_(torch.as_tensor(bias))


def raw(log_std):
    return soft_clamp_inverse(log_std, LOG_STD_LOW, LOG_STD_HIGH)


# -- closed forms -----------------------------------------------------------------------------------------


def test_the_closed_form_is_that_of_the_two_levels():
    """By the formula at the top, and by draws of the model."""
    model = two_levels(skip=0.5)
    prior, decoder = model.vae.prior_module, model.vae.decoder.layers[-1]
    w, w1 = decoder.weight.detach().split((2, 3), 1)
    below = prior.below[0].network.layers[-1]
    a = w1 @ below.weight.detach() + w
    covariance = a @ a.T + SCALE**2 * w1 @ w1.T + SIGMA**2 * torch.eye(ENTRIES)
    torch.testing.assert_close(model.flat.covariance, covariance)
    torch.testing.assert_close(model.flat.bias, w1 @ below.bias.detach() + decoder.bias.detach())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        x = model.vae.decode(model.vae.prior().sample(50_000, generator)).sample(generator)
    torch.testing.assert_close(torch.cov(x.T), covariance, atol=0.1, rtol=0.05)


def test_terms_are_exact_at_every_draw_if_the_posterior_is():
    model = two_levels()
    expected = stats.multivariate_normal(model.flat.bias.numpy(), model.flat.covariance.numpy())
    evidence = torch.tensor(expected.logpdf(model.x.numpy()))
    torch.testing.assert_close(model.flat.log_evidence(model.x), evidence)
    terms = model.vae.terms(model.x, samples=7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(terms.log_weight, evidence.expand(7, -1))
    truth = model.posterior(model.x)
    torch.testing.assert_close(terms.log_posterior, truth.log_prob(terms.z))
    torch.testing.assert_close(terms.posterior.centre, truth.mean)
    flat = terms.z @ model.vae.decoder.layers[-1].weight.T + model.vae.decoder.layers[-1].bias
    normal = torch.distributions.Normal(flat, SIGMA)
    torch.testing.assert_close(terms.log_likelihood, normal.log_prob(model.x).sum(-1))
    assert terms.kl_per_unit is None


@torch.no_grad()
def test_the_divergence_is_that_of_each_level_given_those_above():
    """Its mean over the draws is KL(q ‖ p) of the two joint Gaussians, with less noise than log q − log p."""
    model = two_levels(error=0.1)
    terms = model.vae.terms(model.x, samples=5_000, generator=torch.Generator().manual_seed(0))
    z2, z1 = terms.z.split((2, 3), -1)
    levels = zip(terms.posterior.conditionals(terms.z), terms.prior.conditionals(terms.z), strict=True)
    each = [torch.distributions.kl_divergence(*(normal(level) for level in pair)) for pair in levels]
    by_draw = terms.posterior.kl_given(terms.prior, terms.z)
    expected = [part.expand_as(z) for part, z in zip(each, (z2, z1), strict=True)]
    torch.testing.assert_close(by_draw, torch.cat(expected, -1))
    torch.testing.assert_close(terms.kl, by_draw.sum(-1).mean(0))
    torch.testing.assert_close(terms.kl_given, by_draw.mean(0))
    joint = [moments_of(p, 200_000) for p in (terms.posterior.select(slice(0, 1)), terms.prior)]
    exact = torch.distributions.kl_divergence(*joint)
    noise = by_draw[:, 0].sum(-1).std() / math.sqrt(5_000)
    assert abs(float(terms.kl[0] - exact)) < 5 * float(noise) + 0.02
    assert by_draw.sum(-1).std(0).mean() < 0.7 * (terms.log_posterior - terms.log_prior).std(0).mean()


def normal(level):
    return torch.distributions.Normal(level.mean, level.std)


def moments_of(distribution, draws):
    """The Gaussian with the moments of draws, in single rows of z."""
    z = distribution.sample(draws, torch.Generator().manual_seed(1)).reshape(draws, -1).detach()
    return torch.distributions.MultivariateNormal(z.mean(0), torch.cov(z.T))


def test_draws_of_the_posterior_have_the_exact_moments(generator):
    model = two_levels()
    q, truth = model.vae.encode(model.x[:2]), model.posterior(model.x[:2])
    z = q.sample(40_000, generator).detach()
    error = truth.moments().std / math.sqrt(40_000)
    assert ((z.mean(0) - truth.mean).abs() < 5 * error).all()
    torch.testing.assert_close(torch.cov(z[:, 0].T), truth.covariance[0], atol=0.02, rtol=0)
    assert float(truth.covariance[0, :2, 2:].abs().max()) > 0.03  # the levels are correlated


def test_a_full_covariance_is_exact_for_two_levels_too():
    model = two_levels(FullPosterior(5), skip=0.5)
    truth = model.posterior(torch.cat([torch.zeros(1, ENTRIES), torch.eye(ENTRIES)]).double())
    last, root = model.vae.encoder.layers[-1], truth.root[0]
    with torch.no_grad():
        last.weight.zero_()
        last.weight[:5] = (truth.mean[1:] - truth.mean[0]).T
        below = root[tuple(torch.tril_indices(5, 5, -1))]
        last.bias.copy_(torch.cat([truth.mean[0], raw(root.diagonal().log()), below]))
    terms = model.vae.terms(model.x, samples=3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(terms.log_weight, model.flat.log_evidence(model.x).expand(3, -1))


@pytest.mark.parametrize("skip", [0.0, 0.15])
def test_importance_sampling_and_annealing_find_the_evidence(skip):
    model = two_levels(error=0.1, skip=skip)
    exact = model.flat.log_evidence(model.x)
    found = importance_sampling(model.vae, [model.x], 5000, torch.Generator().manual_seed(0))
    assert ((found.log_evidence - exact).abs() < 5 * found.standard_error + 0.01).all()
    assert (found.elbo < exact).all()
    torch.testing.assert_close(found.reconstruction - found.kl, found.elbo)
    for start in ("posterior", "prior"):
        result = annealed(model.vae, [model.x], Annealing(chains=16, steps=60, start=start)).mean
        error = float(result.standard_error.square().sum().sqrt()) / len(exact)
        assert abs(float((result.value - exact).mean())) < 4 * error + error**2 * len(exact)


def test_a_diagonal_posterior_and_another_prior_go_with_a_hierarchy():
    model = two_levels(DiagonalPosterior(5), skip=0.5)
    exact = model.flat.log_evidence(model.x)
    found = importance_sampling(model.vae, [model.x], 200, torch.Generator().manual_seed(0))
    assert (found.elbo < exact).all()
    result = annealed(model.vae, [model.x[:6]], Annealing(chains=16, steps=100, start="prior")).mean
    assert ((result.value - exact[:6]).abs() < 5 * result.standard_error + 0.05).all()


# -- restoration --------------------------------------------------------------------------------------------

EFFORT = Effort(proposals=20_000, steps=60, chains=16, temperatures=20, transitions=100, leapfrog=3)


class OfObserved(nn.Module):
    """The affine encoder of whole rows, given zeros for missing entries."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, y):
        return self.encoder(y[..., 0])


def exactly(model, y, observed, sigma):
    """E[x|y] and the deviation of each entry of x, for y = x + σ ε at the observed entries."""
    rows = zip(y, observed, strict=True)
    parts = [model.flat.restored(one[None, o], torch.eye(ENTRIES)[o], sigma) for one, o in rows]
    variance = torch.cat([part.covariance.diagonal(dim1=-2, dim2=-1) for part in parts])
    return torch.cat([part.mean for part in parts]), variance.clamp(min=0).sqrt()


@pytest.mark.parametrize("sigma", [0.0, 0.3])
@pytest.mark.parametrize("method", [m for m in METHODS if m != "encoder"])
def test_restoration_is_that_of_the_joint_gaussian(method, sigma):
    model = two_levels(error=0.05, skip=0.3)
    model.vae.inputs = Inputs(incomplete=True).double()
    model.vae.encoder = OfObserved(model.vae.encoder)
    x = model.x[:6]
    observed = torch.rand(6, ENTRIES, generator=torch.Generator().manual_seed(1)) < 0.6
    y = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).double()
    operator = Mask(observed) @ Noise(sigma) if sigma else Mask(observed)
    request = RestorationRequest(draws=4, method=method, effort=EFFORT)
    found = restore(model.vae, observe(operator, y, (ENTRIES,)), request)
    mean, std = exactly(model, y, observed, sigma)
    unknown = ~observed if sigma == 0 else torch.ones_like(observed)
    assert (found.ess > 50).all()
    error = 5 / found.ess.sqrt()[:, None].expand_as(mean)[unknown]
    assert (((found.mean - mean).abs() / std)[unknown] < error).all()
    assert ((found.std / std - 1).abs()[unknown] < error).all()
    assert found.codes.shape == (4, 6, 5)
