"""Draws of p(x | x in A) by rejection: draws of p(x) that are in the set A are kept (von Neumann 1951).

A row that is kept has the right distribution, whatever the share P(A) of such rows is; n rows take about
n / P(A) draws. The rows of a batch are put in a random order before the first n are taken, because a method
may give its draws in an order.
"""

from collections.abc import Callable

import numpy as np

from backstory.errors import InputError
from backstory.inference.hmc import mixed_seed

BATCH, FIRST = 20_000, 1000  # the most draws at once, and the fewest
MOST, MOST_FOR_EACH = 200_000, 200  # draws before it is given up: in all, or for each row that is wanted


def drawn_in(
    draw: Callable[[int, int], np.ndarray], holds: Callable[[np.ndarray], np.ndarray], n: int, seed: int
) -> np.ndarray:
    """n draws in a set, (n, …).

    Args:
        draw: so many draws with this seed.
        holds: whether each of some draws is in the set.
        n: how many are wanted.
        seed: of all draws.

    Raises:
        InputError: the set is too rare.
    """
    kept: list[np.ndarray] = []
    count, tried, most = 0, 0, max(MOST, MOST_FOR_EACH * n)
    while count < n:
        if tried >= most:
            raise _too_rare(count, tried, n)
        share = max(count, 1) / tried if tried else 1.0
        size = int(np.clip(1.2 * (n - count) / share, FIRST, min(BATCH, most)))
        own = mixed_seed(seed, len(kept))
        x = draw(size, own)
        kept.append(np.random.default_rng(own).permutation(x[holds(x)]))
        count, tried = count + len(kept[-1]), tried + size
    return np.concatenate(kept)[:n]


def _too_rare(count: int, tried: int, n: int) -> InputError:
    share = f"about {count / tried:.2g}" if count else f"less than 1 in {tried // 3:,}"
    needed = f"about {n * tried / count:,.0f}" if count else f"more than {n * tried / 3:,.0f}"
    return InputError(
        f"expected {n:,} draws in the given ranges and sets, got {count:,} of {tried:,} draws: their share "
        f"is {share}, so that {needed} draws would be needed; give wider ranges or more values, ask for "
        "fewer rows, or give single values"
    )
