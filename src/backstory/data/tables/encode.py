"""Cells of a column to stored numbers, as its `Column` describes them; `decode` is the way back.

The stored number of a level is its index, that of a date d the days (d − 1970-01-01) / (24 · 3600 s).
"""

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from backstory import console
from backstory.data.checks import place, shown
from backstory.data.tables.columns import SINGLE, Column, number_text
from backstory.data.tables.dates import days
from backstory.data.tables.misfits import Misfits, misfit
from backstory.data.tables.writing import Amount, Clock, Span
from backstory.errors import InputError, counted

_LARGE = re.compile(r"\s*[+-]?\d{300,}(\.\d*)?\s*")  # a number of hundreds of digits


@dataclass
class Unknown:
    """Cells with a level that their column does not have, and cells that are not written as the others.

    Attributes:
        source: of the table, for messages.
        cells: by the name of the column, the number of cells with unknown levels, row and text of the first.
        misfits: by the name of the column.
    """

    source: str
    cells: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    misfits: defaultdict[str, Misfits] = field(default_factory=lambda: defaultdict(Misfits))

    def add(self, name: str, rows: np.ndarray, text: str) -> None:
        """Takes note of the cells of a column in these rows; `text` is that of the first."""
        count, row, first = self.cells.get(name, (0, int(rows[0]), text))
        self.cells[name] = count + len(rows), row, first

    def warn(self, columns: Sequence[Column], rows: int) -> None:
        """Warns of each of these columns of a table of so many rows that has such cells.

        Rare levels are unknown to the model, too: up to twice as many of them as in training are usual.
        """
        for column in columns:
            count, row, text = self.cells.get(column.name, (0, 0, ""))
            if count > 2 * column.rare_share * rows:
                what = "level" if column.values is None else "number"
                cells = counted(count, f"cell has a {what}", f"cells have {what}s")
                console.warn(
                    f"{cells} of column {column.name!r} of {self.source} that the model does not know, "
                    f"{shown(text)} in row {row + 1}{' for the first' * (count > 1)}; {_taken_as(column)}"
                )

    def refuse(self, columns: Sequence[Column]) -> None:
        """Raise InputError for such cells in these columns, unless they count as rare levels or a number."""
        for column in columns:
            if column.name in self.cells and column.levels is not None and not column.rare:
                _, row, text = self.cells[column.name]
                where = f"{place((row, 0), (column.name,))} of {self.source}"
                raise unknown_level(column.name, column.levels, text, where)


def unknown_level(
    name: str, levels: Sequence[str], text: str, where: str = "", rare: bool = False
) -> InputError:
    """The error of a level that a column or condition does not have; it names those that it has."""
    known = ", ".join(levels[:10]) + (", …" if len(levels) > 10 else "")
    return InputError(
        f"expected one of the levels {known} of column {name!r}, got {shown(text)}"
        f"{' in ' if where else ''}{where}; choose one"
        + (f", such as {levels[-1]!r} for all rare ones" if rare else "")
    )


def _taken_as(column: Column) -> str:
    if column.rare:
        return "taken as rare levels"
    if column.values is not None:
        return "taken as the nearest number that it does"
    return "taken as the nearest level" if _has_order(column) else "taken as empty"


def _has_order(column: Column) -> bool:
    return column.kind == "ordinal" and column.cells in ("number", "whole")


def encoded(cells: pd.Series, column: Column, unknown: Unknown, first: int = 0) -> np.ndarray:
    """Stored numbers of a part of a column, (n,) of float64, NaN where a cell is empty.

    Args:
        cells: the part of the column that begins at row `first` of the table.
        column: its description.
        unknown: takes note of levels that the column does not have. They become the level of rare ones, the
            nearest level of an ordinal column of numbers, the nearest number of a grid, or empty. It also
            takes note of cells without the number or date that is expected, which become empty.
        first: row of the table.

    Raises:
        InputError: a cell without the count that is expected, or another type; the message says where.
    """
    cells = unpacked(cells, column.seconds or 1.0)
    if column.levels is not None:
        return _indices(cells, column, unknown, first)
    if column.kind == "date":
        return _days(cells, column, unknown, first)
    values = numbers(cells, column, unknown, first)
    if column.values is not None:
        return _on_grid(values, column, unknown, first)
    if column.kind == "count":
        _check_counts(values, column, unknown.source, first)
    return values


def _check_counts(values: np.ndarray, column: Column, source: str, first: int) -> None:
    bad = np.flatnonzero((values < 0) | (values != np.rint(values)) & np.isfinite(values))
    if len(bad):
        where = place((first + int(bad[0]), 0), (column.name,))
        raise InputError(
            f"expected counts, whole numbers from 0, in {source}, got {values[bad[0]]:g} in "
            f"{where}; correct it, leave the cell empty, or train with the column as continuous"
        )


