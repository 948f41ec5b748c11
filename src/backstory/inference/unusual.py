"""How unusual rows are: by the model's log p(x), and by training rows that a run keeps.

    score(x) = mean over kinds of log (share of training rows with a lower value than x)

    model      log p(x) of the model: values that do not go together
    near       log density of a linear exemplar VAE: rows without a training row near them
    group      distance to the nearest tenth of the training rows: small groups of outliers, too
    separate   the product of the columns' densities: many rare values, however many rows have them

Each kind sees what another misses. A density that is fitted to rows with outliers makes groups of them
common; `group` and `separate` do not. The kinds have different units and spreads, so the share counts
(`exemplar.Tail`), and each has the same weight. The last three look at the rows in two views, with half of
the weight each:

    arcsinh    of (x − median) / spread, which shortens long tails
    normal     the normal quantile of the value's rank, which gives all columns the same distribution

A column of levels without an order becomes an indicator for each level. The density of a training row leaves
out the row itself. Entries that are missing in a row are hidden in the training rows, too.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from backstory.inference.exemplar import MOST_EXEMPLARS, Exemplars, Tail

SIGMA = 0.2  # of exemplars, a fraction of each column's standard deviation
MOST_SEPARATE = 500  # exemplars of single columns, which need fewer
MOST_COMPARED = 500  # training rows whose values give the shares
WEIGHTS = (1.0, *[0.5] * 6)  # of the model, and of each kind in each view


class Neighbours:
    """The training rows that a run keeps, in both views.

    Args:
        rows: training rows, (n, d) with n ≥ 2, NaN where an entry is missing.
        levels: for each column the number of its levels if they have no order, else 0, (d,).
    """

    def __init__(self, rows: np.ndarray, levels: np.ndarray):
        self.columns = np.flatnonzero(~np.isnan(rows).all(0))
        self.rows, rows, levels = rows, rows[:, self.columns], levels[self.columns]
        self.views = [_Arcsinh.of(rows, levels), _Normal.of(rows, levels)]
        self.joint = [Exemplars.of(view(rows), SIGMA) for view in self.views]
        few = np.linspace(0, len(rows) - 1, min(len(rows), MOST_SEPARATE)).astype(int)
        self.separate = [Exemplars.of(view(rows[few]), SIGMA, separate=True) for view in self.views]
        self.number_among_few = np.full(len(rows) + 1, -1)  # the last for rows that are no exemplar
        self.number_among_few[few] = np.arange(len(few))

    def values(self, x: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
        """Each kind in each view, (6, N), higher for more common rows; args as `Exemplars.log_evidence`."""
        found, x = [], x[:, self.columns]
        for view, joint, separate in zip(self.views, self.joint, self.separate, strict=True):
            y = view(x)
            which = joint.own_exemplars((y - joint.location) / joint.scale) if own is None else own
            few = self.number_among_few[which]
            found += [joint.log_evidence(y, which), joint.nearness(y, which), separate.log_evidence(y, few)]
        return np.stack(found)


@dataclass(frozen=True)
class Shares:
    """The distribution of each kind over training rows in which the same entries are hidden.

    Attributes:
        neighbours: the training rows.
        tails: of the model's log p(x), then of the values of the neighbours.
    """

    neighbours: Neighbours
    tails: list[Tail]

    @classmethod
    def of(cls, neighbours: Neighbours, log_evidence: np.ndarray, x: np.ndarray, own: np.ndarray) -> "Shares":
        """The shares for training rows x, (n, d), with entries hidden, and the numbers of the exemplars."""
        return cls(neighbours, [Tail.of(value) for value in (log_evidence, *neighbours.values(x, own))])

    def scores(self, log_evidence: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The score of rows, (N,)."""
        values = (log_evidence, *self.neighbours.values(x))
        shares = [tail.log_share(value) for tail, value in zip(self.tails, values, strict=True)]
        return np.asarray(np.average(shares, axis=0, weights=WEIGHTS))


@dataclass(frozen=True)
class _View:
    """Columns of numbers as a view shows them, and an indicator for each level without an order."""

    levels: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        columns = [self.numbers(x)[:, self.levels == 0]]
        for j in np.flatnonzero(self.levels):
            indicators = (x[:, [j]] == np.arange(self.levels[j])).astype(float)
            indicators[np.isnan(x[:, j])] = np.nan
            columns.append(indicators)
        return np.concatenate(columns, 1)

    def numbers(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True)
class _Arcsinh(_View):
    location: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, levels: np.ndarray) -> "_Arcsinh":
        return cls(levels, *robust_scale(rows))

    def numbers(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(np.arcsinh((x - self.location) / self.spread))


@dataclass(frozen=True)
class _Normal(_View):
    sorted: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, rows: np.ndarray, levels: np.ndarray) -> "_Normal":
        return cls(levels, tuple(np.sort(column[~np.isnan(column)]) for column in rows.T))

    def numbers(self, x: np.ndarray) -> np.ndarray:
        columns = zip(x.T, self.sorted, strict=True)
        return np.stack([_normal_score(column, known) for column, known in columns], 1)


def _normal_score(x: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Φ⁻¹((r + ½) / (n + 1)) for the mean rank r of values among n sorted ones; NaN for NaN."""
    rank = (np.searchsorted(known, x, "left") + np.searchsorted(known, x, "right")) / 2
    return np.asarray(np.where(np.isnan(x), np.nan, ndtri((rank + 0.5) / (len(known) + 1))))


def robust_scale(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and interquartile range / 1.349 of each column.

    Where half of the values are equal, the standard deviation stands in for the range.
    """
    low, middle, high = np.nanpercentile(x, [25, 50, 75], axis=0)
    deviation = np.nanstd(x, axis=0)
    spread = np.where(high > low, (high - low) / 1.349, np.where(deviation > 0, deviation, 1.0))
    return middle, spread


def kept_rows(count: int) -> np.ndarray:
    """Which of `count` training rows a run keeps as neighbours, in rising order; always the same ones."""
    if count <= MOST_EXEMPLARS:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, MOST_EXEMPLARS, replace=False))
