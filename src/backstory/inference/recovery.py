"""How well a model restores what is known: damage it, restore it, and compare.

The error is that of the mean E[x|y], over the entries that were hidden, or over all where a map or noise has
damaged them all. It is in standardised units: fractions of the full range for images, of a column's standard
deviation in the training data for tables and arrays. Columns with levels have the share of right guesses.

    RMSE² = MSE = mean (x̂ − x)² / unit²,    PSNR = −10 log₁₀ MSE of a whole image, averaged over images
    log p(x_hidden | y) = log p(x) − log p(y),    where y are entries of x
"""

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from backstory.errors import InputError
from backstory.inference.restoration import Restoration, coverage


@dataclass(frozen=True)
class Recovery:
    """How near restorations come to the truth.

    Attributes:
        rmse, mse: of the mean, in standardised units, over the `entries` that are numbers; None without any.
        accuracy: the share of the `entries` in columns with levels that are guessed right; None without any.
        psnr: dB, average over images; None for other data, and where an image is restored without any error.
        coverage_50, coverage_90: the share of true numbers in the central intervals of the draws; or None.
        log_likelihood: log p(x_hidden | y), nats per observation; None where it is not known.
        entries: that were hidden, or all.
        n: observations.
        draws: of which the intervals were made.
        methods: how the codes were found, and for how many observations.
    """

    rmse: float | None
    mse: float | None
    accuracy: float | None
    psnr: float | None
    coverage_50: float | None
    coverage_90: float | None
    log_likelihood: float | None
    entries: int
    n: int
    draws: int
    methods: dict[str, int]


@dataclass
class Tally:
    """A `Recovery` that is summed up part by part.

    Attributes:
        unit: of an entry of x, a number or one for each entry.
        images: whether a PSNR makes sense.
        levelled: whether an entry of x is the index of a level, as `unit`.
    """

    unit: np.ndarray
    images: bool
    levelled: np.ndarray = field(default_factory=lambda: np.array(False))
    squared: float = 0.0
    numbers: int = 0
    right: int = 0
    levels: int = 0
    psnr: list[float] = field(default_factory=list)
    inside: dict[float, float] = field(default_factory=lambda: {0.5: 0.0, 0.9: 0.0})
    log_likelihood: list[float] = field(default_factory=list)
    methods: Counter[str] = field(default_factory=Counter)
    draws: int = 0

    def add(
        self, found: Restoration[np.ndarray], truth: np.ndarray, where: np.ndarray, log_likelihood: np.ndarray
    ) -> None:
        """Restorations of some observations.

        Args:
            found: the restorations.
            truth: (B, *shape), NaN where it is not known.
            where: (B, *shape) of bool, the entries to count, none of which is NaN in the truth.
            log_likelihood: (B,) nats, NaN where it is not known.
        """
        error = np.square((found.mean - truth.astype(np.float64)) / self.unit)
        named, where = where & self.levelled, where & ~self.levelled
        count = int(where.sum())
        self.squared += float(error[where].sum())
        self.numbers += count
        self.right += int((np.rint(found.mean) == truth)[named].sum())  # a mean under noise is no level
        self.levels += int(named.sum())
        if self.images:
            whole = np.nanmean(error.reshape(len(error), -1), axis=1)
            self.psnr += [-10 * math.log10(e) if e > 0 else math.inf for e in whole.tolist()]
        for level in self.inside if count else ():
            self.inside[level] += count * coverage(found, truth, level, where)
        self.log_likelihood += log_likelihood.tolist()
        self.methods.update(found.methods)
        self.draws = len(found.draws)

    def result(self) -> Recovery:
        """InputError if no entry was counted."""
        if self.numbers + self.levels == 0:
            raise InputError("there is nothing to restore: no entry was hidden; hide some, or add noise")
        mse, n = _share(self.squared, self.numbers), len(self.log_likelihood)
        return Recovery(
            rmse=None if mse is None else math.sqrt(mse),
            mse=mse,
            accuracy=_share(self.right, self.levels),
            psnr=_known(self.psnr) if self.images else None,
            coverage_50=_share(self.inside[0.5], self.numbers),
            coverage_90=_share(self.inside[0.9], self.numbers),
            log_likelihood=_known(self.log_likelihood),
            entries=self.numbers + self.levels,
            n=n,
            draws=self.draws,
            methods=dict(self.methods),
        )


def _share(total: float, count: int) -> float | None:
    return total / count if count else None


def _known(values: list[float]) -> float | None:
    mean = sum(values) / len(values)
    return mean if math.isfinite(mean) else None
