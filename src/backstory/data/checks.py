"""Checks of values, and the words for an entry or for names in a message."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backstory.data.rows import Rows, blocks, subset
from backstory.errors import InputError

LARGEST = 1e38  # number that single precision can compute with

_NAMES_SHOWN = 5
_SIGNS_SHOWN = 40  # of a cell


def place(index: Sequence[int], columns: Sequence[str] | None = None) -> str:
    """An entry's position in words, rows and columns counted from 1.

    >>> place((2, 0), columns=("age", "height"))
    "row 3, column 'age'"
    >>> place((2, 0))
    'row 3, column 1'
    >>> place((2, 0, 5))
    'observation 3, entry (1, 6)'
    """
    first, *rest = (int(i) for i in index)
    if columns is not None:
        return f"row {first + 1}, column {columns[rest[0]]!r}"
    if len(rest) == 1:
        return f"row {first + 1}, column {rest[0] + 1}"
    return f"observation {first + 1}, entry ({', '.join(str(i + 1) for i in rest)})"


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are.

    >>> listed(["a", "b", "c", "d", "e", "f", "g"])
    "'a', 'b', 'c', 'd', 'e' and 2 more"
    """
    shown = ", ".join(repr(name) for name in names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def shown(cell: Any) -> str:
    """A cell's text in quotes, shortened if it is long."""
    text = str(cell)
    return repr(text if len(text) <= _SIGNS_SHOWN else text[:_SIGNS_SHOWN] + "…")


def extremes(values: Rows) -> tuple[float, float]:
    """The smallest and the largest value apart from NaN; NaN for both if all are NaN."""
    low = high = math.nan
    for block in blocks(values):
        flat = block.reshape(-1)
        low = float(np.fmin(low, float(np.fmin.reduce(flat))))
        high = float(np.fmax(high, float(np.fmax.reduce(flat))))
    return low, high


def check_finite(values: Rows, source: str, columns: Sequence[str] | None = None) -> bool:
    """Whether entries are missing, which are NaN; one reading of the values finds this and infinite ones.

    Raises:
        InputError: an entry is infinite, or too large for single precision; the message says where.
    """
    if not np.issubdtype(values.dtype, np.floating):
        return False
    incomplete, start = False, 0
    largest = min(LARGEST, float(np.finfo(values.dtype).max))
    for block in blocks(values):
        if not (np.abs(block) <= largest).all():
            _refuse_large(block, start, source, columns)
            incomplete = True  # what is left are NaN
        start += len(block)
    return incomplete


def _refuse_large(block: np.ndarray, start: int, source: str, columns: Sequence[str] | None) -> None:
    with np.errstate(invalid="ignore"):  # of signalling NaN, which damaged files may hold
        large = np.argwhere(np.abs(block.astype(np.float64)) > LARGEST)
    if not len(large):
        return
    first, *rest = large[0]
    value, where = float(block[tuple(large[0])]), place((start + first, *rest), columns)
    if math.isfinite(value):
        raise InputError(
            f"expected numbers up to {LARGEST:g} in {source}, got {value:g} in {where}; give them in another "
            "unit, or make them empty if they mean 'unknown'"
        )
    raise InputError(
        f"expected finite numbers in {source}, got {value} in {where}; "
        "replace infinite values, or make them empty if they mean 'unknown'"
    )


def missing(values: Rows, rows: np.ndarray) -> tuple[int, tuple[int, ...]]:
    """The number of missing entries in these rows, and the index of the first one, () if there is none."""
    count, start = 0, 0
    first: tuple[int, ...] = ()
    for block in blocks(subset(values, rows)):
        empty = np.isnan(block)
        if empty.any():
            count += int(empty.sum())
            row, *entry = np.argwhere(empty)[0]
            first = first or (int(rows[start + row]), *map(int, entry))
        start += len(block)
    return count, first
