"""Rows as single values, so that equal ones can be looked for; some of very many rows."""

import numpy as np


def keys(rows: np.ndarray) -> np.ndarray:
    """A value for each row, (N,), which rows share that are equal in every cell, empty ones included.

    >>> same, other = np.array([[1.0, np.nan], [0.0, 2.0]]), np.array([[1.0, np.nan], [-0.0, 2.0]])
    >>> keys(same) == keys(other)
    array([ True,  True])
    """
    plain = np.ascontiguousarray(np.where(np.isnan(rows), np.nan, rows + 0.0), np.float64)  # one NaN, one 0
    return plain.view(np.dtype((np.void, plain.itemsize * plain.shape[1]))).ravel()


def some(rows: np.ndarray, most: int, random: np.random.Generator) -> np.ndarray:
    """The rows, or as many of them as are allowed, chosen at random, in their order."""
    return rows if len(rows) <= most else rows[np.sort(random.choice(len(rows), most, replace=False))]
