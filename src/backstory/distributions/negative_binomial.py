"""Counts: the negative binomial."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backstory.distributions.base import fill_unobserved, soft_clamp, sum_observed
from backstory.distributions.columns import Marginals


@dataclass(frozen=True)
class NegativeBinomial:
    """x ∈ {0, 1, …} with mean μ and variance μ + μ²/r: a Poisson whose rate is gamma distributed.

        log p(x) = log Γ(x + r) − log Γ(r) − log x! + r log(r/(r + μ)) + x log(μ/(r + μ))

    Attributes:
        log_mean: log μ.
        log_size: log r.
    """

    log_mean: Tensor
    log_size: Tensor
    event_dims: int

    @property
    def mean(self) -> Tensor:
        return self.log_mean.exp()

    @property
    def variance(self) -> Tensor:
        return self.mean + torch.exp(2 * self.log_mean - self.log_size)

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        x, r, logit = fill_unobserved(x, observed), self.log_size.exp(), self.log_mean - self.log_size
        ways = torch.lgamma(x + r) - torch.lgamma(r) - torch.lgamma(x + 1)
        return sum_observed(ways - r * F.softplus(logit) - x * F.softplus(-logit), observed, self.event_dims)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        gamma = torch._standard_gamma(self.log_size.exp(), generator=generator)
        return torch.poisson(gamma * torch.exp(self.log_mean - self.log_size), generator=generator)


class NegativeBinomialHead(nn.Module):
    """Counts; the decoder's output is log μ, in deviations of log(1 + x) from its mean, and log r."""

    location: Tensor
    scale: Tensor

    def __init__(self, marginals: Marginals):
        super().__init__()
        self.features_shape = (2, len(marginals.location))
        self.register_buffer("location", marginals.location.clone())
        self.register_buffer("scale", marginals.scale.clone())

    def forward(self, features: Tensor) -> NegativeBinomial:
        mean, size = features.unbind(-2)
        log_mean = soft_clamp(self.location + self.scale * mean, -9.0, 12.0)
        return NegativeBinomial(log_mean, soft_clamp(size + 1, -4.0, 6.0), 1)
