"""Priors: densities, samples, and the mixture that is fitted to codes."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.mixture import GaussianMixture as EM

from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.models.priors import Mixture, StandardNormal


@pytest.fixture(scope="module")
def codes() -> torch.Tensor:
    """Two clusters in three dimensions with very different scales."""
    rng = np.random.default_rng(0)
    first = rng.normal([-3, 0, 5], [0.5, 0.02, 3], (400, 3))
    second = rng.normal([2, 1, -4], [0.2, 1.5, 0.1], (600, 3))
    return torch.from_numpy(np.concatenate([first, second])).float()


def test_standard_normal(generator):
    p = StandardNormal(4)()
    z = p.sample(10_000, generator)
    assert z.shape == (10_000, 4)
    assert stats.kstest(z.flatten().numpy(), "norm").pvalue > 1e-3
    expected = torch.distributions.Normal(0, 1).log_prob(z).sum(-1)
    torch.testing.assert_close(p.log_prob(z), expected)
    assert p.log_prob(z.view(100, 100, 4)).shape == (100, 100)
    q = DiagonalGaussian(torch.ones(2, 4), torch.zeros(2, 4))
    torch.testing.assert_close(q.kl_per_unit(p), torch.full((2, 4), 0.5))


def test_standard_normal_has_nothing_to_save_or_learn():
    prior = StandardNormal(4)
    assert not prior.state_dict()
    assert not list(prior.parameters())


@pytest.mark.parametrize("components", [1, 2, 5])
def test_fitted_mixture_is_that_of_scikit_learn(codes, components):
    prior = Mixture(3, components).fit(codes, seed=1)
    em = EM(components, covariance_type="diag", reg_covar=1e-5, random_state=1, max_iter=200)
    em.fit(codes.double().numpy())
    with torch.no_grad():
        ours = prior().log_prob(codes)
    np.testing.assert_allclose(ours.numpy(), em.score_samples(codes.double().numpy()), rtol=0, atol=1e-3)


def test_fitted_mixture_draws_look_like_the_codes(codes, generator):
    with torch.no_grad():
        z = Mixture(3, 2).fit(codes)().sample(5_000, generator)
    for unit in range(3):
        assert stats.ks_2samp(z[:, unit].numpy(), codes[:, unit].numpy()).pvalue > 1e-3


def test_fitting_is_a_function_of_the_seed_alone(codes):
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    torch.manual_seed(5)
    first = Mixture(3, 4).fit(codes, seed=2)
    torch.manual_seed(6)
    second = Mixture(3, 4).fit(codes, seed=2)
    torch.set_rng_state(state)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert (numpy_state == np.random.get_state()[1]).all()  # noqa: NPY002


def test_fitting_leaves_no_gradient_history(codes):
    prior = Mixture(3, 2).fit(codes)
    assert all(p.requires_grad and p.grad_fn is None for p in prior.parameters())


@pytest.mark.parametrize("make", [StandardNormal, Mixture])
def test_gradient_reaches_every_parameter(make):
    prior = make(3)
    z = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    parameters = list(prior.parameters())
    if parameters:
        for gradient in torch.autograd.grad(prior().log_prob(z).sum(), parameters):
            assert torch.isfinite(gradient).all()
            assert (gradient != 0).all()


def test_mixture_far_from_every_component_stays_finite():
    prior = Mixture(2, 3)
    z = torch.full((1, 2), 1e4, requires_grad=True)
    log_prob = prior().log_prob(z)
    assert torch.isfinite(log_prob).all()
    (gradient,) = torch.autograd.grad(log_prob.sum(), z)
    assert torch.isfinite(gradient).all()
