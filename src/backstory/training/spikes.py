"""Detects steps with an exceptionally large gradient."""

from collections import deque
from statistics import median

WINDOW = 100  # gradient norms behind the median
FEWEST = 20  # norms that are needed before a step can be a spike


class Spikes:
    """Compares each gradient norm with the median of the last norms (Child 2021 skips above a fixed norm).

    Spikes enter the median as all norms do, so after a lasting change of scale they soon stop being spikes.

    Args:
        factor: a norm above `factor` times the median is a spike.
        norms: the last norms of a run that is resumed.
    """

    def __init__(self, factor: float, norms: list[float] | None = None):
        self.factor, self.norms = factor, deque(norms or [], maxlen=WINDOW)

    def is_spike(self, norm: float) -> bool:
        """Whether this norm is a spike; it enters the median afterwards."""
        spike = len(self.norms) >= FEWEST and norm > self.factor * median(self.norms)
        self.norms.append(norm)
        return spike
