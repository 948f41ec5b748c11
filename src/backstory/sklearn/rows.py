"""Rows in scikit-learn's conventions, as data sets of Backstory, and rows like those that were given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype

from backstory.data.schema import Schema
from backstory.data.tables.columns import Column, LeftOut, number_text
from backstory.data.tables.constants import ConstantCells
from backstory.data.tables.foreign import in_library, library_of
from backstory.data.tables.frames import drawn_frame, of_training_types
from backstory.data.tables.partial import Wanted, wanted
from backstory.errors import InputError


@dataclass(frozen=True)
class Form:
    """What the rows of X are: their columns, and the library that holds them.

    Attributes:
        schema: of the columns. Of rows of numbers all are continuous; other frames have that of the model.
        library: of the training rows, see `data.tables.foreign.library_of`.
        labels: of the columns of numbers of a frame, in place of the names in the schema; None for others.
    """

    schema: Schema
    library: str | None
    labels: "pd.Index[Any] | None" = None

    @classmethod
    def of_numbers(cls, X: Any, frame: pd.DataFrame) -> Self:
        """The form of rows of numbers X, of any library, that are in this frame."""
        names = [str(label) for label in frame.columns]
        kinds = tuple(_number_column(name, frame.iloc[:, j]) for j, name in enumerate(names))
        schema = Schema(kind="table", shape=(len(names),), dtype="float64", columns=tuple(names), kinds=kinds)
        return cls(schema, library_of(X), frame.columns)

    @property
    def of_numbers_alone(self) -> bool:
        """Whether every column is continuous because it holds numbers."""
        return self.labels is not None

    def rows(self, values: np.ndarray, index: "pd.Index[Any] | None" = None) -> Any:
        """Rows of these stored values of all columns, (N, C), such as means, which need not be whole.

        An index is that of pandas.
        """
        frame = of_training_types(values, self.schema)
        return self._written(frame if index is None else frame.set_axis(index))

    def draws(self, values: np.ndarray, seed: int) -> Any:
        """Rows of drawn stored values, (N, C); the seed is that of rare levels."""
        return self._written(drawn_frame(self.settled(values), self.schema, seed))

    def settled(self, values: np.ndarray) -> np.ndarray:
        """Drawn stored values, (…, C): whole numbers are rounded, and kept in their range in training."""
        return _settled(values, self.schema.kinds)

    def wanted(self, where: Any, modelled: np.ndarray) -> Wanted:
        """What the cells of drawn rows have to be, see `data.tables.partial.wanted`.

        Args:
            where: cells by the labels of their columns, of an array by the numbers of its columns.
            modelled: the numbers of the columns that the model has.
        """
        if self.labels is None:
            return wanted(self.schema, where)
        names = dict(zip(self.labels, self.schema.columns or (), strict=True))
        asked = wanted(
            self.schema, {names.get(label, str(label)): cell for label, cell in dict(where).items()}
        )
        number = {int(j): k for k, j in enumerate(modelled)}  # a constant is what it is
        return _WantedNumbers(
            asked.row[modelled],
            {number[j]: ends for j, ends in asked.ranges.items() if j in number},
            {number[j]: values for j, values in asked.sets.items() if j in number},
            kinds=tuple(self.schema.kinds[j] for j in modelled),
        )

    def _written(self, frame: pd.DataFrame) -> Any:
        frame = frame if self.labels is None else frame.set_axis(self.labels, axis=1)
        return in_library(self.library, frame)


@dataclass(frozen=True)
class _WantedNumbers(Wanted):
    """What drawn numbers have to be; whole ones are rounded before they are compared.

    Attributes:
        kinds: of the modelled columns.
    """

    kinds: tuple[Column, ...] = ()

    def holds(self, x: np.ndarray) -> np.ndarray:
        return super().holds(_settled(x, self.kinds))


def _settled(values: np.ndarray, kinds: Sequence[Column]) -> np.ndarray:
    """Drawn values, (…, C), in which whole numbers are such, in the range of training."""
    values = np.array(values, np.float64)
    for j, column in enumerate(kinds):
        if column.cells in ("whole", "bool"):
            values[..., j] = column.settled(values[..., j])
    return values


def _number_column(name: str, cells: pd.Series) -> Column:
    """The description of a column of numbers, for its cells; the model takes all for continuous."""
    if is_bool_dtype(cells.dtype):
        levels = ("False", "True")
        return Column(name=name, kind="binary", levels=levels, cells="bool", dtype=str(cells.dtype))
    whole = is_integer_dtype(cells.dtype)
    numbers = cells.dropna().to_numpy(np.float64)
    ends: dict[str, Any] = {"low": float(numbers.min()), "high": float(numbers.max())} if len(numbers) else {}
    written: dict[str, Any] = {"cells": "whole", "decimals": 0} if whole else {"cells": "number"}
    return Column(name=name, kind="continuous", dtype=str(cells.dtype), **written, **ends)


def is_mixed(frame: pd.DataFrame) -> bool:
    """Whether a frame has columns that are not numbers."""
    return not all(map(is_numeric_dtype, frame.dtypes))


def constant_cells(x: np.ndarray, constant: np.ndarray, names: Sequence[str]) -> list[ConstantCells]:
    """The cells of constant columns, where they are empty or differ from the constants.

    Args:
        x: (N, C).
        constant: (C,), NaN for a column that varies.
        names: (C,).
    """
    found = []
    for j in np.flatnonzero(~np.isnan(constant)).tolist():
        text, empty = number_text(constant[j]), np.isnan(x[:, j])
        column = LeftOut(name=names[j], reason="constant", place=j, text=text, cells="number")
        different = np.flatnonzero(~empty & (x[:, j] != constant[j]))
        texts = tuple(map(number_text, x[different, j]))
        found.append(ConstantCells(column, j, np.flatnonzero(empty), different, texts))
    return found


def value_ranges(x: np.ndarray, names: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest value of each named column; InputError if one is empty, or no column varies."""
    empty = np.isnan(x).all(0)
    if empty.any():
        raise empty_column(names[int(empty.argmax())])
    low, high = np.nanmin(x, 0), np.nanmax(x, 0)
    if (low == high).all():
        raise InputError(
            f"expected a column that varies, got {len(low)} of which each has one value; give it others"
        )
    return low, high


def empty_column(column: Any) -> InputError:
    """The error for a column without a value, by its name or number."""
    return InputError(f"expected a value in each column, got none in column {column!r}; drop it")
