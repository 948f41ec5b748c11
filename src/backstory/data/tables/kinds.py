"""The kind of a column of numbers: candidates compared by the likelihood of cells that were left out.

A column has n cells with the different numbers v_1 < … < v_m, of which v_i comes c_i times. Each kind gives a
cell a probability P that was learned from all other cells:

    levels       (c_i − 1)/n; a number that comes once is new, and the e new ones share e/n with all numbers
                 between v_1 and v_m that have as many decimals
    count        a negative binomial distribution of which two parameters are fitted
    continuous   a histogram of up to 64 cells with equal numbers of rows, in which all numbers with as many
                 decimals are as probable

A count or continuous column may have point masses: its atoms, numbers that are many times as frequent as
their neighbours. Their cells have probability (c_i − 1)/n, the others share the rest.

Fitted parameters, and the two ends of a histogram, cost a nat each. The first kind in the order of the table
in `infer` is chosen whose mean log P is below the highest one by no more than `CLOSE` nats per cell, by
`PREFERENCE` nats over all cells, or by two standard errors of the difference. The other kinds within these
bounds were close calls.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

LEAST_ATOM, ATOM_SHARE = 10, 0.005  # cells of an atom: their number, and their share
ATOM_FACTOR = 3.0  # as often as the numbers beside it, at least
NEIGHBOURS = 3  # on either side
MOST_ATOMS = 20
LEAST_OTHERS = 10  # different numbers beside the atoms
FINEST = 1e-6  # the step of numbers with very many decimals, as a fraction of their range
CLOSE = 0.02  # nats per cell
PREFERENCE = 6.0  # nats over all cells
ERRORS = 2.0  # standard errors
PIECES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # cells of a histogram
UNEVEN = 0.1  # nats per cell by which a discretised logistic distribution may be worse than own probabilities


@dataclass(frozen=True)
class Verdict:
    """The kind of a column.

    Attributes:
        kind: a name among those that were to be compared.
        close: the names of other kinds that fit about as well.
    """

    kind: str
    close: tuple[str, ...] = ()


@dataclass(frozen=True)
class Numbers:
    """The numbers of a column.

    Attributes:
        values: the different numbers in order, (m,).
        counts: of the cells with each, (m,).
        step: the distance between neighbours of all numbers that have as many decimals.
    """

    values: np.ndarray
    counts: np.ndarray
    step: float

    @classmethod
    def of(cls, cells: np.ndarray, decimals: int | None) -> "Numbers":
        """Those of finite cells, of which there are two different ones or more."""
        values, counts = np.unique(cells[np.isfinite(cells)], return_counts=True)
        if decimals is not None or len(values) < 2:
            return cls(values, counts, 10.0 ** -(decimals or 0))
        return cls(values, counts, min(FINEST * float(np.ptp(values)), float(np.diff(values).min())))

    @property
    def total(self) -> int:
        """n."""
        return int(self.counts.sum())

    @property
    def is_plain(self) -> bool:
        """Whether nearly all cells differ, so that no kind but a continuous one is possible."""
        return len(self.values) > 0.9 * self.total and self.counts.max() < LEAST_ATOM

    @cached_property
    def atoms(self) -> np.ndarray:
        """The numbers of the atoms, as indices of `values`, the most frequent one first."""
        counts = self.counts.astype(float)
        least = max(LEAST_ATOM, ATOM_SHARE * self.total)
        if counts.max() < least:
            return np.zeros(0, int)
        others = np.ones(len(counts), bool)
        found: list[int] = []
        for i in np.argsort(-counts, kind="stable")[:MOST_ATOMS]:
            if counts[i] < least or others.sum() <= LEAST_OTHERS:
                break
            rest = np.flatnonzero(others)
            place = int(np.searchsorted(rest, i))
            beside = np.r_[rest[max(0, place - NEIGHBOURS) : place], rest[place + 1 : place + 1 + NEIGHBOURS]]
            if counts[i] >= ATOM_FACTOR * counts[beside].mean():
                found.append(int(i))
                others[i] = False
        return np.array(found, int)

    @property
    def levels(self) -> np.ndarray:
        """log P of each number as a level of its own, (m,)."""
        once = int((self.counts == 1).sum())
        new = np.log((once + 1) / (self.total + 1)) - np.log(self._places)
        known = np.log(np.maximum(self.counts - 1, 1) / self.total) + np.log1p(-once / (self.total + 1))
        return np.where(self.counts > 1, known, new)

    @property
    def logistic(self) -> np.ndarray:
        """log P of each number as a level of a discretised logistic distribution, (m,)."""
        from scipy.optimize import minimize
        from scipy.special import expit, logit

        edges, share = np.arange(len(self.values) - 1) + 0.5, self.counts.cumsum()[:-1] / self.total

        def log_probs(parameters: np.ndarray) -> np.ndarray:
            below = expit((edges - parameters[0]) * np.exp(parameters[1]))
            return np.log(np.diff(below, prepend=0.0, append=1.0) + 1e-12)

        slope, start = np.polyfit(edges, logit(share), 1) if len(edges) > 1 else (1.0, 0.0)
        first = np.array([-start / slope, np.log(slope)])
        best = minimize(lambda p: -(self.counts @ log_probs(p)), first, method="Nelder-Mead").x
        return log_probs(best) - 2 / self.total

    @property
    def count(self) -> np.ndarray:
        """log P of each number as a count, with point masses, (m,)."""
        rest = self._others
        x, weight = self.values[rest], self.counts[rest]
        mean = float(np.average(x, weights=weight))
        excess = max(float(np.average((x - mean) ** 2, weights=weight)) - mean, 1e-3 * mean)
        fits = [_negative_binomial(self.values, mean, mean**2 / excess * 2.0**k) for k in range(-3, 4)]
        best = max(fits, key=lambda log_prob: float(weight @ log_prob[rest]))
        inside = np.log1p(-min(float(np.exp(best[~rest]).sum()), 0.99))
        return self._with_atoms(best[rest] - inside - 2 / self.total)

    @property
    def continuous(self) -> np.ndarray:
        """log P of each number in a histogram, with point masses, (m,)."""
        rest = self._others
        x, weight = self.values[rest], self.counts[rest]
        fits = [self._histogram(x, weight, pieces) for pieces in PIECES if pieces <= max(1, len(x) // 3)]
        return self._with_atoms(max(fits, key=lambda log_prob: float(weight @ log_prob)) - 2 / self.total)

    def _histogram(self, x: np.ndarray, weight: np.ndarray, pieces: int) -> np.ndarray:
        total = weight.sum()
        piece = ((weight.cumsum() - weight) * pieces) // total
        first = np.flatnonzero(np.diff(piece, prepend=-1))
        piece = np.cumsum(np.diff(piece, prepend=-1) > 0) - 1
        middles = (x[first[1:]] + x[first[1:] - 1]) / 2
        edges = np.r_[x[0] - self.step / 2, middles, x[-1] + self.step / 2]
        rows = np.bincount(piece, weights=weight)
        share = (rows - 0.5) / (total - 1 + 0.5 * len(rows))  # one of them left out, ½ added to each
        return (np.log(share) - np.log(np.diff(edges) / self.step))[piece]

    def _with_atoms(self, others: np.ndarray) -> np.ndarray:
        """log P of each number from that of those that are no atoms, given that they are none."""
        rest, total = self._others, self.total
        found = np.log(np.maximum(self.counts - 0.5, 0.5) / total)
        found[rest] = others + np.log(max(self.counts[rest].sum(), 1) / total)
        return found

    @property
    def _others(self) -> np.ndarray:
        """Which of the numbers are no atoms, of bool."""
        others = np.ones(len(self.values), bool)
        others[self.atoms] = False
        return others

    @property
    def _places(self) -> float:
        """How many numbers with as many decimals lie between the lowest and the highest one."""
        return float((self.values[-1] - self.values[0]) / self.step + 1)


def _negative_binomial(x: np.ndarray, mean: float, size: float) -> np.ndarray:
    """log P(x) of whole numbers x with this mean and the variance mean + mean²/size."""
    from scipy.special import gammaln

    ways = gammaln(x + size) - gammaln(size) - gammaln(x + 1)
    found: np.ndarray = ways + size * np.log(size / (size + mean)) + x * np.log(mean / (size + mean))
    return found


def atoms_of(cells: np.ndarray) -> tuple[tuple[float, float], ...]:
    """The numbers that are point masses among the cells of a column, each with its share of the cells.

    Args:
        cells: without NaN.

    >>> atoms_of(np.r_[np.full(30, 40.0), np.arange(100)])[0]
    (40.0, 0.23846153846153847)
    """
    found = Numbers.of(cells, None)
    if not len(found.values) or found.is_plain:
        return ()
    places = found.atoms
    shares = found.counts[places] / found.total
    return tuple(zip(found.values[places].tolist(), shares.tolist(), strict=True))


def best_kind(candidates: Mapping[str, np.ndarray], counts: np.ndarray) -> Verdict:
    """The kind that is chosen among candidates, which are in the order of preference.

    Args:
        candidates: log P of each different number, (m,), by the name of the kind.
        counts: of the cells with each number, (m,).
    """
    means = {name: float(counts @ log_prob) / counts.sum() for name, log_prob in candidates.items()}
    top = candidates[max(means, key=lambda name: means[name])]
    near = [name for name, log_prob in candidates.items() if _is_near(top - log_prob, counts)]
    return Verdict(near[0], tuple(near[1:]))


def _is_near(difference: np.ndarray, counts: np.ndarray) -> bool:
    """Whether the mean difference of log P over the cells is within the tolerance of the choice."""
    mean = float(np.average(difference, weights=counts))
    error = np.sqrt(np.average((difference - mean) ** 2, weights=counts) / counts.sum())
    return bool(mean <= max(CLOSE, PREFERENCE / counts.sum(), ERRORS * error))


def is_uneven(numbers: Numbers) -> bool:
    """Whether steps from one to the next do not rise and fall once, as those of a scale do."""
    difference = numbers.levels - numbers.logistic
    return bool(np.average(difference, weights=numbers.counts) > UNEVEN) and not _is_near(
        difference, numbers.counts
    )
