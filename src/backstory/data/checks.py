"""What every reader looks at before numbers are trusted, and how an entry is named in a message."""

from collections.abc import Iterator, Sequence

import numpy as np

from backstory.errors import InputError

_BLOCK_ENTRIES = 1 << 21
_NAMES_SHOWN = 5


def blocks(values: np.ndarray) -> Iterator[np.ndarray]:
    """Slices of rows of a few million entries, so that a check of large data needs little memory."""
    rows = max(1, _BLOCK_ENTRIES // max(1, values[:1].size))
    for start in range(0, len(values), rows):
        yield values[start : start + rows]


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


def extremes(values: np.ndarray) -> tuple[float, float]:
    """Smallest and largest value, NaN aside; NaN for both where nothing else is there."""
    flat = values.reshape(-1)
    return float(np.fmin.reduce(flat)), float(np.fmax.reduce(flat))


def observed_mask(values: np.ndarray, source: str, columns: Sequence[str] | None = None) -> np.ndarray | None:
    """Where `values` holds numbers, (N, ...) of bool; None where it does everywhere.

    Raises:
        InputError: an entry is infinite; says where.
    """
    if not np.issubdtype(values.dtype, np.floating):
        return None
    if np.isinf(extremes(values)).any():
        index = np.argwhere(np.isinf(values))[0]
        raise InputError(
            f"expected finite numbers in {source}, got {float(values[tuple(index)])} "
            f"in {place(index, columns)}; replace infinite values, or make them empty if they mean 'unknown'"
        )
    if not any(np.isnan(block).any() for block in blocks(values)):
        return None
    return ~np.isnan(values)
