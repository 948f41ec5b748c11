"""Gaussian x."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from backstory.distributions.base import LOG_2PI, fill_unobserved, parameter, randn, soft_clamp, sum_observed


@dataclass(frozen=True)
class Gaussian:
    """N(mean, exp(log_std)²) for each entry; `log_std` broadcasts against `mean`."""

    mean: Tensor
    log_std: Tensor
    event_dims: int

    @property
    def std(self) -> Tensor:
        return self.log_std.exp().expand_as(self.mean)

    @property
    def variance(self) -> Tensor:
        return torch.exp(2 * self.log_std).expand_as(self.mean)

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        y = (fill_unobserved(x, observed) - self.mean) * torch.exp(-self.log_std)
        return sum_observed(-0.5 * (y.square() + LOG_2PI) - self.log_std, observed, self.event_dims)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        return self.mean + self.log_std.exp() * randn(tuple(self.mean.shape), self.mean, generator)


class GaussianHead(nn.Module):
    """Gaussian likelihood in the data's units, with x = shift + scale · y standardised inside.

    Args:
        shape: of one observation.
        sigma: `fixed`; `learned`, one σ for all entries; `per-entry`, one for each; `predicted`, σ(z) by
            the decoder. A learned σ starts at `scale`, and all but a fixed one stay within
            (e⁻⁷, e⁴) · scale, so that a constant entry cannot drive the density to infinity.
        shift, scale: in the data's units, broadcast against `shape`; the data's mean and deviation.
        value: the fixed σ, in the data's units, broadcast against `shape`.
        full: the mean lies within (0, full), by a sigmoid; anywhere without it.
        floor: makes a learned or predicted σ √(σ² + (floor · scale)²), so that nothing is denser than a
            Gaussian of that width; None for none.
    """

    LOW, HIGH = -7.0, 4.0

    shift: Tensor
    log_scale: Tensor
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
        super().__init__()
        self.shape, self.sigma, self.full, self.floor = shape, sigma, full, floor
        self.features_shape = (2 if sigma == "predicted" else 1, *shape)
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32))
        self.register_buffer("log_scale", torch.as_tensor(scale, dtype=torch.float32).log())
        if sigma == "fixed":
            self.register_buffer("log_value", torch.as_tensor(value, dtype=torch.float32).log())
        elif sigma in ("learned", "per-entry"):
            self.log_sigma = nn.Parameter(torch.zeros(shape if sigma == "per-entry" else ()))

    def forward(self, features: Tensor) -> Gaussian:
        raw = parameter(features, 0, self.shape)
        if self.full is None:
            mean = self.shift + self.log_scale.exp() * raw
        else:
            mean = self.full * torch.sigmoid(raw)
        return Gaussian(mean, self._log_std(features), len(self.shape))

    def _log_std(self, features: Tensor) -> Tensor:
        if self.sigma == "fixed":
            return self.log_value
        raw = parameter(features, 1, self.shape) if self.sigma == "predicted" else self.log_sigma
        log_std = soft_clamp(raw, self.LOW, self.HIGH)
        if self.floor is not None:
            log_std = 0.5 * torch.logaddexp(2 * log_std, torch.full_like(log_std, 2 * math.log(self.floor)))
        return self.log_scale + log_std
