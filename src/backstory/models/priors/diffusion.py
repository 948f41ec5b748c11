"""A diffusion that is fitted to the codes after training; it gives draws of z, and no density.

(Wehenkel & Louppe 2021, "Diffusion priors in variational autoencoders"; Vahdat, Kreis & Kautz 2021,
"Score-based generative modeling in latent space", who train both together.)
"""

import itertools
import math

import torch
from torch import Tensor, nn

from backstory import options as o
from backstory.distributions.diffusion import Diffusion, noise_levels
from backstory.models.registry import BUILDERS

FREQUENCIES = 3  # at which the network sees the time; a smooth function of it learns better than with 8


class DiffusionPrior(nn.Module):
    """Draws of z by a network that estimates v; it begins with v̂ = 0.

    Args:
        latent: D.
        width: of the three hidden layers.
    """

    has_density = False
    mean: Tensor
    std: Tensor

    def __init__(self, latent: int, width: int = 256):
        super().__init__()
        sizes = (latent + 2 * FREQUENCIES, width, width, width)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.SiLU()]
        last = nn.Linear(width, latent)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(*layers, last)
        self.register_buffer("mean", torch.zeros(latent))
        self.register_buffer("std", torch.ones(latent))

    def forward(self) -> Diffusion:
        return Diffusion(self.v, self.mean, self.std)

    def v(self, z: Tensor, t: Tensor) -> Tensor:
        """The estimate of v for standardised z_t, (B, D), and times t, (B, 1)."""
        octaves = 2.0 ** torch.arange(FREQUENCIES, device=z.device) * (math.pi / 2)
        waves = t.to(z.dtype) * octaves.to(z.dtype)
        estimate: Tensor = self.network(torch.cat((z, waves.sin(), waves.cos()), -1))
        return estimate

    @torch.no_grad()
    def standardise(self, codes: Tensor) -> None:
        """Take mean and deviation from codes, (N, D)."""
        std, mean = torch.std_mean(codes, 0)
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=1e-6))

    def loss(self, codes: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """‖v̂ − v‖² of each code, (B,), at a time and noise of its own."""
        z = (codes - self.mean) / self.std
        t = torch.rand(len(z), 1, generator=generator, device=z.device, dtype=z.dtype)
        e = torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)
        alpha, sigma = noise_levels(t)
        return (self.v(alpha * z + sigma * e, t) - (alpha * e - sigma * z)).square().sum(-1)


BUILDERS[o.DiffusionPrior] = lambda options, setting: DiffusionPrior(setting.latent, options.diffusion_width)
