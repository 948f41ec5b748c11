"""The cells of columns that belong together, as a table has them: they stay when its gaps are filled."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from backstory import console
from backstory.data.rows import Rows, subset
from backstory.data.tables.constants import ConstantCells


@dataclass(frozen=True)
class RelatedCells:
    """The cells of the columns of relations, as a table has them.

    Attributes:
        names: of the columns.
        values: their numbers, (N, K), NaN where empty.
        places: of those without a stored value, the number in the table.
    """

    names: tuple[str, ...]
    values: Rows
    places: Mapping[str, int]

    def subset(self, index: np.ndarray) -> "RelatedCells":
        """The cells of the rows of these numbers, (M,) of integers."""
        return RelatedCells(self.names, subset(self.values, index), self.places)

    def by_name(self) -> dict[str, np.ndarray]:
        """The cells by the name of their column."""
        return dict(zip(self.names, np.asarray(self.values[:]).T, strict=True))

    def empty(self, modelled: Collection[str]) -> dict[str, int]:
        """The number of empty cells of each column that the table has, modelled or without a stored value."""
        own = {name: part for name, part in self.by_name().items() if name in (*modelled, *self.places)}
        return {name: int(np.isnan(part).sum()) for name, part in own.items()}


@dataclass(frozen=True)
class BrokenCells(ConstantCells):
    """The cells of a dependent column in the rows that break its relation.

    Attributes:
        relation: as a person writes it.
    """

    relation: str = ""

    def warn(self, source: str) -> None:
        """Warn of these rows."""
        several = len(self.different) > 1
        console.warn(
            f"{len(self.different)} rows of {source} break {self.relation}, the first is row "
            f"{int(self.different[0]) + 1}"
            if several
            else f"row {int(self.different[0]) + 1} of {source} breaks {self.relation}"
        )
