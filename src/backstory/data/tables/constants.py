"""The cells of columns that a model leaves out because they held one value, or none, in training.

Such a column has no density. A cell with another value is one that no training row has: `scoring` takes its
row for the strangest there is. An empty cell is filled with the constant.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from backstory import console
from backstory.data.checks import shown
from backstory.data.tables.columns import LeftOut
from backstory.errors import counted


@dataclass(frozen=True)
class ConstantCells:
    """The cells of a column that was constant or empty in training, where they are not as they were.

    Attributes:
        column: as in the model's schema.
        place: its number among the columns of this table.
        empty: numbers of the rows with an empty cell in rising order; none for a column that was empty.
        different: numbers of the rows with another value in rising order.
        texts: of the cells with another value, in the same order.
    """

    column: LeftOut
    place: int
    empty: np.ndarray
    different: np.ndarray
    texts: tuple[str, ...] = ()

    def subset(self, index: np.ndarray) -> Self:
        """The cells of the rows of these numbers, (M,) of integers, in this order."""
        empty, (different, which) = _places(self.empty, index)[0], _places(self.different, index)
        texts = tuple(self.texts[k] for k in which)
        return replace(self, empty=empty, different=different, texts=texts)

    def warn(self, source: str) -> None:
        """Warn of cells with another value."""
        if not len(self.different):
            return
        several, constant = len(self.different) > 1, self.column.text
        name = f"of column {self.column.name!r} of {source}"
        cells = counted(len(self.different), f"cell {name} has", f"cells {name} have")
        known = "a value, and" if constant is None else f"another value than {shown(constant)}, the only one"
        console.warn(
            f"{cells} {known} "
            f"{'training had none' if constant is None else 'in training'}: {shown(self.texts[0])} in row "
            f"{int(self.different[0]) + 1}{' for the first' * several}; the model leaves the column out"
        )


def _places(rows: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where an index has one of these sorted rows, and which of them."""
    which = np.searchsorted(rows, index)
    near = np.flatnonzero(which < len(rows))
    hit = near[rows[which[near]] == index[near]]
    return hit, which[hit]


def new_values(constants: Iterable[ConstantCells]) -> dict[int, dict[str, str]]:
    """For each row with values that training did not have, their texts by the name of the column."""
    found: dict[int, dict[str, str]] = {}
    for cells in constants:
        for row, text in zip(cells.different.tolist(), cells.texts, strict=True):
            found.setdefault(row, {})[cells.column.name] = text
    return found


def among(rows: Collection[int], count: int) -> np.ndarray:
    """Which of `count` rows these are, (count,) of bool."""
    return np.isin(np.arange(count), np.array(list(rows), np.int64))
