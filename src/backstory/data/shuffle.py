"""Batches of rows in a random order, as training asks for them, from memory or from a file."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from backstory.data.rows import Rows, is_in_file
from backstory.data.stored import Stored, StoredRows
from backstory.data.weights import drawn_by_weight


class Pieces(NamedTuple):
    """How many bytes of rows in a file are taken together.

    Attributes:
        chunk: of consecutive rows that are read together: long enough for a disk, short for the shuffle.
        pool: of rows that are in memory together; there are two pools, one in use and one being read.
    """

    chunk: int = 1 << 18
    pool: int = 1 << 27


PIECES = Pieces()


class ShuffledRows:
    """The rows of a data set by batches, on the device where training happens.

    Rows in memory lie on the device as a whole, and every order of them is as likely as any other. Rows in a
    file are visited by chunks of consecutive rows (256 KiB) in random order; as many chunks as fill a pool
    (128 MiB, a multiple of the batch) are shuffled row by row and cut into batches, while a thread reads the
    next pool. Every row comes once per epoch, and in every epoch other rows come together. A data set that
    fits into one pool is shuffled perfectly. Otherwise the worst case is a file that is sorted: the share p
    of a class in a batch of B rows from a pool of C = 512 chunks then varies by about p(1 − p)(1/B + 1/C),
    where a perfect shuffle gives p(1 − p)/B, for B = 128 an eighth more in the standard deviation; and
    chunks that a class does not fill make it less. In a file whose rows have no order both are the same.

    The global batch of a step is shared out: of N processes each gets every N-th of its rows, beginning with
    its own number, which may be none of a short last batch. Only these are read.

    Args:
        rows: stored rows, or their values alone.
        batch_size: rows of a global batch.
        device: where the batches go.
        own: this process's rows among those of a global batch.
        pieces: of rows in a file.
    """

    def __init__(
        self,
        rows: StoredRows | Rows | Tensor,
        batch_size: int,
        device: torch.device,
        own: slice = slice(None),
        pieces: Pieces = PIECES,
    ):
        stored = StoredRows.of(rows)
        self.rows, self.device = stored.values, device
        self.batch_size, self.own = batch_size, own
        self.resident = None if stored.in_file else torch.as_tensor(stored.values).to(device)
        self.given = None if stored.given is None else torch.as_tensor(stored.given).to(device)
        self.weights = None if stored.weights is None else torch.as_tensor(stored.weights).to(device)
        row_bytes = max(1, stored.values.nbytes // max(1, len(stored)))
        self.chunk = max(1, pieces.chunk // row_bytes)  # in rows
        self.pool = max(1, pieces.pool // row_bytes // batch_size) * batch_size  # in rows

    def __len__(self) -> int:
        return len(self.rows)

    def order(self, generator: torch.Generator) -> Tensor:
        """A random order of the rows for one epoch, (N,) of int64; the generator is on the device.

        Rows in memory that have weights come as often as these say, see `drawn_by_weight`.
        """
        if self.weights is not None:
            return drawn_by_weight(self.weights, generator)
        if self.resident is not None:
            return torch.randperm(len(self), generator=generator, device=self.device)

        def shuffled(n: int) -> Tensor:
            return torch.randperm(n, generator=generator, device=self.device).cpu()

        starts = self.chunk * shuffled(-(-len(self) // self.chunk))
        order = (starts[:, None] + torch.arange(self.chunk)).reshape(-1)
        order = order[order < len(self)]
        for pool in order.split(self.pool):
            pool.copy_(pool[shuffled(len(pool))])
        return order

    def batches(self, order: Tensor, done: int = 0) -> Iterator[Stored]:
        """The batches of an epoch in this order, after `done` of them; the last one is short.

        Any order of row numbers will do, such as `torch.arange(len(shuffled))`.

        Raises:
            InputError: the file was cut short meanwhile.
        """
        order = order.to(self.device)
        mine = (batch[self.own] for batch in order.split(self.batch_size)[done:])
        if self.resident is None:
            return map(self._with_conditions, self._streamed(order, done), mine)
        values = self.resident
        return (self._with_conditions(values.index_select(0, rows), rows) for rows in mine)

    def _with_conditions(self, values: Tensor, rows: Tensor) -> Stored:
        return Stored(values, None if self.given is None else self.given.index_select(0, rows), rows)

    def _streamed(self, order: Tensor, done: int) -> Iterator[Tensor]:
        """The batches of one pool after another, the next of which is read meanwhile."""
        with ThreadPoolExecutor(1, "backstory-shuffle") as reader:
            readings = (reader.submit(self._read, pool) for pool in self._pools(order.cpu(), done))
            reading = next(readings, None)
            while reading is not None:
                values, sizes = reading.result()
                reading = next(readings, None)
                yield from torch.from_numpy(values).to(self.device).split(sizes)

    def _pools(self, order: Tensor, done: int) -> Iterator[Tensor]:
        """The parts of an epoch that are in memory together; what was done of the first is left out."""
        start = done * self.batch_size
        while start < len(order):
            stop = (start // self.pool + 1) * self.pool
            yield order[start:stop]
            start = stop

    def _read(self, pool: Tensor) -> tuple[np.ndarray, list[int]]:
        """This process's rows of a pool, and how many of them are in each batch."""
        assert is_in_file(self.rows)
        mine = [batch[self.own] for batch in pool.split(self.batch_size)]
        return self.rows[torch.cat(mine).numpy()], [len(batch) for batch in mine]
