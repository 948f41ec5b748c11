"""Whether synthetic rows repeat training rows: distances to the nearest row, copies, and membership.

The distance of two rows is Euclidean over their columns: numbers in standard deviations, where an empty cell
stands at the median; two levels that differ are 1 apart, and an empty cell is a level of its own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from backstory.comparing.rows import keys
from backstory.data.tables.columns import Column

ERRORS = 2  # standard errors from which distances differ
TIE = 1e-6  # distances that differ by less are equal, in standard deviations


@dataclass(frozen=True)
class Nearness:
    """How near synthetic rows are to training rows, beside held-out rows.

    Attributes:
        nearer_to_training: the share of synthetic rows that are nearer to a training row than to a held-out
            row, among as many rows of each kind; ties count half.
        distance: the median distance of a synthetic row to the nearest training row.
        held_out_distance: that of a held-out row.
        closer: the probability that a synthetic row is nearer to the training rows than a held-out row is;
            ties count half.
        closer_error: its standard error, if all rows are of one distribution.
        membership: AUROC of telling training rows from held-out rows by their distance to the nearest
            synthetic row.
    """

    nearer_to_training: float
    distance: float
    held_out_distance: float
    closer: float
    closer_error: float
    membership: float

    @property
    def verdict(self) -> str:
        """How the distances of synthetic rows compare with those of held-out rows."""
        beyond = (self.closer - 0.5) / self.closer_error
        return "nearer" if beyond > ERRORS else "farther" if beyond < -ERRORS else "as far"


def nearness(
    synthetic: np.ndarray, training: np.ndarray, held_out: np.ndarray, columns: Sequence[Column]
) -> Nearness:
    """All distances of some synthetic rows; the arrays are (N, C)."""
    space = Space.of(training, columns)
    drawn, known, new = map(space.points, (synthetic, training, held_out))
    members = np.repeat([1, 0], [len(known), len(new)])
    own, others = nearest(drawn, known), nearest(new, known)
    return Nearness(
        nearer_share(drawn, known, new),
        float(np.median(own)),
        float(np.median(others)),
        _share_below(own, others),
        math.sqrt((len(own) + len(others) + 1) / (12 * len(own) * len(others))),
        float(roc_auc_score(members, -nearest(np.concatenate([known, new]), drawn))),
    )


def _share_below(x: np.ndarray, y: np.ndarray) -> float:
    """The probability that a number of x is below one of y, where ties count half (Mann and Whitney 1947)."""
    return float(1 - mannwhitneyu(x, y, method="asymptotic").statistic / (len(x) * len(y)))


@dataclass(frozen=True)
class Space:
    """The space in which distances of rows are Euclidean.

    Attributes:
        columns: of the table.
        middle, scale: (C,), the median and the standard deviation of numbers.
    """

    columns: Sequence[Column]
    middle: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, columns: Sequence[Column]) -> "Space":
        """The space in which these rows have a standard deviation of one in each column of numbers."""
        present = [x[~np.isnan(x)] for x in rows.T]
        middle = [np.median(x) if len(x) else 0.0 for x in present]
        return cls(columns, np.array(middle), np.array([x.std() or 1.0 if len(x) else 1.0 for x in present]))

    def points(self, rows: np.ndarray) -> np.ndarray:
        """Rows, (N, C), as points, (N, D)."""
        return np.concatenate([self._column(rows[:, j], j) for j in range(len(self.columns))], axis=1)

    def _column(self, x: np.ndarray, j: int) -> np.ndarray:
        levels = self.columns[j].levels
        if levels is None:
            return np.nan_to_num((x - self.middle[j]) / self.scale[j], nan=0.0)[:, None]
        codes = np.where(np.isnan(x), len(levels), x).astype(int)
        return np.eye(len(levels) + 1)[codes] / np.sqrt(2)


def nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The distance of each point, (N, D), to the nearest of the others, (M, D)."""
    return neighbours(points, others, 1)[0][:, 0]


def neighbours(points: np.ndarray, others: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances and row numbers of the others, (M, D), that are nearest to each point, (N, count) both."""
    distance, index = NearestNeighbors(n_neighbors=count).fit(others).kneighbors(points)
    return distance, index


def nearer_share(points: np.ndarray, training: np.ndarray, held_out: np.ndarray) -> float:
    """The share of points that are nearer to the training rows than to as many held-out ones.

    More training rows are cut into parts of that size, over which the share is averaged: among more rows, one
    would be nearer by chance.
    """
    shuffle = np.random.default_rng(0).permutation
    size = min(len(training), len(held_out))
    others = nearest(points, shuffle(held_out)[:size])
    mixed = shuffle(training)
    parts = [mixed[start : start + size] for start in range(0, len(mixed) - size + 1, size)]
    differences = [others - nearest(points, part) for part in parts]
    return float(np.mean([np.mean((d > TIE) + (np.abs(d) <= TIE) / 2) for d in differences]))


def copies(rows: np.ndarray, training: np.ndarray) -> int:
    """The number of rows that equal a training row in every cell, empty ones included.

    >>> copies(np.array([[1.0, np.nan], [1.0, 2.0]]), np.array([[1.0, np.nan]]))
    1
    """
    return int(np.isin(keys(rows), keys(training)).sum())
