"""Training that is interrupted at a step, as by Ctrl-C."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from backstory.training.trainer import Trainer


@contextmanager
def interrupted_at(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A context in which the training step of this number, from 1 on, begins with SIGINT."""
    step, steps = Trainer._step, []

    def cut(trainer, *arguments):
        steps.append(trainer)
        if len(steps) == number:
            signal.raise_signal(signal.SIGINT)
        return step(trainer, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", cut)
        yield
