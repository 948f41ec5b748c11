"""Where training runs: in one process on one device, or in several processes that share every batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from backstory.errors import InputError

T = TypeVar("T")


def pick_device(device: str) -> torch.device:
    """The device of that name, `auto` for the GPU if there is one; InputError for an unavailable device."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(0, device=device).device
    except (RuntimeError, AssertionError):
        raise InputError(f"device {device!r} is not available here; use auto or cpu") from None


class Alone:
    """One process on one device, with the operations that training needs from a group of processes.

    `distributed.Group` overrides them for several processes.

    Attributes:
        device: of this process.
        rank: number of this process; process 0 writes files and messages for all.
        world: number of processes.
        pause: number of steps between two agreements of the processes on what to do next.
    """

    rank, world, pause = 0, 1, 1

    def __init__(self, device: torch.device):
        self.device = device

    @contextmanager
    def together(self) -> Iterator[None]:
        """A context in which an error of one process ends all of them, and is reported once."""
        yield

    # -- values -----------------------------------------------------------------------------------------

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all processes, identical to the bit in each of them."""
        return value

    def total(self, *numbers: float) -> tuple[float, ...]:
        """Sums of plain numbers over all processes."""
        return numbers

    def first(self, find: Callable[[], T]) -> T:
        """The result of `find` in the first process."""
        return find()

    def rows(self, part: Tensor, count: int) -> Tensor:
        """All rows, (count, …), from those of each process: process r has rows r, r + world, …"""
        return part

    def own_generator(self, common: torch.Generator, seed: int, number: int) -> torch.Generator:
        """The generator of what an objective draws for the rows of this process.

        Args:
            common: of draws that all processes make alike.
            seed: of the run.
            number: of the pass through the model.
        """
        return common

    # -- parameters -------------------------------------------------------------------------------------

    def setup(self, module: nn.Module) -> nn.Module:
        """The module, made ready to average its gradient over all processes."""
        return module

    def backward(self, loss: Tensor) -> None:
        """The backward pass for the part of the loss that this process computed."""
        loss.backward()
