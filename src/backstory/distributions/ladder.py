"""Distributions of z = (z_L, …, z_1) that share one pass from the top down.

    p(z)   = p(z_L) ∏_l p(z_l | z_(l+1), …, z_L),          p(z_L) = N(0, I)
    q(z|x) = q(z_L|x) ∏_l q(z_l | z_(l+1), …, z_L, x)

A network carries a state through the levels, from which p(z_l | …), the correction of it by x, and the
decoder's features are computed (`models.networks.top_down`). Given the levels above, z_l has independent
Gaussian dimensions in both; so the divergence of each level has a closed form given z of those above:

    KL(q ‖ p) = E_q [Σ_l KL(q(z_l | z_(l+1), …, x) ‖ p(z_l | z_(l+1), …))]

p(z), q(z|x) and p(x|z) of the same codes need the same pass. In the context `once` it is made once.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.latent import Posterior, Prior, detached
from backstory.distributions.levels import Levels
from backstory.distributions.noise import randn


@dataclass(frozen=True)
class Walk:
    """One pass from the top down.

    Attributes:
        z: packed codes, (*, D).
        priors: p(z_l | …) of each level at these codes, from the top down.
        posteriors: q(z_l | …, x) likewise; () for a pass without x.
        state: what the decoder reads, (N, C, H, W) for N codes.
        features: what the encoder makes of x, if it took part.
    """

    z: Tensor
    priors: tuple[DiagonalGaussian, ...]
    posteriors: tuple[DiagonalGaussian, ...]
    state: Tensor
    features: Tensor | None = None


class Pass(Protocol):
    """A network that makes a pass of codes; with `draw` of noise that becomes codes level by level."""

    def __call__(self, points: Tensor, features: Tensor | None = None, draw: bool = False) -> Walk: ...


class once:
    """A context in which a network makes one pass for the same codes, the same tensor, with or without x.

    Args:
        network: see `walk`; None changes nothing.
    """

    def __init__(self, network: Any):
        self.network = network

    def __enter__(self) -> None:
        if self.network is not None:
            self.network.known = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.network is not None:
            self.network.known = None


def walk(network: Pass, z: Tensor, features: Tensor | None = None) -> Walk:
    """The pass of codes z, which is made anew unless `once` knows it."""
    known: list[Walk] = getattr(network, "known", None) or []
    for made in known:
        if made.z is z and (features is None or made.features is features):
            return made
    return _kept(network, network(z, features))


def _kept(network: Pass, made: Walk) -> Walk:
    known: list[Walk] | None = getattr(network, "known", None)
    if known is not None:
        known.append(made)
    return made


@dataclass(frozen=True)
class LadderPrior(Levels, Prior):
    """p(z).

    Attributes:
        network: the pass from the top down.
        sizes: dimensions of each level, from the top down.
        zeros: (D,), of the type and device of z.
    """

    network: Pass
    sizes: tuple[int, ...]
    zeros: Tensor

    def conditionals(self, z: Tensor) -> tuple[DiagonalGaussian, ...]:
        return walk(self.network, z).priors

    def sample(self, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        return self.tempered(1.0, samples, generator)

    def tempered(
        self, temperature: float | Tensor, samples: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws in which the deviation of each level given those above is multiplied by the temperature."""
        noise = randn((samples, len(self.zeros)), self.zeros, generator)
        return _kept(self.network, self.network(temperature * noise, draw=True)).z


@dataclass(frozen=True)
class LadderPosterior(Levels, Posterior):
    """q(z|x) of B rows.

    Attributes:
        features: what the encoder makes of x, (B, F).
        network: the pass from the top down.
        sizes: dimensions of each level, from the top down.
    """

    features: Tensor
    network: Pass
    sizes: tuple[int, ...]

    @property
    def centre(self) -> Tensor:
        """The mean of each level given the centre of the levels above, (B, D)."""
        return self.transport(self.features.new_zeros(len(self.features), sum(self.sizes)))

    def conditionals(self, z: Tensor) -> tuple[DiagonalGaussian, ...]:
        return walk(self.network, z, self.features).posteriors

    def transport(self, noise: Tensor) -> Tensor:
        return _kept(self.network, self.network(noise, self.features, draw=True)).z

    def sample(self, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        noise = randn((samples, len(self.features), sum(self.sizes)), self.features, generator)
        return self.transport(noise)

    def detach(self) -> Self:
        network: Callable[..., Walk] = detached(self.network)
        return replace(super().detach(), network=network)
