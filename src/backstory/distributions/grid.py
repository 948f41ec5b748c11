"""Columns of few numbers: a categorical over these numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from backstory.distributions.base import (
    fill_unobserved,
    sum_observed,
    with_gumbel,
)


class Places(NamedTuple):
    """Where the numbers of grids with L_1, …, L_C of them stand in a line.

    Attributes:
        sizes: L_c.
        column: c of each number, (L_1 + … + L_C,).
        first: where the numbers of a column begin, (C,).
    """

    sizes: tuple[int, ...]
    column: Tensor
    first: Tensor

    @classmethod
    def of(cls, grids: Sequence[tuple[float, ...]]) -> "Places":
        sizes = torch.tensor([len(grid) for grid in grids], dtype=torch.long)
        column = torch.repeat_interleave(torch.arange(len(grids)), sizes)
        return cls(tuple(sizes.tolist()), column, sizes.cumsum(0) - sizes)


@dataclass(frozen=True)
class Grid:
    """Numbers of which each column has few: P(x = v_l) = softmax(logits)_l, of any x by the nearest v_l.

    Attributes:
        logits: of the numbers of all columns in a line, (*batch, L_1 + … + L_C).
        values: v, ascending, (max L, C); columns with fewer repeat the last one.
        places: of the columns in the line.
    """

    logits: Tensor
    values: Tensor
    places: Places
    event_dims: int = 1

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        index = self.places.first + nearest(self.values, fill_unobserved(x, observed))
        chosen = self.logits.gather(-1, index.expand(*self.logits.shape[:-1], -1))
        return sum_observed(chosen - self._log_total, observed, self.event_dims)

    @property
    def _log_total(self) -> Tensor:
        """The log of what normalises each column, (*batch, C)."""
        return torch.stack([part.logsumexp(-1) for part in self.logits.split(self.places.sizes, -1)], -1)

    @property
    def _probs(self) -> Tensor:
        return torch.exp(self.logits - self._log_total[..., self.places.column])

    @property
    def _line(self) -> Tensor:
        """v in a line."""
        level = torch.arange(len(self.places.column), device=self.places.column.device)
        return self.values[level - self.places.first[self.places.column], self.places.column]

    def _sums(self, each: Tensor) -> Tensor:
        """Of each column, (*batch, C)."""
        return torch.stack([part.sum(-1) for part in each.split(self.places.sizes, -1)], -1)

    @property
    def mean(self) -> Tensor:
        return self._sums(self._probs * self._line)

    @property
    def variance(self) -> Tensor:
        distance = self._line - self.mean[..., self.places.column]
        return self._sums(self._probs * distance.square())

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        noisy = with_gumbel(self.logits, generator)
        index = torch.stack([part.argmax(-1) for part in noisy.split(self.places.sizes, -1)], -1)
        return self._line[self.places.first + index]


def nearest(values: Tensor, x: Tensor) -> Tensor:
    """The index of the nearest of the values (L, C) of each column, for x (*batch, C)."""
    below, above = values[:-1], values[1:]
    middles = torch.where(above > below, (below + above) / 2, math.inf)  # none above the last
    return (x.unsqueeze(-2) > middles).sum(-2)


class GridHead(nn.Module):
    """Columns of few numbers; the decoder's output is the logits of each column's numbers in a line."""

    values: Tensor
    column: Tensor
    first: Tensor

    def __init__(self, grids: Sequence[tuple[float, ...]]):
        super().__init__()
        places = Places.of(grids)
        self.sizes, self.features_shape = places.sizes, (sum(places.sizes),)
        self.register_buffer("values", padded(grids), persistent=False)
        self.register_buffer("column", places.column, persistent=False)
        self.register_buffer("first", places.first, persistent=False)

    def forward(self, features: Tensor) -> Grid:
        return Grid(features, self.values, Places(self.sizes, self.column, self.first))


def padded(grids: Sequence[tuple[float, ...]]) -> Tensor:
    """Numbers of columns that have more or fewer of them, (L, C): the last ones are repeated."""
    most = max(map(len, grids))
    return torch.tensor([(*grid, *[grid[-1]] * (most - len(grid))) for grid in grids]).T.contiguous()
