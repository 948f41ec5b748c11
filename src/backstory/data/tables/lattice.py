"""Lattices: the numbers that a column can hold, such as multiples of 0.05, whole minutes, or prices in .99.

In units of the smallest step that all cells have (their decimals, a second for dates) every number of a
column is m = M k + e with a whole k and an ending e of a few. Such a lattice is taken if chance is ruled out:
D different numbers without one would keep it with a probability below `CHANCE`, which is at most (E / M)^D
for given E endings, times the M^E ways to choose these.
"""

import math
from collections.abc import Iterator

import numpy as np
from pydantic import BaseModel, ConfigDict

from backstory.data.rows import Rows, blocks
from backstory.errors import counted

SECOND, WEEK = 1 / 86_400, 7 * 86_400
MOST_ENDINGS, CROWDED = 20, 0.75  # endings, and the share of all of them above which there is no lattice
CHANCE = math.log(1e-6)
SAMPLE = 20_000
FEWEST = 10  # different numbers
LARGEST = 2.0**53


class Lattice(BaseModel):
    """Numbers `period` · k + ending for whole k.

    Attributes:
        period: between two numbers with the same ending.
        endings: in rising order, from 0 to below the period.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    period: float
    endings: tuple[float, ...]

    @property
    def density(self) -> float:
        """Numbers per unit."""
        return len(self.endings) / self.period

    def text(self, seconds: float | None) -> str:
        """The lattice in words.

        Args:
            seconds: for which 1 stands, of dates and times; None for other numbers.

        >>> Lattice(period=0.5, endings=(0.0,)).text(None), Lattice(period=90, endings=(0.0,)).text(60)
        ('in steps of 0.5', 'in steps of 90 minutes')
        >>> Lattice(period=1 / 24, endings=(0.0,)).text(86_400)
        'in steps of 1 hour'
        """
        if len(self.endings) > 1:
            weekly = seconds is not None and round(self.period * seconds) == WEEK
            return "on some days of the week" if weekly else "in few endings"
        if seconds is None:
            return f"in steps of {self.period:g}"
        return f"in steps of {_time(round(self.period * seconds, 6))}"

    def nearest(self, values: np.ndarray) -> np.ndarray:
        """The nearest numbers of the lattice, of the same shape.

        >>> Lattice(period=1, endings=(0.49, 0.99)).nearest(np.array([3.2, 3.8, -0.1])).round(2)
        array([ 2.99,  3.99, -0.01])
        """
        whole = np.floor(values / self.period)
        rest = values - whole * self.period
        around = self._around
        near = around[np.abs(rest[..., None] - around).argmin(axis=-1)]
        return whole * self.period + near

    @property
    def _around(self) -> np.ndarray:
        """The endings, and the last and the first one in the neighbouring periods."""
        ends = self.endings
        return np.array([ends[-1] - self.period, *ends, ends[0] + self.period])


def _time(seconds: float) -> str:
    """A time as a whole number of the largest possible unit; seconds may have a fraction."""
    each = {"day": 86_400, "hour": 3600, "minute": 60}
    unit, size = next(((unit, size) for unit, size in each.items() if seconds % size == 0), ("second", 1))
    number = seconds / size
    return counted(int(number), unit) if number == int(number) else f"{number:g} {unit}s"


def lattice_of(values: Rows, j: int, unit: float) -> Lattice | None:
    """The lattice of column j of stored values, (N, C); None if it has none.

    Args:
        values: stored values.
        j: number of the column.
        unit: of which every number is taken to be a multiple.
    """
    rows = np.linspace(0, len(values) - 1, min(len(values), SAMPLE)).astype(int)
    column = np.asarray(values[rows])[:, j]
    steps = np.unique(np.rint(column[~np.isnan(column)] / unit))
    if len(steps) < FEWEST or np.abs(steps).max() > LARGEST:
        return None
    whole = steps.astype(np.int64)
    ways = [(period, np.unique(whole % period)) for period in _periods(whole, unit)]
    likely = [way for way in ways if _by_chance(len(way[1]), way[0], len(whole)) < CHANCE]
    found = [Lattice(period=p * unit, endings=tuple((ends * unit).tolist())) for p, ends in likely]
    kept = [lattice for lattice in found if _holds(lattice, values, j, unit)]
    return min(kept, key=lambda lattice: round(lattice.density * unit, 9), default=None)


def _periods(steps: np.ndarray, unit: float) -> Iterator[int]:
    """The periods to try: the greatest one with a single ending, a whole number, a week."""
    yield int(np.gcd.reduce(np.diff(steps)))
    whole = round(1 / unit)
    if unit == SECOND:
        whole = WEEK if (steps % 86_400 == steps[0] % 86_400).all() else 3600
    yield whole


def _by_chance(endings: int, period: int, different: int) -> float:
    """The log-probability of so few endings without a lattice, at most."""
    possible = min(period, 7) if period == WEEK else period
    if endings > min(MOST_ENDINGS, CROWDED * possible):
        return 0.0
    return different * math.log(endings / possible) + endings * math.log(possible)


def _holds(lattice: Lattice, values: Rows, j: int, unit: float) -> bool:
    """Whether all numbers are on the lattice."""
    for block in blocks(values):
        known = block[:, j][~np.isnan(block[:, j])]
        if (np.abs(lattice.nearest(known) - known) > 1e-3 * unit).any():
            return False
    return True