def encoded_cell(text: str, column: Column) -> float:
    """The stored number of one cell that a person has written: a level's text, a number, a date.

    Raises:
        InputError: a level that the column does not have, or a text that is no number or date.

    >>> encoded_cell("M", Column(name="size", kind="ordinal", levels=("S", "M", "L"), cells="text"))
    1.0
    """
    if column.cells == "bool":
        text = {"0": "False", "1": "True"}.get(text, text.capitalize())
    if column.levels is not None:
        if text not in column.levels:
            raise unknown_level(column.name, column.levels, text, rare=column.rare)
        return float(column.levels.index(text))
    numbers_alone = column.model_copy(update={"values": None})  # the nearest of a grid is another number
    unknown = Unknown("the given cells")
    stored = float(encoded(pd.Series([text], dtype=object), numbers_alone, unknown)[0])
    if unknown.misfits[column.name].count:
        raise misfit(text, 0, column, unknown.source)
    if column.values is not None and stored not in column.values:
        nearest = number_text(float(column.nearest(np.array(stored))))
        raise InputError(
            f"expected one of the {len(column.values)} numbers of column {column.name!r}, got {shown(text)}; "
            f"the nearest is {nearest}"
        )
    return stored


def _indices(cells: pd.Series, column: Column, unknown: Unknown, first: int) -> np.ndarray:
    assert column.levels is not None
    if column.cells == "text":
        keys: Any = texts(cells)
        levels = pd.Index(column.levels[: len(column.levels) - column.rare], dtype=object)
    else:
        keys = pd.Series(numbers(cells, column, unknown, first))
        levels = pd.Index(level_numbers(column))
    codes = levels.get_indexer(keys)
    if column.cells == "text" and pd.api.types.is_numeric_dtype(cells):
        codes = _by_value(codes, cells, column, levels, unknown.source)
    empty = keys.isna().to_numpy()
    new = np.flatnonzero((codes < 0) & ~empty)
    stored = np.where(codes < 0, math.nan, codes)
    if len(new):
        unknown.add(column.name, first + new, str(cells.iloc[int(new[0])]))
        if column.rare:
            stored[new] = len(levels)
        elif _has_order(column):
            stored[new] = np.abs(keys.to_numpy()[new, None] - levels.to_numpy()).argmin(axis=1)
    return stored


def _by_value(
    codes: np.ndarray, cells: pd.Series, column: Column, levels: pd.Index, source: str
) -> np.ndarray:
    """Numbers of levels, (n,), in which 10 is the level 010, if no other level has this value."""
    own = pd.to_numeric(pd.Series(levels), errors="coerce")
    single = own[~own.duplicated(keep=False) & own.notna()]
    place = pd.Index(single).get_indexer(cells.to_numpy(np.float64, na_value=np.nan))
    hits = np.flatnonzero((codes < 0) & (place >= 0) & cells.notna().to_numpy())
    if not len(hits):
        return codes
    codes = codes.copy()
    codes[hits] = single.index.to_numpy()[place[hits]]
    number, text = number_text(float(cells.iloc[hits[0]])), levels[codes[hits[0]]]
    console.warn(
        f"column {column.name!r} of {source} holds numbers, in training texts; they are matched by value, "
        f"such as {number} with {text!r}"
    )
    return codes


def _on_grid(values: np.ndarray, column: Column, unknown: Unknown, first: int) -> np.ndarray:
    """Numbers of a grid; others become the nearest. Infinite ones stay, and are refused later."""
    stored = np.where(np.isfinite(values), column.nearest(values), values)
    new = np.flatnonzero(
        np.isfinite(values) & (np.abs(stored - values) > SINGLE * np.ptp(column.values or 0))
    )
    if len(new):
        unknown.add(column.name, first + new, number_text(values[new[0]]))
    return stored


def level_numbers(column: Column) -> np.ndarray:
    """The levels of a column of numbers or booleans as numbers, (L,)."""
    if column.cells == "bool":
        return np.array([0.0, 1.0])
    return np.array([float(level) for level in column.levels or ()])


def texts(cells: pd.Series) -> pd.Series:
    """Cells as texts without blanks around them, NaN where empty; whole numbers have no point."""
    if is_text(cells):
        return cells.str.strip().astype(object)
    objects = cells.astype(object)
    if pd.api.types.is_float_dtype(cells):
        return objects.map(number_text, na_action="ignore").astype(object)
    return objects.map(lambda cell: str(cell).strip(), na_action="ignore").astype(object)


def numbers(cells: pd.Series, column: Column, unknown: Unknown, first: int = 0) -> np.ndarray:
    """The numbers in a part of a column, float64 with NaN where empty or no number, see `encoded`.

    Raises:
        InputError: cells of another type than numbers and texts.
    """
    types = pd.api.types
    cells = as_numbers(cells, column.writing, unknown.misfits[column.name], first)
    if not types.is_numeric_dtype(cells) or types.is_complex_dtype(cells):
        raise InputError(
            f"expected numbers in column {column.name!r} of {unknown.source}, got type {cells.dtype}; "
            "convert or drop the column"
        )
    array: np.ndarray = cells.to_numpy(dtype=np.float64, na_value=np.nan)
    return array


