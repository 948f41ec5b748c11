"""A likelihood for each column of a table, by the kind of the column.

Given z the columns are independent, so p(x|z) is a product, and its log a sum in nats: no column has a weight
that somebody sets by hand. The decoder predicts the parameters of each column's distribution:

    continuous, date   a mixture of Gaussians, of x or of asinh((x − m)/s), and point masses
    grid               categorical over the distinct numbers of the column
    count              negative binomial, and point masses
    binary             Bernoulli
    ordinal            discretised logistic
    categorical        categorical

Densities are those of x itself, in the unit of the column. Columns with the same kind and number of levels
are computed together.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from backstory.distributions.base import DataDistribution, Entrywise, Head
from backstory.distributions.bernoulli import BernoulliHead
from backstory.distributions.categorical import CategoricalHead
from backstory.distributions.curved_mixture import CurvedMixtureHead
from backstory.distributions.grid import GridHead
from backstory.distributions.logistic import DiscretisedLogisticHead
from backstory.distributions.negative_binomial import NegativeBinomialHead
from backstory.distributions.noise import Generators
from backstory.distributions.quantities import Marginals, Quantity, column_groups

# The head for a group of columns of each kind, from their quantities and marginals.
COLUMN_HEADS: dict[str, Callable[[Sequence[Quantity], Marginals], Head]] = {
    "continuous": CurvedMixtureHead.of_columns,
    "grid": GridHead.of_columns,
    "count": NegativeBinomialHead.of_columns,
    "binary": BernoulliHead.of_columns,
    "ordinal": DiscretisedLogisticHead.of_columns,
    "categorical": CategoricalHead.of_columns,
}


@dataclass(frozen=True)
class Joint(Entrywise):
    """Columns that are independent given z, in groups.

    Attributes:
        parts: the distributions of the groups, over one axis of columns each; their columns are independent.
        columns: the columns of x in each group.
        order: the place of each column of x among the columns of the groups, one group after the other.
    """

    parts: tuple[DataDistribution, ...]
    columns: tuple[Tensor, ...]
    order: Tensor
    event_dims: int = 1

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        found = [
            part.log_prob(*each) for part, each in zip(self.parts, self._split(x, observed), strict=True)
        ]
        return sum(found[1:], found[0])

    def entries(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """log p(x_j|z) of each column, (*batch, C), zero at missing entries."""
        return self._join(
            part.entries(*each) for part, each in zip(self.parts, self._split(x, observed), strict=True)
        )

    @property
    def mean(self) -> Tensor:
        return self._join(part.mean for part in self.parts)

    @property
    def variance(self) -> Tensor:
        return self._join(part.variance for part in self.parts)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of columns with numbers, (*batch, C) each; zero for columns with levels."""
        mean, variance = zip(*map(_moments, self.parts, self._probs), strict=True)
        return self._join(mean), self._join(variance)

    @property
    def level_probs(self) -> tuple[tuple[Tensor, Tensor], ...]:
        groups = zip(self.columns, self._probs, strict=True)
        return tuple((columns, probs) for columns, probs in groups if probs is not None)

    def sample(self, generator: Generators = None) -> Tensor:
        return self._join(part.sample(generator) for part in self.parts)

    @cached_property
    def _probs(self) -> tuple[Tensor | None, ...]:
        """P(x_j = l|z) for each group, (*batch, L, C); None for groups of numbers."""
        return tuple(
            part.level_log_probs.exp().movedim(0, -2) if part.levels else None for part in self.parts
        )

    def _split(self, x: Tensor, observed: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
        return [(x[..., c], None if observed is None else observed[..., c]) for c in self.columns]

    def _join(self, values: Iterable[Tensor]) -> Tensor:
        """Values of the groups, in the order of the columns of x."""
        return torch.cat(list(values), -1)[..., self.order]


def _moments(part: DataDistribution, probs: Tensor | None) -> tuple[Tensor, Tensor]:
    if probs is None:
        return part.moments
    zeros = torch.zeros_like(probs[..., 0, :])
    return zeros, zeros


class JointHead(Head):
    """The likelihood of a row of a table: `Joint`, from the features of all columns in a line.

    Args:
        quantities: the contents of the C columns.
        marginals: their statistics.

    Attributes:
        column: the column that each feature belongs to, (F,).
    """

    order: Tensor
    column: Tensor

    def __init__(self, quantities: Sequence[Quantity], marginals: Marginals):
        groups = column_groups(quantities)
        heads = [
            COLUMN_HEADS[family.kind]([quantities[j] for j in columns.tolist()], marginals.of(columns))
            for family, columns in groups.items()
        ]
        sizes = [math.prod(head.features_shape) for head in heads]
        super().__init__((len(quantities),), (sum(sizes),))
        self.heads, self.sizes = nn.ModuleList(heads), sizes
        for index, columns in enumerate(groups.values()):
            self.register_buffer(f"columns_{index}", columns, persistent=False)
        self.register_buffer("order", torch.cat(list(groups.values())).argsort(), persistent=False)
        owners = [own[head.entry.flatten()] for own, head in zip(groups.values(), heads, strict=True)]
        self.register_buffer("column", torch.cat(owners), persistent=False)

    def marginal(self, x: Tensor, observed: Tensor | None) -> Tensor:
        heads: Any = self.heads
        columns = [getattr(self, f"columns_{index}") for index in range(len(heads))]
        parts = zip(heads, columns, strict=True)
        return torch.cat(
            [h.marginal(x[:, c], None if observed is None else observed[:, c]).flatten() for h, c in parts]
        )

    def forward(self, features: Tensor) -> Joint:
        pieces: list[Tensor] = list(features.split(self.sizes, -1))
        heads: Any = self.heads
        parts = tuple(
            head(piece.unflatten(-1, head.features_shape)) for head, piece in zip(heads, pieces, strict=True)
        )
        columns = tuple(getattr(self, f"columns_{index}") for index in range(len(parts)))
        return Joint(parts, columns, self.order)
