"""The state of a training run between two steps, as tensors and plain values: the content of a checkpoint.

It holds the state of the generator from which the order of the epoch was drawn, not the order itself.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from backstory.training.divergence import Yardstick

EPOCH_SHARE = 0.01  # largest share of the time spent on checkpoints at the ends of epochs

Metrics = dict[str, Any]


@dataclass(frozen=True)
class State:
    """Tensors by name, and values that JSON represents exactly."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]


@dataclass
class History:
    """The record of a run.

    Attributes:
        epochs: metrics of each epoch, as in metrics.jsonl.
        best_epoch: epoch whose weights were kept; the last one without validation.
        skipped: number of steps skipped because the loss or a gradient was not finite.
        spikes: number of steps skipped because the gradient was far larger than before.
        warm: the last epoch of the warm-up so far.
        stopped: why training ended: `finished`, `no improvement`, `time`, `diverged` or `interrupted`.
        yardstick: what the bound of the model is compared with.
        diverged_at: the learning rate of an earlier attempt that diverged.
    """

    epochs: list[Metrics] = field(default_factory=list)
    best_epoch: int = 0
    skipped: int = 0
    spikes: int = 0
    warm: int = 0
    stopped: str = "finished"
    yardstick: Yardstick | None = None
    diverged_at: float | None = None

    @classmethod
    def of(cls, values: dict[str, Any]) -> "History":
        """The record with these values, as `dataclasses.asdict` gives them."""
        measured = values.get("yardstick")
        return cls(**{**values, "yardstick": None if measured is None else Yardstick(**measured)})


@dataclass
class Position:
    """The position of a run between two steps of an epoch.

    Attributes:
        epoch: number of the current epoch, from 1.
        step: number of its finished steps.
        spikes: number of its steps with a gradient that was too large.
        seconds: time spent on it before the run was resumed.
    """

    epoch: int = 1
    step: int = 0
    spikes: int = 0
    seconds: float = 0.0


class Autosave:
    """Writes checkpoints: every `every` seconds, and at the end of an epoch if that costs little time.

    Args:
        write: writes a state; None for a run without checkpoints.
        every: seconds between two checkpoints.
    """

    def __init__(self, write: Callable[[State], None] | None = None, every: float = 60.0):
        self.write, self.every = write, every
        self.last, self.cost = time.monotonic(), 0.0

    def due(self, end_of_epoch: bool) -> bool:
        """Whether to write a checkpoint now."""
        if self.write is None:
            return False
        since = time.monotonic() - self.last
        return since >= self.every or (end_of_epoch and since * EPOCH_SHARE >= self.cost)

    def save(self, state: State) -> None:
        """Write a checkpoint and measure how long that takes."""
        if self.write is not None:
            start = time.monotonic()
            self.write(state)
            self.last = time.monotonic()
            self.cost = self.last - start


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, each named `prefix.name`."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors named `prefix.name`, by their `name`; the inverse of `prefixed`."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
