"""The cells of constant columns, compared part by part with the constants that a model knows."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from backstory.data.tables.columns import LeftOut
from backstory.data.tables.constants import ConstantCells
from backstory.data.tables.encode import is_categorical, texts, to_numbers, unpacked


@dataclass
class Watch:
    """Compares the cells of one column with its constant.

    Attributes:
        column: as in the model's schema.
        place: its number among the columns of the table.
    """

    column: LeftOut
    place: int
    _empty: list[np.ndarray] = field(default_factory=list)
    _different: list[np.ndarray] = field(default_factory=list)
    _texts: list[str] = field(default_factory=list)

    def add(self, cells: pd.Series, first: int) -> None:
        """Compares the next part, which begins at row `first`."""
        words = texts(_plain(cells))
        empty = words.isna().to_numpy()
        different = np.flatnonzero(~empty & ~_is_constant(words, self.column))
        if self.column.reason == "constant":
            self._empty.append(first + np.flatnonzero(empty))
        self._different.append(first + different)
        self._texts += words.iloc[different].tolist()

    def cells(self) -> ConstantCells:
        """The cells of all parts."""
        empty, different = (
            np.concatenate([np.zeros(0, np.int64), *parts]) for parts in (self._empty, self._different)
        )
        return ConstantCells(self.column, self.place, empty, different, tuple(self._texts))


def is_constant(cell: Any, column: LeftOut) -> bool:
    """Whether a cell has the value of a constant column."""
    return bool(_is_constant(texts(_plain(pd.Series([cell]))), column)[0])


def _plain(cells: pd.Series) -> pd.Series:
    cells = unpacked(cells)
    return cells.astype(object) if is_categorical(cells) else cells


def _is_constant(words: pd.Series, column: LeftOut) -> np.ndarray:
    """Whether each text is that of the constant, or another text of the same number or date."""
    if column.text is None:
        return np.zeros(len(words), bool)
    same = np.array(words == column.text, bool)
    if not same.all() and column.cells != "text":
        same[~same] = _equals(words[~same], column, column.text)
    return same


def _equals(words: pd.Series, column: LeftOut, constant: str) -> np.ndarray:
    """Whether these texts are of the same number, date, or truth value as the constant."""
    if column.cells == "date":
        dates, date = (
            pd.to_datetime(cells, format="ISO8601", errors="coerce", utc=True)
            for cells in (words, pd.Series([constant]))
        )
        return np.array(dates == date[0])
    if column.cells == "bool":
        return np.array(words.replace({"1": "True", "0": "False"}).str.capitalize() == constant)
    number, numbers = float(constant), to_numbers(words).to_numpy(np.float64)
    same: np.ndarray = numbers == number
    if not number.is_integer():  # single precision has other digits
        with np.errstate(over="ignore"):
            same = same | (np.float32(number) == numbers) | (numbers.astype(np.float32) == number)
    return same
