"""Posteriors q(z|x): modules from the encoder's features to a distribution of z.

posterior.groups            the groups of z
posterior.features_shape    what the encoder has to return for one observation
posterior(features)         q(z|x), from (B, *features_shape)
"""

import torch
from torch import Tensor, nn

from backstory import options as o
from backstory.distributions.base import soft_clamp
from backstory.distributions.delta import Delta
from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.full_gaussian import FullGaussian
from backstory.models.latents import LatentGroup
from backstory.models.registry import BUILDERS

LOG_STD_LOW, LOG_STD_HIGH = -9.0, 5.0


class DiagonalPosterior(nn.Module):
    """q(z|x) = N(μ(x), diag(σ(x)²)), as in the original paper (Kingma & Welling 2014, eq. 9)."""

    has_density = True

    def __init__(self, latent: int):
        super().__init__()
        self.groups = (LatentGroup("z", (latent,)),)
        self.features_shape = (2, latent)

    def forward(self, features: Tensor) -> DiagonalGaussian:
        mean, log_std = features.unbind(1)
        return DiagonalGaussian(mean, soft_clamp(log_std, LOG_STD_LOW, LOG_STD_HIGH))


class FullPosterior(nn.Module):
    """q(z|x) = N(μ(x), R(x) R(x)ᵀ), whose dimensions are correlated (Kingma & Welling 2019, sec. 2.5.1).

    R is lower triangular. The encoder returns μ, the raw log diagonal of R, and what is below the diagonal
    row by row: D + D (D + 1) / 2 numbers for D dimensions. A linear-Gaussian model, whose p(z|x) is a
    Gaussian with correlations, is the case in which such a q(z|x) can be exact.
    """

    has_density = True
    rows: Tensor
    columns: Tensor

    def __init__(self, latent: int):
        super().__init__()
        self.groups = (LatentGroup("z", (latent,)),)
        self.features_shape = (latent + latent * (latent + 1) // 2,)
        rows, columns = torch.tril_indices(latent, latent, -1)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, features: Tensor) -> FullGaussian:
        latent = self.groups[0].size
        mean, log_diagonal, below = features.split((latent, latent, len(self.rows)), 1)
        root = torch.diag_embed(soft_clamp(log_diagonal, LOG_STD_LOW, LOG_STD_HIGH).exp())
        root[:, self.rows, self.columns] = below
        return FullGaussian(mean, root)


class DeltaPosterior(nn.Module):
    """All mass of q(z|x) on μ(x): the zero-variance, zero-KL limit, which makes a plain autoencoder.

    The encoder has the outputs of a VAE, so that both begin with the same weights; σ(x) is not used.
    """

    has_density = False

    def __init__(self, latent: int):
        super().__init__()
        self.groups = (LatentGroup("z", (latent,)),)
        self.features_shape = (2, latent)

    def forward(self, features: Tensor) -> Delta:
        return Delta(features.unbind(1)[0])


BUILDERS[o.GaussianPosterior] = lambda options, setting: DiagonalPosterior(setting.latent)
BUILDERS[o.FullPosterior] = lambda options, setting: FullPosterior(setting.latent)
BUILDERS[o.DeltaPosterior] = lambda options, setting: DeltaPosterior(setting.latent)
