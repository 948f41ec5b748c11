"""The knowledge of a table's columns that a likelihood needs."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Quantity(NamedTuple):
    """The contents of a column.

    Attributes:
        kind: a key of `distributions.table_row.COLUMN_HEADS`, or `date`, which counts as continuous.
        levels: the number of levels; 0 for numbers.
        values: the numbers of a grid; empty for other kinds.
    """

    kind: str
    levels: int = 0
    values: tuple[float, ...] = ()

    @property
    def family(self) -> "Quantity":
        """The group of this column: columns with the same family are computed together."""
        kind = "continuous" if self.kind == "date" else self.kind
        return Quantity(kind) if kind in ("continuous", "grid") else self


class Marginals(NamedTuple):
    """Statistics of each column in the training data, (C,) each.

    Attributes:
        location, scale: m and s; those of log(1 + x) for counts; 0 and 1 for levels.
        curved: whether the column is modelled by asinh((x − m)/s), of bool.
        atom: a value that many cells of a continuous column have; NaN for none.
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


def column_groups(quantities: Sequence[Quantity]) -> dict[Quantity, Tensor]:
    """The columns of each family; families are ordered by their first column."""
    groups: dict[Quantity, list[int]] = {}
    for index, quantity in enumerate(quantities):
        groups.setdefault(quantity.family, []).append(index)
    return {family: torch.tensor(columns) for family, columns in groups.items()}
