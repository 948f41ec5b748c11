"""Residual convolutional networks for images of any height and width.

The feature maps have the sides and the channels of `networks.conv`. The encoder halves the sides with a
convolution of stride 2. The decoder doubles them with transposed convolutions of 4 × 4 and stride 2, whose
outputs have equally many inputs; they begin as repeated pixels with a 3 × 3 convolution, without a
checkerboard (Odena, Dumoulin & Olah 2016). At each side but the image's own come `depth` residual blocks with
the norms before the convolutions (He et al. 2016, "Identity mappings in deep residual networks"), and a norm
and an activation before the next side. A norm is over a group of channels of one observation (Wu & He 2018),
so that the observations of a batch do not depend on each other. The parameters of a pixel come from `PIXEL`
channels of its own.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backstory import options as o
from backstory.models.networks.conditions import beside
from backstory.models.networks.conv import channels, channels_last, entries, planes, sides
from backstory.models.registry import BUILDERS, Networks

GROUP = 16  # channels that share a norm
PIXEL = 16  # channels at the image's own sides


def _norm(width: int) -> nn.Module:
    return nn.GroupNorm(math.gcd(width, max(1, width // GROUP)), width)


def stages(height: int, width: int) -> list[tuple[int, int]]:
    """Height and width of each feature map; an image that is too small for `sides` has one of its own size.

    >>> stages(28, 20), stages(5, 7)
    ([(28, 20), (14, 10), (7, 5)], [(5, 7), (5, 7)])
    """
    path = sides(height, width)
    return path if len(path) > 1 else path * 2


def smaller(side: tuple[int, int], next_side: tuple[int, int], before: int, after: int) -> nn.Module:
    """The convolution to the next feature map, of half the sides or of the same ones."""
    if side == next_side:
        return nn.Conv2d(before, after, 3, padding=1)
    return nn.Conv2d(before, after, 4, stride=2, padding=1)


class ResidualBlock(nn.Module):
    """x + conv(a(norm(conv(a(norm(x)))))) of feature maps, which keep their shape."""

    def __init__(self, width: int):
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [*_active(width), nn.Conv2d(width, width, 3, padding=1)]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def larger(side: tuple[int, int], next_side: tuple[int, int], before: int, after: int) -> nn.Module:
    """The convolution to the next feature map, of twice the sides or of the same ones.

    A transposed convolution begins as each pixel repeated and a 3 × 3 convolution: its 4 × 4 kernel is the
    sum of the 3 × 3 kernel at four places.
    """
    smooth = nn.Conv2d(before, after, 3, padding=1)
    if side == next_side:
        return smooth
    odd = (next_side[0] % 2, next_side[1] % 2)
    doubled = nn.ConvTranspose2d(before, after, 4, 2, 1, odd)
    kernel = smooth.weight.detach().flip(2, 3).transpose(0, 1)
    places = [F.pad(kernel, (j, 1 - j, i, 1 - i)) for i in (0, 1) for j in (0, 1)]
    doubled.weight.data = torch.stack(places).sum(0)
    return doubled


def _active(width: int) -> list[nn.Module]:
    return [_norm(width), nn.SiLU()]


def _blocks(width: int, depth: int) -> list[nn.Module]:
    return [ResidualBlock(width) for _ in range(depth)]


class ResNetEncoder(nn.Module):
    """Images (B, H, W) or (B, H, W, C) to features (B, *outputs).

    Conditions, `context` of them, join the coarsest feature map in front of the last layer.

    >>> import torch
    >>> ResNetEncoder((28, 20), (64,))(torch.zeros(5, 28, 20)).shape
    torch.Size([5, 64])
    """

    def __init__(
        self,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        width: int = 32,
        depth: int = 1,
        context: int = 0,
    ):
        super().__init__()
        self.outputs = outputs
        path = stages(*inputs[:2])
        counts = [inputs[2] if len(inputs) == 3 else 1, *channels(len(path) - 1, width)]
        layers: list[nn.Module] = []
        for step, (before, after) in zip(pairwise(path), pairwise(counts), strict=True):
            layers += [smaller(*step, before, after), *_blocks(after, depth), *_active(after)]
        self.stages = channels_last(nn.Sequential(*layers))
        self.last = nn.Linear(counts[-1] * math.prod(path[-1]) + context, math.prod(outputs))

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        maps = self.stages(planes(x))
        return self.last(beside(maps.movedim(1, -1).flatten(1), given)).unflatten(1, self.outputs)


class ResNetDecoder(nn.Module):
    """Features (B, *inputs) to P parameters for each entry of an image, (B, P, H, W) or (B, P, H, W, C).

    >>> import torch
    >>> ResNetDecoder((10,), (2, 28, 20, 3))(torch.zeros(5, 10)).shape
    torch.Size([5, 2, 28, 20, 3])
    """

    def __init__(self, inputs: tuple[int, ...], outputs: tuple[int, ...], width: int = 32, depth: int = 1):
        super().__init__()
        self.outputs = outputs
        path = stages(*outputs[1:3])
        colours = outputs[3] if len(outputs) == 4 else 1
        counts = channels(len(path) - 1, width)
        self.coarsest = (*path[-1], counts[-1])
        self.first = nn.Linear(math.prod(inputs), math.prod(self.coarsest))
        layers: list[nn.Module] = []
        for stage in reversed(range(len(counts))):
            here, after = counts[stage], counts[stage - 1] if stage else PIXEL
            layers += [*_blocks(here, depth), *_active(here)]
            layers.append(larger(path[stage + 1], path[stage], here, after))
        ends = [nn.SiLU(), nn.Conv2d(PIXEL, outputs[0] * colours, 1)]
        self.stages = channels_last(nn.Sequential(*layers, *ends))

    def forward(self, z: Tensor) -> Tensor:
        maps = self.first(z.flatten(1)).unflatten(1, self.coarsest).movedim(-1, 1)
        return entries(self.stages(maps), self.outputs)


BUILDERS[o.ResNetwork] = Networks(
    lambda options, inputs, outputs, context: ResNetEncoder(
        inputs, outputs, options.width, options.depth, context
    ),
    lambda options, inputs, outputs: ResNetDecoder(inputs, outputs, options.width, options.depth),
)
