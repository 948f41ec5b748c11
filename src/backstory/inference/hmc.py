"""Hamiltonian Monte Carlo on many independent chains at once.

A transition leaves f(z) invariant (Duane et al. 1987; Neal 2011, "MCMC using Hamiltonian dynamics"):

    v ~ N(0, I)
    v += ½ ε s ∇log f(z);  z += ε s v;  v += ½ ε s ∇log f(z)          L leapfrog steps, the halves joined
    accept with probability min(1, exp(H(z, v) − H(z', v'))),  H = −log f(z) + ½ |v|²

s is a scale for each unit of z, the square root of a diagonal inverse mass; the step ε is jittered for each
transition by a factor that is uniform on (0.8, 1.2), so that no trajectory closes on itself. A proposal whose
energy is not finite is rejected.

The density is of the form of every path between two densities, log f = start + β · slope. A `Point` keeps
both parts with their gradients, so a change of β costs no evaluation.

Each row of the data has a generator of its own: its chains see the same numbers whichever rows run beside it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from backstory.distributions.latent import Prior

JITTER = 0.2


@dataclass(frozen=True)
class Point:
    """Where the chains are, C chains for each of B rows.

    Attributes:
        z: (C, B, D).
        start, slope: log f = start + β · slope, (C, B).
        start_gradient, slope_gradient: of the two with respect to z, (C, B, D).
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
        """Other chains in the place of each: `chains`, (C, B), are their numbers, within the same row."""

        def taken(part: Tensor) -> Tensor:
            index = chains.view(*chains.shape, *[1] * (part.dim() - 2)).expand(-1, -1, *part.shape[2:])
            return part.gather(0, index)

        return Point(*(taken(getattr(self, field.name)) for field in fields(Point)))


Density = Callable[[Tensor], tuple[Tensor, Tensor]]  # z to start and slope


def point(density: Density, z: Tensor) -> Point:
    """Evaluate both parts of a density, and their gradients, at z."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        start, slope = density(z)
        gradients = [torch.autograd.grad(part.sum(), z, retain_graph=True)[0] for part in (slope, start)]
    return Point(z.detach(), start.detach(), slope.detach(), gradients[1], gradients[0])


@dataclass(frozen=True)
class Rows:
    """Which rows of the data a batch holds: the noise of a row depends on its number and the seed alone.

    Attributes:
        seed: of all rows.
        numbers: of the B rows in the data.
    """

    seed: int
    numbers: Sequence[int]

    def noise(self, stream: int, chains: int, like: Tensor) -> "RowNoise":
        """One stream of noise for C chains of each row, on the device and of the type of `like`."""
        return RowNoise(self.seed, stream, self.numbers, chains, like)

    def take(self, rows: Tensor) -> "Rows":
        """Some of the rows."""
        return Rows(self.seed, [self.numbers[row] for row in rows.tolist()])


class RowNoise:
    """Normal and uniform noise for C chains of some rows, from a generator for each row.

    Args:
        seed: of all rows; `rows`: their numbers in the data, which together with `stream` and the seed decide
            what is drawn.
    """

    def __init__(self, seed: int, stream: int, rows: Sequence[int], chains: int, like: Tensor):
        self.chains, self.like = chains, like
        self.generators = [
            torch.Generator(like.device).manual_seed(mixed_seed(seed, stream, row)) for row in rows
        ]

    def normal(self, width: int) -> Tensor:
        """Standard normal, (C, B, width)."""
        noise = self.like.new_empty(len(self.generators), self.chains, width)
        for row, generator in zip(noise, self.generators, strict=True):
            row.normal_(generator=generator)
        return noise.transpose(0, 1)

    def uniform(self, width: int) -> Tensor:
        """Uniform on (0, 1), (C, B, width), of float64."""
        return torch.special.ndtr(self.normal(width).double())

    def draw(self, prior: Prior) -> Tensor:
        """Codes z ~ p(z), (C, B, D)."""
        return torch.stack([prior.sample(self.chains, source) for source in self.generators], 1)


def mixed_seed(*numbers: int) -> int:
    """One seed from several whole numbers; 32 bits are all that a generator takes."""
    return int(np.random.SeedSequence([n % 2**64 for n in numbers]).generate_state(1)[0])


@dataclass(frozen=True)
class Trajectory:
    """How a proposal is made.

    Attributes:
        step: ε of each row, (B,) of float64.
        scale: s of each row and dimension, (B, D); zero for a dimension that stays where it is.
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
        density: z to start and slope.
        at: the chains, (C, B).
        beta: β.
        trajectory: how the proposal is made.
        noise: of the momentum, the jitter and the acceptance.

    Returns:
        The chains after it, and the probability of acceptance of each proposal, (C, B).
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


TARGET_ACCEPTANCE = 0.65  # the best of HMC in many dimensions (Beskos et al. 2013)
ADAPTATION_RATE = 0.1


def adapted(step: Tensor, probability: Tensor) -> Tensor:
    """Step sizes (B,) after proposals of the chains, (C, B), were accepted with these probabilities."""
    return step * torch.exp(ADAPTATION_RATE * (probability.mean(0) - TARGET_ACCEPTANCE))


def first_step(dimensions: int, rows: int, device: torch.device) -> Tensor:
    """Step sizes to begin with, (B,) of float64: they shrink as D^(−1/4) (Beskos et al. 2013)."""
    return torch.full((rows,), dimensions**-0.25, dtype=torch.float64, device=device)


def scale_between(beta: float, start_std: Tensor, end_std: Tensor) -> Tensor:
    """The scale of each dimension on the way between two densities: precisions are mixed by β.

    A dimension of deviation zero, an auxiliary coordinate, has scale zero and stays where it is.
    """
    precision = (1 - beta) / start_std.square() + beta / end_std.square()
    return precision.rsqrt().nan_to_num(0.0)
