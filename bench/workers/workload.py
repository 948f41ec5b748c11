"""What is trained, and the matrix products that one step cannot do without; needs nothing but Python.

An affine map of n rows from i to o units is one product forward, (n, i)(i, o), and two backward, one for
the weights, (i, n)(n, o), and one for its input, (n, o)(o, i), each of 2·n·i·o operations. The first map of
the encoder needs no gradient of its input. A convolution is the same map of patches: its rows are the
positions of its output, its inputs the entries of a patch (im2col); a transposed one goes the other way.
"""

import json
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

SIDES = (28, 14, 7)  # of an image, and of what the two strided convolutions make of it
CHANNELS = (1, 32, 64)
KERNEL = 4 * 4
PIXELS = SIDES[0] ** 2


@dataclass(frozen=True)
class Workload:
    """A Bernoulli VAE of 28 × 28 images, and how it takes a step.

    Attributes:
        hidden: widths of the encoder's hidden layers; the decoder's are the same, backwards.
        network: `plain`, or `conv`: two convolutions of stride 2 before the hidden layers.
        samples: draws of z for each image; with more than one the objective is importance weighted.
    """

    batch: int
    hidden: tuple[int, ...]
    latent: int
    activation: str = "relu"
    network: str = "plain"
    samples: int = 1


@dataclass(frozen=True)
class Job:
    """What a worker is started with.

    Attributes:
        data: `.npy` file of images, (N, 28, 28) of uint8.
        folder: for what the worker writes.
        options: of the contender.
    """

    workload: Workload
    data: str
    folder: str
    threads: int
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    def write(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def read(text: str) -> "Job":
        values = json.loads(text)
        workload = values.pop("workload")
        return Job(Workload(**{**workload, "hidden": tuple(workload["hidden"])}), **values)


class Affine(NamedTuple):
    """An affine map in one step: its rows, its units, and whether its input needs a gradient."""

    rows: int
    inputs: int
    outputs: int
    inner: bool = True


def encoder_widths(w: Workload) -> list[int]:
    """Units from the input of the encoder's dense part to the means and scales of z."""
    return [_first_width(w), *w.hidden, 2 * w.latent]


def decoder_widths(w: Workload) -> list[int]:
    return [w.latent, *w.hidden[::-1], _first_width(w)]


def _first_width(w: Workload) -> int:
    return PIXELS if w.network == "plain" else CHANNELS[-1] * SIDES[-1] ** 2


def affine_maps(w: Workload) -> list[Affine]:
    """The maps of one step in their order."""
    draws = w.batch * w.samples
    maps = [Affine(w.batch, *pair) for pair in pairwise(encoder_widths(w))]
    maps += [Affine(draws, *pair) for pair in pairwise(decoder_widths(w))]
    if w.network == "conv":
        # a patch of 4 × 4 pixels of each channel for every pixel of the smaller image
        stages = [
            (side**2, KERNEL * fine, coarse)
            for (fine, coarse), side in zip(pairwise(CHANNELS), SIDES[1:], strict=True)
        ]
        maps = [Affine(w.batch * pixels, patch, channels) for pixels, patch, channels in stages] + maps
        maps += [Affine(draws * pixels, channels, patch) for pixels, patch, channels in reversed(stages)]
    return [maps[0]._replace(inner=False), *maps[1:]]


def operations(w: Workload) -> int:
    """Multiplications and additions of the products of one step."""
    return sum((3 if a.inner else 2) * 2 * prod(a[:3]) for a in affine_maps(w))
