"""What a model is told of a batch: x, and the conditions c of p(x|c)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Observation:
    """A batch of B observations.

    Attributes:
        x: (B, *shape), in the model's units (`Schema.prepare`); NaN where an entry is missing.
        given: the conditions c, (B, C); None for a model of p(x).

    >>> batch = Observation(torch.zeros(5, 3))
    >>> len(batch), [len(part) for part in batch.split(2)]
    (5, [2, 2, 1])
    """

    x: Tensor
    given: Tensor | None = None

    @classmethod
    def of(cls, x: "Observation | Tensor") -> "Observation":
        """An observation as it is; a tensor as an observation without conditions."""
        return x if isinstance(x, Observation) else cls(x)

    @classmethod
    def joined(cls, parts: Sequence["Observation"]) -> "Observation":
        """The observations of all parts, one after the other."""
        given = [part.given for part in parts if part.given is not None]
        return cls(torch.cat([part.x for part in parts]), torch.cat(given) if given else None)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def device(self) -> torch.device:
        return self.x.device

    def rows(self, rows: slice | Tensor) -> "Observation":
        """Some of the observations."""
        return Observation(self.x[rows], None if self.given is None else self.given[rows])

    def split(self, rows: int) -> Iterator["Observation"]:
        """The observations a few rows at a time."""
        for start in range(0, len(self), rows):
            yield self.rows(slice(start, start + rows))

    def to(self, device: torch.device) -> "Observation":
        """The observations on a device."""
        return Observation(self.x.to(device), None if self.given is None else self.given.to(device))
