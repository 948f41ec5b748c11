"""A linear VAE whose prior is its training rows: density in closed form, and the tail of a density.

    z ~ (1/n) Σ_n N(μ_n, S),   x = b + W z + ε,   ε ~ N(0, σ² I)
    p(x) = (1/n) Σ_n N(x; c_n, K),   c_n = b + W μ_n,   K = W S Wᵀ + σ² I

The prior is the average of the posteriors N(μ_n, S) of the n training rows (Norouzi et al. 2020, "Exemplar
VAE: linking generative models, nearest neighbor retrieval, and data augmentation"). For a given σ the best W
for a standard normal prior is U (Λ − σ² I)₊^½, with Λ and U of the covariance of the rows (Tipping & Bishop
1999), so that in the basis U

    c_n = b + s (x_n − b),   K = σ² (1 + s),   s = (1 − σ²/λ)₊

A small σ gives the density around single rows, a large one that of their mean. A training row is weighed with
the exemplars of the others, as in training an exemplar VAE: its own says nothing of how common it is.
"""

from dataclasses import dataclass

import numpy as np
import torch

MOST_EXEMPLARS = 2000
MOST_KEPT = 1000  # of the scores that a tail is told from
ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Exemplars:
    """p(x) of an exemplar VAE over d columns, of the columns as they are.

    Attributes:
        location, scale: of the columns, (d,); what follows is of y = (x − location) / scale.
        rows: training rows as they were, y of shape (n, d), NaN where a cell is missing.
        centres: c_n, (n, d); a missing cell is taken as average.
        covariance: K, (d, d).
        separate: whether each column has a unit and an exemplar prior of its own, so that p(x) is the product
            of the columns' densities.
    """

    location: np.ndarray
    scale: np.ndarray
    rows: np.ndarray
    centres: np.ndarray
    covariance: np.ndarray
    separate: bool

    @classmethod
    def of(cls, x: np.ndarray, sigma: float, separate: bool = False) -> "Exemplars":
        """The model of training rows.

        Args:
            x: (N, d), N at least 2; no column without a value. Of more than 2,000 rows so many are drawn.
            sigma: σ, a fraction of a column's deviation.
            separate: see the class.
        """
        if len(x) > MOST_EXEMPLARS:
            x = x[np.sort(np.random.default_rng(0).choice(len(x), MOST_EXEMPLARS, replace=False))]
        location, deviation = np.nanmean(x, 0), np.nanstd(x, 0)
        scale = np.where(deviation > 0, deviation, 1.0)
        rows = (x - location) / scale
        filled = np.nan_to_num(rows)
        covariance = filled.T @ filled / len(filled)
        if separate:
            covariance = np.diag(np.diag(covariance))
        values, basis = np.linalg.eigh(covariance)
        shrink = np.clip(1 - sigma**2 / np.maximum(values, 1e-12), 0, None)
        centres = filled @ (basis * shrink) @ basis.T
        return cls(location, scale, rows, centres, (basis * (sigma**2 * (1 + shrink))) @ basis.T, separate)

    def log_evidence(self, x: np.ndarray) -> np.ndarray:
        """log p of the observed cells of each row of x, (N, d) to (N,) in nats.

        A row that is among the training rows is weighed with the exemplars of the others.
        """
        y = (x - self.location) / self.scale
        value, own, there = np.empty(len(y)), self._own(y), ~np.isnan(y)
        patterns, which = np.unique(there, axis=0, return_inverse=True)
        for number, seen in enumerate(patterns):
            index = np.flatnonzero(which.ravel() == number)
            for part in np.split(index, range(ROWS_AT_ONCE, len(index), ROWS_AT_ONCE)):
                value[part] = self._of_cells(y[part], own[part], seen)
        return value - np.log(self.scale) @ there.T

    def _of_cells(self, y: np.ndarray, own: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """log p of the cells `seen`, (d,) of bool, which are the same for all rows y."""
        white = np.linalg.inv(np.linalg.cholesky(self.covariance[np.ix_(seen, seen)]))
        at, centres = y[:, seen] @ white.T, self.centres[:, seen] @ white.T
        constant = np.log(np.diag(white)).sum() - 0.5 * np.log(2 * np.pi) * seen.sum()
        if not self.separate:
            return constant + _log_mean(_distances(at, centres), own)
        absent = np.isnan(self.rows[:, seen])  # of a column's density the rows without it say nothing
        return constant + sum(
            _log_mean(np.where(gone, np.inf, np.square(a[:, None] - c)), own)
            for a, c, gone in zip(at.T, centres.T, absent.T, strict=True)
        )

    def _own(self, y: np.ndarray) -> np.ndarray:
        """For each row the number of a training row that is the same, else -1, (N,)."""
        known = {row.tobytes(): number for number, row in enumerate(self.rows + 0.0)}  # no −0
        return np.array([known.get(row.tobytes(), -1) for row in y + 0.0])


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared, (N, n) for (N, d) and (n, d)."""
    squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T
    return np.maximum(squares, 0)


def _log_mean(distances: np.ndarray, own: np.ndarray) -> np.ndarray:
    """log of the mean of exp(−½ distance) over the exemplars but one's own, (N, n) to (N,)."""
    some = np.flatnonzero(own >= 0)
    distances[some, own[some]] = np.inf
    count = np.maximum(np.isfinite(distances).sum(1), 1)
    nearest = distances.min(1)
    nearest = np.where(np.isfinite(nearest), nearest, 0.0)
    total = np.exp(-0.5 * (distances - nearest[:, None])).sum(1)
    return np.log(np.maximum(total, 1e-300) / count) - 0.5 * nearest


@dataclass(frozen=True)
class Tail:
    """How rare a log-density is among those of the training rows: the log of the share with a lower one.

        log [ (1 + Σ_i Φ((s − r_i) / w)) / (1 + n) ] − log(1 + (r_min − s)₊ / β)

    Members whose log-densities spread differently have the same say by it. Steps are smoothed over w, a
    twentieth of the deviation, so that rounding does not turn a tie. Below the lowest r the share goes on as
    a power law, the heavy tail of Pareto, with β the mean excess in the lowest tenth: rows beyond all others
    still differ, and one density that falls fast does not outvote the rest.

    Attributes:
        reference: r_i, (n,), in order; of more than 1,000 so many quantiles.
        width: w, in nats.
        excess: β, in nats.
    """

    reference: np.ndarray
    width: float
    excess: float

    @classmethod
    def of(cls, scores: np.ndarray) -> "Tail":
        """The tail of the training rows' log-densities, (N,)."""
        kept = np.sort(scores)
        if len(kept) > MOST_KEPT:
            kept = np.quantile(kept, np.linspace(0, 1, MOST_KEPT))
        low = kept[: max(2, len(kept) // 10)]
        least = 1e-6 * (1 + abs(float(np.median(kept))))
        return cls(kept, max(0.05 * float(kept.std()), least), max(float(low[-1] - low.mean()), least))

    def log_share(self, scores: np.ndarray) -> np.ndarray:
        """(N,) to (N,), lower for rarer scores."""
        steps = torch.from_numpy((scores[:, None] - self.reference) / self.width)
        counts = 1 + torch.special.ndtr(steps).sum(1).numpy()
        beyond = np.maximum(self.reference[0] - scores, 0) / self.excess
        share: np.ndarray = np.log(counts / (1 + len(self.reference))) - np.log1p(beyond)
        return share
