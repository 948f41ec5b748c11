"""The prior of the original paper."""

import torch
from torch import Tensor, nn

from backstory import options as o
from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.models.registry import BUILDERS


class StandardNormal(nn.Module):
    """p(z) = N(0, I) (Kingma & Welling 2014, sec. 3)."""

    zeros: Tensor

    def __init__(self, latent: int):
        super().__init__()
        self.register_buffer("zeros", torch.zeros(latent), persistent=False)

    def forward(self) -> DiagonalGaussian:
        return DiagonalGaussian(self.zeros, self.zeros)


BUILDERS[o.NormalPrior] = lambda options, setting: StandardNormal(setting.latent)
