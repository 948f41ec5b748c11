"""Posteriors that are no Gaussians, a flow and a mixture: densities, draws, gradients, rows."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.mixture_posterior import MixturePosterior
from backstory.models.posteriors import FlowPosterior, MixedPosterior

ROWS = 3
MODULES = {
    "flow": lambda latent: FlowPosterior(latent, transforms=3, width=8),
    "mixture": lambda latent: MixedPosterior(latent, components=3),
}


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(params=MODULES)
def make(request):
    """Makes q(z|x) of a few rows with weights that matter, for a number of latent units."""

    def posterior(latent):
        module = MODULES[request.param](latent).double()
        with torch.no_grad():
            for number, parameter in enumerate(module.parameters()):
                parameter.copy_(0.3 * numbers(*parameter.shape, seed=number + 5))
        return module(0.8 * numbers(ROWS, *module.features_shape))

    return posterior


def grid(latent, half=25.0, points=701):
    axis = torch.linspace(-half, half, points, dtype=torch.float64)
    return torch.cartesian_prod(*[axis] * latent).reshape(-1, latent), float(axis[1] - axis[0])


@pytest.mark.parametrize("latent", [1, 2])
@torch.no_grad()
def test_densities_integrate_to_one_and_draws_follow_them(make, latent, generator):
    q, (points, step) = make(latent), grid(latent)
    mass = q.log_prob(points.unsqueeze(1).expand(-1, ROWS, -1)).exp() * step**latent
    torch.testing.assert_close(mass.sum(0), torch.ones(ROWS).double(), rtol=0, atol=1e-3)
    z = q.sample(5_000, generator)
    axis, _ = grid(1)
    for row in range(ROWS):
        for unit in range(latent):
            shares = mass[:, row].reshape([len(axis)] * latent).movedim(unit, 0).flatten(1 - 1 // latent)
            shares = shares.sum(1) if latent > 1 else shares
            middle = shares.cumsum(0) - shares / 2
            known = axis[:, 0].numpy(), middle.numpy()
            found = stats.kstest(z[:, row, unit].numpy(), np.interp, args=known)
            assert found.pvalue > 1e-3


@torch.no_grad()
def test_draws_follow_the_density_in_many_dimensions(make, generator):
    """E_q[p / q] = 1 for a density p that is narrower than q and lies within it."""
    q = make(5)
    z = q.sample(200_000, generator)
    inside = DiagonalGaussian(q.sample(1, generator)[0], torch.full((ROWS, 5), -1.0).double())
    weights = (inside.log_prob(z) - q.log_prob(z)).exp()
    error = weights.std(0) / math.sqrt(len(z))
    assert ((weights.mean(0) - 1).abs() < 5 * error).all()
    assert (error < 0.2).all()


@torch.no_grad()
def test_rows_can_be_chosen_and_joined(make):
    q, z = make(3), numbers(4, ROWS, 3, seed=3)
    parts = [q.select(slice(row, row + 1)) for row in range(ROWS)]
    joined = parts[0].joined(parts[1:])
    torch.testing.assert_close(joined.log_prob(z), q.log_prob(z))
    torch.testing.assert_close(joined.transport(z), q.transport(z))
    torch.testing.assert_close(q.log_prob(z[0]), q.log_prob(z)[0])
    assert q.centre.shape == (ROWS, 3)


@pytest.mark.parametrize("name", MODULES)
def test_a_detached_posterior_carries_no_gradient(name):
    module = MODULES[name](3).double()
    features = numbers(ROWS, *module.features_shape).requires_grad_()
    z = numbers(4, ROWS, 3, seed=3).requires_grad_()
    q = module(features).detach()
    torch.testing.assert_close(q.log_prob(z), module(features).log_prob(z))
    q.log_prob(z).sum().backward()
    assert z.grad.abs().min() > 0
    assert features.grad is None
    assert all(parameter.grad is None for parameter in module.parameters())


@pytest.mark.parametrize("name", MODULES)
def test_the_gradient_of_an_expectation_is_that_of_its_draws(name, generator):
    """∇E_q[f] by draws, against the derivative of a sum over a grid of q(z) f(z)."""
    module = MODULES[name](2).double()
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.copy_(0.5 * numbers(*parameter.shape, seed=number))
    features = (0.7 * numbers(1, *module.features_shape, seed=1)).requires_grad_()
    parameters = [features, *module.parameters()]

    def f(z):
        return torch.sin(z[..., 0] + 0.3 * z[..., 1]) + 0.2 * z[..., 0] * z[..., 1].cos()

    points, step = grid(2, 12.0, 401)
    q = module(features)
    exact = torch.autograd.grad(
        (q.log_prob(points.unsqueeze(1)).exp().squeeze(1) * f(points)).sum(), parameters
    )
    found = []
    for _ in range(40):
        found.append(torch.autograd.grad(f(module(features).sample(4_000, generator)).mean(), parameters))
    for truth, *each in zip(exact, *found, strict=True):
        each = torch.stack(each)
        error = each.std(0) / math.sqrt(len(each))
        assert ((each.mean(0) - truth * step**2).abs() < 5 * error + 1e-6).all()
        assert error.max() < 0.02


def test_the_kinds_of_a_mixture_have_their_shares(generator):
    """Components far apart: draws fall to each by its weight, whatever the first unit is."""
    weights = torch.tensor([[0.7, 0.1, 0.2]]).double()
    means = torch.tensor([[[0.0, 0.0], [40.0, 0.0], [0.0, 40.0]]]).double()
    q = MixturePosterior(weights.log(), means, torch.zeros_like(means))
    z = q.sample(20_000, generator)[:, 0]
    nearest = torch.cdist(z, means[0]).argmin(1)
    assert stats.chisquare(nearest.bincount().numpy(), 20_000 * weights[0].numpy()).pvalue > 1e-3
    apart = z - means[0][nearest]
    assert stats.kstest(apart[nearest == 1].flatten().numpy(), "norm").pvalue > 1e-3
    torch.testing.assert_close(q.moments().mean, weights @ means[0])
    torch.testing.assert_close(q.moments().std[0], z.std(0), rtol=0.05, atol=0)


def test_a_mixture_of_one_is_the_gaussian():
    mean, log_std = numbers(ROWS, 4), 0.3 * numbers(ROWS, 4, seed=1)
    leaves = [mean.requires_grad_(), log_std.requires_grad_()]
    noise = numbers(2, ROWS, 4, seed=2)
    one = MixturePosterior(torch.zeros(ROWS, 1).double(), mean.unsqueeze(1), log_std.unsqueeze(1))
    gaussian = DiagonalGaussian(mean, log_std)
    torch.testing.assert_close(one.transport(noise), gaussian.transport(noise))
    torch.testing.assert_close(one.log_prob(noise), gaussian.log_prob(noise))
    for found, truth in zip(
        torch.autograd.grad(one.transport(noise).square().sum(), leaves),
        torch.autograd.grad(gaussian.transport(noise).square().sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(found, truth)


def test_extreme_noise_stays_finite():
    q = MixedPosterior(3, 4)(
        torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    )
    noise = torch.tensor([-40.0, -9.0, 0.0, 9.0, 40.0]).reshape(5, 1, 1).expand(5, 2, 3)
    z = q.transport(noise)
    assert torch.isfinite(z).all()
    assert torch.isfinite(q.log_prob(z)).all()


def test_a_flow_begins_as_its_gaussian_and_its_map_is_inverted():
    module = FlowPosterior(5).double()
    features, noise = numbers(ROWS, 3, 5), numbers(2, ROWS, 5, seed=2)
    q = module(features)
    torch.testing.assert_close(q.transport(noise), q.base.transport(noise))
    torch.testing.assert_close(q.log_prob(noise), q.base.log_prob(noise))
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.copy_(0.5 * numbers(*parameter.shape, seed=number))
        q = module(features)
        z = q.transport(noise)
        one = q.select(slice(1))
        jacobian = torch.autograd.functional.jacobian(
            lambda e: one.transport(e.reshape(1, 1, 5)).flatten(), noise[0, 0]
        )
        normal = torch.distributions.Normal(0, 1).log_prob(noise[0, 0]).sum()
        torch.testing.assert_close(q.log_prob(z)[0, 0], normal - torch.linalg.slogdet(jacobian)[1])
