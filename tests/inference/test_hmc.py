"""Transitions: what they leave as it was, and what they refuse."""

import math

import pytest
import torch

from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.inference.hmc import Point, RowNoise, Trajectory, mixed_seed, point, transition


def gaussian(mean, precision):
    """start + β · slope for β = 1 is N(mean, precision⁻¹) up to a constant; half of it in each part."""

    def density(z):
        y = z - mean
        value = -0.25 * torch.einsum("...i,ij,...j->...", y, precision, y)
        return value, value

    return density


def noise(rows=2, chains=3, units=2, seed=0):
    return RowNoise(seed, 0, range(rows), chains, torch.zeros(1, units, dtype=torch.float64))


def run(density, z, transitions, step=0.7, leapfrog=4, beta=1.0, scale=None, seed=0):
    chains, rows, units = z.shape
    source = noise(rows, chains, units, seed)
    scale = torch.ones(rows, units, dtype=torch.float64) if scale is None else scale
    at, accepted = point(density, z), []
    for _ in range(transitions):
        trajectory = Trajectory(torch.full((rows,), step).double(), scale, leapfrog)
        at, probability = transition(density, at, beta, trajectory, source)
        accepted.append(probability)
    return at, torch.stack(accepted)


def test_a_gaussian_is_left_invariant():
    """From exact draws, many chains keep the mean, the covariance and the energy."""
    precision = torch.tensor([[2.0, 1.2], [1.2, 1.0]]).double()
    mean = torch.tensor([1.0, -2.0]).double()
    covariance = torch.linalg.inv(precision)
    chains = 20_000
    g = torch.Generator().manual_seed(0)
    start = torch.randn(chains, 1, 2, generator=g).double() @ torch.linalg.cholesky(covariance).T + mean
    at, accepted = run(gaussian(mean, precision), start, 6, step=0.9)
    assert 0.4 < float(accepted.mean()) < 0.95
    z = at.z[:, 0]
    assert not torch.equal(z, start[:, 0])
    error = covariance.diagonal().sqrt() / math.sqrt(chains)
    assert ((z.mean(0) - mean).abs() < 4 * error).all()
    torch.testing.assert_close(z.T.cov(), covariance, rtol=0, atol=0.06)
    assert float(-2 * at.log_density(1.0).mean()) == pytest.approx(2, abs=0.06)  # χ² with two degrees


def test_chains_find_the_density_from_afar():
    precision = torch.diag(torch.tensor([4.0, 1.0, 0.25])).double()
    z = torch.full((2_000, 1, 3), 6.0).double()
    scale = precision.diagonal().rsqrt()[None]
    at, _ = run(gaussian(0.0, precision), z, 40, scale=scale)
    torch.testing.assert_close(at.z[:, 0].T.cov(), torch.linalg.inv(precision), rtol=0.1, atol=0.1)


def test_acceptance_falls_with_the_step_and_small_steps_keep_the_energy():
    z = torch.randn(500, 1, 2, generator=torch.Generator().manual_seed(0)).double()
    density = gaussian(0.0, torch.eye(2).double())
    means = [float(run(density, z, 3, step=s)[1].mean()) for s in (0.01, 0.8, 1.6, 3.0)]
    assert means == sorted(means, reverse=True)
    assert means[0] > 0.999
    assert means[-1] < 0.05


def test_a_step_may_differ_between_rows():
    z = torch.randn(200, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    density = gaussian(0.0, torch.eye(2).double())
    at = point(density, z)
    step = torch.tensor([0.05, 4.0]).double()
    moved, probability = transition(
        density, at, 1.0, Trajectory(step, torch.ones(2, 2).double(), 4), noise(2, 200)
    )
    first, second = probability.mean(0).tolist()
    assert first > 0.99
    assert second < 0.1
    assert (moved.z[:, 0] != z[:, 0]).any(-1).double().mean() > 0.95


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_proposal_without_a_finite_energy_is_rejected(bad):
    def density(z):
        start = -0.5 * z.square().sum(-1)
        return start, torch.where(z[..., 0] > 0.5, bad, 0.0) + 0 * z.sum(-1)

    z = torch.zeros(500, 1, 2).double()
    at, probability = run(density, z, 5, step=0.8)
    assert torch.isfinite(at.z).all()
    assert torch.isfinite(at.log_density(1.0)).all()
    assert (at.z[..., 0] <= 0.5).all()
    assert (at.z != 0).any()
    assert (probability == 0).any()
    assert torch.isfinite(probability).all()


def test_a_change_of_beta_needs_no_evaluation():
    def density(z):
        return -0.5 * z.square().sum(-1), -((z - 1) ** 4).sum(-1)

    z = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    at = point(density, z)
    for beta in (0.0, 0.3, 1.0):
        w = z.clone().requires_grad_()
        start, slope = density(w)
        value = start + beta * slope
        torch.testing.assert_close(at.log_density(beta), value.detach())
        torch.testing.assert_close(at.gradient(beta), torch.autograd.grad(value.sum(), w)[0])


def test_points_are_chosen_chain_by_chain():
    a, b = (point(gaussian(0.0, torch.eye(2).double()), torch.full((2, 3, 2), v).double()) for v in (1, 2))
    chosen = torch.tensor([[True, False, True], [False, False, True]])
    mixed = a.where(chosen, b)
    assert isinstance(mixed, Point)
    assert torch.equal(mixed.z[..., 0] == 1, chosen)
    assert torch.equal(mixed.start == a.start, chosen)
    assert torch.equal(mixed.slope_gradient[..., 1] == a.slope_gradient[..., 1], chosen)


def test_noise_belongs_to_the_row():
    whole = noise(5).normal(4)
    alone = RowNoise(0, 0, [3], 3, torch.zeros(1, 2).double()).normal(4)
    assert torch.equal(whole[:, 3], alone[:, 0])
    seeds = {mixed_seed(seed, stream, row) for seed in (-1, 0, 1) for stream in range(3) for row in range(50)}
    assert len(seeds) == 450
    assert not torch.equal(noise(seed=1).normal(4), noise(seed=0).normal(4))


def test_chains_take_the_place_of_others_within_a_row():
    density = gaussian(torch.zeros(2).double(), torch.eye(2).double())
    at = point(density, torch.arange(12.0).double().reshape(3, 2, 2))
    chosen = torch.tensor([[2, 0], [2, 1], [0, 1]])
    expected = point(density, torch.stack([at.z[chosen[:, row], row] for row in range(2)], 1))
    taken = at.take(chosen)
    for name in ("z", "start", "slope", "start_gradient", "slope_gradient"):
        torch.testing.assert_close(getattr(taken, name), getattr(expected, name))


def test_uniform_noise_and_draws_of_a_row_do_not_depend_on_the_others():
    prior = DiagonalGaussian(torch.ones(2).double(), torch.zeros(2).double())
    for draw in (lambda source: source.uniform(4), lambda source: source.draw(prior)):
        torch.testing.assert_close(draw(noise(rows=5))[:, :2], draw(noise(rows=2)))
    u = noise(chains=4000).uniform(2)
    assert u.dtype == torch.float64
    assert [float(u.mean()), float(u.var())] == pytest.approx([1 / 2, 1 / 12], abs=0.01)
