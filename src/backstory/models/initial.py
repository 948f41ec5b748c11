"""Initial weights from a generator of their own.

Layers of PyTorch draw their weights from the generator of the whole process, and many take no other one.
Models may be made in several threads at once, so seeding that generator would mix their draws.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from backstory.dispatch import DispatchMode


class _Generated(DispatchMode):
    """Gives every random operation of this thread one generator."""

    def __init__(self, generator: torch.Generator):
        super().__init__()
        self.generator = generator

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        return func.overloadpacket(*args, **{**kwargs, "generator": self.generator})


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """A context in which this thread draws on the CPU, from a generator with this seed.

    The draws are those that `torch.manual_seed(seed)` would give. The generator of the process and other
    threads are not touched.

    >>> with drawn_from(3):
    ...     first = torch.nn.Linear(2, 2).weight
    >>> with drawn_from(3):
    ...     second = torch.nn.Linear(2, 2).weight
    >>> torch.equal(first, second)
    True
    """
    with torch.device("cpu"), _Generated(torch.Generator("cpu").manual_seed(seed)):
        yield
