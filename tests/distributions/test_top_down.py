"""Distributions of levels against quadrature and their own draws; networks are small and random."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats

from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.top_down import product
from backstory.inference.moments import posterior_moments, prior_moments
from backstory.models.hierarchy import HierarchicalPosterior, HierarchicalPrior

DRAWS = 20_000
STEP = 0.05


def seeded(module, seed=0):
    """Double precision, and weights that matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    return module.double()


def prior(levels=(1, 1), seed=0):
    return seeded(HierarchicalPrior(levels, (16,)), seed)()


def posterior(levels=(1, 1), rows=3, seed=0):
    module = seeded(HierarchicalPosterior(levels, (16,)), seed)
    features = torch.randn(rows, *module.features_shape, generator=torch.Generator().manual_seed(seed + 1))
    return module(0.5 * features.double())


def on_grid(log_prob):
    """Points z1, and the mass of each cell of a grid over (z2, z1), from the log density of packed codes."""
    z2, z1 = (torch.arange(-end, end, STEP, dtype=torch.float64) for end in (8, 60))
    mass = log_prob(torch.cartesian_prod(z2, z1)).exp() * STEP**2
    return z1.numpy(), mass.view(len(z2), len(z1)).numpy()


def of_row(q, row, z):
    """log q(z|x) of a single row, (N, D) to (N,)."""
    return q.select(slice(row, row + 1)).log_prob(z[:, None])[:, 0]


def fits(draws, points, mass):
    """Whether draws may be of a density with such masses of the cells around the points."""
    cumulative = mass.cumsum()
    return stats.kstest(draws.numpy(), lambda v: np.interp(v, points + STEP / 2, cumulative)).pvalue > 1e-3


@torch.no_grad()
def test_prior_integrates_to_one_and_its_draws_have_its_density(generator):
    p = prior()
    z1, mass = on_grid(p.log_prob)
    assert mass.sum() == pytest.approx(1, abs=1e-6)
    z = p.sample(DRAWS, generator)
    assert stats.kstest(z[:, 0].numpy(), "norm").pvalue > 1e-3
    assert fits(z[:, 1], z1, mass.sum(0))
    assert fits(z[z[:, 0] > 1, 1], z1, mass[180:].sum(0) / mass[180:].sum())


@torch.no_grad()
def test_posterior_integrates_to_one_and_its_draws_have_its_density(generator):
    q = posterior()
    z = q.sample(DRAWS, generator)
    assert z.shape == (DRAWS, 3, 2)
    for row in range(3):
        z1, mass = on_grid(partial(of_row, q, row))
        assert mass.sum() == pytest.approx(1, abs=1e-6)
        assert fits(z[:, row, 1], z1, mass.sum(0))


@torch.no_grad()
def test_three_levels_integrate_to_one_by_importance_sampling(generator):
    p, q = prior((2, 2, 1)), posterior((2, 2, 1), rows=2)
    wide = DiagonalGaussian(torch.zeros(5).double(), torch.full((5,), math.log(2.0)).double())
    z = wide.sample(200_000, generator)
    for log_prob in (p.log_prob(z), q.log_prob(z[:, None].expand(-1, 2, -1))[:, 0]):
        weight = torch.exp(log_prob - wide.log_prob(z))
        assert abs(float(weight.mean()) - 1) < 5 * float(weight.std()) / math.sqrt(len(z))


@torch.no_grad()
def test_density_is_the_product_of_the_levels():
    p, q = prior((3, 2)), posterior((3, 2), rows=4)
    z = torch.randn(7, 4, 5, generator=torch.Generator().manual_seed(5)).double()
    z2, z1 = z.split((2, 3), -1)
    below = p.below[0](z2)
    expected = torch.distributions.Normal(0, 1).log_prob(z2).sum(-1)
    expected = expected + torch.distributions.Normal(below.mean, below.std).log_prob(z1).sum(-1)
    torch.testing.assert_close(p.log_prob(z), expected)
    mean2, mean1 = q.mean.split((2, 3), -1)
    std2, std1 = q.log_std.exp().split((2, 3), -1)
    below = q.below[0](z2)
    precision = below.std**-2 + std1**-2
    mean = (below.mean * below.std**-2 + mean1 * std1**-2) / precision
    expected = torch.distributions.Normal(mean2, std2).log_prob(z2).sum(-1)
    expected = expected + torch.distributions.Normal(mean, precision.rsqrt()).log_prob(z1).sum(-1)
    torch.testing.assert_close(q.log_prob(z), expected)


