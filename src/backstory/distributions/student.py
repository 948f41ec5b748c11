"""Student's t distribution: x with heavy tails, so that single values far away count little.

log p(x) = log Γ((ν + 1)/2) − log Γ(ν/2) − ½ log(π ν) − log σ − (ν + 1)/2 · log(1 + ((x − μ)/σ)²/ν)
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from backstory.distributions.base import Entrywise, LocationScaleHead, parameter, soft_clamp
from backstory.distributions.gaussian import GaussianHead
from backstory.distributions.noise import Generators, rand


@dataclass(frozen=True)
class StudentT(Entrywise):
    """Student's t for each entry.

    Attributes:
        mean: μ.
        log_scale: log σ.
        degrees: ν > 2, so that the variance is finite.
    """

    mean: Tensor
    log_scale: Tensor
    degrees: Tensor
    event_dims: int

    @property
    def variance(self) -> Tensor:
        return torch.exp(2 * self.log_scale) * self.degrees / (self.degrees - 2)

    def entry_log_probs(self, x: Tensor) -> Tensor:
        y, half = (x - self.mean) * torch.exp(-self.log_scale), self.degrees / 2
        constant = torch.lgamma(half + 0.5) - torch.lgamma(half) - 0.5 * torch.log(math.pi * self.degrees)
        return constant - self.log_scale - (half + 0.5) * torch.log1p(y.square() / self.degrees)

    def sample(self, generator: Generators = None) -> Tensor:
        """A draw, from two uniform numbers for each entry (Bailey 1994, eq. 2)."""
        u, v = (rand(self.mean.shape, self.mean, generator) for _ in range(2))
        radius = torch.sqrt(self.degrees * torch.expm1(-2 / self.degrees * torch.log1p(-u)))
        return self.mean + self.log_scale.exp() * radius * torch.cos(2 * math.pi * v)


class StudentTHead(LocationScaleHead):
    """Student-t likelihood in the data's units, standardised inside as in `GaussianHead`.

    μ, σ and ν = 3 + softplus are all predicted; σ stays within (e⁻⁷, e⁴) · scale (Mattei & Frellsen 2019,
    sec. 5.2).
    """

    LOWEST = 3.0

    def __init__(self, shape: tuple[int, ...], shift: Tensor | float = 0.0, scale: Tensor | float = 1.0):
        super().__init__(shape, 3, shift, scale)

    def forward(self, features: Tensor) -> StudentT:
        raw_scale, raw_degrees = (parameter(features, i, self.shape) for i in (1, 2))
        return StudentT(
            self.location(features),
            self.log_scale + soft_clamp(raw_scale, GaussianHead.LOW, GaussianHead.HIGH),
            self.LOWEST + F.softplus(raw_degrees),
            len(self.shape),
        )
