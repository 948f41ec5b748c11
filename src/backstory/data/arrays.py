"""Arrays to a Dataset: checks of their type and shape, and parts that belong together."""

import numpy as np

from backstory.data.checks import check_finite
from backstory.data.dataset import Dataset
from backstory.data.meaning import channels_last, schema_of
from backstory.data.reading import PLAIN, Reading
from backstory.data.rows import Rows, is_in_file, joined, mapped
from backstory.errors import InputError, counted


def from_array(
    values: Rows,
    source: str = "array",
    *,
    labels: np.ndarray | None = None,
    test_rows: np.ndarray | None = None,
    maximum: int | None = None,
    reading: Reading = PLAIN,
) -> Dataset:
    """The Dataset of an array of observations along the first axis.

    Args:
        values: (N, ...) of numbers or booleans, in memory or in a file; NaN marks a missing entry.
        source: where it came from, for messages.
        labels, test_rows: as in `Dataset`.
        maximum: top level of integer data if it is known; otherwise it is guessed from the values.
        reading: what a person says of the array.

    Raises:
        InputError: the array is not what the person says, is not numeric, has no rows or one axis only, or
            holds an infinite entry.

    >>> from_array(np.array([[[0, 16], [3, 4]]])).schema.levels
    17
    """
    values = _numbers(values if is_in_file(values) else np.asarray(values), source)
    _check_shape(values, source)
    incomplete = check_finite(values, source)
    values = channels_last(values, reading, source)
    schema = schema_of(values, reading, source, maximum)
    known = reading.range is not None or maximum is not None
    return Dataset(values, schema, incomplete, labels, test_rows, source=source, known_range=known)


def from_parts(
    values: tuple[Rows, Rows], labels: tuple[Rows | None, Rows | None], source: str, reading: Reading
) -> Dataset:
    """The Dataset of a training part and a test part, one after the other.

    Args:
        values: of the training part, (N, *shape), and of the test part, (M, *shape).
        labels: of both parts, (N,) and (M,); they are kept if both parts have some.
        source: where they came from, for messages.
        reading: what a person says of the arrays.

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
        joined(values, reading.memory),
        source,
        labels=np.concatenate(complete) if len(complete) == 2 else None,
        test_rows=np.arange(len(train), len(train) + len(test)),
        reading=reading,
    )


def checked_labels(values: Rows, labels: Rows | None, source: str) -> np.ndarray | None:
    """The labels as an array (N,); None stays None.

    Raises:
        InputError: the number of labels is not the number of observations.
    """
    if labels is not None and labels.size != len(values):
        raise InputError(
            f"expected as many labels as images in {source}, got {counted(labels.size, 'label')} "
            f"for {counted(len(values), 'image')}; check that the files belong together"
        )
    return None if labels is None else np.asarray(labels).reshape(-1)


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
