"""The encoder's input for a table's row."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backstory.distributions.grid import Places, nearest, padded
from backstory.distributions.quantities import Marginals, Quantity, column_groups


class ColumnInputs(nn.Module):
    """The encoder's input for rows of C columns, (B, F), from (x − shift) / scale and the mask, (B, C, 2).

    Continuous columns are standardised, counts are log(1 + x), standardised; categories are one-hot vectors,
    grids both a standardised number and a one-hot vector; binary and ordinal columns are numbers between −1
    and 1. All are zero where x is missing. The mask follows them, 1 where x is observed and 0 elsewhere.

    Args:
        quantities, marginals: of the columns.
        shift, scale: of x in the training data, (C,).

    Attributes:
        outputs: F.
        column: the column that each of the F numbers belongs to.
    """

    shift: Tensor
    unit: Tensor
    location: Tensor
    scale: Tensor
    curved: Tensor
    grid: Tensor
    first: Tensor
    column: Tensor

    def __init__(self, quantities: Sequence[Quantity], marginals: Marginals, shift: Tensor, scale: Tensor):
        super().__init__()
        self.register_buffer("shift", shift.clone())
        self.register_buffer("unit", scale.clone())
        self.groups = column_groups(quantities)
        for index, columns in enumerate(self.groups.values()):
            self.register_buffer(f"columns_{index}", columns, persistent=False)
        for name in ("location", "scale", "curved"):
            self.register_buffer(name, getattr(marginals, name).clone())
        grids = [q.values for q in quantities if q.kind == "grid"]
        self.register_buffer("grid", padded(grids) if grids else torch.zeros(0, 0), persistent=False)
        places = Places.of(grids)
        self.register_buffer("first", places.first, persistent=False)
        self.numbers = sum(map(len, grids))
        parts = [_columns(family, columns, places) for family, columns in self.groups.items()]
        owners = torch.cat([*parts, torch.arange(len(quantities))])
        self.register_buffer("column", owners, persistent=False)
        self.outputs = len(owners)

    def forward(self, inputs: Tensor) -> Tensor:
        standardised, there = inputs.unbind(-1)
        return self.features(self.shift + self.unit * standardised, there)

    def features(self, x: Tensor, there: Tensor) -> Tensor:
        """The same, (B, F), from x itself and where it was observed, (B, C) each."""
        parts = []
        for index, family in enumerate(self.groups):
            columns: Any = getattr(self, f"columns_{index}")
            parts.append(self._features(family, x[:, columns], there[:, columns], columns))
        return torch.cat([*parts, there], -1)

    def _features(self, family: Quantity, x: Tensor, there: Tensor, columns: Tensor) -> Tensor:
        if family.kind == "categorical":
            one_hot = F.one_hot(x.long(), family.levels).to(x.dtype)
            return (one_hot * there.unsqueeze(-1)).flatten(1)
        if family.kind in ("binary", "ordinal"):
            return (2 * x / max(1, family.levels - 1) - 1) * there
        raw = torch.log1p(x) if family.kind == "count" else x
        u = (raw - self.location[columns]) / self.scale[columns]
        y = torch.where(self.curved[columns], torch.asinh(u), u) * there
        if family.kind != "grid":
            return y
        one_hot = there.new_zeros(len(x), self.numbers)
        return torch.cat((y, one_hot.scatter(1, self.first + nearest(self.grid, x), there)), -1)


def _columns(family: Quantity, columns: Tensor, places: Places) -> Tensor:
    """The column of each number in the features of a family of columns."""
    if family.kind == "categorical":
        return columns.repeat_interleave(family.levels)
    return torch.cat((columns, columns[places.column])) if family.kind == "grid" else columns
