"""A training run as tensors and plain values, taken between two steps: what a checkpoint holds.

The order of an epoch is not kept, but the state of the generator that it was drawn from.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

EPOCH_SHARE = 0.01  # of the time, at most, goes into checkpoints at the ends of epochs

Metrics = dict[str, Any]


@dataclass(frozen=True)
class State:
    """Tensors by name, and values that JSON holds exactly."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]


@dataclass
class History:
    """What happened in a run.

    Attributes:
        epochs: the metrics of each epoch, as in metrics.jsonl.
        best_epoch: the epoch whose weights were kept; the last one without validation.
        skipped: steps left out because the loss or a gradient was not finite.
        spikes: steps left out because the gradient was far larger than those before.
        stopped: why training ended: `finished`, `no improvement`, `time` or `interrupted`.
    """

    epochs: list[Metrics] = field(default_factory=list)
    best_epoch: int = 0
    skipped: int = 0
    spikes: int = 0
    stopped: str = "finished"


@dataclass
class Position:
    """Where a run is: between two steps of an epoch.

    Attributes:
        epoch: the epoch that is going on, from 1.
        step: how many of its steps are done.
        spikes: its steps whose gradient was too large.
        seconds: time spent on it before the run was taken up again.
    """

    epoch: int = 1
    step: int = 0
    spikes: int = 0
    seconds: float = 0.0


class Autosave:
    """Decides when a checkpoint is due: every so many seconds, and at an epoch's end if it costs little.

    Args:
        write: writes a state; None for a run that is not kept.
        every: seconds.
    """

    def __init__(self, write: Callable[[State], None] | None = None, every: float = 60.0):
        self.write, self.every = write, every
        self.last, self.cost = time.monotonic(), 0.0

    def due(self, end_of_epoch: bool) -> bool:
        if self.write is None:
            return False
        since = time.monotonic() - self.last
        return since >= self.every or (end_of_epoch and since * EPOCH_SHARE >= self.cost)

    def save(self, state: State) -> None:
        if self.write is not None:
            start = time.monotonic()
            self.write(state)
            self.last = time.monotonic()
            self.cost = self.last - start


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under `prefix.name`."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimiser remembers of each parameter, as `number.name`."""
    state = optimiser.state_dict()["state"]
    return {f"{i}.{name}": value for i, values in state.items() for name, value in values.items()}


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give an optimiser of the same parameters the memory that `optimiser_tensors` took."""
    described = optimiser.state_dict()["param_groups"]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": described})
