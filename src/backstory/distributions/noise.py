"""Random numbers for draws of x and z, from one generator, or from one for each row of the data.

Noise has the shape of the draw. With a generator for each row, the rows lie along the second axis,
(K, N, *shape), as the codes of a restoration do, and the noise of a row does not depend on other rows.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class RowGenerators:
    """A generator for each of N rows.

    Args:
        generators: in the order of the rows.
    """

    def __init__(self, generators: Sequence[torch.Generator]):
        self.generators = generators

    def __getitem__(self, rows: slice) -> "RowGenerators":
        return RowGenerators(self.generators[rows])


Generators = torch.Generator | RowGenerators | None  # None is PyTorch's own generator
Make = Callable[[Tensor, torch.Generator | None], Tensor]


def randn(shape: tuple[int, ...], like: Tensor, generator: Generators) -> Tensor:
    """Standard normal noise on the device and in the type of `like`."""
    return _by_row(_shaped(torch.randn), like.new_empty(()).expand(shape), generator)


def rand(shape: tuple[int, ...], like: Tensor, generator: Generators) -> Tensor:
    """Noise that is uniform on [0, 1), on the device and in the type of `like`."""
    return _by_row(_shaped(torch.rand), like.new_empty(()).expand(shape), generator)


def gamma(concentration: Tensor, generator: Generators) -> Tensor:
    """Draws of gamma variables with rate 1."""
    return _by_row(lambda of, own: torch._standard_gamma(of, generator=own), concentration, generator)


def poisson(rate: Tensor, generator: Generators) -> Tensor:
    """Draws of Poisson variables."""
    return _by_row(lambda of, own: torch.poisson(of, generator=own), rate, generator)


def _shaped(make: Callable[..., Tensor]) -> Make:
    """A function of PyTorch that fills a shape, as one that makes noise like a tensor."""

    def of_shape(of: Tensor, generator: torch.Generator | None) -> Tensor:
        kind: dict[str, Any] = {"device": of.device, "dtype": of.dtype}
        return make(of.shape, generator=generator, **kind)

    return of_shape


def _by_row(make: Make, of: Tensor, generator: Generators) -> Tensor:
    if not isinstance(generator, RowGenerators):
        return make(of, generator)
    rows = zip(of.unbind(1), generator.generators, strict=True)
    return torch.stack([make(row, own) for row, own in rows], 1)
