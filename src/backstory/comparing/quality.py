"""Columns and pairs of columns of two tables, as the quality report of SDMetrics compares them.

    shape of numbers      1 − sup|F(x) − G(x)|, the Kolmogorov-Smirnov distance of the two samples
    shape of levels       1 − ½ Σ|p − q|, the total variation distance of the two shares of each level
    pair of numbers       1 − |ρ − r|/2, with Pearson's correlation ρ and r of the two tables
    any other pair        1 − ½ Σ|p − q| over the cells of the contingency table

1 is best. Numbers of a contingency table are cut into ten bins of equal width, as SDMetrics cuts them:
between the lowest and the highest number of their own table, where the highest has a bin of its own, which
empty cells share. Elsewhere empty cells are left out of numbers. Among levels they are a level of their own
(also in the shape of levels, where SDMetrics leaves them out).
"""

from collections.abc import Sequence
from itertools import combinations
from typing import TypeAlias

import numpy as np
from scipy.stats import ks_2samp

from backstory.data.tables.columns import Column

BINS = 10
Pairs: TypeAlias = dict[tuple[str, str], float]  # by the names of two columns


def shapes(real: np.ndarray, synthetic: np.ndarray, columns: Sequence[Column]) -> dict[str, float]:
    """The similarity of each column, by its name; NaN for numbers of which one table has none.

    >>> rows = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> shapes(rows, rows + 1, [Column(name="x", kind="continuous")])
    {'x': 0.75}
    """
    return {
        column.name: _shape_of_numbers(x, y) if column.levels is None else _overlap(_codes(x), _codes(y))
        for column, x, y in zip(columns, real.T, synthetic.T, strict=True)
    }


def pairs(real: np.ndarray, synthetic: np.ndarray, columns: Sequence[Column]) -> Pairs:
    """The similarity of each pair of columns; NaN for two numbers, one of which is constant in a table."""
    cut = [[_cut(x, column) for column, x in zip(columns, rows.T, strict=True)] for rows in (real, synthetic)]
    similarity = {}
    for i, j in combinations(range(len(columns)), 2):
        if columns[i].levels is None and columns[j].levels is None:
            score = 1 - abs(_correlation(real[:, [i, j]]) - _correlation(synthetic[:, [i, j]])) / 2
        else:
            width = 1 + max(int(codes[j].max()) for codes in cut)
            score = _overlap(*(codes[i] * width + codes[j] for codes in cut))
        similarity[columns[i].name, columns[j].name] = float(score)
    return similarity


def average(scores: Sequence[float]) -> float:
    """The mean of the scores that exist; NaN without one."""
    present = [score for score in scores if not np.isnan(score)]
    return float(np.mean(present)) if present else np.nan


def _shape_of_numbers(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x[~np.isnan(x)], y[~np.isnan(y)]
    return float(1 - ks_2samp(x, y, method="asymp").statistic) if len(x) and len(y) else np.nan


def _codes(x: np.ndarray) -> np.ndarray:
    """Levels as whole numbers from 0, of which 0 is that of an empty cell."""
    return np.where(np.isnan(x), 0, x + 1).astype(np.int64)


def _cut(x: np.ndarray, column: Column) -> np.ndarray:
    """A column of a contingency table as whole numbers from 0."""
    if column.levels is not None:
        return _codes(x)
    return np.digitize(x, np.histogram_bin_edges(x[~np.isnan(x)], bins=BINS))


def _overlap(x: np.ndarray, y: np.ndarray) -> float:
    """1 − the total variation distance of two samples of whole numbers."""
    values, places = np.unique(np.concatenate([x, y]), return_inverse=True)
    p = np.bincount(places[: len(x)], minlength=len(values)) / len(x)
    q = np.bincount(places[len(x) :], minlength=len(values)) / len(y)
    return float(1 - np.abs(p - q).sum() / 2)


def _correlation(x: np.ndarray) -> float:
    """Pearson's correlation over the rows with both numbers; NaN if one is constant."""
    whole = x[~np.isnan(x).any(axis=1)]
    if len(whole) < 2 or (np.ptp(whole, axis=0) == 0).any():
        return np.nan
    return float(np.corrcoef(whole.T)[0, 1])
