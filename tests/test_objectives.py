"""Objectives against their formulas and against exact evidence."""

import math

import pytest
import torch

from backstory.distributions import DiagonalGaussian
from backstory.objectives import elbo, importance_weighted
from backstory.vae import Terms


def terms(samples=4, rows=3, latent=2, seed=0):
    """A record of terms with arbitrary numbers."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    q = DiagonalGaussian(randn(rows, latent), 0.3 * randn(rows, latent))
    p = DiagonalGaussian(torch.zeros(latent).double(), torch.zeros(latent).double())
    return Terms(10 * randn(samples, rows), q.sample(samples, generator), q, p)


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0])
def test_elbo_is_reconstruction_minus_beta_kl(beta):
    t = terms()
    q = t.posterior
    kl = 0.5 * (q.std.square() + q.mean.square() - 1 - 2 * q.std.log()).sum(-1)
    torch.testing.assert_close(elbo(t, beta=beta), t.log_likelihood.mean(0) - beta * kl)


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0])
def test_importance_weighted_is_the_log_of_a_mean(beta):
    t = terms()
    weight = t.log_likelihood.exp() * (t.log_prior.exp() / t.log_posterior.exp()) ** beta
    torch.testing.assert_close(importance_weighted(t, beta=beta), weight.mean(0).log())


@pytest.mark.parametrize("beta", [0.25, 1.0])
def test_importance_weighted_with_one_draw_is_the_sampled_elbo(beta):
    t = terms(samples=1)
    sampled = t.log_likelihood[0] + beta * (t.log_prior - t.log_posterior)[0]
    torch.testing.assert_close(importance_weighted(t, beta=beta), sampled)


@pytest.mark.parametrize("objective", [elbo, importance_weighted])
def test_one_value_for_each_observation_whatever_the_draws(objective):
    assert objective(terms(samples=6, rows=5)).shape == (5,)
    t = terms()
    copies = Terms(t.log_likelihood.repeat(3, 1), t.z.repeat(3, 1, 1), t.posterior, t.prior)
    torch.testing.assert_close(objective(copies), objective(t))


def test_huge_log_weights_do_not_overflow():
    t = terms()
    for offset in (-1e5, 1e5):
        far = Terms(t.log_likelihood + offset, t.z, t.posterior, t.prior)
        torch.testing.assert_close(importance_weighted(far), importance_weighted(t) + offset)


def test_importance_weighted_rises_with_draws_towards_the_evidence(linear_gaussian):
    wrong = linear_gaussian(rows=1, encoder_error=0.15)
    x = wrong.x.expand(4_000, -1)
    generator = torch.Generator().manual_seed(0)
    means, errors = [], []
    for samples in (1, 3, 10, 100):
        with torch.no_grad():
            value = importance_weighted(wrong.vae.terms(x, samples=samples, generator=generator))
        means.append(float(value.mean()))
        errors.append(float(value.std()) / math.sqrt(len(x)))
    with torch.no_grad():
        bound = elbo(wrong.vae.terms(x, samples=10, generator=generator))
    truth = float(wrong.log_evidence)
    assert means[0] == pytest.approx(float(bound.mean()), abs=5 * errors[0])
    for i in range(3):
        assert means[i] < means[i + 1] + 3 * math.hypot(errors[i], errors[i + 1])
    assert means[0] < means[1] - 5 * errors[0]
    assert means[-1] < truth + 3 * errors[-1]
    assert means[-1] == pytest.approx(truth, abs=0.1)


def test_gradient_of_the_elbo_is_that_of_its_closed_form(linear_gaussian):
    """At the exact posterior the bound's gradient with respect to the decoder is that of the evidence."""
    exact = linear_gaussian(rows=50)
    bias = exact.vae.decoder.layers[-1].bias
    terms_ = exact.vae.terms(exact.x, samples=400, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(elbo(terms_).mean(), bias)
    centred = (exact.x - exact.mean).mean(0)
    expected = torch.linalg.solve(exact.covariance, centred) * exact.vae.scale
    torch.testing.assert_close(gradient, expected, rtol=0.05, atol=0.05)
