"""Gaps for drawn rows, as the rows have that a run keeps (held-out rows).

Each drawn row gets the gaps of one kept row. The kept rows are drawn at random, so every pattern of gaps is
as frequent as among them. Within a block of drawn rows they are then assigned so that the sum of

    d(x, r) = sum over the entries j that r has of |x_j - r_j| / s_j, at most 3; 1 for another level

is least (linear sum assignment, Crouse 2016). So gaps that depend on values stay near these values, as far as
one column shows among all. Patterns that no kept row has do not occur.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

BLOCK = 500  # rows that are assigned together
FARTHEST = 3.0


def drawn_gaps(
    x: np.ndarray, kept: np.ndarray, scale: np.ndarray, levelled: np.ndarray, seed: int
) -> np.ndarray:
    """Which entries of drawn rows are empty, (N, D) of bool.

    Args:
        x: drawn rows, (N, D).
        kept: rows with gaps, (R, D), NaN where an entry is missing.
        scale: standard deviation s of each entry, (D,).
        levelled: whether an entry is a level, (D,).
        seed: of the choice of kept rows.
    """
    empty, generator = np.isnan(kept), np.random.default_rng(seed)
    if not empty.any():
        return np.zeros(x.shape, bool)
    gaps = np.empty(x.shape, bool)
    for first in range(0, len(x), BLOCK):
        some = x[first : first + BLOCK]
        chosen = generator.integers(len(kept), size=len(some))
        cost = np.zeros((len(some), len(some)), np.float32)
        for j in range(x.shape[1]):
            apart = np.abs(some[:, None, j] - kept[None, chosen, j])
            apart = (apart > 0) * 1.0 if levelled[j] else np.minimum(apart / scale[j], FARTHEST)
            cost += np.where(empty[chosen, j], 0.0, apart)
        _, of = linear_sum_assignment(cost)
        gaps[first : first + BLOCK] = empty[chosen[of]]
    return gaps
