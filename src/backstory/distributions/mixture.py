"""Mixtures over z: of diagonal Gaussians, and of posteriors of any kind."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from backstory.distributions.base import LOG_2PI
from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.latent import Moments, Posterior, Prior, spread_around
from backstory.distributions.noise import randn


@dataclass(frozen=True)
class GaussianMixture(Prior):
    """Σ_c π_c N(mean_c, diag(exp(log_std_c)²)), with parameters of shape (C,), (C, D), (C, D)."""

    log_weights: Tensor
    means: Tensor
    log_stds: Tensor

    @property
    def mean(self) -> Tensor:
        return self.log_weights.exp() @ self.means

    @property
    def std(self) -> Tensor:
        weights = self.log_weights.exp()
        second = weights @ (self.means.square() + torch.exp(2 * self.log_stds))
        return (second - self.mean.square()).sqrt()

    def moments(self) -> Moments:
        return Moments(self.mean, self.std)

    def tempered(
        self, temperature: float | Tensor, samples: int, generator: torch.Generator | None = None
    ) -> Tensor:
        return spread_around(self.mean, self.sample(samples, generator), temperature)

    def log_prob(self, z: Tensor) -> Tensor:
        """The squares are multiplied out, (z − m)² / s² by matrix products, in float64 for what cancels."""
        if z.device.type == "mps":  # has no float64
            components = DiagonalGaussian(self.means, self.log_stds).log_prob(z.unsqueeze(-2))
            return torch.logsumexp(self.log_weights + components, -1)
        wide, means = z.double(), self.means.double()
        precision = torch.exp(-2 * self.log_stds.double())
        squares = wide.square() @ precision.mT - 2 * wide @ (means * precision).mT
        squares = squares + (means.square() * precision).sum(-1)
        constant = self.log_weights - self.log_stds.sum(-1) - 0.5 * LOG_2PI * z.shape[-1]
        return torch.logsumexp(constant - 0.5 * squares, -1).to(z.dtype)

    def sample(self, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """(samples, D)."""
        index = torch.multinomial(self.log_weights.exp(), samples, replacement=True, generator=generator)
        noise = randn((samples, self.means.shape[-1]), self.means, generator)
        return self.means[index] + self.log_stds[index].exp() * noise


@dataclass(frozen=True)
class EvenMixture(Prior):
    """(1/C) Σ_c q_c(z) of C distributions of any kind.

    Attributes:
        parts: the q_c, C rows of one record.
    """

    parts: Posterior

    def log_prob(self, z: Tensor) -> Tensor:
        components = len(self.parts.centre)
        points = z.reshape(-1, 1, z.shape[-1]).expand(-1, components, -1)
        log_prob = torch.logsumexp(self.parts.log_prob(points), -1) - math.log(components)
        return log_prob.reshape(z.shape[:-1])

    def sample(self, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """(samples, D)."""
        centre = self.parts.centre
        index = torch.randint(len(centre), (samples,), generator=generator, device=centre.device)
        return self.parts.select(index).sample(1, generator)[0]

    def moments(self) -> Moments | None:
        """By the law of total variance; None where the q_c have no moments in closed form."""
        each = self.parts.moments()
        if each is None:
            return None
        mean = each.mean.mean(0)
        return Moments(mean, (each.std.square() + (each.mean - mean).square()).mean(0).sqrt())

    def tempered(
        self, temperature: float | Tensor, samples: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Around the mean of the centres."""
        return spread_around(self.parts.centre.mean(0), self.sample(samples, generator), temperature)