def as_numbers(
    cells: pd.Series, writing: Amount | Clock | Span | None, misfits: Misfits, first: int = 0
) -> pd.Series:
    """A part of a column as numbers, whole ones as Int64; empty where a text is none; other types stay.

    Args:
        cells: the part of the column that begins at row `first` of the table.
        writing: how numbers are written; None for plain numbers.
        misfits: takes note of texts that are no such numbers.
        first: row of the table.
    """
    types = pd.api.types
    if is_categorical(cells):
        cells = cells.astype(object)
    if not (types.is_object_dtype(cells) or types.is_string_dtype(cells)):
        return cells
    objects = cells.astype(object)
    if writing is None or writing.is_plain:
        parsed = to_numbers(objects)
    else:
        words = texts(cells)
        different = words.dropna().unique()
        parsed = words.map(dict(zip(different, writing.numbers(different), strict=True))).astype(np.float64)
        if writing.whole and _are_whole(parsed):
            parsed = parsed.astype("Int64")
    bad = np.flatnonzero((parsed.isna() & objects.notna()).to_numpy())
    if len(bad):
        misfits.add(first + bad, objects.iloc[bad].tolist())
    return parsed


def _are_whole(parsed: pd.Series) -> bool:
    present = parsed.dropna()
    return bool((present == np.rint(present)).all() and (present.abs() < 2**53).all())


def to_numbers(objects: pd.Series) -> pd.Series:
    """Numbers and texts of numbers as numbers, NaN for others; infinite where they are too large."""
    try:
        parsed: pd.Series = pd.to_numeric(objects, errors="coerce")
        if parsed.dtype != object:
            return _with_infinite(parsed, objects)
    except OverflowError:
        pass
    return objects.map(_number).astype(np.float64)


def _with_infinite(parsed: pd.Series, objects: pd.Series) -> pd.Series:
    """The numbers, infinite for texts with hundreds of digits; pandas before 3 reads no number in these."""
    bad = np.flatnonzero((parsed.isna() & objects.notna()).to_numpy())
    large = {k: _number(objects.iloc[k]) for k in bad.tolist() if _LARGE.fullmatch(str(objects.iloc[k]))}
    if not large:
        return parsed
    numbers = parsed.to_numpy(np.float64, na_value=np.nan).copy()
    numbers[list(large)] = list(large.values())
    return pd.Series(numbers, objects.index)


def _number(cell: Any) -> float:
    try:
        return float(cell)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        return math.nan


def _days(cells: pd.Series, column: Column, unknown: Unknown, first: int) -> np.ndarray:
    """Days since 1970-01-01, (n,); cells that are no dates are misfits."""
    typed = pd.api.types.is_datetime64_any_dtype(cells)
    words = cells if typed else cells.astype(object) if column.format is None else texts(cells)
    stored = days(words, column.format)
    bad = np.flatnonzero(np.isnan(stored) & cells.notna().to_numpy())
    if len(bad):
        unknown.misfits[column.name].add(first + bad, cells.iloc[bad].tolist())
    return stored


def unpacked(cells: pd.Series, seconds: float = 1.0) -> pd.Series:
    """A column of Arrow's memory as one of NumPy's or of objects, and one of sparse numbers with all of them.

    Durations become numbers, of which 1 stands for so many seconds; periods become the dates of their
    beginnings, times of day texts; other types stay.
    """
    if isinstance(cells.dtype, pd.SparseDtype):
        return pd.Series(cells.array.to_dense(), cells.index)
    if isinstance(cells.dtype, pd.PeriodDtype):
        starts: pd.Series = cells.dt.to_timestamp()
        return starts
    if pd.api.types.is_timedelta64_dtype(cells):
        durations: pd.Series = cells.dt.total_seconds() / seconds
        return durations
    if cells.dtype == object and pd.api.types.infer_dtype(cells) == "time":
        return cells.map(str, na_action="ignore")
    if not isinstance(cells.dtype, pd.ArrowDtype):
        return cells
    import pyarrow

    plain: pd.Series = pyarrow.array(cells).to_pandas()
    plain.index, plain.name = cells.index, cells.name
    return unpacked(plain, seconds)


def is_categorical(cells: pd.Series) -> bool:
    """Whether a column has the categorical type of pandas."""
    return isinstance(cells.dtype, pd.CategoricalDtype)


def is_text(cells: pd.Series) -> bool:
    """Whether a column has a string type of pandas."""
    return isinstance(cells.dtype, pd.StringDtype)
