"""Gaussian x."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from backstory.distributions.base import LOG_2PI, Entrywise, LocationScaleHead, parameter, soft_clamp
from backstory.distributions.noise import Generators, randn


@dataclass(frozen=True)
class Gaussian(Entrywise):
    """N(mean, exp(log_std)²) for each entry; `log_std` broadcasts against `mean`."""

    mean: Tensor
    log_std: Tensor
    event_dims: int

    is_gaussian = True

    @property
    def std(self) -> Tensor:
        return self.log_std.exp().expand_as(self.mean)

    @property
    def variance(self) -> Tensor:
        return torch.exp(2 * self.log_std).expand_as(self.mean)

    @property
    def constant_variance(self) -> Tensor | None:
        """σ² if it does not depend on z: if `log_std` has no axes of the batch."""
        return torch.exp(2 * self.log_std.detach()) if self.log_std.dim() <= self.event_dims else None

    def entry_log_probs(self, x: Tensor) -> Tensor:
        y = (x - self.mean) * torch.exp(-self.log_std)
        return -0.5 * (y.square() + LOG_2PI) - self.log_std

    def sample(self, generator: Generators = None) -> Tensor:
        return self.mean + self.log_std.exp() * randn(self.mean.shape, self.mean, generator)


class GaussianHead(LocationScaleHead):
    """Gaussian likelihood in the data's units, with x = shift + scale · y standardised inside.

    Args:
        shape: of one observation.
        sigma: `fixed`; `learned`, one σ for all entries; `per-entry`, one for each; `predicted`, σ(z) by
            the decoder. A learned σ starts at `scale`. Every σ but a fixed one stays within
            (e⁻⁷, e⁴) · scale, so that a constant entry cannot drive the density to infinity.
        shift, scale: mean and deviation of the data, in its units; they broadcast against `shape`.
        value: the fixed σ, in the data's units; it broadcasts against `shape`.
        full: bounds the mean to (0, full) by a sigmoid; None for no bounds.
        floor: makes a learned or predicted σ √(σ² + (floor · scale)²), so that no density is higher than
            that of a Gaussian of this width; None for no floor.
    """

    LOW, HIGH = -7.0, 4.0

    log_value: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        sigma: str = "learned",
        shift: Tensor | float = 0.0,
        scale: Tensor | float = 1.0,
        value: Tensor | float = 1.0,
        full: float | None = None,
        floor: float | None = None,
    ):
        super().__init__(shape, 2 if sigma == "predicted" else 1, shift, scale)
        self.sigma, self.full, self.floor = sigma, full, floor
        if sigma == "fixed":
            self.register_buffer("log_value", torch.as_tensor(value, dtype=torch.float32).log())
        elif sigma in ("learned", "per-entry"):
            self.log_sigma = nn.Parameter(torch.zeros(shape if sigma == "per-entry" else ()))

    def forward(self, features: Tensor) -> Gaussian:
        if self.full is None:
            mean = self.location(features)
        else:
            mean = self.full * torch.sigmoid(parameter(features, 0, self.shape))
        return Gaussian(mean, self._log_std(features), len(self.shape))

    def _log_std(self, features: Tensor) -> Tensor:
        if self.sigma == "fixed":
            return self.log_value
        raw = parameter(features, 1, self.shape) if self.sigma == "predicted" else self.log_sigma
        log_std = soft_clamp(raw, self.LOW, self.HIGH)
        if self.floor is not None:
            log_std = 0.5 * torch.logaddexp(2 * log_std, torch.full_like(log_std, 2 * math.log(self.floor)))
        return self.log_scale + log_std
