"""Ordered levels of x: the discretised logistic distribution, x ∈ {0, …, L − 1}.

A logistic density is integrated over the cell of each level; the outer cells are open:

    P(x = l) = F(l + ½) − F(l − ½),    F(t) = sigmoid((t − location) / exp(log_scale)),
    F(−½) := 0,  F(L − ½) := 1

(Kingma et al. 2016, sec. 5; Salimans et al. 2017, eq. 2). For a cell of width w = 1 / scale, with upper edge
u and lower edge v in units of the scale,

    F(u) − F(v) = (1 − e^{−w}) · sigmoid(u) · sigmoid(−v)

so that its log is computed without cancellation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from backstory.distributions.base import Entrywise, LocationScaleHead, level_values, parameter, soft_clamp
from backstory.distributions.noise import Generators, rand
from backstory.distributions.normal_scales import Rounded
from backstory.distributions.quantities import Marginals, Quantity

FEW_LEVELS = 32  # levels that are enumerated


@dataclass(frozen=True)
class DiscretisedLogistic(Entrywise):
    """x ∈ {0, …, L − 1}: a logistic density integrated over each level's cell; `levels` is L."""

    location: Tensor
    log_scale: Tensor
    levels: int = field()  # without a default, although the base class has one
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
        """E[x²] − E[x]² with E[x²] = Σ_{l < L−1} (2l + 1) P(x > l)."""
        first, second = torch.zeros_like(self.location), torch.zeros_like(self.location)
        inverse = torch.exp(-self.log_scale)
        for level in range(self.levels - 1):
            above = torch.sigmoid((self.location - level - 0.5) * inverse)
            first, second = first + above, second + (2 * level + 1) * above
        return (second - first.square()).clamp(min=0)

    def entry_log_probs(self, x: Tensor) -> Tensor:
        return cell_log_probs(x, self.location, self.log_scale, self.levels)

    @property
    def level_log_probs(self) -> Tensor:
        return self.entries(level_values(self.levels, self.location))

    @property
    def rough_moments(self) -> tuple[Tensor, Tensor]:
        return (self.mean, self.variance) if self.rounded is None else self.rounded.moments()

    @property
    def shares_variance(self) -> bool:
        return self.rounded is not None

    @property
    def rounded(self) -> Rounded | None:
        few = self.levels <= FEW_LEVELS
        return None if few else Rounded(self.location, self.log_scale.exp(), self.levels)

    def sample(self, generator: Generators = None) -> Tensor:
        return self.transport(rand(self.location.shape, self.location, generator))

    def transport(self, u: Tensor) -> Tensor:
        """The draw that belongs to uniform noise of the same shape."""
        draw = self.location + self.log_scale.exp() * torch.logit(u, eps=1e-7)
        return draw.round().clamp(0, self.levels - 1)


def cell_log_probs(x: Tensor, location: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """log P of levels x, the logistic density integrated over their cells; all broadcast."""
    width = torch.exp(-log_scale)
    upper = (x + 0.5 - location) * width
    below, above = F.logsigmoid(upper), F.logsigmoid(width - upper)
    inside = torch.log(-torch.expm1(-width)) + below + above
    return torch.where(x <= 0, below, torch.where(x >= levels - 1, above, inside))


class DiscretisedLogisticHead(LocationScaleHead):
    """Discretised logistic likelihood over `levels` ordered levels; location and scale are predicted."""

    def __init__(
        self, shape: tuple[int, ...], levels: int, shift: Tensor | float = 0.0, scale: Tensor | float = 1.0
    ):
        super().__init__(shape, 2, shift, scale)
        self.levels = levels

    @classmethod
    def of_columns(cls, quantities: Sequence[Quantity], marginals: Marginals) -> "DiscretisedLogisticHead":
        levels = quantities[0].levels
        middle = (levels - 1) / 2
        return cls((len(quantities),), levels, middle, max(middle, 1) / 2)

    def forward(self, features: Tensor) -> DiscretisedLogistic:
        log_scale = self.log_scale + soft_clamp(parameter(features, 1, self.shape), -7.0, 4.0)
        return DiscretisedLogistic(self.location(features), log_scale, self.levels, len(self.shape))
