"""A diffusion: draws of z from noise, without a density.

    z_t = α_t z + σ_t ε,   α_t = cos(π t / 2),   σ_t = sin(π t / 2),   ε ~ N(0, I)

A network estimates v = α_t ε − σ_t z from z_t (Salimans & Ho 2022, "Progressive distillation", app. D). A
draw begins at z_1 = ε and goes to z_0 in steps without further noise (Song, Meng & Ermon 2021, "Denoising
diffusion implicit models", eq. 12 with η = 0):

    z_s = α_s ẑ + σ_s ε̂,   ẑ = α_t z_t − σ_t v̂,   ε̂ = σ_t z_t + α_t v̂
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from backstory.distributions.latent import Moments, Prior, spread_around
from backstory.distributions.noise import randn
from backstory.errors import InputError

STEPS = 50  # of a draw

NO_DENSITY = (
    "prior diffusion draws z and has no density p(z), so this model has samples, codes and reconstructions, "
    "and no log p(x), scores or restorations; fit with `prior_after` flow or mixture for these"
)


def noise_levels(t: Tensor | float) -> tuple[Tensor, Tensor]:
    """α_t and σ_t at times t from 0 to 1."""
    angle = torch.as_tensor(t) * (math.pi / 2)
    return torch.cos(angle), torch.sin(angle)


@dataclass(frozen=True)
class Diffusion(Prior):
    """The distribution of draws of z.

    Attributes:
        network: from standardised z_t, (B, D), and times t, (B, 1), to v.
        mean, std: of the codes that the diffusion was fitted to, (D,).
    """

    network: Callable[[Tensor, Tensor], Tensor]
    mean: Tensor
    std: Tensor

    has_density = False

    def log_prob(self, z: Tensor) -> Tensor:
        raise InputError(NO_DENSITY)

    def moments(self) -> Moments:
        return Moments(self.mean, self.std)

    def sample(self, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """(samples, D)."""
        z = randn((samples, len(self.mean)), self.mean, generator)
        times = torch.linspace(1, 0, STEPS + 1, device=z.device, dtype=z.dtype)
        for t, s in itertools.pairwise(times):
            (alpha, sigma), (to_alpha, to_sigma) = noise_levels(t), noise_levels(s)
            v = self.network(z, t.expand(samples, 1))
            z = to_alpha * (alpha * z - sigma * v) + to_sigma * (sigma * z + alpha * v)
        return self.mean + self.std * z

    def tempered(
        self, temperature: float | Tensor, samples: int, generator: torch.Generator | None = None
    ) -> Tensor:
        return spread_around(self.mean, self.sample(samples, generator), temperature)
