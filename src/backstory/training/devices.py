"""Where training is done: by one process on one device, or by many that share out every batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from backstory.errors import InputError

T = TypeVar("T")


def pick_device(device: str) -> torch.device:
    """`auto` is the GPU where there is one; InputError for a device that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(0, device=device).device
    except (RuntimeError, AssertionError):
        raise InputError(f"device {device!r} is not available here; use auto or cpu") from None


class Alone:
    """One process on one device; and, for `distributed.Group`, what training asks of many.

    Attributes:
        device: of this process.
        rank, world: its number, and the number of processes. The first, 0, writes and speaks for all.
        pause: steps between two moments at which the processes agree on what to do next.
    """

    rank, world, pause = 0, 1, 1

    def __init__(self, device: torch.device):
        self.device = device

    @contextmanager
    def together(self) -> Iterator[None]:
        """An error of one process inside ends all of them, and is told once."""
        yield

    # -- values -----------------------------------------------------------------------------------------

    def sum(self, value: Tensor) -> Tensor:
        """The sum over the processes, the same to the bit in each of them."""
        return value

    def total(self, *numbers: float) -> tuple[float, ...]:
        """Sums over the processes of plain numbers."""
        return numbers

    def first(self, find: Callable[[], T]) -> T:
        """What the first process finds."""
        return find()

    def rows(self, part: Tensor, count: int) -> Tensor:
        """All rows, (count, …), of which process `rank` has every `world`-th, beginning with its number."""
        return part

    # -- parameters -------------------------------------------------------------------------------------

    def setup(self, module: nn.Module) -> nn.Module:
        """The module whose backward pass averages the gradient over the processes."""
        return module

    def backward(self, loss: Tensor) -> None:
        """The backward pass of the part of the loss that is this process's."""
        loss.backward()