@torch.no_grad()
def test_density_is_that_of_the_noise_over_the_jacobian():
    q = posterior((2, 2), rows=1)
    noise = torch.randn(1, 1, 4, generator=torch.Generator().manual_seed(3)).double()
    jacobian = torch.autograd.functional.jacobian(lambda e: q.transport(e[None, None])[0, 0], noise[0, 0])
    expected = torch.distributions.Normal(0, 1).log_prob(noise).sum() - torch.logdet(jacobian)
    torch.testing.assert_close(q.log_prob(q.transport(noise))[0, 0], expected)


@torch.no_grad()
def test_the_product_of_two_gaussians():
    generator = torch.Generator().manual_seed(0)
    a, b = (DiagonalGaussian(*torch.randn(2, 4, 3, generator=generator).double()) for _ in "12")
    z = torch.randn(9, 4, 3, generator=generator).double()
    ratio = a.log_prob(z) + b.log_prob(z) - product(a, b).log_prob(z)
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))
    wide = DiagonalGaussian(torch.zeros(1), torch.full((1,), 60.0))
    torch.testing.assert_close(product(wide, DiagonalGaussian(*torch.ones(2, 1))).mean, torch.ones(1))


@torch.no_grad()
def test_the_temperature_scales_the_deviation_of_each_level(generator):
    p = prior((3, 2))
    cold = p.tempered(0.0, 4, generator)
    z2, z1 = cold.split((2, 3), -1)
    torch.testing.assert_close(z2, torch.zeros(4, 2).double())
    torch.testing.assert_close(z1, p.below[0](z2).mean)
    z2, z1 = p.tempered(0.5, DRAWS, generator).split((2, 3), -1)
    assert stats.kstest(2 * z2[:, 0].numpy(), "norm").pvalue > 1e-3
    below = p.below[0](z2)
    assert stats.kstest((2 * (z1 - below.mean) / below.std)[:, 1].numpy(), "norm").pvalue > 1e-3


@torch.no_grad()
def test_moments_are_estimates_that_do_not_depend_on_the_company_of_a_row(generator):
    p, q = prior((3, 2)), posterior((3, 2), rows=4)
    assert p.moments() is None
    assert q.moments() is None
    assert q.diagonal() is None
    for z, moments in (
        (p.sample(DRAWS, generator), prior_moments(p, torch.device("cpu"))),
        (q.sample(DRAWS, generator), posterior_moments(q)),
    ):
        torch.testing.assert_close(moments.std, z.std(0), rtol=0.2, atol=0)
        assert ((moments.mean - z.mean(0)).abs() < 0.25 * z.std(0)).all()
    one = posterior_moments(q.select(slice(2, 3)))
    torch.testing.assert_close(one.mean, posterior_moments(q).mean[2:3])
    torch.testing.assert_close(one.std, posterior_moments(q).std[2:3])


@torch.no_grad()
def test_rows_are_chosen_and_joined_with_their_networks():
    q = posterior((3, 2), rows=4)
    z = torch.randn(7, 4, 5, generator=torch.Generator().manual_seed(5)).double()
    together = q.select(slice(0, 1)).joined([q.select(torch.tensor([1, 2])), q.select(slice(3, 4))])
    torch.testing.assert_close(together.log_prob(z), q.log_prob(z))
    torch.testing.assert_close(together.centre, q.centre)
    torch.testing.assert_close(q.select(slice(2, 3)).log_prob(z[:, 2:3]), q.log_prob(z)[:, 2:3])
    torch.testing.assert_close(q.centre, q.transport(torch.zeros(1, 4, 5).double())[0])


def test_a_detached_posterior_carries_no_gradient_but_that_of_z():
    module = seeded(HierarchicalPosterior((3, 2), (16,)))
    features = torch.randn(4, 2, 5, dtype=torch.float64, requires_grad=True)
    q = module(features)
    z = q.sample(6, torch.Generator().manual_seed(0))
    fixed = q.detach()
    torch.testing.assert_close(fixed.log_prob(z), q.log_prob(z))
    assert not fixed.log_prob(z.detach()).requires_grad
    assert not fixed.detach().centre.requires_grad
    gradients = torch.autograd.grad(q.log_prob(z.detach()).sum(), [features, *module.parameters()])
    assert all((gradient != 0).any() for gradient in gradients)
