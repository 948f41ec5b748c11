"""Hamiltonian Monte Carlo on many independent chains at once.

A transition leaves f(z) invariant (Duane et al. 1987; Neal 2011, "MCMC using Hamiltonian dynamics"):

    v ~ N(0, I)
    v += ½ ε s ∇log f(z);  z += ε s v;  v += ½ ε s ∇log f(z)          L leapfrog steps, the halves joined
    accept with probability min(1, exp(H(z, v) − H(z', v'))),  H = −log f(z) + ½ |v|²

s is a scale for each unit of z, the square root of a diagonal inverse mass. In each transition the step ε is
multiplied by a factor that is uniform on (0.8, 1.2), so that no trajectory closes on itself. A proposal is
rejected if its energy is not finite.

The density has the form of a path between two densities, log f = start + β · slope. A `Point` keeps both
parts with their gradients, so a change of β costs no evaluation.

Each row of the data has a generator of its own, so its chains get the same noise whatever the other rows are.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from backstory.distributions.latent import Prior
from backstory.distributions.noise import RowGenerators, randn

JITTER = 0.2


@dataclass(frozen=True)
class Point:
    """The positions of C chains for each of B rows.

    Attributes:
        z: (C, B, D).
        start, slope: the parts of log f = start + β · slope, (C, B).
        start_gradient, slope_gradient: gradients of both parts with respect to z, (C, B, D).
    """

    z: Tensor
    start: Tensor
    slope: Tensor
    start_gradient: Tensor
    slope_gradient: Tensor

    def log_density(self, beta: float) -> Tensor:
        return self.start + beta * self.slope

    def gradient(self, beta: float) -> Tensor:
        return self.start_gradient + beta * self.slope_gradient

    def where(self, chosen: Tensor, other: "Point") -> "Point":
        """This point where `chosen`, (C, B), is true, and the other elsewhere."""
        parts = [(getattr(self, field.name), getattr(other, field.name)) for field in fields(Point)]
        return Point(*(torch.where(chosen.view(*chosen.shape, *[1] * (a.dim() - 2)), a, b) for a, b in parts))

    def take(self, chains: Tensor) -> "Point":
        """The chains with the given numbers: `chains`, (C, B), chooses within each row."""

        def taken(part: Tensor) -> Tensor:
            index = chains.view(*chains.shape, *[1] * (part.dim() - 2)).expand(-1, -1, *part.shape[2:])
            return part.gather(0, index)

        return Point(*(taken(getattr(self, field.name)) for field in fields(Point)))


Density = Callable[[Tensor], tuple[Tensor, Tensor]]  # z to start and slope


def point(density: Density, z: Tensor) -> Point:
    """Both parts of a density at z, (C, B, D), with their gradients."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        start, slope = density(z)
        gradients = [torch.autograd.grad(part.sum(), z, retain_graph=True)[0] for part in (slope, start)]
    return Point(z.detach(), start.detach(), slope.detach(), gradients[1], gradients[0])


@dataclass(frozen=True)
class Rows:
    """The numbers of the rows of a batch. The noise of a row depends on its number and the seed alone.

    Attributes:
        seed: of all rows.
        numbers: numbers of the B rows in the data.
    """

    seed: int
    numbers: Sequence[int]

    def noise(self, stream: int, chains: int, like: Tensor) -> "RowNoise":
        """One stream of noise for C chains of each row, with the device and the type of `like`."""
        return RowNoise(self.seed, stream, self.numbers, chains, like)

    def take(self, rows: Tensor) -> "Rows":
        """Some of the rows."""
        return Rows(self.seed, [self.numbers[row] for row in rows.tolist()])


