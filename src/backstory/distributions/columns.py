"""What a table's columns hold, as far as a likelihood needs it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Quantity(NamedTuple):
    """What a column holds: its kind, how many levels, 0 for numbers, and which numbers a grid has."""

    kind: str
    levels: int = 0
    values: tuple[float, ...] = ()

    @property
    def family(self) -> "Quantity":
        """Columns with the same are computed together."""
        kind = "continuous" if self.kind == "date" else self.kind
        return Quantity(kind) if kind in ("continuous", "grid") else self


class Marginals(NamedTuple):
    """What is known of each column from the training data, (C,) each.

    Attributes:
        location, scale: m and s; of log(1 + x) for counts; 0 and 1 for levels.
        curved: whether the column is modelled by asinh((x − m)/s), of bool.
        atom: a value that many cells of a continuous column have; NaN without.
    """

    location: Tensor
    scale: Tensor
    curved: Tensor
    atom: Tensor

    @classmethod
    def blank(cls, columns: int) -> "Marginals":
        """Of columns that nothing is known of, until they are loaded."""
        no = torch.zeros(columns, dtype=torch.bool)
        return cls(torch.zeros(columns), torch.ones(columns), no, torch.full((columns,), math.nan))

    def of(self, columns: Tensor) -> "Marginals":
        """Those of some columns."""
        return Marginals(*(part[columns] for part in self))


def column_groups(quantities: Sequence[Quantity]) -> dict[Quantity, Tensor]:
    """The columns of each family, in the order in which they first come."""
    groups: dict[Quantity, list[int]] = {}
    for index, quantity in enumerate(quantities):
        groups.setdefault(quantity.family, []).append(index)
    return {family: torch.tensor(columns) for family, columns in groups.items()}
