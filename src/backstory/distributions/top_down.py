"""Distributions of z = (z_L, …, z_1) in levels, drawn from the top down: each level depends on the one above.

    p(z)   = p(z_L) ∏_l p(z_l | z_(l+1)),         p(z_L) = N(0, I)
    q(z|x) = q(z_L|x) ∏_l q(z_l | z_(l+1), x)

Every factor is a Gaussian with independent dimensions, so z is a map of standard normal noise that is applied
level by level. Neither p nor q is a Gaussian as a whole: their moments have no closed form, and the KL
divergence is estimated from the draws.

In the posterior, Bayes' rule has the form p(z_l | z_(l+1), x) ∝ p(z_l | z_(l+1)) p(x | z_l). Both factors are
taken to be Gaussian in z_l, so precisions add up (Sønderby et al. 2016, "Ladder variational autoencoders",
eqs. 17 to 19):

    q(z_l | z_(l+1), x) ∝ N(z_l; m_l(z_(l+1)), s_l(z_(l+1))²) · N(z_l; μ_l(x), σ_l(x)²)
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self, TypeAlias

import torch
from torch import Tensor

from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.latent import Posterior, Prior, detached
from backstory.distributions.levels import Levels
from backstory.distributions.noise import randn

Conditional: TypeAlias = Callable[[Tensor], DiagonalGaussian]  # from z of a level to the level below


class TopDown(Levels):
    """What prior and posterior share: each level depends on the one above it alone."""

    @abstractmethod
    def given(self, level: int, above: Tensor | None) -> DiagonalGaussian:
        """The distribution of a level, counted from the top, given z of the level above it."""

    def conditionals(self, z: Tensor) -> tuple[DiagonalGaussian, ...]:
        above = (None, *z.split(self.sizes, -1)[:-1])
        return tuple(self.given(level, part) for level, part in enumerate(above))

    def transport(self, noise: Tensor) -> Tensor:
        """Packed codes of standard normal noise: each level is shifted and scaled given the level above."""
        return torch.cat(list(self._drawn(noise)), -1)

    def _drawn(self, noise: Tensor) -> Iterator[Tensor]:
        z = None
        for level, part in enumerate(noise.split(self.sizes, -1)):
            z = self.given(level, z).transport(part)
            yield z


@dataclass(frozen=True)
class TopDownPrior(TopDown, Prior):
    """p(z).

    Attributes:
        top: p(z_L).
        below: p(z_l | z_(l+1)) of the other levels, from the top down.
        sizes: dimensions of each level, from the top down.
    """

    top: DiagonalGaussian
    below: tuple[Conditional, ...]
    sizes: tuple[int, ...]

    def given(self, level: int, above: Tensor | None) -> DiagonalGaussian:
        return self.top if above is None else self.below[level - 1](above)

    def sample(self, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        return self.tempered(1.0, samples, generator)

    def tempered(
        self, temperature: float | Tensor, samples: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws in which the deviation of each level given the one above is multiplied by the temperature."""
        noise = randn((samples, sum(self.sizes)), self.top.mean, generator)
        return self.transport(temperature * noise)


@dataclass(frozen=True)
class TopDownPosterior(TopDown, Posterior):
    """q(z|x) of B rows.

    Attributes:
        mean, log_std: what the encoder makes of x, (B, D): of q(z_L|x), and μ_l(x), σ_l(x) of other levels.
        below: N(m_l, s_l²) as functions of z_(l+1), from the top down.
        sizes: dimensions of each level, from the top down.
    """

    mean: Tensor
    log_std: Tensor
    below: tuple[Conditional, ...]
    sizes: tuple[int, ...]

    @property
    def centre(self) -> Tensor:
        """The mean of each level given the centre of the level above, (B, D)."""
        return self.transport(torch.zeros_like(self.mean))

    def given(self, level: int, above: Tensor | None) -> DiagonalGaussian:
        mean, log_std = (part.split(self.sizes, -1)[level] for part in (self.mean, self.log_std))
        of_x = DiagonalGaussian(mean, log_std)
        return of_x if above is None else product(self.below[level - 1](above), of_x)

    def detach(self) -> Self:
        return replace(super().detach(), below=tuple(map(detached, self.below)))


def product(one: DiagonalGaussian, other: DiagonalGaussian) -> DiagonalGaussian:
    """The Gaussian whose density is proportional to the product of two.

    >>> product(*(DiagonalGaussian(torch.tensor([m]), torch.zeros(1)) for m in (0.0, 2.0))).mean
    tensor([1.])
    """
    share = torch.sigmoid(2 * (one.log_std - other.log_std))  # of the other's precision in the sum of both
    log_std = -0.5 * torch.logaddexp(-2 * one.log_std, -2 * other.log_std)
    return DiagonalGaussian(torch.lerp(one.mean, other.mean, share), log_std)
