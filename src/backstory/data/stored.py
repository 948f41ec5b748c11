"""Rows as they are stored, with the conditions that belong to them."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from backstory.data.rows import Rows, is_in_file, subset
from backstory.data.weights import drawn_by_weight


class Stored(NamedTuple):
    """Some rows on a device.

    Attributes:
        values: stored values, (B, *shape).
        given: conditions, (B, C); None without.
        numbers: of the rows among all rows, (B,); None where they are not told.
    """

    values: Tensor
    given: Tensor | None = None
    numbers: Tensor | None = None


@dataclass(frozen=True)
class StoredRows:
    """All rows of a data set or of a part of it.

    Attributes:
        values: stored values, (N, *shape), in memory or in a file.
        given: conditions of each row, (N, C) of float32; None without.
        weights: how many rows each one counts as in training, (N,); None for one.
    """

    values: Rows | Tensor
    given: np.ndarray | Tensor | None = None
    weights: np.ndarray | None = None

    @classmethod
    def of(cls, rows: "StoredRows | Rows | Tensor") -> "StoredRows":
        """Stored rows as they are; values alone as rows without conditions."""
        return rows if isinstance(rows, StoredRows) else cls(rows)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def in_file(self) -> bool:
        """Whether the values stay in a file."""
        return is_in_file(self.values)

    def take(self, index: np.ndarray) -> "StoredRows":
        """The rows of these numbers."""
        values: Any = self.values  # of a tensor, rows are chosen as of an array
        return StoredRows(
            subset(values, index),
            None if self.given is None else self.given[index],
            None if self.weights is None else self.weights[index],
        )

    def by_weight(self, seed: int) -> "StoredRows":
        """As many rows, drawn by their weights; the same rows without weights."""
        if self.weights is None:
            return self
        generator = torch.Generator().manual_seed(seed)
        return self.take(drawn_by_weight(torch.from_numpy(self.weights), generator).numpy())

    def part(self, part: slice) -> "StoredRows":
        """Consecutive rows, read where they stay in a file."""
        return StoredRows(self.values[part], None if self.given is None else self.given[part])

    def in_memory(self) -> "StoredRows":
        """The same rows, read where they stay in a file."""
        return self.part(slice(None)) if self.in_file else self

    def on(self, device: torch.device, part: slice) -> Stored:
        """Some of the rows, on a device."""
        given = None if self.given is None else torch.as_tensor(self.given[part]).to(device)
        return Stored(torch.as_tensor(self.values[part]).to(device), given)
