"""Rows in scikit-learn's conventions, as data sets of Backstory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from backstory.data.dataset import Dataset
from backstory.data.schema import Schema
from backstory.data.tables.columns import LeftOut, number_text
from backstory.data.tables.constants import ConstantCells
from backstory.errors import InputError


def is_mixed(X: Any) -> bool:
    """Whether X is a frame in which some columns are not numbers."""
    return isinstance(X, pd.DataFrame) and not all(map(pd.api.types.is_numeric_dtype, X.dtypes))


def as_dataset(x: np.ndarray) -> Dataset:
    """Columns of numbers as a data set; all are continuous, whole numbers too."""
    schema = Schema(kind="array", shape=x.shape[1:], dtype="float64")
    return Dataset(x, schema, bool(np.isnan(x).any()))


def constant_cells(x: np.ndarray, constant: np.ndarray, names: Sequence[str]) -> list[ConstantCells]:
    """The cells of constant columns, where they are empty or differ from the constants.

    Args:
        x: (N, C).
        constant: (C,), NaN for a column that varies.
        names: (C,).
    """
    found = []
    for j in np.flatnonzero(~np.isnan(constant)).tolist():
        text, empty = number_text(constant[j]), np.isnan(x[:, j])
        column = LeftOut(name=names[j], reason="constant", place=j, text=text, cells="number")
        different = np.flatnonzero(~empty & (x[:, j] != constant[j]))
        texts = tuple(map(number_text, x[different, j]))
        found.append(ConstantCells(column, j, np.flatnonzero(empty), different, texts))
    return found


def value_ranges(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest value of each column; InputError if one is empty, or no column varies."""
    empty = np.isnan(x).all(0)
    if empty.any():
        raise empty_column(empty.argmax())
    low, high = np.nanmin(x, 0), np.nanmax(x, 0)
    if (low == high).all():
        raise InputError(
            f"expected a column that varies, got {len(low)} of which each has one value; give it others"
        )
    return low, high


def empty_column(column: Any) -> InputError:
    """The error for a column without a value, by its name or number."""
    return InputError(f"expected a value in each column, got none in column {column}; drop it")
