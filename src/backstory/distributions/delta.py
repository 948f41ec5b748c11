"""The point mass: the limit of a posterior whose variance is zero."""

from dataclasses import dataclass

import torch
from torch import Tensor

from backstory.distributions.latent import Moments, Posterior, Prior


@dataclass(frozen=True)
class Delta(Posterior):
    """All mass on `mean`: the zero-variance limit, in which a VAE is a plain autoencoder.

    It has no density. Its KL term is defined as zero, the convention of this limit: the constant that
    diverges does not depend on the data.
    """

    mean: Tensor
    has_density = False

    @property
    def std(self) -> Tensor:
        return torch.zeros_like(self.mean)

    @property
    def centre(self) -> Tensor:
        return self.mean

    def moments(self) -> Moments:
        return Moments(self.mean, self.std)

    def log_prob(self, z: Tensor) -> Tensor:
        return z.new_zeros(z.shape[:-1])

    def sample(self, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        return self.mean.expand(samples, *self.mean.shape)

    def transport(self, noise: Tensor) -> Tensor:
        return self.mean.expand(noise.shape)

    def kl_per_unit(self, prior: Prior) -> Tensor:
        return torch.zeros_like(self.mean)
