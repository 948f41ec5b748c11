"""What a person says of the cells of a row of a table: values, ranges and sets."""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np

from backstory import console
from backstory.data.checks import listed, shown
from backstory.data.schema import Schema
from backstory.data.tables.columns import SINGLE, Column, LeftOut, is_number
from backstory.errors import InputError, counted, meant

_DAY = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True)
class Wanted:
    """What the cells of one row have to be.

    Attributes:
        row: (C,) stored values of the cells that are given, NaN elsewhere.
        ranges: by number of the column among `Schema.cell_kinds`, the lowest and the highest number.
        sets: by number of the column, the possible numbers.
        schema: of a table whose columns belong together; None where stored values are the cells.
    """

    row: np.ndarray
    ranges: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    sets: Mapping[int, np.ndarray] = field(default_factory=dict)
    schema: Schema | None = None

    @property
    def is_exact(self) -> bool:
        """Whether there are neither ranges nor sets."""
        return not self.ranges and not self.sets

    @property
    def is_open(self) -> bool:
        """Whether no cell is given."""
        return bool(np.isnan(self.row).all())

    def holds(self, x: np.ndarray) -> np.ndarray:
        """Whether each row of stored values, (N, C), is in all ranges and sets, (N,) of bool."""
        inside = np.ones(len(x), bool)
        x = x if self.schema is None else self.schema.cells(np.asarray(x, np.float64))
        for j, (low, high) in self.ranges.items():
            inside &= (x[:, j] >= low) & (x[:, j] <= high)
        for j, values in self.sets.items():
            inside &= np.isclose(x[:, j, None], values, rtol=SINGLE, atol=0).any(1)
        return inside


def wanted(schema: Schema, where: Any) -> Wanted:
    """What a person says of the cells of a row.

    Args:
        schema: of the table.
        where: cells by the name of their column, as they would stand in a file or frame: a mapping, a series,
            or a frame of one row. A tuple (low, high) is a range with both ends, of which one may be None; a
            set or list holds possible values. Empty cells count as not given, and so do the columns of a
            series or frame that the model leaves out.

    Raises:
        InputError: another kind of data, a column that x does not have, a cell that cannot be read, or cells
            that contradict each other.
    """
    if not schema.kinds:
        raise InputError("expected a model of a table for `where`, got one of other data; leave it out")
    row, ranges, sets = np.full(len(schema.cell_kinds), math.nan), {}, {}
    for j, cell in _of_modelled(_cells(where), schema, isinstance(where, Mapping)).items():
        column = schema.cell_kinds[j]
        match cell:
            case tuple() if column.levels is not None:
                sets[j] = _levels_between(cell, column)
            case tuple():
                ranges[j] = _range(cell, column)
            case set() | frozenset() | list():
                sets[j] = _choice(cell, column)
            case _ if _is_day(cell, column):
                ranges[j] = _range((cell, cell), column)
            case _ if not _is_empty(cell):
                row[j] = _stored(cell, column)
    return _related(row, ranges, sets, schema) if schema.related else Wanted(row, ranges, sets)


def _of_modelled(cells: Mapping[str, Any], schema: Schema, strict: bool) -> dict[int, Any]:
    """The cells by number of their column among `Schema.cell_kinds`.

    InputError for an unknown column, another value of a constant one, and, if `strict`, a cell of another
    column that the model leaves out.
    """
    positions = {column.name: j for j, column in enumerate(schema.cell_kinds)}
    left_out = {column.name: column for column in schema.left_out if column.name not in positions}
    for name, cell in cells.items():
        if name not in left_out and name not in positions:
            raise _unknown(schema, name)
        if name in left_out and left_out[name].reason == "constant":
            _check_constant(cell, left_out[name])
        elif name in left_out and strict and not _is_empty(cell):
            raise InputError(
                f"expected columns of x for `where`, got {name!r}, which the model leaves out "
                f"({left_out[name].reason}); leave it out here, too"
            )
    return {positions[name]: cell for name, cell in cells.items() if name in positions}


def _check_constant(cell: Any, column: LeftOut) -> None:
    """Raise InputError for cells without the value of a constant column, which every draw has."""
    from backstory.data.tables.watch import is_constant  # with pandas, which is slow to import

    several = isinstance(cell, set | frozenset | list)
    cells = [one for one in (cell if several else [cell]) if not _is_empty(one)]
    if cells and not any(is_constant(one, column) for one in cells):
        raise InputError(
            f"expected {shown(column.text or '')} for column {column.name!r}, its only value in training, "
            f"got {shown(str(cells[0]))}; leave it out"
        )


