"""Chains from p(z) to p(z|y), and on in p(z|y).

The chains are tempered by f_β(z) = p(z) p(y|z)^β with β growing by a constant factor. Within a row they are
resampled by their weights p(y|z)^Δβ whenever these are worth fewer than half of the chains, so that each mode
ends with its share of the chains (Del Moral et al. 2006, "Sequential Monte Carlo samplers"). The mass of HMC
on the way is that of a Gaussian near p(z|y). At β = 1 the chains move in coordinates in which the Gaussian
with correlations is a standard normal; the step sizes adapt for a while and then stay fixed.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.full_gaussian import FullGaussian
from backstory.inference.annealing import Annealing
from backstory.inference.convergence import convergence
from backstory.inference.effort import WARM_UP, Effort
from backstory.inference.hmc import (
    Density,
    Point,
    RowNoise,
    Trajectory,
    adapted,
    first_step,
    point,
    scale_between,
    transition,
)
from backstory.inference.moments import posterior_moments, prior_moments
from backstory.inference.target import Target, frozen


@dataclass(frozen=True)
class Walk:
    """Draws of chains in p(z|y) for each of B observations.

    Attributes:
        z: (S · C, B, D), all chains of a transition after those of the transition before.
        acceptance: mean probability of acceptance, (B,).
        r_hat, ess: see `inference.convergence`, (B,).
    """

    z: Tensor
    acceptance: Tensor
    r_hat: Tensor
    ess: Tensor


def tempered_walk(
    target: Target, near: DiagonalGaussian, white: FullGaussian, noise: RowNoise, effort: Effort
) -> Walk:
    """Chains of HMC from p(z) to p(z|y), and their draws in it.

    Args:
        target: p(z) p(y|z).
        near: a Gaussian near p(z|y), of z itself, whose deviations are the scale on the way.
        white: one with correlations, in whose coordinates the chains move at β = 1.
        noise: of C chains.
        effort: temperatures, transitions and leapfrog steps.
    """
    latents = target.vae.latents
    near, white = latents.lift(near), latents.lift(white)
    step = first_step(latents.units, len(target), target.vae.device)

    def density(z: Tensor) -> tuple[Tensor, Tensor]:
        with target.vae.one_pass():
            return target.prior.log_prob(z), target.log_likelihood(z)

    with frozen(target.vae):
        at = _tempered(target, density, near, step, noise, effort)
        movable = latents.movable(at.z).expand(at.z.shape[1:])
        u, acceptance = _walked(
            lambda u: density(white.transport(u)),
            white.whiten(at.z),
            Trajectory(step, movable, effort.leapfrog),
            noise,
            effort.transitions,
        )
    z = white.transport(u)
    # of u, in which a chain that stays has equal draws, however z is rounded
    r_hat, ess = convergence(latents.own(u).unflatten(0, (-1, noise.chains)))
    return Walk(z, acceptance, r_hat, ess)


def _tempered(
    target: Target, density: Density, near: Any, step: Tensor, noise: RowNoise, effort: Effort
) -> Point:
    """Chains brought from p(z) to p(z|y)."""
    prior_std, near_std = prior_moments(target.prior, target.vae.device).std, posterior_moments(near).std
    at = point(density, noise.draw(target.prior))
    log_weight = torch.zeros_like(at.slope, dtype=torch.float64)
    betas = Annealing(steps=effort.temperatures, schedule="geometric").betas
    for before, beta in itertools.pairwise(betas):
        log_weight = log_weight + (beta - before) * at.slope.double()
        at, log_weight = _resampled(at, log_weight, noise, always=beta == 1)
        trajectory = Trajectory(step, scale_between(beta, prior_std, near_std), effort.leapfrog)
        at, probability = transition(density, at, beta, trajectory, noise)
        step = adapted(step, probability)
    return at


def _walked(
    density: Density, u: Tensor, trajectory: Trajectory, noise: RowNoise, count: int
) -> tuple[Tensor, Tensor]:
    """Draws of chains in a density, (S · C, B, D), and the acceptance, after the step sizes have adapted."""
    step, kept = trajectory.step, []
    at, accepted = point(density, u), torch.zeros_like(step)
    for index in range(-math.ceil(WARM_UP * count), count):
        how = Trajectory(step, trajectory.scale, trajectory.leapfrog)
        at, probability = transition(density, at, 1.0, how, noise)
        if index < 0:
            step = adapted(step, probability)
        else:
            kept.append(at.z)
            accepted = accepted + probability.mean(0) / count
    return torch.cat(kept), accepted


def _resampled(at: Point, log_weight: Tensor, noise: RowNoise, always: bool) -> tuple[Point, Tensor]:
    """Chains drawn by their weights, in the rows where these are worth fewer than half of the chains."""
    log_weight = torch.where(log_weight.isnan(), -math.inf, log_weight)
    chains, weight = len(log_weight), torch.softmax(log_weight, 0)
    poor = (1 / weight.square().sum(0) < chains / 2) | always
    chosen = pick(weight, noise.uniform(1)[..., 0])
    same = torch.arange(chains, device=weight.device).unsqueeze(1).expand_as(chosen)
    return at.take(torch.where(poor, chosen, same)), torch.where(poor, 0.0, log_weight)


def pick(weight: Tensor, u: Tensor) -> Tensor:
    """Numbers of codes, (M, B), one from each of M equal shares of the total weight of each row.

    Args:
        weight: (K, B), adding up to 1.
        u: uniform numbers, (M, B).
    """
    draws = torch.arange(len(u), device=u.device).unsqueeze(1)
    at, cumulative = (draws + u) / len(u), weight.cumsum(0)
    index = torch.searchsorted(cumulative.T.contiguous(), at.T.contiguous()).T
    last = (weight > 0).long().cumsum(0).argmax(0)  # where rounding leaves a sum below 1
    return torch.minimum(index, last)
