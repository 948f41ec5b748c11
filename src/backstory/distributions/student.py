"""Student's t: x with heavy tails."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backstory.distributions.base import fill_unobserved, parameter, soft_clamp, sum_observed
from backstory.distributions.gaussian import GaussianHead


@dataclass(frozen=True)
class StudentT:
    """Student's t for each entry: heavy tails, so that single values far away count little.

        log p(x) = log Γ((ν + 1)/2) − log Γ(ν/2) − ½ log(π ν) − log σ − (ν + 1)/2 · log(1 + ((x − μ)/σ)²/ν)

    Attributes:
        mean: μ.
        log_scale: log σ.
        degrees: ν > 2, so that there is a variance.
    """

    mean: Tensor
    log_scale: Tensor
    degrees: Tensor
    event_dims: int

    @property
    def variance(self) -> Tensor:
        return torch.exp(2 * self.log_scale) * self.degrees / (self.degrees - 2)

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        y, half = (fill_unobserved(x, observed) - self.mean) * torch.exp(-self.log_scale), self.degrees / 2
        constant = torch.lgamma(half + 0.5) - torch.lgamma(half) - 0.5 * torch.log(math.pi * self.degrees)
        entries = constant - self.log_scale - (half + 0.5) * torch.log1p(y.square() / self.degrees)
        return sum_observed(entries, observed, self.event_dims)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """From two uniform numbers each, as Box and Muller do for the normal (Bailey 1994, eq. 2)."""
        shape = (2, *self.mean.shape)
        u, v = torch.rand(shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        radius = torch.sqrt(self.degrees * torch.expm1(-2 / self.degrees * torch.log1p(-u)))
        return self.mean + self.log_scale.exp() * radius * torch.cos(2 * math.pi * v)


class StudentTHead(nn.Module):
    """Student-t likelihood in the data's units, standardised inside as in `GaussianHead`.

    μ, σ and ν = 3 + softplus are all predicted; σ stays within (e⁻⁷, e⁴) · scale (Mattei & Frellsen 2019,
    sec. 5.2).
    """

    LOWEST = 3.0

    shift: Tensor
    log_scale: Tensor

    def __init__(self, shape: tuple[int, ...], shift: Tensor | float = 0.0, scale: Tensor | float = 1.0):
        super().__init__()
        self.shape, self.features_shape = shape, (3, *shape)
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32))
        self.register_buffer("log_scale", torch.as_tensor(scale, dtype=torch.float32).log())

    def forward(self, features: Tensor) -> StudentT:
        mean, raw_scale, raw_degrees = (parameter(features, i, self.shape) for i in range(3))
        return StudentT(
            self.shift + self.log_scale.exp() * mean,
            self.log_scale + soft_clamp(raw_scale, GaussianHead.LOW, GaussianHead.HIGH),
            self.LOWEST + F.softplus(raw_degrees),
            len(self.shape),
        )
