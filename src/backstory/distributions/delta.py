"""The point mass: the zero-variance limit of a posterior."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Delta:
    """All mass on `mean`: the zero-variance limit, in which a VAE is a plain autoencoder.

    It has no density. Its KL term is defined as zero, the limit's convention: the constant that diverges
    does not depend on the data.
    """

    mean: Tensor

    @property
    def std(self) -> Tensor:
        return torch.zeros_like(self.mean)

    def log_prob(self, z: Tensor) -> Tensor:
        return z.new_zeros(z.shape[:-1])

    def sample(self, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        return self.mean.expand(samples, *self.mean.shape)

    def transport(self, noise: Tensor) -> Tensor:
        return self.mean.expand(noise.shape)

    def select(self, rows: slice | Tensor) -> "Delta":
        return Delta(self.mean[rows])
