"""A likelihood for each column of a table, and what the encoder sees of it.

Given z the columns are independent, so p(x|z) is a product, and its log a sum in nats: no column is weighed
by hand. Each column has the distribution that its kind calls for, with parameters that the decoder predicts:

    continuous, date   a mixture of Gaussians, of x or of asinh((x − m)/s), and a value with a mass of its own
    grid               categorical over the numbers that the column has
    count              negative binomial
    binary             Bernoulli
    ordinal            discretised logistic
    categorical        categorical

Densities are of x itself, in the column's own unit: with y = asinh(u), u = (x − m)/s,

    log p(x) = log p(y) − log s − ½ log(1 + u²)

(Johnson 1949, the system S_U). Columns of one kind and number of levels are computed together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from backstory.distributions.base import (
    DataDistribution,
    fill_unobserved,
    log_softmax,
    sum_observed,
)
from backstory.distributions.bernoulli import Bernoulli, BernoulliHead
from backstory.distributions.categorical import Categorical, CategoricalHead
from backstory.distributions.columns import Marginals, Quantity, column_groups
from backstory.distributions.curved_mixture import COMPONENTS, CurvedMixture, CurvedMixtureHead
from backstory.distributions.grid import GridHead
from backstory.distributions.logistic import DiscretisedLogistic, DiscretisedLogisticHead
from backstory.distributions.negative_binomial import NegativeBinomialHead


@dataclass(frozen=True)
class Joint:
    """Independent columns, in groups.

    Attributes:
        parts: the distributions of the groups, over one axis of columns each.
        columns: which columns of x each group has.
        order: where in the groups, one after the other, each column of x stands.
    """

    parts: tuple[DataDistribution, ...]
    columns: tuple[Tensor, ...]
    order: Tensor

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        found = [
            part.log_prob(x[..., columns], None if observed is None else observed[..., columns])
            for part, columns in zip(self.parts, self.columns, strict=True)
        ]
        return sum(found[1:], found[0])

    def entries(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """log p(x_j|z) of each column, (*batch, C), zero where it was not observed."""
        found = []
        for part, columns in zip(self.parts, self.columns, strict=True):
            mask = None if observed is None else observed[..., columns]
            found.append(_entries(part, x[..., columns], mask))
        return torch.cat(found, -1)[..., self.order]

    @property
    def mean(self) -> Tensor:
        return torch.cat([part.mean for part in self.parts], -1)[..., self.order]

    @property
    def variance(self) -> Tensor:
        return torch.cat([part.variance for part in self.parts], -1)[..., self.order]

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of the columns of numbers, (*batch, C) each; zero for columns with levels."""
        mean, variance = zip(*map(_moments, self.parts), strict=True)
        return torch.cat(mean, -1)[..., self.order], torch.cat(variance, -1)[..., self.order]

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        return torch.cat([part.sample(generator) for part in self.parts], -1)[..., self.order]

    @property
    def level_probs(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """Of each group with levels its columns, and the probabilities of their levels, (*batch, L, C)."""
        return tuple(
            (columns, probs)
            for part, columns in zip(self.parts, self.columns, strict=True)
            if (probs := _level_probs(part)) is not None
        )


def _entries(p: Any, x: Tensor, observed: Tensor | None) -> Tensor:
    if not isinstance(p, Categorical):
        entries: Tensor = replace(p, event_dims=0).log_prob(x, observed)
        return entries
    log_probs = log_softmax(p.logits, -2)
    index = fill_unobserved(x, observed).long().expand(*log_probs.shape[:-2], -1).unsqueeze(-2)
    return sum_observed(log_probs.gather(-2, index).squeeze(-2), observed, 0)


def _moments(p: Any) -> tuple[Tensor, Tensor]:
    if isinstance(p, CurvedMixture):
        return p.moments
    match p:
        case Categorical():
            nothing = torch.zeros_like(p.logits[..., 0, :])
        case Bernoulli():
            nothing = torch.zeros_like(p.logits)
        case DiscretisedLogistic():
            nothing = torch.zeros_like(p.location)
        case _:
            return p.mean, p.variance
    return nothing, nothing


def _level_probs(p: DataDistribution) -> Tensor | None:
    if isinstance(p, Bernoulli):
        return torch.stack((1 - p.mean, p.mean), -2)
    if isinstance(p, Categorical):
        return log_softmax(p.logits, -2).exp()
    if isinstance(p, DiscretisedLogistic):
        levels = torch.arange(p.levels, device=p.location.device, dtype=p.location.dtype)
        each = [replace(p, event_dims=0).log_prob(level.expand(p.location.shape[-1:])) for level in levels]
        return torch.stack(each, -2).exp()
    return None


class JointHead(nn.Module):
    """The likelihood of a row of a table: `Joint`, from features for all columns in a line.

    Args:
        quantities: what each of the C columns holds.
        marginals: what is known of them.
        components: of the mixtures of continuous columns.
    """

    def __init__(self, quantities: Sequence[Quantity], marginals: Marginals, components: int = COMPONENTS):
        super().__init__()
        groups = column_groups(quantities)
        self.heads = nn.ModuleList(
            _head(g, marginals.of(c), components, [quantities[j].values for j in c.tolist()])
            for g, c in groups.items()
        )
        self.columns = list(groups.values())
        for index, columns in enumerate(self.columns):
            self.register_buffer(f"columns_{index}", columns, persistent=False)
        self.register_buffer("order", torch.cat(self.columns).argsort(), persistent=False)
        shapes: list[Any] = [head.features_shape for head in self.heads]
        self.sizes = [math.prod(shape) for shape in shapes]
        self.features_shape = (sum(self.sizes),)

    def forward(self, features: Tensor) -> Joint:
        pieces: list[Tensor] = list(features.split(self.sizes, -1))
        parts = []
        for piece, head in zip(pieces, self.heads, strict=True):
            shape: Any = head.features_shape
            parts.append(head(piece.unflatten(-1, shape)))
        columns = tuple(getattr(self, f"columns_{index}") for index in range(len(parts)))
        order: Any = self.order
        return Joint(tuple(parts), columns, order)


def _head(
    family: Quantity, marginals: Marginals, components: int, grids: Sequence[tuple[float, ...]]
) -> nn.Module:
    shape = (len(marginals.location),)
    match family.kind:
        case "continuous":
            return CurvedMixtureHead(marginals, components)
        case "grid":
            return GridHead(grids)
        case "count":
            return NegativeBinomialHead(marginals)
        case "binary":
            return BernoulliHead(shape)
        case "ordinal":
            middle = (family.levels - 1) / 2
            return DiscretisedLogisticHead(shape, family.levels, middle, max(middle, 1) / 2)
        case _:
            return CategoricalHead(shape, family.levels)
