"""Entries that are missing because of their own value: a model of the mask beside that of x.

Whether an entry is missing depends on its own value only ("self-masking"; Ipsen, Mattei & Frellsen 2021,
sec. 3). The probability rises or falls with the value:

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

from backstory.distributions.base import Entrywise, Head, MissingEntries, fill_unobserved
from backstory.distributions.gaussian import Gaussian
from backstory.distributions.noise import Generators, rand, randn

# Scale of w and c when the sign of w is known: a sharp edge has a large w, and small steps would take longer
# than training to reach it. With an unknown sign, small steps give the data more time to decide.
SPEED = 5.0
SIGNS = {"self": 0, "self-high": 1, "self-low": -1}  # the sign of w for each mechanism


@dataclass(frozen=True)
class SelfMasked(Entrywise):
    """p(x|z), and P(missing | x) = Φ(w x + c) for each entry.

    Mean, variance and draws are those of x, whether it is observed or missing.

    Attributes:
        p: p(x|z).
        slope, intercept: w and c, for x in its own unit.
    """

    p: Gaussian
    slope: Tensor
    intercept: Tensor

    informative_mask = True
    refuses_noise = (
        "the model takes what is missing as missing by its own value; "
        "train one with missingness random for noise and maps"
    )

    @property
    def event_dims(self) -> int:
        return self.p.event_dims

    @property
    def mean(self) -> Tensor:
        return self.p.mean

    @property
    def variance(self) -> Tensor:
        return self.p.variance

    @property
    def missing(self) -> "Missing":
        """p(x | z, missing)."""
        return Missing(self.p, self.slope, self.intercept)

    def entries(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """log p(x_i, observed | z) of observed entries, log P(missing | z) of missing ones."""
        x = fill_unobserved(x, observed)
        entries = self.p.entry_log_probs(x) + torch.special.log_ndtr(-self.slope * x - self.intercept)
        return entries if observed is None else torch.where(observed, entries, self.missing.log_share)

    def missing_given(self, x: Tensor, observed: Tensor) -> MissingEntries:
        return self.missing

    def sample(self, generator: Generators = None) -> Tensor:
        return self.p.sample(generator)


@dataclass(frozen=True)
class Missing:
    """p(x | z, missing), entry by entry; `slope` and `intercept` as in `SelfMasked`."""

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

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        return self.mean, self.variance

    @property
    def level_probs(self) -> tuple[tuple[Tensor, Tensor], ...]:
        return ()

    def sample(self, generator: Generators = None) -> Tensor:
        tau, rho = self._tau.double(), self._rho
        v = rand(tau.shape, tau, generator)
        share = (v * torch.special.ndtr(tau)).clamp(min=1e-300)
        u = -torch.special.ndtri(share).to(rho.dtype)
        noise = randn(rho.shape, rho, generator)
        return self.p.mean + self.p.std * (rho * u + torch.sqrt(1 - rho.square()) * noise)


class SelfMasking(Head):
    """A Gaussian likelihood with entries that are missing by their own value; w and c are learned for each.

    Args:
        head: the head of a Gaussian p(x|z).
        sign: of w: 1 if high values are missing, −1 if low ones are, 0 if it has to be learned. The data may
            hardly distinguish the two, and knowing the sign helps (Ipsen et al. 2021, sec. 3.2).
        shift, scale: mean and deviation of the data; w and c are learned for (x − shift) / scale.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, head: Any, sign: int = 0, shift: Tensor | float = 0.0, scale: Tensor | float = 1.0):
        super().__init__(head.shape, head.features_shape)
        self.head, self.sign = head, sign
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32))
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))
        self.slope = nn.Parameter(torch.zeros(self.shape))
        self.intercept = nn.Parameter(torch.zeros(self.shape))

    def marginal(self, x: Tensor, observed: Tensor | None) -> Tensor:
        features: Tensor = self.head.marginal(x, observed)
        return features

    def forward(self, features: Tensor) -> SelfMasked:
        speed = SPEED if self.sign else 1.0
        slope, intercept = speed * self.slope, speed * self.intercept
        slope = (self.sign * F.softplus(slope) if self.sign else slope) / self.scale
        return SelfMasked(self.head(features), slope, intercept - slope * self.shift)
