"""Cells of a column to stored numbers and back, as its `Column` says.

The stored number of a level is its index, that of a date d the days (d − 1970-01-01) / (24 · 3600 s).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from backstory import console
from backstory.data.checks import place
from backstory.data.tables.columns import SINGLE, Column
from backstory.errors import InputError

_MICROSECONDS = 86_400_000_000  # of a day
_SHOWN = 40  # characters of a cell in a message
# Days that a frame can hold in nanoseconds: 1677-09-22 to 2262-04-10
_FIRST_DAY, _LAST_DAY = -106750, 106750
_UNITS = (("%f", 1), ("%S", 1_000_000), ("%M", 60_000_000), ("%H", 3_600_000_000))  # microseconds


@dataclass
class Unseen:
    """Cells with a level that a column has not, by column: how many, the first one's row and text."""

    source: str
    cells: dict[str, tuple[int, int, str]] = field(default_factory=dict)

    def add(self, name: str, rows: np.ndarray, text: str) -> None:
        count, row, first = self.cells.get(name, (0, int(rows[0]), text))
        self.cells[name] = count + len(rows), row, first

    def warn(self, columns: Sequence[Column]) -> None:
        """A warning for each column that has some."""
        for column in columns:
            if column.name in self.cells:
                count, row, text = self.cells[column.name]
                what = "level" if column.values is None else "number"
                cells = f"one cell has a {what}" if count == 1 else f"{count} cells have {what}s"
                console.warn(
                    f"{cells} of column {column.name!r} of {self.source} that the model does not know, "
                    f"{shown(text)} in row {row + 1}{' for the first' * (count > 1)}; {_taken_as(column)}"
                )


def _taken_as(column: Column) -> str:
    if column.rare:
        return "taken as rare levels"
    if column.values is not None:
        return "taken as the nearest number that it does"
    return "taken as the nearest level" if _has_order(column) else "taken as empty"


def _has_order(column: Column) -> bool:
    return column.kind == "ordinal" and column.cells in ("number", "whole")


def shown(cell: Any) -> str:
    """A cell's text in quotes, cut where it is long."""
    text = str(cell)
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


# -- in ---------------------------------------------------------------------------------------------------


def encoded(cells: pd.Series, column: Column, unseen: Unseen, first: int = 0) -> np.ndarray:
    """Stored numbers of a part of a column, (n,) of float64, NaN where it is empty.

    Args:
        cells: from row `first` of the table on.
        column: what they are.
        unseen: takes note of levels that the column has not; they become the level of rare ones, the nearest
            level of an ordinal column of numbers or number of a grid, or empty.

    Raises:
        InputError: a cell that is no number, no date, or no count where there should be one; says where.
    """
    if column.levels is not None:
        return _indices(cells, column, unseen, first)
    if column.kind == "date":
        return days(cells, column.name, unseen.source, first, column.format)
    values, _ = numbers(cells, column.name, unseen.source, first)
    if column.values is not None:
        return _on_grid(values, column, unseen, first)
    if column.kind == "count":
        bad = np.flatnonzero((values < 0) | (values != np.rint(values)) & np.isfinite(values))
        if len(bad):
            where = place((first + int(bad[0]), 0), (column.name,))
            raise InputError(
                f"expected counts, whole numbers from 0, in {unseen.source}, got {values[bad[0]]:g} in "
                f"{where}; correct it, leave the cell empty, or train with the column as continuous"
            )
    return values


def encoded_cell(text: str, column: Column) -> float:
    """The stored number of one cell as people write it: a level's text, a number, a date.

    Raises:
        InputError: a level that the column has not, no number or no date.

    >>> encoded_cell("M", Column(name="size", kind="ordinal", levels=("S", "M", "L"), cells="text"))
    1.0
    """
    if column.cells == "bool":
        text = {"0": "False", "1": "True"}.get(text, text.capitalize())
    if column.levels is not None and not column.rare and text not in column.levels:
        known = ", ".join(column.levels[:10]) + (", …" if len(column.levels) > 10 else "")
        raise InputError(
            f"expected one of the levels {known} of column {column.name!r}, got {shown(text)}; choose one"
        )
    if column.levels is not None:
        rare = len(column.levels) - 1
        return float(column.levels.index(text) if text in column.levels else rare)
    return float(encoded(pd.Series([text], dtype=object), column, Unseen("what is given"))[0])


