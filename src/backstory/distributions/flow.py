"""Densities that an invertible map makes of the standard normal."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from backstory.distributions.base import LOG_2PI
from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.latent import Posterior, Prior, detached
from backstory.distributions.noise import randn


@dataclass(frozen=True)
class Flow(Prior):
    """The distribution of z = T(u), u ~ N(0, I), with log p(z) = log N(u) + log|det ∂u/∂z|.

    Attributes:
        layers: T⁻¹ as transforms that are applied in turn, from z to u; each has `call_and_ladj` (zuko).
        zeros: (D,), whose device and type are those of z.
    """

    layers: tuple[Any, ...]
    zeros: Tensor

    def log_prob(self, z: Tensor) -> Tensor:
        u, log_det = z, torch.zeros_like(z[..., 0])
        for layer in self.layers:
            u, change = layer.call_and_ladj(u)
            log_det = log_det + change
        return log_det - 0.5 * (u.square() + LOG_2PI).sum(-1)

    def transport(self, noise: Tensor) -> Tensor:
        """T(u) for standard normal noise u, (*, D) both."""
        for layer in reversed(self.layers):
            noise = layer.inv(noise)
        return noise

    def sample(self, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """(samples, D)."""
        return self.tempered(1.0, samples, generator)

    def tempered(
        self, temperature: float | Tensor, samples: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """T(temperature · u): the spread of the noise is multiplied."""
        return self.transport(temperature * randn((samples, len(self.zeros)), self.zeros, generator))


@dataclass(frozen=True)
class ConditionalFlow(Posterior):
    """q(z|x) of B rows: z = T(u; x), u ~ N(mean, diag(exp(log_std)²)), with both directions of T in reach.

    Attributes:
        mean, log_std: of u, (B, D).
        context: what T knows of x, (B, C).
        layers: T⁻¹ as functions that are applied in turn, from z to u. A layer(points, context) gives the
            points after it and log|det| of its Jacobian; layer(points, context, back=True) the points before.
    """

    mean: Tensor
    log_std: Tensor
    context: Tensor
    layers: tuple[Callable[..., Any], ...]

    @property
    def centre(self) -> Tensor:
        return self.transport(torch.zeros_like(self.mean))

    @property
    def base(self) -> DiagonalGaussian:
        """The distribution of u."""
        return DiagonalGaussian(self.mean, self.log_std)

    def log_prob(self, z: Tensor) -> Tensor:
        u, log_det = z, torch.zeros_like(z[..., 0])
        for layer in self.layers:
            u, change = layer(u, self.context)
            log_det = log_det + change
        return self.base.log_prob(u) + log_det

    def transport(self, noise: Tensor) -> Tensor:
        z = self.base.transport(noise)
        for layer in reversed(self.layers):
            z, _ = layer(z, self.context, back=True)
        return z

    def detach(self) -> Self:
        return replace(super().detach(), layers=tuple(map(detached, self.layers)))
