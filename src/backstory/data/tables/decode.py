"""Stored numbers of a column to cells, as its `Column` describes them; the way back from `encode`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from backstory.data.tables.columns import Column
from backstory.data.tables.dates import FIRST_DAY, LAST_DAY, MICROSECONDS, shaped
from backstory.data.tables.encode import level_numbers

_UNITS = (("%f", 1), ("%S", 1_000_000), ("%M", 60_000_000), ("%H", 3_600_000_000))  # microseconds
_PLAIN = {"number": "float64", "whole": "Int64", "bool": "boolean"}  # types of cells


def decoded(values: np.ndarray, column: Column) -> pd.Series:
    """The cells for stored numbers (n,): texts of levels, dates in the file's format, integers.

    Means of levels need not be levels. They stay numbers if the levels are numbers, and become the nearest
    level if the levels are texts, booleans or categories. Means of dates and times become whole steps.
    """
    values = column.in_steps(values)
    if column.writing is not None:
        write, plain = column.writing.text, column.model_copy(update={"writing": None, "dtype": None})
        numbers = decoded(values, plain).astype(object)
        texts = [None if pd.isna(number) else write(float(number)) for number in numbers]
        return typed(pd.Series(texts, dtype=object), column.dtype)
    if column.kind == "date":
        return _dates(values, column)
    whole = bool((np.isnan(values) | (values == np.rint(values))).all())
    if column.levels is None:
        cells = pd.Series(values)
        if column.cells == "whole" and whole:
            cells = cells.astype("Int64")
        elif column.cells == "whole" and not str(column.dtype).startswith("timedelta"):
            return cells
        return typed(cells, column.dtype)
    if column.cells in ("text", "bool") or column.dtype == "category" or whole:
        return _level_cells(column.settled(values), column)
    levels = level_numbers(column)
    return pd.Series(np.interp(values, np.arange(len(levels)), levels))


def _level_cells(codes: np.ndarray, column: Column) -> pd.Series:
    levels = list(column.levels or ()) if column.cells == "text" else level_numbers(column).tolist()
    index = np.where(np.isnan(codes), -1, codes).astype(np.int64)
    plain: Any = _PLAIN.get(column.cells, "object")
    levels = pd.Series(levels).astype(plain).tolist()
    if column.dtype == "category":
        ordered = column.kind == "ordinal"
        unused, order = (_categories(texts, column) for texts in (column.unused, column.order))
        known: Any = pd.Index(list(dict.fromkeys([*levels, *unused])))
        in_order = list(dict.fromkeys([*order, *known]))
        return pd.Series(pd.Categorical.from_codes(index, known, ordered).reorder_categories(in_order))
    cells = pd.Series(np.array([*levels, None], dtype=object)[index], dtype=object)
    if column.cells == "bool" and (index >= 0).all():
        plain = "bool"
    return typed(cells.astype(plain), column.dtype)


def _categories(texts: Sequence[str], column: Column) -> list[Any]:
    """Categories of the column's type for their texts."""
    if column.cells == "bool":
        return [text == "True" for text in texts]
    if column.cells == "text":
        return list(texts)
    kind: Any = _PLAIN[column.cells]
    return pd.Series([float(text) for text in texts], dtype=np.float64).astype(kind).tolist()


def _dates(values: np.ndarray, column: Column) -> pd.Series:
    form = column.format
    unit = 1 if form is None else next((n for sign, n in _UNITS if sign in form), MICROSECONDS)
    if column.decimals == 0:
        unit = MICROSECONDS
    empty = np.isnan(values)
    exact = np.clip(np.where(empty, 0, values), FIRST_DAY, LAST_DAY + 1 - 1e-9) * (MICROSECONDS / unit)
    stamps = (np.rint(exact).astype(np.int64) * unit).astype("datetime64[us]")
    dates: Any = pd.Series(np.where(empty, np.datetime64("NaT"), stamps))
    if form is not None:
        if "%z" in form:
            zone = column.zone or "+00:00"
            hours, minutes = int(zone[1:3]), int(zone[-2:])
            shift = pd.Timedelta(hours=hours, minutes=minutes)
            dates = dates + shift if zone[0] == "+" else dates - shift
            form = form.replace("%z", zone)
        words = dates.dt.strftime(shaped(form, column.unpadded)).astype(object).where(~empty, None)
        return typed(words, column.dtype)
    if column.dtype == "date":
        return dates.dt.date.astype(object).where(~empty, None)
    if column.dtype is not None and "," in column.dtype:  # a time zone
        dates = dates.dt.tz_localize("UTC")
    return typed(dates, column.dtype)


def typed(cells: pd.Series, dtype: Any) -> pd.Series:
    """Cells in a pandas type, given as such or by name; unchanged if the type cannot hold them."""
    if dtype is None or dtype == str(cells.dtype):
        return cells
    name = str(dtype)
    try:
        if name.startswith("timedelta") and pd.api.types.is_numeric_dtype(cells):
            durations: Any = pd.to_timedelta(cells.astype(np.float64), unit="s")
            return pd.Series(durations.astype(name))
        if name.startswith("period"):
            return pd.Series(cells.dt.to_period(name.removeprefix("period[").removesuffix("]")))
        typed: pd.Series = cells.astype(pd.api.types.pandas_dtype(dtype))
        return typed
    except (TypeError, ValueError, OverflowError):
        return cells
