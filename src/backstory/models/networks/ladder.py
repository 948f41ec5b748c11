"""The networks of a ladder: x from the bottom up, and z from the top down.

The bottom-up pass is a residual convolutional network. Its feature maps at each size go into the posteriors
of all groups of that size. The top-down pass carries a state h, which every group reads and adds to:

    p(z_l | z_>l)    = N(μ, σ²),                       μ, log σ of h
    q(z_l | z_>l, x) = N(μ + σ Δμ, (σ e^Δ)²),          Δμ, Δ of h and of the features of x
    h ← blocks(h + W z_l)

(Sønderby et al. 2016, "Ladder variational autoencoders"; Child 2021, "Very deep VAEs"; the correction of the
prior is that of Vahdat & Kautz 2020, "NVAE", eq. 2). All of these end in layers that begin as zero, so a new
ladder has q = p = N(0, I) at every level, and blocks that change nothing. Between two sizes is the
convolution of `networks.resnet.larger`.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor, nn

from backstory.distributions.base import full_precision, soft_clamp
from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.ladder import Walk, walk
from backstory.models.networks.conv import channels, channels_last, entries, planes
from backstory.models.networks.resnet import larger, smaller, stages

Map: TypeAlias = tuple[int, int, int]  # channels, height, width

BOUND = 6.0  # of log σ of p(z_l | …), and of the log of the factor by which q(z_l | …, x) differs


def maps(sides: Sequence[int], base: int) -> list[Map]:
    """The feature maps between an image and a vector: those of half its sides, of a quarter …, and 1 × 1.

    >>> maps((28, 28), 16)
    [(16, 14, 14), (32, 7, 7), (128, 1, 1)]
    """
    path = stages(*sides)[1:]
    found = [(count, *side) for count, side in zip(channels(len(path), base), path, strict=True)]
    return [*found, (8 * base, 1, 1)]


def conv(before: int, after: int, side: Sequence[int]) -> nn.Module:
    kernel = 3 if max(side) > 1 else 1
    return nn.Conv2d(before, after, kernel, padding=kernel // 2)


def _zero(layer: nn.Module) -> nn.Module:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class Block(nn.Module):
    """x + W a(conv(a(x))), which begins as x."""

    def __init__(self, shape: Map):
        super().__init__()
        width, *side = shape
        self.body = nn.Sequential(
            nn.SiLU(), conv(width, width, side), nn.SiLU(), _zero(nn.Conv2d(width, width, 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _blocks(shape: Map, depth: int) -> list[nn.Module]:
    return [Block(shape) for _ in range(depth)]


class Reshaped(nn.Module):
    """A linear map between feature maps of any shape, for the way to a vector and back."""

    def __init__(self, before: Map, after: Map):
        super().__init__()
        self.after = after
        self.linear = nn.Linear(math.prod(before), math.prod(after))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1)).unflatten(1, self.after)


def _down(before: Map, after: Map) -> nn.Module:
    if after[1:] == (1, 1):
        return Reshaped(before, after)
    return smaller(before[1:], after[1:], before[0], after[0])


def _up(before: Map, after: Map) -> nn.Module:
    if before[1:] == (1, 1):
        return Reshaped(before, after)
    narrow = nn.Conv2d(before[0], after[0], 1) if before[0] > after[0] else nn.Identity()
    return nn.Sequential(narrow, larger(before[1:], after[1:], min(before[0], after[0]), after[0]))


class BottomUp(nn.Module):
    """Images (B, H, W) or (B, H, W, C) to their feature maps, packed one after the other, (B, F).

    Args:
        inputs: shape of an image.
        path: shapes of the feature maps, from the largest on.
        depth: residual blocks at each.
        context: conditions, which are added to every feature map.
    """

    def __init__(self, inputs: tuple[int, ...], path: Sequence[Map], depth: int, context: int = 0):
        super().__init__()
        image: Map = (inputs[2] if len(inputs) == 3 else 1, inputs[0], inputs[1])
        self.stages = nn.ModuleList(
            nn.Sequential(_down(before, after), *_blocks(after, depth))
            for before, after in pairwise((image, *path))
        )
        channels_last(self.stages)
        self.given = nn.ModuleList(nn.Linear(context, shape[0]) for shape in path if context)

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        h, found = planes(x), []
        for index, stage in enumerate(self.stages):
            h = stage(h)
            if given is not None:
                h = h + self.given[index](given)[:, :, None, None]
            found.append(h.flatten(1))
        return torch.cat(found, 1)


class Level(nn.Module):
    """One group of z in the top-down pass: its prior, its correction by x, and what it does to the state.

    Args:
        group: shape of z_l, (C, H, W).
        shape: of the state.
        depth: residual blocks after the group.
        top: whether p(z_l) is N(0, I).
    """

    def __init__(self, group: Map, shape: Map, depth: int, top: bool):
        super().__init__()
        (count, *side), width = group, shape[0]
        self.group = group
        self.prior = None if top else nn.Sequential(nn.SiLU(), _zero(conv(width, 2 * count, side)))
        self.state = nn.Sequential(nn.SiLU(), nn.Conv2d(width, width, 1))
        self.correction = nn.Sequential(nn.SiLU(), _zero(conv(width, 2 * count, side)))
        self.enter = nn.Conv2d(count, width, 1)
        self.after = nn.Sequential(*_blocks(shape, depth))

    def p(self, h: Tensor, like: Tensor) -> DiagonalGaussian:
        """p(z_l | …) of N states, (N, D_l)."""
        if self.prior is None:
            zeros = like.new_zeros(len(h), math.prod(self.group))
            return DiagonalGaussian(zeros, zeros)
        with full_precision(like):
            mean, log_std = self.prior(h.to(like.dtype)).chunk(2, 1)
        return DiagonalGaussian(mean.flatten(1), soft_clamp(log_std.flatten(1), -BOUND, BOUND))

    def q(self, h: Tensor, p: DiagonalGaussian, features: Tensor) -> DiagonalGaussian:
        """q(z_l | …, x) of N states and the packed features of B observations; N is a multiple of B."""
        with full_precision(features):
            inner = self.state(h.to(features.dtype))
            of_x = features.unflatten(1, inner.shape[1:])
            draws = len(inner) // max(1, len(of_x))  # one of many processes may have no row of a batch
            inner = (inner.unflatten(0, (draws, len(of_x))) + of_x).flatten(0, 1)
            shift, raw = (part.flatten(1) for part in self.correction(inner).chunk(2, 1))
        change = soft_clamp(raw, -BOUND, BOUND)
        return DiagonalGaussian(p.mean + p.std * shift, p.log_std + change)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """The state after the group: N states, and z_l, (N, D_l)."""
        return self.after(h + self.enter(z.unflatten(1, self.group)))


class TopDownNetwork(nn.Module):
    """The pass from the top down, see `distributions.ladder.Pass`.

    Args:
        groups: shapes of the groups, from the top down.
        path: shapes of the feature maps, from the largest on.
        depth: residual blocks after each group.

    Attributes:
        states: the shape of the state at each group, which is that of its features of x.
        known: passes that are kept, see `distributions.ladder.once`.
    """

    def __init__(self, groups: Sequence[Map], path: Sequence[Map], depth: int):
        super().__init__()
        self.sizes = tuple(map(math.prod, groups))
        by_side = {shape[1:]: shape for shape in path}
        self.states = [by_side[group[1:]] for group in groups]
        self.start = nn.Parameter(torch.zeros(self.states[0]))
        self.levels = nn.ModuleList(
            Level(group, state, depth, top=index == 0)
            for index, (group, state) in enumerate(zip(groups, self.states, strict=True))
        )
        self.ups = nn.ModuleList(_ups(before, after, path) for before, after in pairwise(self.states))
        self.known: list[Walk] | None = None
        channels_last(self)

    def forward(self, points: Tensor, features: Tensor | None = None, draw: bool = False) -> Walk:
        parts = points.reshape(-1, points.shape[-1]).split(self.sizes, -1)
        of_x = None if features is None else features.split(list(map(math.prod, self.states)), 1)
        h = self.start.expand(len(parts[0]), *self.start.shape)
        priors, posteriors, codes = [], [], []
        for index, (level, part) in enumerate(zip(self.levels, parts, strict=True)):
            h = self.ups[index - 1](h) if index else h
            priors.append(level.p(h, points))  # type: ignore[operator]
            if of_x is not None:
                posteriors.append(level.q(h, priors[-1], of_x[index]))  # type: ignore[operator]
            codes.append((posteriors or priors)[-1].transport(part) if draw else part)
            h = level(h, codes[-1])
        z = torch.cat(codes, -1).reshape(points.shape) if draw else points
        around = points.shape[:-1]
        return Walk(z, _shaped(priors, around), _shaped(posteriors, around), h, features)


def _shaped(levels: Sequence[DiagonalGaussian], around: tuple[int, ...]) -> tuple[DiagonalGaussian, ...]:
    """The distributions of packed levels, (*around, D_l), of those of N codes, (N, D_l)."""
    shapes = [(*around, level.mean.shape[-1]) for level in levels]
    return tuple(
        DiagonalGaussian(level.mean.reshape(shape), level.log_std.reshape(shape))
        for level, shape in zip(levels, shapes, strict=True)
    )


class ToImage(nn.Module):
    """The end of the decoder: from the last state to the parameters of an image, (N, *outputs).

    Args:
        network: the pass from the top down, which belongs to the posterior.
        path: shapes of the feature maps, from the largest on.
        outputs: shape of the parameters, (P, H, W) or (P, H, W, C).
        depth: residual blocks at each size but the image's own.
        context: conditions, which are added to the last state.
    """

    takes_codes = True

    def __init__(
        self,
        network: TopDownNetwork,
        path: Sequence[Map],
        outputs: tuple[int, ...],
        depth: int,
        context: int = 0,
    ):
        super().__init__()
        self.shared, self.outputs = (network,), outputs  # not a part: the weights are saved once
        first, width = network.states[-1], path[0][0]
        above = path[: path.index(first)][::-1]
        layers: list[nn.Module] = [*_blocks(first, depth if context else 0)]
        for before, after in pairwise((first, *above)):
            layers += [_up(before, after), *_blocks(after, depth)]
        width = max(1, width // 2)
        image = (width, outputs[1], outputs[2])
        colours = outputs[3] if len(outputs) == 4 else 1
        layers += [
            nn.SiLU(),
            _up(path[0], image),
            nn.SiLU(),
            nn.Conv2d(width, outputs[0] * colours, 3, padding=1),
        ]
        self.layers = channels_last(nn.Sequential(*layers))
        self.given = nn.Linear(context, first[0]) if context else None

    def forward(self, z: Tensor, given: Tensor | None = None) -> Tensor:
        """Parameters (*, *outputs) for codes (*, D) and conditions (*, C), which may also stand behind z."""
        if given is None and self.given is not None:
            z, given = z.split((sum(self.shared[0].sizes), self.given.in_features), -1)
        h = walk(self.shared[0], z).state
        if given is not None and self.given is not None:
            around = given.expand(*z.shape[:-1], -1).reshape(-1, given.shape[-1])
            h = h + self.given(around)[:, :, None, None]
        return entries(self.layers(h), self.outputs).unflatten(0, z.shape[:-1])


def _ups(before: Map, after: Map, path: Sequence[Map]) -> nn.Module:
    """The way from a state to a larger one, through all sizes between them."""
    between = path[path.index(after) : path.index(before) + 1][::-1]
    return nn.Sequential(*(_up(*pair) for pair in pairwise(between)))
