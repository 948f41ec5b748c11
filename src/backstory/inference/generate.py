"""Ancestral sampling: z ~ p(z), then x ~ p(x|z); and the round trip x -> z -> x."""

import math

import torch
from torch import Tensor

from backstory.errors import InputError
from backstory.models.priors import StandardNormal
from backstory.models.vae import VAE

BATCH = 512


@torch.no_grad()
def sample(
    vae: VAE,
    n: int,
    mean: bool = False,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw n observations, (n, *shape), in the model's units.

    Args:
        mean: return E[x|z] of each drawn z, which is no draw of x, instead of a draw.
        temperature: factor of the prior's standard deviation around its mean; 1 is the model itself.
        generator: on the model's device.

    Raises:
        InputError: for a plain autoencoder whose codes have no distribution.
    """
    if n < 1:
        raise InputError(f"the number of samples has to be at least 1, got {n}")
    if not 0 <= temperature < math.inf:
        raise InputError(f"temperature has to be 0 or more, got {temperature:g}")
    if vae.is_autoencoder and isinstance(vae.prior_module, StandardNormal):
        raise InputError(
            "this model is a plain autoencoder: nothing was learned about how z is distributed, so there is "
            "nothing to sample from; fit a density to its codes with `prior` mixture (Model.fit_prior)"
        )
    z = _prior_sample(vae, n, temperature, generator)
    parts = []
    for part in z.split(BATCH):
        p = vae.decode(part)
        parts.append(p.mean if mean else p.sample(generator))
    return torch.cat(parts)


def _prior_sample(vae: VAE, n: int, temperature: float, generator: torch.Generator | None) -> Tensor:
    prior = vae.prior()
    z = prior.sample(n, generator)
    return prior.mean + temperature * (z - prior.mean)


@torch.no_grad()
def reconstruct(vae: VAE, x: Tensor, mean: bool = True, generator: torch.Generator | None = None) -> Tensor:
    """p(x|z) at the posterior's mean z: its mean, or a draw of z and x."""
    q = vae.encode(x)
    if mean:
        return vae.decode(q.mean).mean
    return vae.decode(q.sample(1, generator)[0]).sample(generator)
