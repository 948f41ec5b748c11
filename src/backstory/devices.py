"""Where training is done: by one process on one device, or by many that share out every batch."""

from typing import Any

import torch
from torch import Tensor, nn


class Alone:
    """One process on one device.

    Attributes:
        device: of this process.
        rank, world: its number, and the number of processes.
        pause: steps between two moments at which the processes agree on what to do next.
    """

    rank, world, pause = 0, 1, 1

    def __init__(self, device: torch.device):
        self.device = device

    def setup(self, module: nn.Module) -> nn.Module:
        """The module whose backward pass averages the gradient over the processes."""
        return module

    def backward(self, loss: Tensor) -> None:
        """The backward pass of the part of the loss that is this process's."""
        loss.backward()

    def sum(self, value: Tensor) -> Tensor:
        """The sum over the processes."""
        return value

    def most(self, value: float) -> float:
        """The largest value of any process."""
        return value

    def agree(self, outcome: Any) -> Any:
        """An outcome that fails everywhere if it fails anywhere."""
        return outcome

    def whole(self, value: Tensor) -> Tensor:
        """A tensor that may be spread over the processes, in one piece."""
        return value
