"""Every distribution of z against the truth: total mass, torch.distributions, its own samples."""

import math

import pytest
import torch
from scipy import stats

from backstory.distributions.delta import Delta
from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.mixture import GaussianMixture

DRAWS = 20_000


# -- distributions of codes -------------------------------------------------------------------------------


def codes(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(rows=5, latent=3, seed=0):
    return DiagonalGaussian(codes(rows, latent, seed=seed), 0.5 * codes(rows, latent, seed=seed + 1))


def mixture(components=4, latent=2, seed=0):
    log_weights = torch.log_softmax(codes(components, seed=seed), 0)
    means, log_stds = (
        2 * codes(components, latent, seed=seed + 1),
        0.4 * codes(components, latent, seed=seed + 2),
    )
    return GaussianMixture(log_weights, means, log_stds)


def torch_normal(q):
    return torch.distributions.Independent(torch.distributions.Normal(q.mean, q.std), 1)


def standard(latent=3):
    return DiagonalGaussian(torch.zeros(latent).double(), torch.zeros(latent).double())


def test_diagonal_gaussian_agrees_with_torch(generator):
    q = gaussian()
    z = q.sample(7, generator)
    assert z.shape == (7, 5, 3)
    torch.testing.assert_close(q.log_prob(z), torch_normal(q).log_prob(z))


def test_diagonal_gaussian_samples(generator):
    q = gaussian()
    z = q.sample(DRAWS, generator)
    assert ((z.mean(0) - q.mean).abs() < 5 * q.std / math.sqrt(DRAWS)).all()
    assert stats.kstest(((z - q.mean) / q.std)[:, 2, 1].numpy(), "norm").pvalue > 1e-3
    noise = codes(4, 5, 3, seed=9)
    torch.testing.assert_close(q.transport(noise), q.mean + q.std * noise)
    torch.testing.assert_close(q.select(slice(1, 3)).mean, q.mean[1:3])


def test_reparameterised_draws_carry_the_gradient():
    mean, log_std = torch.zeros(2, 3, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    z = DiagonalGaussian(mean, log_std).sample(4)
    gradients = torch.autograd.grad(z.sum(), [mean, log_std])
    torch.testing.assert_close(gradients[0], torch.full((2, 3), 4.0))
    torch.testing.assert_close(gradients[1], z.detach().sum(0))


def test_closed_form_kl_is_that_of_torch():
    q = gaussian()
    for p in (
        DiagonalGaussian(torch.zeros(3).double(), torch.zeros(3).double()),
        gaussian(1, seed=7),
        gaussian(seed=7),
    ):
        expected = torch.distributions.kl_divergence(
            torch.distributions.Normal(q.mean, q.std), torch.distributions.Normal(p.mean, p.std)
        )
        torch.testing.assert_close(q.kl_per_unit(p), expected)


def test_closed_form_kl_equals_monte_carlo(generator):
    q, p = gaussian(), gaussian(seed=7)
    z = q.sample(DRAWS, generator)
    difference = q.log_prob(z) - p.log_prob(z)
    error = difference.std(0) / math.sqrt(DRAWS)
    assert ((difference.mean(0) - q.kl_per_unit(p).sum(-1)).abs() < 5 * error).all()


def test_kl_is_zero_between_equals_and_positive_elsewhere():
    q = gaussian()
    torch.testing.assert_close(q.kl_per_unit(q), torch.zeros(5, 3).double())
    assert (q.kl_per_unit(gaussian(seed=7)) > 0).all()


def test_the_point_posterior_has_no_kl():
    q = Delta(codes(5, 2))
    for prior in (standard(2), mixture()):
        assert torch.equal(q.kl_per_unit(prior), torch.zeros(5, 2).double())
    z = q.sample(3)
    assert torch.equal(z, q.mean.expand(3, 5, 2))
    assert torch.equal(q.log_prob(z), torch.zeros(3, 5).double())
    assert torch.equal(q.std, torch.zeros(5, 2).double())


def test_kl_to_a_mixture_has_no_closed_form():
    assert gaussian(latent=2).kl_per_unit(mixture()) is None


def test_mixture_integrates_to_one():
    p = mixture()
    axis = torch.arange(-16, 16, 0.05, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    total = p.log_prob(grid).exp().sum() * 0.05**2
    assert float(total) == pytest.approx(1, abs=1e-8)
    assert p.log_prob(grid[:6].view(2, 3, 2)).shape == (2, 3)


def test_mixture_agrees_with_torch(generator):
    p = mixture()
    expected = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=p.log_weights),
        torch.distributions.Independent(torch.distributions.Normal(p.means, p.log_stds.exp()), 1),
    )
    z = p.sample(50, generator)
    torch.testing.assert_close(p.log_prob(z), expected.log_prob(z))
    torch.testing.assert_close(p.mean, expected.mean)
    torch.testing.assert_close(p.std, expected.stddev)


def test_a_narrow_component_far_away_loses_no_digits(generator):
    """Its squares are large, and cancel."""
    log_weights = torch.log_softmax(torch.zeros(2), 0)
    p = GaussianMixture(log_weights, torch.full((2, 64), 30.0), torch.full((2, 64), -6.0))
    z = (30 + math.exp(-6) * torch.randn(20, 64, generator=generator)).requires_grad_()
    exact = DiagonalGaussian(p.means[0].double(), p.log_stds[0].double()).log_prob(z.double())
    torch.testing.assert_close(p.log_prob(z).double(), exact, rtol=1e-6, atol=1e-6)
    gradients = [torch.autograd.grad(value.sum(), z)[0] for value in (p.log_prob(z), exact)]
    torch.testing.assert_close(*gradients)


def test_mixture_samples_match_its_density(generator):
    p = mixture(latent=1)
    z = p.sample(DRAWS, generator)[:, 0].numpy()

    def cdf(x):
        parts = [
            math.exp(w) * stats.norm.cdf(x, float(m), math.exp(s))
            for w, m, s in zip(p.log_weights, p.means, p.log_stds, strict=True)
        ]
        return sum(parts)

    assert stats.kstest(z, cdf).pvalue > 1e-3
