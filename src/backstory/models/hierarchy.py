"""A hierarchy of latent levels: the prior and the posterior that belong together.

    p(z) = p(z2) p(z1|z2),   p(x|z1, z2),   q(z|x) = q(z2|x) q(z1|z2, x)

z is packed from the top down, (z2, z1), and there may be more than two levels. The decoder takes all of them:
p(x|z1) alone is the special case in which it ignores z2. Decoders that take every level keep the upper ones
in use; p(x|z1) lets them collapse onto the prior (Sønderby et al. 2016, sec. 3; Maaløe et al. 2019). The
mathematics of both distributions is in `distributions.top_down`.

Prior and posterior have networks of their own, so that each can be combined with, or replaced by, others.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from backstory import options as o
from backstory.distributions.base import full_precision, soft_clamp
from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.top_down import TopDownPosterior, TopDownPrior
from backstory.models.latents import LatentGroup
from backstory.models.networks.mlp import MLP
from backstory.models.posteriors import LOG_STD_HIGH, LOG_STD_LOW
from backstory.models.registry import BUILDERS

HIDDEN = (64,)


class LevelBelow(nn.Module):
    """N(m(z), diag(s(z)²)), the distribution of a level given z of the level above.

    Args:
        above, size: dimensions of the two levels.
        hidden: widths of the hidden layers; none of them makes m affine and s constant, so that levels are
            jointly Gaussian.
    """

    def __init__(self, above: int, size: int, hidden: Sequence[int] = HIDDEN):
        super().__init__()
        self.network = MLP((above,), (2 if hidden else 1, size), hidden)
        self.log_std = None if hidden else nn.Parameter(torch.zeros(size))

    def forward(self, z: Tensor) -> DiagonalGaussian:
        with full_precision(z):
            features = self.network(z.reshape(-1, z.shape[-1])).unflatten(0, z.shape[:-1])
        mean, log_std = features[..., 0, :], features[..., -1, :] if self.log_std is None else self.log_std
        return DiagonalGaussian(mean, soft_clamp(log_std, LOG_STD_LOW, LOG_STD_HIGH).expand_as(mean))


class HierarchicalPrior(nn.Module):
    """p(z) = p(z_L) ∏ p(z_l | z_(l+1)) with p(z_L) = N(0, I) and learned networks below it.

    Args:
        levels: dimensions of z1, z2, …, from x upwards.
        hidden: widths of the hidden layers of each network.
    """

    zeros: Tensor

    def __init__(self, levels: Sequence[int], hidden: Sequence[int] = HIDDEN):
        super().__init__()
        self.sizes = tuple(levels)[::-1]
        self.below = _levels_below(self.sizes, hidden)
        self.register_buffer("zeros", torch.zeros(self.sizes[0]), persistent=False)

    def forward(self) -> TopDownPrior:
        return TopDownPrior(DiagonalGaussian(self.zeros, self.zeros), tuple(self.below), self.sizes)


class HierarchicalPosterior(nn.Module):
    """q(z|x) = q(z_L|x) ∏ q(z_l | z_(l+1), x), from the features that a diagonal posterior of all z has.

    Args:
        levels: dimensions of z1, z2, …, from x upwards.
        hidden: widths of the hidden layers of each network.
    """

    has_density = True

    def __init__(self, levels: Sequence[int], hidden: Sequence[int] = HIDDEN):
        super().__init__()
        named = [LatentGroup(f"z{level}", (size,), level) for level, size in enumerate(levels, 1)]
        self.groups = tuple(named[::-1])
        self.sizes = tuple(levels)[::-1]
        self.features_shape = (2, sum(levels))
        self.below = _levels_below(self.sizes, hidden)

    def forward(self, features: Tensor) -> TopDownPosterior:
        mean, log_std = features.unbind(1)
        clamped = soft_clamp(log_std, LOG_STD_LOW, LOG_STD_HIGH)
        return TopDownPosterior(mean, clamped, tuple(self.below), self.sizes)


def _hidden(affine: bool) -> Sequence[int]:
    return () if affine else HIDDEN


BUILDERS[o.HierarchyPrior] = lambda options, setting: HierarchicalPrior(
    setting.hierarchy, _hidden(setting.affine)
)
BUILDERS[o.HierarchyPosterior] = lambda options, setting: HierarchicalPosterior(
    setting.hierarchy, _hidden(setting.affine)
)


def _levels_below(sizes: tuple[int, ...], hidden: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(LevelBelow(above, size, hidden) for above, size in pairwise(sizes))
