"""An exponential moving average of the weights.

`torch.optim.swa_utils.AveragedModel` computes the same recursion. It is not used because it copies the whole
module, and starts from the weights after the first step.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """The average θ̄ of parameters θ over the steps of a run.

    θ̄ ← θ̄ + (1 − d)(θ − θ̄) after each step, with d = min(decay, (1 + t)/(10 + t)) after t steps: the
    average is short at first, so that the initial weights are soon forgotten.

    Args:
        parameters: θ.
        decay: the largest d, between 0 and 1.
    """

    def __init__(self, parameters: list[nn.Parameter], decay: float):
        self.parameters, self.decay = parameters, decay
        self.means = [p.detach().clone() for p in parameters]

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Include the parameters as they are after `steps` steps."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        torch._foreach_lerp_(self.means, list(self.parameters), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the averages in the place of the parameters, inside the context."""
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
        """The averages, by the numbers of their parameters."""
        return {str(i): mean for i, mean in enumerate(self.means)}

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take the averages that `tensors` gave."""
        for i, mean in enumerate(self.means):
            mean.copy_(tensors[str(i)])
