"""The Gaussian with correlations against torch.distributions."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.full_gaussian import FullGaussian
from backstory.distributions.mixture import GaussianMixture


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def full(rows=5, latent=3, upper=False):
    root = torch.tril(numbers(rows, latent, latent, seed=1))
    return FullGaussian(numbers(rows, latent), root.mT if upper else root, upper)


def in_torch(q):
    return MultivariateNormal(q.mean, q.covariance)


@pytest.mark.parametrize("upper", [False, True])
def test_density_moments_and_draws_are_those_of_torch(upper, generator):
    q = full(upper=upper)
    z = q.sample(20_000, generator)
    torch.testing.assert_close(q.log_prob(z[:7]), in_torch(q).log_prob(z[:7]))
    torch.testing.assert_close(q.log_prob(z[0]), in_torch(q).log_prob(z[0]))
    torch.testing.assert_close(q.moments().mean, q.mean)
    torch.testing.assert_close(q.moments().std, in_torch(q).stddev)
    noise = numbers(4, 5, 3, seed=9)
    torch.testing.assert_close(q.whiten(q.transport(noise)), noise)
    away = (z - q.mean).movedim(1, 0)
    torch.testing.assert_close(away.mT @ away / len(z), q.covariance, atol=0.15, rtol=0)


@pytest.mark.parametrize("upper", [False, True])
def test_closed_form_kl_is_that_of_torch_and_equals_its_estimate(upper, generator):
    q = full(upper=upper)
    for p in (
        DiagonalGaussian(torch.zeros(3).double(), torch.zeros(3).double()),
        DiagonalGaussian(numbers(3, seed=7), 0.3 * numbers(3, seed=8)),
    ):
        other = MultivariateNormal(p.mean, torch.diag(p.std.square()))
        torch.testing.assert_close(q.kl(p), kl_divergence(in_torch(q), other))
        z = q.sample(20_000, generator)
        difference = q.log_prob(z) - p.log_prob(z)
        error = difference.std(0) / math.sqrt(len(z))
        assert ((difference.mean(0) - q.kl(p)).abs() < 5 * error).all()


def test_without_correlations_it_is_the_diagonal_gaussian():
    diagonal = DiagonalGaussian(numbers(5, 3), 0.5 * numbers(5, 3, seed=1))
    q = FullGaussian(diagonal.mean, torch.diag_embed(diagonal.std))
    z, prior = numbers(4, 5, 3, seed=2), DiagonalGaussian(numbers(3, seed=3), numbers(3, seed=4))
    torch.testing.assert_close(q.log_prob(z), diagonal.log_prob(z))
    torch.testing.assert_close(q.kl(prior), diagonal.kl(prior))
    normal = kl_divergence(Normal(diagonal.mean, diagonal.std), Normal(prior.mean, prior.std))
    torch.testing.assert_close(q.kl(prior), normal.sum(-1))


def test_the_kl_has_no_parts_and_none_to_a_mixture():
    p = GaussianMixture(torch.zeros(1).double(), numbers(1, 3), numbers(1, 3))
    assert full().kl(p) is None
    assert full().kl_per_unit(DiagonalGaussian(numbers(3), numbers(3))) is None
    assert full().diagonal() is None


def test_a_draw_is_not_rounded_under_autocast():
    q = FullGaussian(torch.full((1, 2), 300.0), torch.tensor([[[1.0, 0.0], [1.0, 1e-3]]]))
    noise = torch.randn(8, 1, 2, generator=torch.Generator().manual_seed(0))
    exact = q.transport(noise)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(q.transport(noise), exact)
