"""Batches of rows in a random order, as training asks for them."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor


class Loader:
    """The rows of a data set by batches, on the device where training happens.

    The global batch of a step is shared out: process `rank` of `world` gets every world-th of its rows,
    beginning with its own number, which may be none of a short last batch.

    Args:
        rows: stored values, (N, *shape).
        batch_size: rows of a global batch.
        device: where the batches go; data in memory lies there as a whole.
        rank, world: this process's number, and the number of processes.
    """

    def __init__(
        self, rows: np.ndarray | Tensor, batch_size: int, device: torch.device, rank: int = 0, world: int = 1
    ):
        self.resident = torch.as_tensor(rows).to(device)
        self.batch_size, self.rank, self.world = batch_size, rank, world

    def __len__(self) -> int:
        return len(self.resident)

    def order(self, generator: torch.Generator) -> Tensor:
        """A random order of the rows for one epoch, (N,) of int64; the generator is on the device."""
        return torch.randperm(len(self), generator=generator, device=self.resident.device)

    def batches(self, order: Tensor, done: int = 0) -> Iterator[Tensor]:
        """Stored values of the batches of an epoch in this order, after `done` of them; the last is short."""
        for index in order.split(self.batch_size)[done:]:
            yield self.resident[index[self.rank :: self.world]]