def _is_day(cell: Any, column: Column) -> bool:
    """Whether this is a day alone, for a column of dates with times."""
    has_times = column.kind == "date" and column.decimals != 0
    return has_times and isinstance(cell, str) and bool(_DAY.fullmatch(cell.strip()))


def _related(
    row: np.ndarray, ranges: dict[int, tuple[float, float]], sets: dict[int, np.ndarray], schema: Schema
) -> Wanted:
    """What is wanted of the cells of columns that belong together, as stored values where these say it."""
    cells = {column.name: row[None, j] for j, column in enumerate(schema.cell_kinds)}
    for relation in schema.related.all:
        if relation.broken(cells).any():
            raise InputError(
                f"expected cells that belong together for `where`, got some that break {relation.text}; "
                "correct them, or leave one out"
            )
    stored = schema.related.stored(cells, schema.kinds)[0]
    for relation in schema.related.relations:
        j = [column.name for column in schema.cell_kinds].index(relation.dependent)
        if np.isnan(row[j]) or all(not np.isnan(cells[name][0]) for name in relation.givers):
            continue
        if schema.cell_kinds[j].levels is None:
            raise InputError(
                f"expected {listed(relation.givers)} beside {relation.dependent!r} for `where`, because "
                f"{relation.text}, got none; give them too, or a range of {relation.dependent!r}"
            )
        sets[j] = row[[j]]
    return Wanted(stored, ranges, sets, schema)


def _choice(cells: Collection[Any], column: Column) -> np.ndarray:
    if not cells:
        raise InputError(f"expected values of column {column.name!r}, got an empty set; give some")
    stored = np.array([_stored(cell, column) for cell in cells])
    if not column.is_drawable(stored):
        raise InputError(
            f"expected a value or a range of column {column.name!r}, whose numbers hardly ever come twice, "
            f"got {counted(len(cells), 'possible value')}; give a range such as (low, high)"
        )
    return stored


def _range(cells: tuple[Any, ...], column: Column) -> tuple[float, float]:
    """The stored ends of a range of numbers or dates."""
    low, high = _ends(cells, column, column.model_copy(update={"values": None}))
    if column.low is not None and column.high is not None and (low > column.high or high < column.low):
        ends = " to ".join(column.shown(value) for value in (column.low, column.high))
        raise InputError(
            f"expected a range of column {column.name!r} that meets the training data, {ends}, got "
            f"{_written(cells)}; choose another"
        )
    return low, high


def _levels_between(cells: tuple[Any, ...], column: Column) -> np.ndarray:
    """The stored values of levels in a range: those of numbers between its ends, or steps of an order."""
    from backstory.data.tables.encode import level_numbers  # with pandas, which is slow to import

    count = len(column.levels or ())
    if column.cells in ("number", "whole"):
        numbers = level_numbers(column)
        low, high = _ends(cells, column, Column(name=column.name, kind="continuous"))
        inside = np.flatnonzero((numbers >= low) & (numbers <= high)).astype(np.float64)
    elif column.kind == "ordinal":
        low, high = _ends(cells, column, column)
        inside = np.arange(max(low, 0), min(high, count - 1) + 1)
    else:
        raise InputError(
            f"expected a value or a set of values for column {column.name!r}, whose levels have no order, "
            f"got the range {_written(cells)}; give the levels"
        )
    if not len(inside):
        raise InputError(
            f"expected a range with a level of column {column.name!r}, got {_written(cells)}; choose another"
        )
    return inside


def _ends(cells: tuple[Any, ...], column: Column, reader: Column) -> tuple[float, float]:
    """The stored ends of a range, read by a column."""
    if len(cells) != 2:
        raise InputError(
            f"expected a range (low, high) for column {column.name!r}, got "
            f"{counted(len(cells), 'value')}; give two, or "
            "a set of values"
        )
    low, high = (
        end if _is_empty(cell) else _encoded(cell, reader)[0]
        for cell, end in zip(cells, (-math.inf, math.inf), strict=True)
    )
    if _is_day(cells[1], column):
        high = math.nextafter(high + 1, low)  # the whole day
    if low > high:
        raise InputError(
            f"expected a range from low to high for column {column.name!r}, got {_written(cells)}; "
            "exchange its ends"
        )
    return low, high


