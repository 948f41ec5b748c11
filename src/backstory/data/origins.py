"""Origins: the values from which numbers far from zero are counted.

Models compute in single precision, which has seven digits. Numbers that lie far from zero, compared with
their range, would lose their last digits there. So x is counted from an origin near the smallest value; a
shift changes no density.
"""

import math

import numpy as np

from backstory.data.rows import Rows, blocks

FAR = 10  # ranges from zero, above which single precision would lose too many digits
MOST = 4096  # entries of one observation that have an origin each; larger ones have one for all


def origin_of(low: float, high: float) -> float:
    """A round number below all values from `low` to `high`; 0 if they are not far from zero.

    >>> origin_of(1000000.02, 1000000.97), origin_of(-3, 5)
    (1000000.0, 0.0)
    """
    spread = high - low
    if not math.isfinite(spread) or max(abs(low), abs(high)) <= FAR * spread:
        return 0.0
    return floor_of(low, spread)


def floor_of(low: float, spread: float) -> float:
    """The largest number of few digits that is at most `low`, for values that vary by `spread`."""
    step = 10.0 ** math.floor(math.log10(spread)) if spread > 0 else 1.0
    return math.floor(low / step) * step if math.isfinite(low / step) else low


def array_origins(values: Rows) -> tuple[float, ...]:
    """The origin of each entry of observations (N, …), flat; one for all of very many; () if all are 0."""
    low = high = np.full(values.shape[1:], np.nan)
    for block in blocks(values):
        low, high = np.fmin(low, np.fmin.reduce(block)), np.fmax(high, np.fmax.reduce(block))
    if low.size > MOST:
        low, high = (np.atleast_1d(f.reduce(v, None)) for f, v in ((np.fmin, low), (np.fmax, high)))
    pairs = zip(low.ravel().tolist(), high.ravel().tolist(), strict=True)
    origins = tuple(origin_of(*pair) for pair in pairs)
    return origins if any(origins) else ()
