"""Arrays to a Dataset: the type, shape and range of the numbers tell what they mean.

Images are (N, H, W) or (N, H, W, C) with C of 1, 3 or 4. Integers are levels, 0 … maximum; floats are
fractions of the full range if they lie in [0, 1], levels if all are whole, otherwise plain numbers.
"""

import math
from typing import Literal

import numpy as np

from backstory.data.checks import check_finite, extremes
from backstory.data.dataset import Dataset
from backstory.data.rows import Rows, blocks, is_in_file, joined, mapped
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
        labels, test_rows, names: as in `Dataset`.
        maximum: top level of integer data if it is known; otherwise it is guessed from the values.

    Raises:
        InputError: the array is not numeric, has no rows or one axis only, or holds an infinite entry.

    >>> from_array(np.array([[[0, 16], [3, 4]]])).schema.levels
    17
    """
    values = _numbers(values if is_in_file(values) else np.asarray(values), source)
    _check_shape(values, source)
    incomplete = check_finite(values, source)
    schema = _schema(values, maximum)
    return Dataset(values, schema, incomplete, labels, test_rows, names, source)


def from_parts(
    values: tuple[Rows, Rows], labels: tuple[Rows | None, Rows | None], source: str, limit: float = math.inf
) -> Dataset:
    """The Dataset of a training part and a test part, one after the other.

    Args:
        values: of the training part, (N, *shape), and of the test part, (M, *shape).
        labels: of both parts, (N,) and (M,); they are kept if both parts have some.
        source: where they came from, for messages.
        limit: bytes that the values may take in memory; more go to a temporary file.

    Raises:
        InputError: parts of different shape, a wrong number of labels, or see `from_array`.
    """
    train, test = values
    if train.shape[1:] != test.shape[1:]:
        raise InputError(
            f"expected training and test observations of one shape in {source}, "
            f"got {train.shape[1:]} and {test.shape[1:]}; use one of the two files"
        )
    checked = [checked_labels(part, label, source) for part, label in zip(values, labels, strict=True)]
    complete = [label for label in checked if label is not None]
    return from_array(
        joined(values, limit),
        source,
        labels=np.concatenate(complete) if len(complete) == 2 else None,
        test_rows=np.arange(len(train), len(train) + len(test)),
    )


def checked_labels(values: Rows, labels: Rows | None, source: str) -> np.ndarray | None:
    """The labels as an array (N,); None stays None.

    Raises:
        InputError: the number of labels is not the number of observations.
    """
    if labels is not None and labels.size != len(values):
        raise InputError(
            f"expected as many labels as images in {source}, got {labels.size} labels "
            f"for {len(values)} images; check that the files belong together"
        )
    return None if labels is None else np.asarray(labels).reshape(-1)


def only(values: Rows, low: float, high: float) -> bool:
    """Whether every entry is one of two numbers or missing."""
    return all(((b == low) | (b == high) | _isnan(b)).all() for b in blocks(values))


def _numbers(values: Rows, source: str) -> Rows:
    """The values in a type that both NumPy and torch support: native byte order, at most 64 bits."""
    if values.dtype.kind not in "buif":
        raise InputError(
            f"expected numbers in {source}, got an array of type {values.dtype}; convert it to a numeric type"
        )
    long = values.dtype.kind == "f" and values.dtype.itemsize > 8
    dtype = np.dtype(np.float64) if long else values.dtype.newbyteorder("=")
    if is_in_file(values):
        return values if values.dtype == dtype else mapped(lambda block: block.astype(dtype), values)
    # torch warns about read-only memory
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
    """The number of levels and the top level of whole numbers; None for both if they are not levels."""
    if not (low >= 0 and high <= _HIGHEST_LEVEL):
        return None, None
    guess = high
    if values.dtype == np.uint8 and high > 63:
        guess = 255
    elif values.dtype == np.uint16 and image_shaped and high > 4095:
        guess = 65535
    # Two values are binary data whatever the upper one is; a single value does not tell its maximum.
    upper = maximum or max(high, 1)
    if (low == 0 or high <= 1) and only(values, 0, upper):
        return 2, upper
    top = int(maximum or guess)
    return top + 1, top


def _whole(values: Rows) -> bool:
    return all(((b == np.rint(b)) | _isnan(b)).all() for b in blocks(values))


def _isnan(values: np.ndarray) -> np.ndarray | bool:
    return np.isnan(values) if values.dtype.kind == "f" else False
