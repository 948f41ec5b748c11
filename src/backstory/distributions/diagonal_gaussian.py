"""The Gaussian with independent dimensions: the usual q(z|x), and p(z) = N(0, I).

The KL divergence of two of them is a sum over dimensions (Kingma & Welling 2014, appendix B):

    KL = log(σ_p / σ_q) + (σ_q² + (μ_q − μ_p)²) / (2 σ_p²) − ½
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from backstory.distributions.base import LOG_2PI
from backstory.distributions.latent import Moments, Posterior, Prior, spread_around


@dataclass(frozen=True)
class DiagonalGaussian(Posterior, Prior):
    """N(mean, diag(exp(log_std)²)) over the last axis.

    >>> q = DiagonalGaussian(torch.zeros(5, 3), torch.zeros(5, 3))
    >>> q.sample(7).shape, q.log_prob(q.mean)
    (torch.Size([7, 5, 3]), tensor([-2.7568, -2.7568, -2.7568, -2.7568, -2.7568]))
    """

    mean: Tensor
    log_std: Tensor

    @property
    def std(self) -> Tensor:
        return self.log_std.exp()

    @property
    def centre(self) -> Tensor:
        return self.mean

    def moments(self) -> Moments:
        return Moments(self.mean, self.std)

    def diagonal(self) -> tuple[Tensor, Tensor]:
        return self.mean, self.log_std

    def log_prob(self, z: Tensor) -> Tensor:
        """log N(z) in nats, summed over the last axis; z is (*, B, D)."""
        y = (z - self.mean) * torch.exp(-self.log_std)
        return -0.5 * (y.square() + LOG_2PI).sum(-1) - self.log_std.sum(-1)

    def transport(self, noise: Tensor) -> Tensor:
        """z = μ + σ·ε."""
        return self.mean + self.std * noise

    def tempered(self, temperature: float, samples: int, generator: torch.Generator | None = None) -> Tensor:
        return spread_around(self.mean, self.sample(samples, generator), temperature)

    def kl_per_unit(self, prior: Prior) -> Tensor | None:
        other = prior.diagonal()
        if other is None:
            return None
        mean, log_std = other
        log_ratio = self.log_std - log_std
        shift = (self.mean - mean) * torch.exp(-log_std)
        return 0.5 * (torch.exp(2 * log_ratio) + shift.square() - 1) - log_ratio
