"""Cells that are not written as the others of their column: few are named and count as empty."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from backstory import console
from backstory.data.checks import place, shown
from backstory.data.tables.columns import Column
from backstory.data.tables.dates import example
from backstory.data.tables.writing import MOSTLY
from backstory.errors import InputError, counted

FEW_ROWS = 10  # a table with fewer rows is too short to judge
_NAMED = 5


@dataclass
class Misfits:
    """Cells of one column that are not written as the others.

    Attributes:
        count: their number.
        first: row and text of the first few.
    """

    count: int = 0
    first: list[tuple[int, str]] = field(default_factory=list)

    def add(self, rows: np.ndarray, texts: Sequence[str]) -> None:
        """Takes note of the cells in these rows."""
        self.count += len(rows)
        room = _NAMED - len(self.first)
        self.first += list(zip(rows[:room].tolist(), map(str, texts[:room]), strict=True))

    def are_few(self, present: int, rows: int) -> bool:
        """Whether they are few enough of the cells that are not empty to be typing errors."""
        return self.count == 0 or (rows >= FEW_ROWS and self.count <= (1 - MOSTLY) * present)

    def settle(self, column: Column, source: str, present: int, rows: int) -> None:
        """Warns of a few such cells, which are named; InputError for more, or in a table of few rows."""
        if not self.count:
            return
        if not self.are_few(present, rows):
            row, text = self.first[0]
            raise misfit(text, row, column, source)
        named = ", ".join(f"{shown(text)} in row {row + 1}" for row, text in self.first)
        more = f" and {self.count - len(self.first)} more" if self.count > len(self.first) else ""
        name = f"of column {column.name!r} of {source}"
        cells = counted(self.count, f"cell {name} is", f"cells {name} are")
        console.warn(f"{cells} not written as the others, {named}{more}; taken as empty")


def misfit(text: str, row: int, column: Column, source: str) -> InputError:
    """The error of a cell that its column cannot hold."""
    if column.kind != "date":
        return not_a_number(text, row, column, source)
    such = f"such as {example(column.format)} " if column.format else ""
    return InputError(
        f"expected dates {such}in {source}, got {shown(text)} in {place((row, 0), (column.name,))}; "
        "correct it, leave the cell empty, or ignore the column"
    )


def not_a_number(text: str, row: int, column: Column, source: str) -> InputError:
    """The error of a cell that is no number or time, as the others of its column are."""
    such = "" if column.writing is None else str(column.writing)
    timed = column.writing is not None and column.seconds is not None
    expected, way = (such, "so") if timed else (f"numbers {such}".rstrip(), "as a number")
    return InputError(
        f"expected {expected} in {source}, got {shown(text)} in {place((row, 0), (column.name,))}; "
        f"write it {way}, leave the cell empty, or drop the column"
    )
