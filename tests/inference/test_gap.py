"""The inference gap: the best diagonal Gaussian of a linear-Gaussian model is known."""

import pytest
import torch

from backstory.data.observation import Observation
from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.errors import InputError
from backstory.inference.gap import GapSettings, inference_gap, optimise_posterior
from backstory.inference.linear_gaussian import LinearGaussian
from backstory.inference.target import Evidenced


def generator():
    return torch.Generator().manual_seed(0)


def correlated(linear_gaussian, rows=30):
    """A model whose p(z|x) is far from diagonal."""
    vae = linear_gaussian(rows=rows, encoder_error=0.1, entries=6, latent=3).vae
    with torch.no_grad():
        weight = vae.decoder.layers[-1].weight
        weight[:, 1] = 0.7 * weight[:, 0] + 0.3 * weight[:, 1]
    x = LinearGaussian.of(vae)
    noise = torch.randn(rows, 6, generator=generator()).double()
    return vae, x, x.bias + noise @ torch.linalg.cholesky(x.covariance).T


def test_the_best_diagonal_gaussian_is_found(linear_gaussian):
    """q* has the posterior's mean and the inverse of the diagonal of its precision."""
    vae, exact, x = correlated(linear_gaussian)
    posterior = exact.posterior(x)
    with torch.no_grad():
        q = vae.encode(x)
    target = Evidenced(vae, Observation(x), q)
    best = optimise_posterior(target, steps=400, draws=16, generator=generator())
    std = torch.linalg.inv(posterior.covariance).diagonal(dim1=-2, dim2=-1).rsqrt()
    torch.testing.assert_close(best.std, std, rtol=0.1, atol=0)
    assert float(((best.mean - posterior.mean) / std).abs().max()) < 0.15
    assert float(((q.mean - posterior.mean) / std).abs().max()) > 0.5


def test_the_gaps_are_those_of_the_closed_form(linear_gaussian):
    vae, exact, x = correlated(linear_gaussian)
    gap = inference_gap(vae, x.split(20), GapSettings(samples=2_000))
    precision = torch.linalg.inv(exact.posterior(x).covariance)
    diagonal = precision.diagonal(dim1=-2, dim2=-1)
    approximation = 0.5 * (diagonal.log().sum(-1) - torch.logdet(precision))  # KL(q* ‖ p(z|x))
    assert float(approximation.mean()) > 0.3
    assert float(gap.approximation.mean()) == pytest.approx(float(approximation.mean()), abs=0.03)
    with torch.no_grad():
        q = vae.encode(x)
    posterior = exact.posterior(x)
    y = (q.mean - posterior.mean).unsqueeze(-1)
    kl = 0.5 * (
        (diagonal * q.std.square()).sum(-1) + (y.mT @ precision @ y).flatten() - 3 - torch.logdet(precision)
    ) - q.log_std.sum(-1)
    total = gap.approximation + gap.amortisation
    torch.testing.assert_close(total, gap.evidence - gap.elbo)
    assert float(total.mean()) == pytest.approx(float(kl.mean()), rel=0.03)
    assert float(gap.amortisation.mean()) > 0.1
    away = (gap.evidence - exact.log_evidence(x)).abs()
    assert (away < 5 * gap.standard_error + 1e-3).all()
    assert gap.elbo.shape == (30,)


def test_a_perfect_encoder_has_no_gap(linear_gaussian):
    exact = linear_gaussian(rows=10)
    gap = inference_gap(exact.vae, [exact.x], GapSettings(samples=3_000, steps=100))
    assert float(gap.amortisation.mean().abs()) < 0.05
    assert float(gap.approximation.mean().abs()) < 0.05


def test_discrete_data_and_other_priors(small_vae, levels):
    vae = small_vae(prior="mixture")
    gap = inference_gap(vae, [levels()], GapSettings(steps=100, samples=500))
    assert float(gap.amortisation.mean()) > 0
    assert float(gap.approximation.mean()) > -0.1
    assert all(p.grad is None for p in vae.parameters())


def test_rows_do_not_see_each_other(small_vae, levels):
    vae, x = small_vae(), levels()
    with torch.no_grad():
        q = vae.encode(x)
    both = optimise_posterior(
        Evidenced(vae, Observation(x[:2]), q.select(slice(0, 2))), 20, 200, generator=generator()
    )
    assert isinstance(both, DiagonalGaussian)
    other = x.clone()
    other[1:] = 4 - other[1:]
    with torch.no_grad():
        q = vae.encode(other)
    changed = optimise_posterior(
        Evidenced(vae, Observation(other[:2]), q.select(slice(0, 2))), 20, 200, generator=generator()
    )
    torch.testing.assert_close(changed.mean[0], both.mean[0])
    assert not torch.allclose(changed.mean[1], both.mean[1])


def test_what_cannot_be_is_refused(small_vae, levels):
    with pytest.raises(InputError, match="plain autoencoder"):
        inference_gap(small_vae(posterior="delta"), [levels()])
    for name in ("steps", "draws", "samples"):
        with pytest.raises(InputError, match=f"{name} has to be at least 1, got 0"):
            inference_gap(small_vae(), [levels()], GapSettings(**{name: 0}))
