"""Convolutional networks for images of any height and width.

Each stage halves both sides (rounding down) with a 4 × 4 convolution of stride 2. The decoder's transposed
convolutions undo exactly that, with one more row or column for an odd side. Stages end before a side would
fall below 4, so an 8 × 8 image has one stage and a 64 × 64 image four.

Feature maps have their channels last in memory (`torch.channels_last`).
"""

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from backstory import options as o
from backstory.models.networks.conditions import beside
from backstory.models.registry import BUILDERS, Networks


def sides(height: int, width: int) -> list[tuple[int, int]]:
    """Height and width of each feature map, from the image down to the coarsest.

    >>> sides(28, 20)
    [(28, 20), (14, 10), (7, 5)]
    """
    path = [(height, width)]
    while min(path[-1]) >= 8 or (min(path[-1]) >= 4 and max(path[-1]) >= 10 and len(path) < 4):
        path.append((path[-1][0] // 2, path[-1][1] // 2))
    return path


def channels(stages: int, width: int) -> list[int]:
    """Channels of each stage: they double from stage to stage, up to 8 · width."""
    return [width * min(2**stage, 8) for stage in range(stages)]


def channels_last(module: Any) -> nn.Module:
    """The module with its weights in the order that feature maps have in memory."""
    moved: nn.Module = module.to(memory_format=torch.channels_last)
    return moved


def planes(x: Tensor) -> Tensor:
    """Images (B, H, W) or (B, H, W, C) as feature maps, (B, C, H, W)."""
    return x.unsqueeze(1) if x.dim() == 3 else x.movedim(-1, 1)


def entries(maps: Tensor, outputs: tuple[int, ...]) -> Tensor:
    """Feature maps (B, P · C, H, W) as parameters of the entries of images, (B, *outputs)."""
    if len(outputs) == 4:
        return maps.unflatten(1, (outputs[0], outputs[3])).movedim(2, -1)
    return maps


class ConvEncoder(nn.Module):
    """Images (B, H, W) or (B, H, W, C) to features (B, *outputs).

    Conditions, `context` of them, join the coarsest feature map in front of the dense layers.

    >>> import torch
    >>> ConvEncoder((28, 20), (64,))(torch.zeros(5, 28, 20)).shape
    torch.Size([5, 64])
    """

    def __init__(
        self,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        width: int = 32,
        hidden: int = 256,
        context: int = 0,
    ):
        super().__init__()
        self.outputs = outputs
        path = sides(*inputs[:2])
        counts = [inputs[2] if len(inputs) == 3 else 1, *channels(len(path) - 1, width)]
        layers: list[nn.Module] = []
        for before, after in pairwise(counts):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.SiLU()]
        self.stages = channels_last(nn.Sequential(*layers))
        self.dense = nn.Sequential(
            nn.Linear(counts[-1] * math.prod(path[-1]) + context, hidden),
            nn.SiLU(),
            nn.Linear(hidden, math.prod(outputs)),
        )

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        maps = self.stages(planes(x))
        return self.dense(beside(maps.movedim(1, -1).flatten(1), given)).unflatten(1, self.outputs)


class ConvDecoder(nn.Module):
    """Features (B, *inputs) to P parameters for each entry of an image, (B, P, H, W) or (B, P, H, W, C).

    >>> import torch
    >>> ConvDecoder((10,), (2, 28, 20, 3))(torch.zeros(5, 10)).shape
    torch.Size([5, 2, 28, 20, 3])
    """

    def __init__(self, inputs: tuple[int, ...], outputs: tuple[int, ...], width: int = 32, hidden: int = 256):
        super().__init__()
        self.outputs = outputs
        path = sides(*outputs[1:3])
        colours = outputs[3] if len(outputs) == 4 else 1
        counts = [outputs[0] * colours, *channels(len(path) - 1, width)]
        self.coarsest = (*path[-1], counts[-1])
        self.dense = nn.Sequential(
            nn.Linear(math.prod(inputs), hidden), nn.SiLU(), nn.Linear(hidden, math.prod(self.coarsest))
        )
        layers: list[nn.Module] = []
        for stage in reversed(range(len(path) - 1)):
            odd = (path[stage][0] % 2, path[stage][1] % 2)
            layers += [
                nn.SiLU(),
                nn.ConvTranspose2d(
                    counts[stage + 1], counts[stage], 4, stride=2, padding=1, output_padding=odd
                ),
            ]
        self.stages = channels_last(nn.Sequential(*layers))

    def forward(self, z: Tensor) -> Tensor:
        maps = self.dense(z.flatten(1)).unflatten(1, self.coarsest).movedim(-1, 1)
        x: Tensor = self.stages(maps)
        return entries(x, self.outputs)


BUILDERS[o.ConvNetwork] = Networks(
    lambda options, inputs, outputs, context: ConvEncoder(inputs, outputs, options.width, context=context),
    lambda options, inputs, outputs: ConvDecoder(inputs, outputs, options.width),
)