class RowNoise:
    """Normal and uniform noise for C chains of some rows, from a generator for each row.

    Args:
        seed: of all rows.
        stream: number of the stream; together with the seed and the number of a row it determines the noise.
        rows: numbers of the B rows in the data.
        chains: C.
        like: a tensor with the device and the type of the noise.
    """

    def __init__(self, seed: int, stream: int, rows: Sequence[int], chains: int, like: Tensor):
        self.chains, self.like = chains, like
        self.generators = [
            torch.Generator(like.device).manual_seed(mixed_seed(seed, stream, row)) for row in rows
        ]

    def normal(self, width: int) -> Tensor:
        """Standard normal, (C, B, width)."""
        shape = self.chains, len(self.generators), width
        return randn(shape, self.like, RowGenerators(self.generators))

    def uniform(self, width: int) -> Tensor:
        """Uniform on (0, 1), (C, B, width), of float64."""
        return torch.special.ndtr(self.normal(width).double())

    def draw(self, prior: Prior) -> Tensor:
        """Codes z ~ p(z), (C, B, D)."""
        same = torch.zeros(self.chains, dtype=torch.long, device=self.like.device)
        pairs = enumerate(self.generators)
        return torch.stack([prior.of_rows(same + b).sample(self.chains, source) for b, source in pairs], 1)


def mixed_seed(*numbers: int) -> int:
    """One seed of 32 bits from several whole numbers."""
    return int(np.random.SeedSequence([n % 2**64 for n in numbers]).generate_state(1)[0])


@dataclass(frozen=True)
class Trajectory:
    """Settings of a proposal.

    Attributes:
        step: ε of each row, (B,) of float64.
        scale: s of each row and dimension, (B, D); zero for a dimension that does not move.
        leapfrog: L.
    """

    step: Tensor
    scale: Tensor
    leapfrog: int


def transition(
    density: Density, at: Point, beta: float, trajectory: Trajectory, noise: RowNoise
) -> tuple[Point, Tensor]:
    """One transition that leaves exp(start + β · slope) invariant.

    Args:
        density: from z to start and slope.
        at: the chains before the transition.
        beta: β.
        trajectory: settings of the proposal.
        noise: of the momentum, the jitter and the acceptance.

    Returns:
        The chains after the transition, and the acceptance probability of each proposal, (C, B).
    """
    drawn = noise.normal(at.z.shape[-1] + 2)
    momentum, uniform = drawn[..., :-2], torch.special.ndtr(drawn[..., -2:].double())
    jitter = 1 + JITTER * (2 * uniform[..., :1] - 1)
    scale, leapfrog = trajectory.scale, trajectory.leapfrog
    stride = (jitter * trajectory.step[:, None]).to(scale.dtype) * scale  # (C, B, D)

    energy = 0.5 * momentum.square().sum(-1) - at.log_density(beta)
    proposal = at
    momentum = momentum + 0.5 * stride * at.gradient(beta)
    for index in range(leapfrog):
        proposal = point(density, proposal.z + stride * momentum)
        kick = 0.5 if index == leapfrog - 1 else 1.0
        momentum = momentum + kick * stride * proposal.gradient(beta)
    change = energy - (0.5 * momentum.square().sum(-1) - proposal.log_density(beta))
    usable = torch.isfinite(change) & torch.isfinite(proposal.slope_gradient).all(-1)
    usable &= torch.isfinite(proposal.start) & torch.isfinite(proposal.slope)
    log_probability = torch.where(usable, change.clamp(max=0), -math.inf).double()
    accepted = torch.log(uniform[..., 1]) < log_probability
    return proposal.where(accepted, at), log_probability.exp()


TARGET_ACCEPTANCE = 0.65  # the best for HMC in many dimensions (Beskos et al. 2013)
ADAPTATION_RATE = 0.1


def adapted(step: Tensor, probability: Tensor) -> Tensor:
    """Step sizes (B,), adapted to the acceptance probabilities of the last proposals, (C, B)."""
    return step * torch.exp(ADAPTATION_RATE * (probability.mean(0) - TARGET_ACCEPTANCE))


def first_step(dimensions: int, rows: int, device: torch.device) -> Tensor:
    """Initial step sizes, (B,) of float64, proportional to D^(−1/4) (Beskos et al. 2013)."""
    return torch.full((rows,), dimensions**-0.25, dtype=torch.float64, device=device)


def scale_between(beta: float, start_std: Tensor, end_std: Tensor) -> Tensor:
    """The scale of each dimension between two densities, whose precisions are mixed by β.

    A dimension with a standard deviation of zero, an auxiliary coordinate, has scale zero and does not move.
    """
    precision = (1 - beta) / start_std.square() + beta / end_std.square()
    return precision.rsqrt().nan_to_num(0.0)
