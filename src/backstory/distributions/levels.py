"""What distributions of z in levels share: z is drawn from the top down, each level given those above."""

from abc import abstractmethod

import torch
from torch import Tensor

from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.latent import LatentDistribution


class Levels(LatentDistribution):
    """A distribution whose levels are Gaussians with independent dimensions given the levels above.

    Attributes:
        sizes: dimensions of each level, from the top down, as they are packed in z.
    """

    sizes: tuple[int, ...]

    @abstractmethod
    def conditionals(self, z: Tensor) -> tuple[DiagonalGaussian, ...]:
        """The distribution of each level given z of the levels above, from the top down."""

    def log_prob(self, z: Tensor) -> Tensor:
        """log density of packed codes in nats, the sum over the levels."""
        levels = zip(self.conditionals(z), z.split(self.sizes, -1), strict=True)
        return sum(level.log_prob(part) for level, part in levels)  # type: ignore[return-value]

    def kl_given(self, prior: LatentDistribution, z: Tensor) -> Tensor | None:
        """See `Posterior.kl_given`."""
        others = prior.conditionals(z)
        if others is None:
            return None
        parts = z.split(self.sizes, -1)
        pairs = zip(self.conditionals(z), others, parts, strict=True)
        return torch.cat([own.kl_per_unit(other).expand_as(part) for own, other, part in pairs], -1)  # type: ignore[union-attr]

    def kl_of_levels(self, prior: LatentDistribution, z: Tensor) -> Tensor | None:
        """See `Posterior.kl_of_levels`."""
        kl = self.kl_given(prior, z)
        return None if kl is None else torch.stack([part.sum(-1) for part in kl.split(self.sizes, -1)], -1)