def _written(cells: tuple[Any, ...]) -> str:
    return "..".join("" if _is_empty(cell) else str(cell) for cell in cells)


def _cells(where: Any) -> Mapping[str, Any]:
    if getattr(where, "ndim", 1) == 2:  # a frame
        if len(where) != 1:
            raise InputError(
                f"expected a frame of one row for `where`, got {counted(len(where), 'row')}; choose one"
            )
        where = where.iloc[0]
    return dict(where)


def _unknown(schema: Schema, name: str) -> InputError:
    if name in [condition.name for condition in schema.conditions]:
        return InputError(
            f"expected columns of x for `where`, got {name!r}, which is a condition of this model; give its "
            "value with `given`"
        )
    columns = schema.columns or ()
    return InputError(
        f"the model has no column {name!r}; {meant(name, columns, f'its columns are {listed(columns)}')}"
    )


def _is_empty(cell: Any) -> bool:
    import pandas as pd

    return bool(np.all(pd.isna(cell))) and np.ndim(cell) == 0


def _stored(cell: Any, column: Column) -> float:
    stored, text = _encoded(cell, column)
    _check_range(stored, text, column)
    return stored


def _encoded(cell: Any, column: Column) -> tuple[float, str]:
    """The stored value of a cell, and its text."""

    from backstory.data.tables.encode import encoded_cell  # with pandas, which is slow to import

    if column.levels is None and isinstance(cell, bool | np.bool_):
        cell = int(cell)  # in a column of numbers
    is_date = column.format is not None and hasattr(cell, "strftime")
    text = cell.strftime(column.format) if is_date else str(cell).strip()
    if not is_date and _is_day(cell, column):
        return _midnight(cell, column), str(cell)
    if str(column.dtype).startswith("timedelta"):
        text = _seconds(cell, column)
    if column.writing is not None and isinstance(cell, int | float):
        text = column.writing.text(cell)
    if column.writing is not None and isinstance(cell, str | timedelta | np.timedelta64):
        text = _as_written(cell, column)
    if column.levels is not None and text not in column.levels:
        text = text.removesuffix(".0")  # 3.0 is the level 3
    return encoded_cell(text, column), text


def _midnight(cell: str, column: Column) -> float:
    """The stored value of the beginning of a day, in the time zone of the column."""
    from backstory.data.tables.dates import midnight  # with pandas, which is slow to import

    return midnight(cell.strip(), column.zone, column.dtype)


def _as_written(cell: Any, column: Column) -> str:
    """A duration as a column of texts writes it; a text in another form than a duration's as it is."""
    import pandas as pd

    assert column.writing is not None
    if isinstance(cell, str) and column.seconds is None:
        return cell.strip()
    try:
        length = (
            float(cell) if isinstance(cell, str) and is_number(cell) else pd.Timedelta(cell).total_seconds()
        )
    except ValueError:
        return cell.strip()
    return column.writing.text(length / (column.seconds or 1))


def _seconds(cell: Any, column: Column) -> str:
    """A duration in seconds, of a duration, a text such as `5 min` or `00:05:00`, or a number of seconds."""
    import pandas as pd

    if isinstance(cell, int | float) or (isinstance(cell, str) and is_number(cell)):
        return str(cell).strip()
    try:
        return repr(pd.Timedelta(cell).total_seconds())
    except ValueError:
        raise InputError(
            f"expected a duration in column {column.name!r}, got {shown(str(cell))}; write it as 00:05:00 or "
            "5 min, or give its seconds"
        ) from None


def _check_range(stored: float, text: str, column: Column) -> None:
    """Warn of a number outside the training data; InputError for one that is far outside."""
    if column.levels is not None or column.low is None or column.high is None:
        return
    low, high, spread = column.low, column.high, column.high - column.low
    if low <= stored <= high:
        return
    ends = " to ".join(column.shown(value) for value in (low, high))
    if not low - spread <= stored <= high + spread:
        raise InputError(
            f"expected a value from {ends} in column {column.name!r}, as in the training data, got {text!r}; "
            "choose one that is not far from these"
        )
    console.warn(f"{text!r} lies outside the training data of column {column.name!r}, {ends}")
