"""Posteriors beside the true p(z|x) of a linear-Gaussian model in which W's columns are not orthogonal."""

import math

import pytest
import torch

from backstory.distributions.base import soft_clamp_inverse
from backstory.distributions.gaussian import GaussianHead
from backstory.errors import InputError
from backstory.inference.annealing import Annealing, annealed
from backstory.inference.importance import importance_sampling
from backstory.inference.linear_gaussian import LinearGaussian
from backstory.models.networks.mlp import MLP
from backstory.models.posteriors import LOG_STD_HIGH, LOG_STD_LOW, DiagonalPosterior, FullPosterior
from backstory.models.priors import Mixture, StandardNormal
from backstory.models.vae import VAE
from backstory.objectives.registry import OBJECTIVES

ENTRIES, LATENT = 6, 3


def linear(posterior, seed=0):
    """A linear-Gaussian model in double precision with random weights, and data of it."""
    generator = torch.Generator().manual_seed(seed)
    value = torch.rand(ENTRIES, generator=generator) + 0.2
    vae = VAE(
        MLP((ENTRIES,), posterior.features_shape, ()),
        MLP((LATENT,), (1, ENTRIES), ()),
        GaussianHead((ENTRIES,), "fixed", value=value),
        StandardNormal(LATENT),
        posterior,
    ).double()
    with torch.no_grad():
        for parameter in vae.decoder.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        x = vae.decode(vae.prior().sample(20, generator)).sample(generator)
    return vae, x


@torch.no_grad()
def set_encoder(vae, spread):
    """Gives the affine encoder the mean of p(z|x), and other features that do not depend on x."""
    probes = torch.cat([torch.zeros(1, ENTRIES), torch.eye(ENTRIES)]).double()
    mean = LinearGaussian.of(vae).posterior(probes).mean
    last = vae.encoder.layers[-1]
    last.weight.zero_()
    last.weight[:LATENT] = (mean[1:] - mean[0]).T
    last.bias.copy_(torch.cat([mean[0], spread]))


def raw(log_std):
    return soft_clamp_inverse(log_std, LOG_STD_LOW, LOG_STD_HIGH)


def with_exact_posterior():
    vae, x = linear(FullPosterior(LATENT))
    root = torch.linalg.cholesky(LinearGaussian.of(vae).posterior(x[:1]).covariance[0])
    below = root[tuple(torch.tril_indices(LATENT, LATENT, -1))]
    set_encoder(vae, torch.cat([raw(root.diagonal().log()), below]))
    return vae, x


def test_a_full_covariance_makes_the_elbo_the_evidence():
    vae, x = with_exact_posterior()
    exact = LinearGaussian.of(vae)
    q, truth = vae.encode(x), exact.posterior(x)
    torch.testing.assert_close(q.mean, truth.mean)
    torch.testing.assert_close(q.covariance, truth.covariance)
    assert float(truth.covariance[0].triu(1).abs().max()) > 0.01
    terms = vae.terms(x, samples=5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(terms.log_weight, exact.log_evidence(x).expand(5, -1))
    residual = x - (q.mean @ exact.weight.T + exact.bias)
    expected = -0.5 * (
        residual.square() / exact.variance
        + torch.log(2 * math.pi * exact.variance)
        + torch.einsum("ij,bjk,ik->bi", exact.weight, q.covariance, exact.weight) / exact.variance
    ).sum(-1)  # E_q[log p(x|z)]
    torch.testing.assert_close(expected - terms.kl, exact.log_evidence(x))


def test_the_best_diagonal_posterior_falls_short_by_the_known_gap():
    """Its variances are 1/Λ_dd, and the gap is ½ (Σ_d log Λ_dd − log|Λ|) with Λ the precision of p(z|x)."""
    vae, x = linear(DiagonalPosterior(LATENT))
    exact = LinearGaussian.of(vae)
    precision = exact.posterior(x[:1]).covariance[0].inverse()
    set_encoder(vae, raw(-0.5 * precision.diagonal().log()))
    terms = vae.terms(x, samples=20_000, generator=torch.Generator().manual_seed(0))
    gap = 0.5 * (precision.diagonal().log().sum() - torch.logdet(precision))
    assert float(gap) > 0.05
    short = exact.log_evidence(x) - terms.log_weight.mean(0)
    error = terms.log_weight.std(0) / math.sqrt(20_000)
    assert ((short - gap).abs() < 5 * error).all()


def test_estimators_of_the_evidence_with_a_full_covariance():
    vae, x = with_exact_posterior()
    exact = LinearGaussian.of(vae).log_evidence(x)
    found = importance_sampling(vae, [x], 50, torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.log_evidence, exact)
    torch.testing.assert_close(found.kl, vae.encode(x).kl(vae.prior()))
    with torch.no_grad():
        vae.encoder.layers[-1].bias += 0.2
    for result in (
        importance_sampling(vae, [x], 4000, torch.Generator().manual_seed(0)),
        annealed(vae, [x], Annealing(chains=16, steps=50)).mean,
    ):
        value = result.log_evidence if hasattr(result, "log_evidence") else result.value
        assert ((value - exact).abs() < 5 * result.standard_error + 1e-3).all()


def test_features_become_a_triangular_root_within_the_bounds():
    posterior = FullPosterior(LATENT)
    features = 30 * torch.randn(7, *posterior.features_shape, generator=torch.Generator().manual_seed(0))
    q = posterior(features)
    assert posterior.features_shape == (3 + 6,)
    assert q.mean.shape == (7, 3)
    assert torch.equal(q.root, q.root.tril())
    log_diagonal = q.root.diagonal(dim1=-2, dim2=-1).log()
    assert ((log_diagonal >= LOG_STD_LOW - 1e-3) & (log_diagonal <= LOG_STD_HIGH + 1e-3)).all()
    torch.testing.assert_close(q.root[:, 2, :2], features[:, -2:])
    assert posterior(features[:1]).root.shape == (1, 3, 3)
    one = FullPosterior(1)(torch.tensor([[3.0, float(raw(torch.tensor(0.5)))]]))
    torch.testing.assert_close(one.root, torch.tensor([[[math.exp(0.5)]]]))


@pytest.mark.parametrize("prior", [StandardNormal(LATENT), Mixture(LATENT, 2)])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_have_a_gradient_or_say_what_they_need(name, prior):
    vae, x = linear(FullPosterior(LATENT))
    vae.prior_module = prior.double()
    terms = vae.terms(x, samples=4, generator=torch.Generator().manual_seed(0))
    if name in ("free-bits", "tcvae"):
        says = "KL of each unit of z" if name == "free-bits" else "density of each unit of z"
        with pytest.raises(InputError, match=rf"objective {name} needs the {says}"):
            OBJECTIVES[name](terms)
        return
    OBJECTIVES[name](terms).sum().backward()
    assert torch.isfinite(vae.encoder.layers[-1].weight.grad).all()
