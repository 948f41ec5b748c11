"""Columns with few distinct numbers: a categorical distribution over these numbers.

With the numbers v_1 < … < v_L of a column, and logits l_1, …, l_L,

    P(x = v_k) = softmax(l)_k,    any other x counts as the nearest v_k

Columns have different numbers L_1, …, L_C; their logits stand in one line, column after column.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from backstory.distributions.base import Entrywise, Head, fill_unobserved, level_counts, with_gumbel
from backstory.distributions.noise import Generators
from backstory.distributions.quantities import Marginals, Quantity


class Places(NamedTuple):
    """The places of all columns' numbers in a line.

    Attributes:
        sizes: L_1, …, L_C.
        column: the column of each place, (L_1 + … + L_C,).
        first: the place of each column's first number, (C,).
    """

    sizes: tuple[int, ...]
    column: Tensor
    first: Tensor

    @classmethod
    def of(cls, grids: Sequence[tuple[float, ...]]) -> "Places":
        sizes = torch.tensor([len(grid) for grid in grids], dtype=torch.long)
        column = torch.repeat_interleave(torch.arange(len(grids)), sizes)
        return cls(tuple(sizes.tolist()), column, sizes.cumsum(0) - sizes)

    def line(self, table: Tensor) -> Tensor:
        """A number for each number of a column, (max L, C), in the line."""
        level = torch.arange(len(self.column), device=self.column.device)
        return table[level - self.first[self.column], self.column]


@dataclass(frozen=True)
class Grid(Entrywise):
    """A categorical distribution over the numbers of each column.

    Attributes:
        logits: l for all columns in a line, (*batch, L_1 + … + L_C).
        values: v in ascending order, (max L, C); columns with fewer numbers repeat the last one.
        places: of the columns in the line.
    """

    logits: Tensor
    values: Tensor
    places: Places
    event_dims: int = 1

    def entry_log_probs(self, x: Tensor) -> Tensor:
        index = self.places.first + nearest(self.values, x)
        return self.logits.gather(-1, index.expand(*self.logits.shape[:-1], -1)) - self._log_total

    @property
    def _log_total(self) -> Tensor:
        """log Σ_k e^{l_k} of each column, (*batch, C)."""
        return torch.stack([part.logsumexp(-1) for part in self.logits.split(self.places.sizes, -1)], -1)

    @property
    def _probs(self) -> Tensor:
        return torch.exp(self.logits - self._log_total[..., self.places.column])

    @property
    def _line(self) -> Tensor:
        """v in a line."""
        return self.places.line(self.values)

    def _sums(self, each: Tensor) -> Tensor:
        """Sums over the numbers of each column, (*batch, C)."""
        return torch.stack([part.sum(-1) for part in each.split(self.places.sizes, -1)], -1)

    @property
    def mean(self) -> Tensor:
        return self._sums(self._probs * self._line)

    @property
    def variance(self) -> Tensor:
        distance = self._line - self.mean[..., self.places.column]
        return self._sums(self._probs * distance.square())

    def sample(self, generator: Generators = None) -> Tensor:
        noisy = with_gumbel(self.logits, generator)
        index = torch.stack([part.argmax(-1) for part in noisy.split(self.places.sizes, -1)], -1)
        return self._line[self.places.first + index]


def nearest(values: Tensor, x: Tensor) -> Tensor:
    """The index of the value (L, C) that is nearest to x (*batch, C), for each column."""
    below, above = values[:-1], values[1:]
    middles = torch.where(above > below, (below + above) / 2, math.inf)  # no x is above a repeated value
    return (x.unsqueeze(-2) > middles).sum(-2)


class GridHead(Head):
    """Likelihood of columns with few distinct numbers; the decoder's output is the logits in a line."""

    values: Tensor
    column: Tensor
    first: Tensor

    def __init__(self, grids: Sequence[tuple[float, ...]]):
        places = Places.of(grids)
        super().__init__((len(grids),), (sum(places.sizes),))
        self.sizes = places.sizes
        self.register_buffer("values", padded(grids), persistent=False)
        self.register_buffer("column", places.column, persistent=False)
        self.register_buffer("first", places.first, persistent=False)

    @classmethod
    def of_columns(cls, quantities: Sequence[Quantity], marginals: Marginals) -> "GridHead":
        return cls([quantity.values for quantity in quantities])

    @property
    def entry(self) -> Tensor:
        return self.column

    def marginal(self, x: Tensor, observed: Tensor | None) -> Tensor:
        index = nearest(self.values, fill_unobserved(x, observed)).to(x.dtype)
        return self._places.line(level_counts(index, len(self.values), observed)).log()

    @property
    def _places(self) -> Places:
        return Places(self.sizes, self.column, self.first)

    def forward(self, features: Tensor) -> Grid:
        return Grid(features, self.values, self._places)


def padded(grids: Sequence[tuple[float, ...]]) -> Tensor:
    """The numbers of columns as one tensor, (max L, C); shorter columns repeat their last number."""
    most = max(map(len, grids))
    return torch.tensor([(*grid, *[grid[-1]] * (most - len(grid))) for grid in grids]).T.contiguous()
