"""A linear VAE with its training rows as the prior, and how rare a log-density is among the training rows.

    z ~ (1/n) Σ_n N(μ_n, S),   x = b + W z + ε,   ε ~ N(0, σ² I)
    p(x) = (1/n) Σ_n N(x; c_n, K),   c_n = b + W μ_n,   K = W S Wᵀ + σ² I

The prior is the average of the posteriors N(μ_n, S) of the n training rows (Norouzi et al. 2020, "Exemplar
VAE: linking generative models, nearest neighbor retrieval, and data augmentation"). For a given σ and a
standard normal prior the best W is U (Λ − σ² I)₊^½, where U Λ Uᵀ is the covariance of the rows (Tipping &
Bishop 1999). In the basis U that gives

    c_n = b + s (x_n − b),   K = σ² (1 + s),   s = (1 − σ²/λ)₊

A small σ gives a density with a peak at each row; a large σ gives a Gaussian around their mean. The density
at a training row leaves out the exemplar of this row, as the training of an exemplar VAE does, because it
says nothing about how common the row is.

Rows that are close to each other make each other common, outliers too. `Exemplars.nearness` is about larger
groups: it is the distance to the nearest tenth of the rows, so a group with a smaller share of the rows
is as far from the others as its members are.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

MOST_EXEMPLARS = 2000
MOST_KEPT = 1000  # log-densities of training rows that a tail keeps
ROWS_AT_ONCE = 1024
NEAREST = 0.1  # share of the rows to which `nearness` measures distances
LEAST_NEAREST = 5  # rows, where there are so many
CLOSEST = 1e-6  # added to distances, so that those of equal rows have a logarithm


@dataclass(frozen=True)
class Exemplars:
    """p(x) of an exemplar VAE over d columns of numbers.

    Inside, columns are standardised: y = (x − location) / scale.

    Attributes:
        location, scale: mean and standard deviation of each column, (d,).
        rows: y of the training rows, (n, d), NaN where a cell is missing.
        centres: c_n of y, (n, d); a missing cell counts as average.
        covariance: K of y, (d, d).
        separate: whether each column has a latent unit and an exemplar prior of its own, so that p(x) is the
            product of the columns' densities.
    """

    location: np.ndarray
    scale: np.ndarray
    rows: np.ndarray
    centres: np.ndarray
    covariance: np.ndarray
    separate: bool

    @classmethod
    def of(cls, x: np.ndarray, sigma: float, separate: bool = False) -> "Exemplars":
        """The model for training rows.

        Args:
            x: (N, d) with N ≥ 2, and a value in each column. If there are more than 2,000 rows, 2,000 of them
                are drawn, always the same ones.
            sigma: σ, a fraction of each column's standard deviation.
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

    def log_evidence(self, x: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
        """log p of the observed cells of each row of x, (N, d) to (N,), in nats.

        A row that equals a training row is compared with the exemplars of the other rows.

        Args:
            x: the rows.
            own: number of the exemplar that each row is, (N,), -1 for none; by default of an equal one.
        """
        y = (x - self.location) / self.scale
        value = self._by_pattern(y, own, self._log_density)
        return value - np.log(self.scale) @ ~np.isnan(y).T

    def nearness(self, x: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
        """−log of the mean distance to the nearest tenth of the other rows, (N,); args as `log_evidence`.

        Distances are those of standardised columns; over cells that both rows have, scaled up to all cells of
        a row of x.
        """
        return self._by_pattern((x - self.location) / self.scale, own, self._nearness)

    def _by_pattern(
        self,
        y: np.ndarray,
        own: np.ndarray | None,
        ask: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    ) -> np.ndarray:
        """The answers for standardised rows, (N,), asked for rows with the same missing cells together."""
        value, own = np.empty(len(y)), self.own_exemplars(y) if own is None else own
        patterns, pattern_of_row = np.unique(~np.isnan(y), axis=0, return_inverse=True)
        for number, cells in enumerate(patterns):
            index = np.flatnonzero(pattern_of_row.ravel() == number)
            for part in np.split(index, range(ROWS_AT_ONCE, len(index), ROWS_AT_ONCE)):
                value[part] = ask(y[part], own[part], cells)
        return value

    def _nearness(self, y: np.ndarray, own: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """`nearness` of rows with one pattern of observed cells; args as `_log_density`."""
        present = ~np.isnan(self.rows[:, cells])
        there, known = present.astype(y.dtype), np.nan_to_num(self.rows[:, cells])
        at, shared = y[:, cells], there.sum(1)
        squares = np.square(at) @ there.T + np.square(known).sum(1) - 2 * at @ known.T
        squares = np.maximum(squares, 0) * (cells.sum() / np.maximum(shared, 1))
        squares[:, shared == 0] = np.inf
        rows = np.flatnonzero(own >= 0)
        squares[rows, own[rows]] = np.inf
        count = min(max(LEAST_NEAREST, round(NEAREST * len(known))), len(known) - 1) - 1
        nearest = np.partition(squares, count, axis=1)[:, : count + 1]
        finite = np.isfinite(nearest)
        total = np.sqrt(np.where(finite, nearest, 0.0)).sum(1) / np.maximum(finite.sum(1), 1)
        return -np.log(total + CLOSEST)

    def _log_density(self, y: np.ndarray, own: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """log p of the observed cells, (N,).

        Args:
            y: rows with one pattern of observed cells, (N, d).
            own: from `own_exemplars`, (N,).
            cells: the pattern, (d,) of bool.
        """
        white = np.linalg.inv(np.linalg.cholesky(self.covariance[np.ix_(cells, cells)]))
        at, centres = y[:, cells] @ white.T, self.centres[:, cells] @ white.T
        constant = np.log(np.diag(white)).sum() - 0.5 * np.log(2 * np.pi) * cells.sum()
        if not self.separate:
            return constant + _log_mean(_squared_distances(at, centres), own)
        absent = np.isnan(self.rows[:, cells])  # a row without a value in a column is no exemplar of it
        return constant + sum(
            _log_mean(np.where(gone, np.inf, np.square(a[:, None] - c)), own)
            for a, c, gone in zip(at.T, centres.T, absent.T, strict=True)
        )

    def own_exemplars(self, y: np.ndarray) -> np.ndarray:
        """Number of a training row that equals each row, (N,); -1 where there is none."""
        number = {row.tobytes(): index for index, row in enumerate(self.rows + 0.0)}  # + 0 turns −0 into 0
        return np.array([number.get(row.tobytes(), -1) for row in y + 0.0])


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Between the rows of a, (N, d), and of b, (n, d): (N, n)."""
    squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T
    return np.maximum(squares, 0)


def _log_mean(distances: np.ndarray, own: np.ndarray) -> np.ndarray:
    """log of the mean of exp(−½ distance²) over all exemplars except a row's own, (N, n) to (N,)."""
    known = np.flatnonzero(own >= 0)
    distances[known, own[known]] = np.inf
    count = np.maximum(np.isfinite(distances).sum(1), 1)
    nearest = distances.min(1)
    nearest = np.where(np.isfinite(nearest), nearest, 0.0)
    total = np.exp(-0.5 * (distances - nearest[:, None])).sum(1)
    return np.log(np.maximum(total, 1e-300) / count) - 0.5 * nearest


@dataclass(frozen=True)
class Tail:
    """How rare a log-density is: the log of the share of training rows with a lower one.

        log [ (1 + Σ_i Φ((s − r_i) / w)) / (1 + n) ] − log(1 + (r_min − s)₊ / β)

    The share has no unit, so densities with different spreads count alike. Each step is smoothed over w, a
    twentieth of the standard deviation, so that rounding does not decide between ties. Below the lowest r the
    share falls as a power law, the heavy tail of Pareto, where β is the mean excess in the lowest tenth. So
    rows below all training rows still differ, and a density that falls fast does not outvote the others.

    Attributes:
        reference: r_i, (n,), in rising order; 1,000 quantiles if there were more rows.
        width: w, in nats.
        excess: β, in nats.
    """

    reference: np.ndarray
    width: float
    excess: float

    @classmethod
    def of(cls, scores: np.ndarray) -> "Tail":
        """The tail of log-densities of training rows, (N,)."""
        kept = np.sort(scores)
        if len(kept) > MOST_KEPT:
            kept = np.quantile(kept, np.linspace(0, 1, MOST_KEPT))
        low = kept[: max(2, len(kept) // 10)]
        least = 1e-6 * (1 + abs(float(np.median(kept))))
        return cls(kept, max(0.05 * float(kept.std()), least), max(float(low[-1] - low.mean()), least))

    def log_share(self, scores: np.ndarray) -> np.ndarray:
        """log share of training rows with a lower log-density than each score, (N,) to (N,)."""
        parts = np.split(scores, range(ROWS_AT_ONCE, len(scores), ROWS_AT_ONCE))
        return np.concatenate([self._log_share(part) for part in parts])

    def _log_share(self, scores: np.ndarray) -> np.ndarray:
        steps = torch.from_numpy((scores[:, None] - self.reference) / self.width)
        counts = 1 + torch.special.ndtr(steps).sum(1).numpy()
        beyond = np.maximum(self.reference[0] - scores, 0) / self.excess
        share: np.ndarray = np.log(counts / (1 + len(self.reference))) - np.log1p(beyond)
        return share
