"""Scores of rows that do not depend on their company: every row is weighed with the same draws ε.

    log p(x) ≈ log (1/K) Σ_k p(x|z_k) p(z_k) / q(z_k|x),   z_k = μ(x) + σ(x)·ε_k    (`inference.likelihood`)

With ε fixed this is a smooth function of x, and the same whichever rows it is computed with.
"""

import torch
from torch import Tensor

from backstory.inference.likelihood import LogMean, check_density, entries_at_once
from backstory.vae import VAE


@torch.no_grad()
def log_evidence(vae: VAE, x: Tensor, samples: int = 100, seed: int = 0) -> Tensor:
    """log p(x) of each row of x, (N,) in nats.

    Args:
        vae: the model; InputError if it is a plain autoencoder.
        x: (N, *shape), in the model's units; NaN where an entry is missing, if the model knows such rows.
        samples: K.
        seed: of ε.
    """
    check_density(vae)
    latent = vae.prior().mean.shape[-1]
    generator = torch.Generator(x.device).manual_seed(seed)
    noise = torch.randn(samples, 1, latent, generator=generator, device=x.device)
    rows = max(1, entries_at_once(x.device) // (samples * vae.features_shape[0] * x[0].numel()))
    parts = [
        LogMean.of(vae.terms(part, noise=noise.expand(-1, len(part), -1)).log_weight).value
        for part in x.split(rows)
    ]
    return torch.cat(parts)
