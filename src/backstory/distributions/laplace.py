"""The Laplace distribution: x with heavier tails than a Gaussian's, whose location is the median.

log p(x) = −log 2b − |x − μ| / b

Its maximum-likelihood reconstruction minimises the absolute error.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from backstory.distributions.base import Entrywise, LocationScaleHead, parameter, soft_clamp
from backstory.distributions.gaussian import GaussianHead
from backstory.distributions.noise import Generators, rand


@dataclass(frozen=True)
class Laplace(Entrywise):
    """A Laplace distribution for each entry.

    Attributes:
        mean: μ.
        log_scale: log b; the standard deviation is b √2.
    """

    mean: Tensor
    log_scale: Tensor
    event_dims: int

    @property
    def variance(self) -> Tensor:
        return 2 * torch.exp(2 * self.log_scale)

    def entry_log_probs(self, x: Tensor) -> Tensor:
        distance = (x - self.mean).abs() * torch.exp(-self.log_scale)
        return -math.log(2) - self.log_scale - distance

    def sample(self, generator: Generators = None) -> Tensor:
        """A draw by the inverse of the distribution function."""
        u = rand(self.mean.shape, self.mean, generator) - 0.5
        return self.mean - self.log_scale.exp() * u.sign() * torch.log1p(-2 * u.abs().clamp(max=0.5 - 1e-7))


class LaplaceHead(LocationScaleHead):
    """Laplace likelihood in the data's units, standardised inside as in `GaussianHead`.

    μ and b are predicted; b stays within (e⁻⁷, e⁴) · scale.
    """

    def __init__(self, shape: tuple[int, ...], shift: Tensor | float = 0.0, scale: Tensor | float = 1.0):
        super().__init__(shape, 2, shift, scale)

    def forward(self, features: Tensor) -> Laplace:
        log_scale = soft_clamp(parameter(features, 1, self.shape), GaussianHead.LOW, GaussianHead.HIGH)
        return Laplace(self.location(features), self.log_scale + log_scale, len(self.shape))