def _indices(cells: pd.Series, column: Column, unseen: Unseen, first: int) -> np.ndarray:
    assert column.levels is not None
    if column.cells == "text":
        keys: Any = texts(cells)
        levels = pd.Index(column.levels[: len(column.levels) - column.rare], dtype=object)
    else:
        keys = pd.Series(numbers(cells, column.name, unseen.source, first)[0])
        levels = pd.Index(level_numbers(column))
    codes = levels.get_indexer(keys)
    empty = keys.isna().to_numpy()
    new = np.flatnonzero((codes < 0) & ~empty)
    stored = np.where(codes < 0, math.nan, codes)
    if len(new):
        unseen.add(column.name, first + new, str(cells.iloc[int(new[0])]))
        if column.rare:
            stored[new] = len(levels)
        elif _has_order(column):
            stored[new] = np.abs(keys.to_numpy()[new, None] - levels.to_numpy()).argmin(axis=1)
    return stored


def _on_grid(values: np.ndarray, column: Column, unseen: Unseen, first: int) -> np.ndarray:
    """Numbers of a column of few, of which others become the nearest; infinite ones are found later."""
    stored = np.where(np.isfinite(values), column.nearest(values), values)
    new = np.flatnonzero(
        np.isfinite(values) & (np.abs(stored - values) > SINGLE * np.ptp(column.values or 0))
    )
    if len(new):
        unseen.add(column.name, first + new, number_text(values[new[0]]))
    return stored


def level_numbers(column: Column) -> np.ndarray:
    """The numbers that the levels of a column of numbers or booleans are, (L,)."""
    if column.cells == "bool":
        return np.array([0.0, 1.0])
    return np.array([float(level) for level in column.levels or ()])


def number_text(value: float) -> str:
    """A number as the text of a level: whole ones without a point."""
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(float(value))


def texts(cells: pd.Series) -> pd.Series:
    """Cells as texts without blanks around them, NaN where they are empty; whole numbers without a point."""
    if isinstance(cells.dtype, pd.StringDtype):
        return cells.str.strip().astype(object)
    objects = cells.astype(object)
    if pd.api.types.is_float_dtype(cells):
        return objects.map(number_text, na_action="ignore").astype(object)
    return objects.map(lambda cell: str(cell).strip(), na_action="ignore").astype(object)


def numbers(cells: pd.Series, name: str, source: str, first: int = 0) -> tuple[np.ndarray, bool]:
    """A part of a column, from row `first` on, as float64 with NaN where it is empty; whether of integers."""
    types = pd.api.types
    if isinstance(cells.dtype, pd.CategoricalDtype):
        cells = cells.astype(object)
    if types.is_object_dtype(cells) or types.is_string_dtype(cells):
        cells = _parsed(cells, name, source, first)
    if not types.is_numeric_dtype(cells) or types.is_complex_dtype(cells):
        raise InputError(
            f"expected numbers in column {name!r} of {source}, got type {cells.dtype}; "
            "convert or drop the column"
        )
    array = cells.to_numpy(dtype=np.float64, na_value=np.nan)
    return array, types.is_integer_dtype(cells) or types.is_bool_dtype(cells)


def _parsed(cells: pd.Series, name: str, source: str, first: int) -> pd.Series:
    objects = cells.astype(object)
    parsed = pd.to_numeric(objects, errors="coerce")
    bad = np.flatnonzero((parsed.isna() & objects.notna()).to_numpy())
    if len(bad):
        raise not_a_number(objects.iloc[int(bad[0])], first + int(bad[0]), name, source)
    return parsed


def not_a_number(cell: Any, row: int, name: str, source: str) -> InputError:
    return InputError(
        f"expected numbers in {source}, got {shown(cell)} in {place((row, 0), columns=(name,))}; "
        "write it as a number, leave the cell empty, or drop the column"
    )


