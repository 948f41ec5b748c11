"""The knowledge of a table's columns that a likelihood needs."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

CELLS = 128  # of a column of numbers, at most


class Quantity(NamedTuple):
    """The contents of a column.

    Attributes:
        kind: a key of `distributions.table_row.COLUMN_HEADS`, or `date`, which counts as continuous.
        levels: the number of levels, or of the numbers of a grid; 0 for other numbers.
        values: the numbers of a grid; empty for other kinds.
        atoms: numbers of a continuous column or of counts that are point masses.
    """

    kind: str
    levels: int = 0
    values: tuple[float, ...] = ()
    atoms: tuple[float, ...] = ()

    @property
    def family(self) -> "Quantity":
        """The group of this column: columns with the same family are computed together."""
        kind = "continuous" if self.kind == "date" else self.kind
        return Quantity(kind) if kind in ("continuous", "grid", "count") else self


class Marginals(NamedTuple):
    """Statistics of each column in the training data, (C,) each.

    Attributes:
        location, scale: m and s; those of log(1 + x) for counts; 0 and 1 for levels.
        curved: whether the column is modelled by asinh((x − m)/s), of bool.
        atom: the most frequent atom of a continuous column; NaN for none.
    """

    location: Tensor
    scale: Tensor
    curved: Tensor
    atom: Tensor

    @classmethod
    def blank(cls, columns: int) -> "Marginals":
        """Placeholders, until the statistics are loaded."""
        no = torch.zeros(columns, dtype=torch.bool)
        return cls(torch.zeros(columns), torch.ones(columns), no, torch.full((columns,), math.nan))

    def of(self, columns: Tensor) -> "Marginals":
        """The statistics of some columns."""
        return Marginals(*(part[columns] for part in self))


class Edges(NamedTuple):
    """The cells that the columns are cut into, see `distributions.cells`.

    Attributes:
        edges: in ascending order, infinite after the last one, (C, E).
        tails: the mean distance to the edge below the first one and above the last one, (C, 2).
        counts: the number of training rows in each cell, (C, E + 1).
    """

    edges: Tensor
    tails: Tensor
    counts: Tensor

    @classmethod
    def blank(cls, quantities: Sequence[Quantity]) -> "Edges":
        """Placeholders, until the statistics are loaded."""
        columns, most = len(quantities), most_cells(quantities)
        edges = torch.full((columns, most - 1), math.inf)
        return cls(edges, torch.ones(columns, 2), torch.zeros(columns, most))


class ColumnStatistics(NamedTuple):
    """All that is taken from the training rows of a table."""

    marginals: Marginals
    edges: Edges

    @classmethod
    def blank(cls, quantities: Sequence[Quantity]) -> "ColumnStatistics":
        return cls(Marginals.blank(len(quantities)), Edges.blank(quantities))


def most_cells(quantities: Sequence[Quantity]) -> int:
    """L, the most cells that a column is cut into: its levels, its grid, or `CELLS` for other numbers."""
    return max([q.levels or CELLS for q in quantities], default=2)


def column_groups(quantities: Sequence[Quantity]) -> dict[Quantity, Tensor]:
    """The columns of each family; families are ordered by their first column."""
    groups: dict[Quantity, list[int]] = {}
    for index, quantity in enumerate(quantities):
        groups.setdefault(quantity.family, []).append(index)
    return {family: torch.tensor(columns) for family, columns in groups.items()}
