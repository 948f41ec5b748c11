"""How well a model restores known data: damage it, restore it, and compare.

The error is that of the mean E[x|y]. It covers the hidden entries, or all entries where a map or noise
damaged all of them. Its unit is the full range for images, and a column's standard deviation in the
training data for tables and arrays. Columns with levels count right guesses instead.

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
    """How close restorations come to the truth.

    Attributes:
        rmse: root of `mse`, in standardised units; None if no entry is a number.
        mse: mean squared error of the mean over the `entries` that are numbers; None if there are none.
        accuracy: share of right guesses among the `entries` in columns with levels; None if there are none.
        psnr: dB, averaged over images; None for other data, and if an image is restored without any error.
        coverage_50: share of true numbers inside the central 50 % intervals of the draws; None without
            numbers.
        coverage_90: the same for 90 %.
        log_likelihood: mean log p(x_hidden | y) in nats per observation; None if it is not known.
        entries: number of entries that were compared.
        n: number of observations.
        draws: number of draws behind each interval.
        methods: number of observations restored by each method.
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
    """Running sums from which a `Recovery` is made.

    Attributes:
        unit: of an entry of x, a number or one for each entry.
        images: whether to compute a PSNR.
        levelled: whether an entry of x is the index of a level, a bool or one for each entry.
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
        self,
        restored: Restoration[np.ndarray],
        truth: np.ndarray,
        where: np.ndarray,
        log_likelihood: np.ndarray,
    ) -> None:
        """Add the restorations of B observations.

        Args:
            restored: the restorations.
            truth: (B, *shape), NaN where it is unknown.
            where: (B, *shape) of bool, the entries to compare; the truth of each is known.
            log_likelihood: log p(x_hidden | y), (B,) nats, NaN where it is unknown.
        """
        error = np.square((restored.mean - truth.astype(np.float64)) / self.unit)
        levels, numbers = where & self.levelled, where & ~self.levelled
        count = int(numbers.sum())
        self.squared += float(error[numbers].sum())
        self.numbers += count
        self.right += int((np.rint(restored.mean) == truth)[levels].sum())  # under noise a mean is no level
        self.levels += int(levels.sum())
        if self.images:
            whole = np.nanmean(error.reshape(len(error), -1), axis=1)
            self.psnr += [-10 * math.log10(e) if e > 0 else math.inf for e in whole.tolist()]
        for level in self.inside if count else ():
            self.inside[level] += count * coverage(restored, truth, level, numbers)
        self.log_likelihood += log_likelihood.tolist()
        self.methods.update(restored.methods)
        self.draws = len(restored.draws)

    def result(self) -> Recovery:
        """The measures over everything that was added; InputError if no entry was compared."""
        if self.numbers + self.levels == 0:
            raise InputError("there is nothing to restore: no entry was hidden; hide some, or add noise")
        mse = _share(self.squared, self.numbers)
        return Recovery(
            rmse=None if mse is None else math.sqrt(mse),
            mse=mse,
            accuracy=_share(self.right, self.levels),
            psnr=_finite_mean(self.psnr) if self.images else None,
            coverage_50=_share(self.inside[0.5], self.numbers),
            coverage_90=_share(self.inside[0.9], self.numbers),
            log_likelihood=_finite_mean(self.log_likelihood),
            entries=self.numbers + self.levels,
            n=len(self.log_likelihood),
            draws=self.draws,
            methods=dict(self.methods),
        )


def _share(total: float, count: int) -> float | None:
    return total / count if count else None


def _finite_mean(values: list[float]) -> float | None:
    """The mean; None if it is not finite."""
    mean = sum(values) / len(values)
    return mean if math.isfinite(mean) else None
