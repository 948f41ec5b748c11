"""A ladder of latent groups over images: prior, posterior and decoder that share one pass from the top down.

The posterior owns the pass. The mathematics is in `distributions.ladder` and `models.networks.ladder`.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from backstory import options as o
from backstory.distributions.base import full_precision
from backstory.distributions.ladder import LadderPosterior, LadderPrior
from backstory.models.latents import LatentGroup
from backstory.models.networks.conv import channels_last
from backstory.models.networks.ladder import BottomUp, Map, ToImage, TopDownNetwork, maps
from backstory.models.registry import BUILDERS, Networks, Setting, Shape


class Ladder(nn.Module):
    """q(z|x) from the features that the bottom-up pass has at each size.

    Args:
        groups: shapes of z1, z2, …, from x upwards.
        image: height and width.
        network: width and depth.
    """

    has_density = True

    def __init__(self, groups: tuple[Map, ...], image: Sequence[int], network: o.LadderNetwork):
        super().__init__()
        named = [LatentGroup(f"z{level}", _plain(shape), level) for level, shape in enumerate(groups, 1)]
        self.groups = tuple(named[::-1])
        path = maps(image, network.width)
        self.whole_path = path
        self.path = path[: [shape[1:] for shape in path].index(groups[-1][1:]) + 1]
        self.features_shape = (sum(map(math.prod, self.path)),)
        self.top_down = TopDownNetwork(groups[::-1], path, network.depth)
        self.of_groups = nn.ModuleList(nn.Conv2d(s[0], s[0], 1) for s in self.top_down.states)
        channels_last(self.of_groups)

    @property
    def networks(self) -> Networks:
        """Builders of the encoder and of the decoder, which goes on from the shared pass."""
        return Networks(self._encoder, self._decoder)

    def forward(self, features: Tensor) -> LadderPosterior:
        found = features.split(list(map(math.prod, self.path)), 1)
        of_side = {shape: part.unflatten(1, shape) for shape, part in zip(self.path, found, strict=True)}
        pairs = zip(self.of_groups, self.top_down.states, strict=True)
        with full_precision(features):
            own = torch.cat([layer(of_side[state]).flatten(1) for layer, state in pairs], 1)
        return LadderPosterior(own, self.top_down, self.top_down.sizes)

    def _encoder(self, options: o.LadderNetwork, inputs: Shape, outputs: Shape, context: int) -> nn.Module:
        return BottomUp(inputs, self.path, options.depth, context)

    def _decoder(self, options: o.LadderNetwork, inputs: Shape, outputs: Shape) -> nn.Module:
        context = inputs[0] - sum(self.top_down.sizes)
        return ToImage(self.top_down, self.whole_path, outputs, options.depth, context)


class PriorOfLadder(nn.Module):
    """p(z) of the groups of a ladder, which owns no weights: they are in the shared pass."""

    zeros: Tensor

    def __init__(self, top_down: TopDownNetwork):
        super().__init__()
        self.shared = (top_down,)
        self.register_buffer("zeros", torch.zeros(sum(top_down.sizes)), persistent=False)

    def forward(self) -> LadderPrior:
        return LadderPrior(self.shared[0], self.shared[0].sizes, self.zeros)


def _plain(shape: Map) -> tuple[int, ...]:
    """The shape of a group as it is given: a vector has no height and width."""
    return shape[:1] if shape[1:] == (1, 1) else shape


def _posterior(options: o.LadderPosterior, setting: Setting) -> Ladder:
    groups = tuple((g, 1, 1) if isinstance(g, int) else g for g in setting.hierarchy)
    return Ladder(groups, setting.shape[:2], setting.network)


class _OfPosterior:
    """The networks of a ladder, which its posterior builds."""

    def beside(self, posterior: Ladder) -> Networks:
        return posterior.networks


BUILDERS[o.LadderNetwork] = _OfPosterior()
BUILDERS[o.LadderPosterior] = _posterior
BUILDERS[o.LadderPrior] = lambda options, setting: PriorOfLadder(setting.posterior.top_down)
