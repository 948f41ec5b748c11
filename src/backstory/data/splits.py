"""The rows for training, for validation and for testing; checks of training rows, and hashes of rows."""

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from backstory.data.checks import listed
from backstory.data.dataset import Dataset
from backstory.data.rows import Rows, blocks, subset
from backstory.data.schema import Schema
from backstory.errors import InputError, counted


@dataclass(frozen=True)
class Splits:
    """Row numbers of three disjoint parts, each sorted, of int64; validation and test may be empty."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    @property
    def held_out(self) -> np.ndarray:
        """The row numbers of validation and test, sorted."""
        return np.sort(np.concatenate([self.validation, self.test]))


def split(dataset: Dataset, validation: float = 0.1, seed: int = 0) -> Splits:
    """The rows in three parts: the data's own test part, one for validation, and the rest.

    The validation part is random, unless the data has its own. Rows without which a column of numbers
    would not vary over the training rows stay among these.

    Args:
        dataset: the data.
        validation: fraction of the rows that are not test rows, in [0, 1); at least one row unless 0.
        seed: of the random choice; the same seed and number of rows give the same split.

    Raises:
        InputError: a fraction outside [0, 1), or fewer than two rows left for training.

    >>> from backstory.data.arrays import from_array
    >>> parts = split(from_array(np.zeros((10, 2))), validation=0.2)
    >>> len(parts.train), len(parts.validation), len(parts.test)
    (8, 2, 0)
    """
    if not 0 <= validation < 1:
        raise InputError(
            f"expected a fraction from 0 to below 1 for `validation`, got {validation:g}; "
            "give 0.1, or 0 for none"
        )
    test = np.asarray([] if dataset.test_rows is None else dataset.test_rows, dtype=np.int64)
    remaining = np.ones(len(dataset), bool)
    remaining[test] = False
    own = np.asarray([] if dataset.validation_rows is None else dataset.validation_rows, dtype=np.int64)
    remaining[own] = False
    rest = np.flatnonzero(remaining)
    if len(own) and len(rest) > 1:
        held_out = np.sort(own) if validation > 0 else own[:0]
        return _with_odd_rows(dataset, Splits(train=rest, validation=held_out, test=np.sort(test)))
    count = max(1, round(validation * len(rest))) if validation > 0 else 0
    if len(rest) - count < 2:
        left = max(0, len(rest) - count)
        raise InputError(
            f"expected at least two rows for training, got {'one row' if left == 1 else 'none'} "
            f"({len(dataset)} in {dataset.source}, {count} for validation, {len(test)} for testing); "
            "give more data or a smaller `validation`"
        )
    shuffled = np.random.default_rng(seed).permutation(rest)
    parts = Splits(train=np.sort(shuffled[count:]), validation=np.sort(shuffled[:count]), test=np.sort(test))
    return _with_odd_rows(dataset, parts)


def _with_odd_rows(dataset: Dataset, parts: Splits) -> Splits:
    """The same parts, but each column that varies outside the test part varies over the training rows."""
    if not len(parts.validation) or not _has_columns(dataset.schema):
        return parts
    low, high = _ranges(subset(dataset.values, parts.train))
    stuck = np.flatnonzero(~(low < high))
    if not len(stuck):
        return parts
    held_out = np.concatenate([b[:, stuck] for b in blocks(subset(dataset.values, parts.validation))])
    others = ~np.isnan(held_out) & (held_out != low[stuck])
    odd = {int(rows[0]) for rows in map(np.flatnonzero, others.T) if len(rows)}
    move = np.isin(np.arange(len(parts.validation)), list(odd))
    train = np.sort(np.concatenate([parts.train, parts.validation[move]]))
    return Splits(train=train, validation=parts.validation[~move], test=parts.test)


def row_hashes(values: Rows) -> np.ndarray:
    """A 64-bit number for each row, (N,) of uint64; equal rows of one type have equal numbers.

    The number depends on the bytes alone, so one file gives the same numbers in every process. Among 100,000
    different rows the probability that any two share a number is below 1e-9.
    """
    size = math.prod(values.shape[1:]) * values.dtype.itemsize
    hashes = [np.zeros(0, np.uint64)]
    for block in blocks(values):
        content = memoryview(np.ascontiguousarray(block)).cast("B")
        digests = [
            hashlib.blake2b(content[i : i + size], digest_size=8).digest()
            for i in range(0, len(content), size)
        ]
        hashes.append(np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64))
    return np.concatenate(hashes)


def check_for_training(dataset: Dataset, rows: np.ndarray) -> None:
    """Raise InputError unless the given rows can be trained on.

    Two rows are needed. Constant and empty columns of tables and of two-dimensional continuous arrays are
    refused, because their density would have no bound. Constant pixels of images and constant columns of
    discrete arrays are allowed.
    """
    if len(rows) < 2:
        raise InputError(
            f"training needs at least two rows, got {counted(len(rows), 'row')} from {dataset.source}; "
            "give more data, or a smaller part of it for validation"
        )
    if _has_columns(dataset.schema):
        _check_varying(dataset, rows)


def _has_columns(schema: Schema) -> bool:
    """Whether the data has columns whose density would have no bound if they did not vary."""
    plain = schema.kind == "array" and len(schema.shape) == 1 and schema.levels is None
    return schema.kind == "table" or plain


def _ranges(values: Rows) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest value of each column; inf and -inf for an empty one."""
    low, high = np.full(values.shape[1:], np.inf), np.full(values.shape[1:], -np.inf)
    for block in blocks(values):
        low, high = np.fmin(low, np.fmin.reduce(block)), np.fmax(high, np.fmax.reduce(block))
    return low, high


def _check_varying(dataset: Dataset, rows: np.ndarray) -> None:
    low, high = _ranges(subset(dataset.values, rows))
    constant = low >= high  # or empty
    if constant.any():
        columns = dataset.schema.columns or [f"column {j + 1}" for j in range(len(low))]
        names = [columns[j] for j in np.flatnonzero(constant)]
        raise InputError(
            f"expected columns that vary over the {len(rows)} training rows of {dataset.source}, "
            f"got {counted(len(names), 'constant or empty column')} "
            f"({listed(names)}); remove these columns"
        )
