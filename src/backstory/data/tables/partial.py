"""One row of a table of which a person gives some cells."""

import math
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np

from backstory import console
from backstory.data.schema import Schema
from backstory.data.tables.columns import Column
from backstory.errors import InputError


def partial_row(schema: Schema, where: Any) -> np.ndarray:
    """One row of stored values, (C,), with NaN where no cell is given.

    Args:
        schema: of the table.
        where: cells by the name of their column, as they would stand in a file or frame: a mapping, a series,
            or a frame of one row. Empty cells count as not given, and so do the columns of a series or frame
            that the model leaves out.

    Raises:
        InputError: another kind of data, a column that x does not have, or a cell that cannot be read.
    """
    if not schema.kinds:
        raise InputError("expected a model of a table for `where`, got one of other data; leave it out")
    row = np.full(schema.shape, math.nan)
    positions = {column.name: j for j, column in enumerate(schema.kinds)}
    left_out = {column.name: column.reason for column in schema.left_out}
    for name, cell in _cells(where).items():
        if name in left_out:
            if isinstance(where, Mapping) and not _is_empty(cell):
                raise InputError(
                    f"expected columns of x for `where`, got {name!r}, which the model leaves out "
                    f"({left_out[name]}); leave it out here, too"
                )
            continue
        if name not in positions:
            raise _unknown(schema, name)
        if not _is_empty(cell):
            row[positions[name]] = _stored(cell, schema.kinds[positions[name]])
    return row


def _cells(where: Any) -> Mapping[str, Any]:
    if getattr(where, "ndim", 1) == 2:  # a frame
        if len(where) != 1:
            raise InputError(f"expected a frame of one row for `where`, got {len(where)} rows; choose one")
        where = where.iloc[0]
    return dict(where)


def _unknown(schema: Schema, name: str) -> InputError:
    if name in [condition.name for condition in schema.conditions]:
        return InputError(
            f"expected columns of x for `where`, got {name!r}, which is a condition of this model; give its "
            "value with `given`"
        )
    near = get_close_matches(name, schema.columns or (), n=1, cutoff=0.0)
    return InputError(f"the model has no column {name!r}; did you mean {near[0]!r}?")


def _is_empty(cell: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(cell))


def _stored(cell: Any, column: Column) -> float:
    from backstory.data.tables.encode import encoded_cell  # with pandas, which is slow to import

    is_date = column.format is not None and hasattr(cell, "strftime")
    text = cell.strftime(column.format) if is_date else str(cell).strip()
    if column.writing is not None and isinstance(cell, int | float):
        text = column.writing.text(cell)
    if column.levels is not None and text not in column.levels:
        text = text.removesuffix(".0")  # 3.0 is the level 3
    stored = encoded_cell(text, column)
    _check_range(stored, text, column)
    return stored


def _check_range(stored: float, text: str, column: Column) -> None:
    """Warn of a number outside the training data; InputError for one that is far outside."""
    if column.levels is not None or column.low is None or column.high is None:
        return
    low, high, spread = column.low, column.high, column.high - column.low
    if low <= stored <= high:
        return
    ends = " to ".join(_text(value, column) for value in (low, high))
    if not low - spread <= stored <= high + spread:
        raise InputError(
            f"expected a value from {ends} in column {column.name!r}, as in the training data, got {text!r}; "
            "choose one that is not far from these"
        )
    console.warn(f"{text!r} lies outside the training data of column {column.name!r}, {ends}")


def _text(value: float, column: Column) -> str:
    """A stored number as people write it."""
    if column.kind != "date":
        return column.cell(value)
    return str(np.datetime64(0, "D") + np.timedelta64(math.floor(value), "D"))
