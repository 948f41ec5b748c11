"""Counts: the negative binomial distribution, x ∈ {0, 1, …}.

With mean μ and variance μ + μ²/r; a Poisson distribution with a gamma-distributed rate:

    log p(x) = log Γ(x + r) − log Γ(r) − log x! + r log(r/(r + μ)) + x log(μ/(r + μ))
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from backstory.distributions.base import Entrywise, Head, soft_clamp
from backstory.distributions.inflated import InflatedHead
from backstory.distributions.noise import Generators, gamma, poisson
from backstory.distributions.quantities import Marginals, Quantity


@dataclass(frozen=True)
class NegativeBinomial(Entrywise):
    """x ∈ {0, 1, …} with mean μ and variance μ + μ²/r.

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

    def entry_log_probs(self, x: Tensor) -> Tensor:
        r, logit = self.log_size.exp(), self.log_mean - self.log_size
        ways = torch.lgamma(x + r) - torch.lgamma(r) - torch.lgamma(x + 1)
        return ways - r * F.softplus(logit) - x * F.softplus(-logit)

    def sample(self, generator: Generators = None) -> Tensor:
        shares = gamma(self.log_size.exp(), generator)
        return poisson(shares * torch.exp(self.log_mean - self.log_size), generator)


class NegativeBinomialHead(Head):
    """Negative binomial likelihood of columns; the decoder's output gives log μ and log r.

    log μ is measured from the mean of log(1 + x) in the training data, in units of its deviation.
    """

    location: Tensor
    scale: Tensor

    def __init__(self, marginals: Marginals):
        columns = len(marginals.location)
        super().__init__((columns,), (2, columns))
        self.register_buffer("location", marginals.location.clone())
        self.register_buffer("scale", marginals.scale.clone())

    @classmethod
    def of_columns(cls, quantities: Sequence[Quantity], marginals: Marginals) -> Head:
        atoms = [quantity.atoms for quantity in quantities]
        return InflatedHead(cls(marginals), atoms) if any(atoms) else cls(marginals)

    def forward(self, features: Tensor) -> NegativeBinomial:
        mean, size = features.unbind(-2)
        log_mean = soft_clamp(self.location + self.scale * mean, -9.0, 12.0)
        return NegativeBinomial(log_mean, soft_clamp(size + 1, -4.0, 6.0), 1)
