"""KL divergences in closed form."""

import torch
from torch import Tensor

from backstory.distributions.base import CodeDistribution
from backstory.distributions.delta import Delta
from backstory.distributions.gaussian import DiagonalGaussian


def kl_per_unit(posterior: CodeDistribution, prior: CodeDistribution) -> Tensor | None:
    """KL(posterior ‖ prior) for each unit of z, (B, D) in nats, where it has a closed form; None elsewhere.

    Between Gaussians, for each unit (Kingma & Welling 2014, appendix B, for the standard normal prior):

        KL = log(σ_p / σ_q) + (σ_q² + (μ_q − μ_p)²) / (2 σ_p²) − ½
    """
    if isinstance(posterior, Delta):
        return torch.zeros_like(posterior.mean)
    if isinstance(posterior, DiagonalGaussian) and isinstance(prior, DiagonalGaussian):
        log_ratio = posterior.log_std - prior.log_std
        shift = (posterior.mean - prior.mean) * torch.exp(-prior.log_std)
        return 0.5 * (torch.exp(2 * log_ratio) + shift.square() - 1) - log_ratio
    return None
