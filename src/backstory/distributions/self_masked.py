"""Entries that are missing because of their own value: a model of the mask beside that of x.

Each entry vanishes by itself ("self-masking"; Ipsen, Mattei & Frellsen 2021, sec. 3), with a probability that
rises or falls with its value:

    P(missing | x) = Φ(w x + c)

Φ is the distribution function of the standard normal. With a Gaussian p(x|z) = N(m, s²) everything then has a
closed form. Let

    τ = (w m + c) / r,   ρ = w s / r,   r = √(1 + w² s²),   λ = φ(τ) / Φ(τ)

    P(missing | z)        = Φ(τ)
    p(x, observed | z)    = N(x; m, s²) Φ(−w x − c)
    E[x | z, missing]     = m + s ρ λ
    Var[x | z, missing]   = s² (1 − ρ² λ (λ + τ))

since x is missing where w x + c + η > 0 for some η ~ N(0, 1), which is u > −τ for a standard normal u whose
correlation with x is ρ. A draw is m + s (ρ u + √(1 − ρ²) ε) with u truncated to u > −τ: x is extended
skew-normal (Azzalini 1985; Arnold & Beaver 2000).
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backstory.distributions.base import fill_unobserved, randn, sum_observed
from backstory.distributions.gaussian import Gaussian

# Of w and c where the sign of w is known: a sharp edge has a large w, to which small steps would take longer
# than training. Where it is not known, small ones leave the data more time to decide.
SPEED = 5.0
SIGNS = {"self": 0, "self-high": 1, "self-low": -1}  # of w


@dataclass(frozen=True)
class SelfMasked:
    """p(x|z), and P(missing | x) = Φ(w x + c) for each entry; `slope` w and `intercept` c are per unit of x.

    Mean, variance and draws are those of x, whether it is observed or not.
    """

    p: Gaussian
    slope: Tensor
    intercept: Tensor

    @property
    def mean(self) -> Tensor:
        return self.p.mean

    @property
    def variance(self) -> Tensor:
        return self.p.variance

    @property
    def missing(self) -> "Vanished":
        """p(x|z) of entries that are missing."""
        return Vanished(self.p, self.slope, self.intercept)

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """log p(x_o, mask | z), of the observed entries and of which they are."""
        kept = torch.special.log_ndtr(-self.slope * fill_unobserved(x, observed) - self.intercept)
        entries = kept if observed is None else torch.where(observed, kept, self.missing.log_share)
        return self.p.log_prob(x, observed) + sum_observed(entries, None, self.p.event_dims)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        return self.p.sample(generator)


@dataclass(frozen=True)
class Vanished:
    """p(x | z, missing), entry by entry."""

    p: Gaussian
    slope: Tensor
    intercept: Tensor

    @property
    def _r(self) -> Tensor:
        return torch.sqrt(1 + (self.slope * self.p.std).square())

    @property
    def _tau(self) -> Tensor:
        return (self.slope * self.p.mean + self.intercept) / self._r

    @property
    def _rho(self) -> Tensor:
        return self.slope * self.p.std / self._r

    @property
    def _lambda(self) -> Tensor:
        log_density = -0.5 * (self._tau.square() + math.log(2 * math.pi))
        return torch.exp(log_density - self.log_share)

    @property
    def log_share(self) -> Tensor:
        """log P(missing | z)."""
        return torch.special.log_ndtr(self._tau)

    @property
    def mean(self) -> Tensor:
        return self.p.mean + self.p.std * self._rho * self._lambda

    @property
    def variance(self) -> Tensor:
        shrink = self._lambda * (self._lambda + self._tau)
        return self.p.variance * (1 - self._rho.square() * shrink.clamp(0, 1))

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        tau, rho = self._tau.double(), self._rho
        v = torch.rand(tau.shape, generator=generator, device=tau.device, dtype=tau.dtype)
        share = (v * torch.special.ndtr(tau)).clamp(min=1e-300)
        u = -torch.special.ndtri(share).to(rho.dtype)
        noise = randn(tuple(rho.shape), rho, generator)
        return self.p.mean + self.p.std * (rho * u + torch.sqrt(1 - rho.square()) * noise)


class SelfMasking(nn.Module):
    """A Gaussian likelihood whose entries vanish by their own value, w and c learned for each.

    Args:
        head: from the decoder's output to a Gaussian p(x|z).
        sign: of w: 1, high values vanish; −1, low ones; 0, to be found out. Which of the two it is can be
            hard to tell from the data, and knowing it helps (Ipsen et al. 2021, sec. 3.2).
        shift, scale: the data's mean and deviation; w and c are learned for (x − shift) / scale.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, head: Any, sign: int = 0, shift: Tensor | float = 0.0, scale: Tensor | float = 1.0):
        super().__init__()
        self.head, self.sign = head, sign
        self.shape: tuple[int, ...] = head.shape
        self.features_shape: tuple[int, ...] = head.features_shape
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32))
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))
        self.slope = nn.Parameter(torch.zeros(self.shape))
        self.intercept = nn.Parameter(torch.zeros(self.shape))

    def forward(self, features: Tensor) -> SelfMasked:
        speed = SPEED if self.sign else 1.0
        slope, intercept = speed * self.slope, speed * self.intercept
        slope = (self.sign * F.softplus(slope) if self.sign else slope) / self.scale
        return SelfMasked(self.head(features), slope, intercept - slope * self.shift)