def days(cells: pd.Series, name: str, source: str, first: int = 0, form: str | None = None) -> np.ndarray:
    """Dates as days since 1970-01-01 (UTC), of texts in a format or of a frame's own dates."""
    dates = cells
    if not pd.api.types.is_datetime64_any_dtype(cells):
        objects = cells.astype(object) if form is None else texts(cells)
        dates = pd.to_datetime(objects, format=form, errors="coerce", utc=True)
    if getattr(dates.dt, "tz", None) is not None:
        dates = dates.dt.tz_convert(None)
    stored = dates.to_numpy(dtype="datetime64[us]").astype(np.int64) / _MICROSECONDS
    stored[dates.isna().to_numpy()] = math.nan
    bad = np.isnan(stored) & cells.notna().to_numpy() | (stored < _FIRST_DAY) | (stored > _LAST_DAY)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"expected dates {f'such as {example(form)} ' if form else ''}from 1677-09-22 to 2262-04-10 in "
            f"{source}, got {shown(cells.iloc[row])} in {place((first + row, 0), (name,))}; "
            "correct it, leave the cell empty, or ignore the column"
        )
    return stored


def example(form: str) -> str:
    """A date in a format.

    >>> example("%d.%m.%Y")
    '31.12.2024'
    """
    return pd.Timestamp("2024-12-31 15:30:00").strftime(form)


# -- out --------------------------------------------------------------------------------------------------


def decoded(values: np.ndarray, column: Column) -> pd.Series:
    """Cells for stored numbers (n,): texts of levels, dates as they came, whole numbers whole.

    Numbers that are no levels (means, say) stay numbers: between those of the levels where these are
    numbers, 0 to 1 where they are booleans; the nearest level stands for those between texts.
    """
    if column.kind == "date":
        return _dates(values, column)
    whole = bool((np.isnan(values) | (values == np.rint(values))).all())
    if column.levels is None:
        cells = pd.Series(values)
        if column.cells == "whole":
            return typed(cells.astype("Int64"), column.dtype) if whole else cells
        return typed(cells, column.dtype)
    if column.cells == "text" or whole:
        return _level_cells(column.settled(values), column)
    levels = level_numbers(column)
    return pd.Series(np.interp(values, np.arange(len(levels)), levels))


_PLAIN = {"number": "float64", "whole": "Int64", "bool": "boolean"}


def _level_cells(codes: np.ndarray, column: Column) -> pd.Series:
    levels = list(column.levels or ()) if column.cells == "text" else level_numbers(column).tolist()
    index = np.where(np.isnan(codes), -1, codes).astype(np.int64)
    plain: Any = _PLAIN.get(column.cells, "object")
    levels = pd.Series(levels).astype(plain).tolist()
    if column.dtype == "category":
        categories: Any = pd.Index(levels)
        return pd.Series(pd.Categorical.from_codes(index, categories, ordered=column.kind == "ordinal"))
    cells = pd.Series(np.array([*levels, None], dtype=object)[index], dtype=object)
    if column.cells == "bool" and (index >= 0).all():
        plain = "bool"
    return typed(cells.astype(plain), column.dtype)


def _dates(values: np.ndarray, column: Column) -> pd.Series:
    form = column.format
    unit = 1 if form is None else next((n for sign, n in _UNITS if sign in form), _MICROSECONDS)
    if column.decimals == 0:
        unit = _MICROSECONDS
    empty = np.isnan(values)
    exact = np.clip(np.where(empty, 0, values), _FIRST_DAY, _LAST_DAY) * (_MICROSECONDS / unit)
    stamps = (np.rint(exact).astype(np.int64) * unit).astype("datetime64[us]")
    dates: Any = pd.Series(np.where(empty, np.datetime64("NaT"), stamps))
    if form is not None:
        if "%z" in form:
            dates = dates.dt.tz_localize("UTC")
        return dates.dt.strftime(form).astype(object).where(~empty, None)
    if column.dtype == "date":
        return dates.dt.date.astype(object).where(~empty, None)
    if column.dtype is not None and "," in column.dtype:  # a time zone
        dates = dates.dt.tz_localize("UTC")
    return typed(dates, column.dtype)


def typed(cells: pd.Series, dtype: Any) -> pd.Series:
    """Cells in the type of the frame that they came from, or its name, where it can hold them."""
    if dtype is None or dtype == str(cells.dtype):
        return cells
    try:
        typed: pd.Series = cells.astype(pd.api.types.pandas_dtype(dtype))
        return typed
    except (TypeError, ValueError, OverflowError):
        return cells
