"""Ordered levels of x: the discretised logistic."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backstory.distributions.base import fill_unobserved, parameter, soft_clamp, sum_observed


@dataclass(frozen=True)
class DiscretisedLogistic:
    """x ∈ {0, …, L − 1}: a logistic density integrated over each level's cell, the outer cells open.

    P(x = l) = F(l + ½) − F(l − ½) with F(t) = sigmoid((t − location) / exp(log_scale)), F(−½) := 0 and
    F(L − ½) := 1 (Kingma et al. 2016, sec. 5; Salimans et al. 2017, eq. 2).
    """

    location: Tensor
    log_scale: Tensor
    levels: int
    event_dims: int

    @property
    def mean(self) -> Tensor:
        """The expected level, E[x] = Σ_{l < L−1} P(x > l), summed level by level: memory stays flat."""
        total = torch.zeros_like(self.location)
        inverse = torch.exp(-self.log_scale)
        for level in range(self.levels - 1):
            total = total + torch.sigmoid((self.location - level - 0.5) * inverse)
        return total

    @property
    def variance(self) -> Tensor:
        """Of the level: E[x²] = Σ_{l < L−1} (2l + 1) P(x > l), less the square of the mean."""
        first, second = torch.zeros_like(self.location), torch.zeros_like(self.location)
        inverse = torch.exp(-self.log_scale)
        for level in range(self.levels - 1):
            above = torch.sigmoid((self.location - level - 0.5) * inverse)
            first, second = first + above, second + (2 * level + 1) * above
        return (second - first.square()).clamp(min=0)

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        inverse = torch.exp(-self.log_scale)
        upper = (fill_unobserved(x, observed) + 0.5 - self.location) * inverse
        lower = upper - inverse
        # log(F(upper) − F(lower)) without cancellation, for a cell of width w = 1 / scale:
        # F(u) − F(l) = (1 − e^{−w}) · sigmoid(u) · sigmoid(−l)
        inside = torch.log(-torch.expm1(-inverse)) + F.logsigmoid(upper) + F.logsigmoid(-lower)
        first, last = x <= 0, x >= self.levels - 1
        log_prob = torch.where(first, F.logsigmoid(upper), torch.where(last, F.logsigmoid(-lower), inside))
        return sum_observed(log_prob, observed, self.event_dims)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        u = torch.rand(self.location.shape, generator=generator, device=self.location.device)
        draw = self.location + self.log_scale.exp() * torch.logit(u, eps=1e-7)
        return draw.round().clamp(0, self.levels - 1)


class DiscretisedLogisticHead(nn.Module):
    """Discretised logistic likelihood over `levels` ordered levels, location and scale predicted."""

    shift: Tensor
    log_scale: Tensor

    def __init__(
        self, shape: tuple[int, ...], levels: int, shift: Tensor | float = 0.0, scale: Tensor | float = 1.0
    ):
        super().__init__()
        self.shape, self.levels, self.features_shape = shape, levels, (2, *shape)
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32))
        self.register_buffer("log_scale", torch.as_tensor(scale, dtype=torch.float32).log())

    def forward(self, features: Tensor) -> DiscretisedLogistic:
        location = self.shift + self.log_scale.exp() * parameter(features, 0, self.shape)
        log_scale = self.log_scale + soft_clamp(parameter(features, 1, self.shape), -7.0, 4.0)
        return DiscretisedLogistic(location, log_scale, self.levels, len(self.shape))
