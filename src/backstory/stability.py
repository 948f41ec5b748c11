"""What keeps a run steady: an average of the weights, and gradients that are too large left out."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import torch
from torch import Tensor, nn

WINDOW = 100  # gradient norms of which the median is taken
FEWEST = 20  # of them, before a step can be a spike


class Average:
    """An exponential moving average of parameters.

    θ̄ ← θ̄ + (1 − d)(θ − θ̄) after each step, with d = min(decay, (1 + t)/(10 + t)) after t steps, so that the
    initial weights are soon forgotten.
    """

    def __init__(self, parameters: list[nn.Parameter], decay: float):
        self.parameters, self.decay = parameters, decay
        self.means = [p.detach().clone() for p in parameters]

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Take in the parameters after so many steps."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        torch._foreach_lerp_(self.means, list(self.parameters), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The averages in the place of the parameters."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for parameter, mean in zip(self.parameters, self.means, strict=True):
            held = parameter.clone()
            parameter.copy_(mean)
            mean.copy_(held)

    def tensors(self) -> dict[str, Tensor]:
        """The averages, by number."""
        return {str(i): mean for i, mean in enumerate(self.means)}

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor], place: Callable[[Tensor, Tensor], Tensor]) -> None:
        """The averages that `tensors` gave; `place` places one as another tensor is."""
        for i, mean in enumerate(self.means):
            mean.copy_(place(tensors[str(i)], mean))


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
