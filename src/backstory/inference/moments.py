"""Mean and standard deviation of each dimension of z under any p(z) or q(z|x).

Gaussians and mixtures have them in closed form. For a flow or a hierarchy they are estimates from a few
draws, which are the same for every row, so that the answer for a row does not depend on the other rows.
Methods use them as a scale (the mass of a chain, the unit of a step, the width of a proposal), where an
estimate is as good as the truth. Auxiliary coordinates have mean and deviation zero, so that chains leave
them where they are (`distributions.auxiliary`).
"""

import torch
from torch import Tensor

from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.latent import Moments, Posterior, Prior
from backstory.distributions.side_by_side import SideBySide

DRAWS = 512


@torch.no_grad()
def prior_moments(prior: Prior, device: torch.device) -> Moments:
    """Of p(z) on a device, (D,) each; of p(z|c) of B rows, (B, D)."""
    moments = prior.moments()
    return moments or prior.at_rest(_of_draws(prior.sample(DRAWS, torch.Generator(device).manual_seed(0))))


@torch.no_grad()
def posterior_moments(posterior: Posterior | SideBySide) -> Moments:
    """Of q(z|x), (B, D) each."""
    moments = posterior.moments()
    if moments is not None:
        return moments
    centre = posterior.centre
    generator = torch.Generator(centre.device).manual_seed(0)
    noise = torch.randn(
        DRAWS, 1, centre.shape[-1], generator=generator, device=centre.device, dtype=centre.dtype
    )
    return posterior.at_rest(_of_draws(posterior.transport(noise.expand(-1, *centre.shape))))


def matched(posterior: Posterior) -> DiagonalGaussian:
    """The Gaussian with independent dimensions that has the moments of q(z|x)."""
    mean, std = posterior_moments(posterior)
    return DiagonalGaussian(mean, std.log())


def _of_draws(z: Tensor) -> Moments:
    std, mean = torch.std_mean(z, 0)
    return Moments(mean, std)
