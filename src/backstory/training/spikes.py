"""Steps whose gradient is a spike."""

from collections import deque
from statistics import median

WINDOW = 100  # gradient norms of which the median is taken


FEWEST = 20  # of them, before a step can be a spike


class Spikes:
    """Tells gradients that are far larger than before (Child 2021 skips above a fixed norm).

    Spikes are remembered like all norms: a lasting change of scale is soon no spike any more.

    Args:
        factor: a norm above this many medians of the last norms is a spike.
        norms: the last norms.
    """

    def __init__(self, factor: float, norms: list[float] | None = None):
        self.factor, self.norms = factor, deque(norms or [], maxlen=WINDOW)

    def is_spike(self, norm: float) -> bool:
        """Whether this norm is one; remembers it."""
        spike = len(self.norms) >= FEWEST and norm > self.factor * median(self.norms)
        self.norms.append(norm)
        return spike
