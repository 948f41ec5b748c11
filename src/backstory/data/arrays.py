"""Arrays to a Dataset: what the numbers mean is read from their type, shape and range.

Images are (N, H, W) or (N, H, W, C) with C of 1, 3 or 4. Integers are levels, 0 … maximum; floats are
fractions of the full range if they lie in [0, 1], levels if all of them are whole, otherwise plain numbers.
"""

from typing import Literal

import numpy as np

from backstory.data.checks import extremes, observed_mask
from backstory.data.dataset import Dataset
from backstory.data.rows import FileRows, Rows, blocks, mapped
from backstory.data.schema import Schema
from backstory.errors import InputError

_HIGHEST_LEVEL = 65535


def from_array(
    values: Rows,
    source: str = "array",
    *,
    labels: np.ndarray | None = None,
    test_rows: np.ndarray | None = None,
    names: tuple[str, ...] | None = None,
    maximum: int | None = None,
) -> Dataset:
    """The Dataset of an array of observations along the first axis.

    Args:
        values: (N, ...) of numbers or booleans, in memory or in a file; NaN marks a missing entry.
        source: where it came from, for messages.
        labels: (N,), kept.
        test_rows: rows of the test part, kept.
        names: one per observation, kept.
        maximum: top level of integer data where it is known; otherwise it is guessed from the values.

    Raises:
        InputError: not numbers, no rows, one-dimensional, or an infinite entry.

    >>> from_array(np.array([[[0, 16], [3, 4]]])).schema.levels
    17
    """
    values = _numbers(values if isinstance(values, FileRows) else np.asarray(values), source)
    _check_shape(values, source)
    observed = observed_mask(values, source)
    schema = _schema(values, maximum)
    return Dataset(values, schema, observed, labels, test_rows, names, source)


def only(values: Rows, low: float, high: float) -> bool:
    """Whether every entry is one of two numbers or missing."""
    return all(((b == low) | (b == high) | _isnan(b)).all() for b in blocks(values))


def _numbers(values: Rows, source: str) -> Rows:
    """The values in a type that both NumPy and torch can work with: native byte order, at most 64 bits."""
    if values.dtype.kind not in "buif":
        raise InputError(
            f"expected numbers in {source}, got an array of type {values.dtype}; convert it to a numeric type"
        )
    long = values.dtype.kind == "f" and values.dtype.itemsize > 8
    dtype = np.dtype(np.float64) if long else values.dtype.newbyteorder("=")
    if isinstance(values, FileRows):
        return values if values.dtype == dtype else mapped(lambda block: block.astype(dtype), values)
    # torch warns about memory that it may not write to
    return np.require(values.astype(dtype, copy=False), requirements=["C", "W"])


def _check_shape(values: Rows, source: str) -> None:
    if values.ndim < 2:
        raise InputError(
            f"expected observations along the first axis of {source}, got an array of shape {values.shape}; "
            "use reshape(-1, 1) for many observations of one number, reshape(1, -1) for one observation"
        )
    if values.size == 0:
        raise InputError(
            f"expected at least one observation in {source}, got an empty array of shape {values.shape}; "
            "give it some rows"
        )


def _schema(values: Rows, maximum: int | None) -> Schema:
    shape, dtype = values.shape[1:], values.dtype.name
    image_shaped = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    low, high = extremes(values)
    fractions = values.dtype.kind == "f" and low >= 0 and high <= 1
    levels: int | None = None
    top: float | None = 1 if fractions and image_shaped else None
    if values.dtype.kind != "f" or ((image_shaped or fractions) and _whole(values)):
        levels, top = _levels(values, low, high, image_shaped, maximum)
    kind: Literal["images", "array"] = "images" if image_shaped and top is not None else "array"
    return Schema(kind=kind, shape=shape, dtype=dtype, levels=levels, maximum=top)


def _levels(
    values: Rows, low: float, high: float, image_shaped: bool, maximum: int | None
) -> tuple[int | None, float | None]:
    """Number of levels and the top level of whole numbers; None for both where they are not levels."""
    if not (low >= 0 and high <= _HIGHEST_LEVEL):
        return None, None
    guess = high
    if values.dtype == np.uint8 and high > 63:
        guess = 255
    elif values.dtype == np.uint16 and image_shaped and high > 4095:
        guess = 65535
    # Two values are binary data whatever the upper one is called; a single value says nothing.
    upper = maximum or max(high, 1)
    if (low == 0 or high <= 1) and only(values, 0, upper):
        return 2, upper
    top = int(maximum or guess)
    return top + 1, top


def _whole(values: Rows) -> bool:
    return all(((b == np.rint(b)) | _isnan(b)).all() for b in blocks(values))


def _isnan(values: np.ndarray) -> np.ndarray | bool:
    return np.isnan(values) if values.dtype.kind == "f" else False
