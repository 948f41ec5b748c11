"""An exponential average of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


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
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take the averages that `tensors` gave."""
        for i, mean in enumerate(self.means):
            mean.copy_(tensors[str(i)])
