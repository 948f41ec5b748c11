"""What distributions of z answer: priors p(z) and posteriors q(z|x).

Codes z are packed, (*, D), whatever groups they have (`models.latents`). Priors and posteriors are modules
whose call gives one of the small records of this folder, which check nothing and trace under `torch.compile`.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from backstory.distributions.noise import randn


class Moments(NamedTuple):
    """Mean and standard deviation of each dimension of z: (D,) of p(z), (B, D) of p(z|c) and q(z|x)."""

    mean: Tensor
    std: Tensor


class LatentDistribution(Protocol):
    """A distribution of z."""

    has_density: bool = True

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """log density of z in nats, (*, B, D) to (*, B)."""

    @abstractmethod
    def sample(self, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Draws: (samples, D) of a prior, (samples, B, D) of a posterior; one of each row of p(z|c)."""

    def moments(self) -> Moments | None:
        """Mean and standard deviation in closed form; None without one (see `inference.moments`)."""
        return None

    def own(self, z: Tensor) -> Tensor:
        """z itself of packed codes, without auxiliary coordinates (`distributions.auxiliary`)."""
        return z

    def at_rest(self, moments: Moments) -> Moments:
        """Moments of packed codes, with zeros for auxiliary coordinates, so that chains do not move them."""
        return moments

    def diagonal(self) -> "tuple[Tensor, Tensor] | None":
        """Mean and log standard deviation of a Gaussian with independent dimensions; None for others."""
        return None

    def conditionals(self, z: Tensor) -> "tuple[Any, ...] | None":
        """Of z in levels, the Gaussian of each level given z of those above; None for z without levels."""
        return None


class Prior(LatentDistribution, Protocol):
    """p(z), or p(z|c) of B rows, of which B draws have one of each row."""

    def of_rows(self, rows: slice | Tensor) -> Self:
        """p(z|c) of some rows; itself where the prior does not depend on c."""
        return self

    @abstractmethod
    def tempered(
        self, temperature: float | Tensor, samples: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws, (samples, D), whose spread around their centre is multiplied by the temperature.

        Of z in levels, the spread of each level given those above; then (D,) factors are possible, too.
        """


class Posterior(LatentDistribution, Protocol):
    """q(z|x) of B rows: z is a function of standard normal noise (Kingma & Welling 2014, eq. 4).

    The parameters of a record are tensors whose first axis is the row, so that rows can be chosen and joined.
    """

    @property
    @abstractmethod
    def centre(self) -> Tensor:
        """One code for each row, (B, D): the mean where it is known, else what zero noise becomes."""

    @abstractmethod
    def transport(self, noise: Tensor) -> Tensor:
        """z for standard normal noise, (K, B, D) both."""

    def kl(self, prior: Prior) -> Tensor | None:
        """KL(q(z|x) ‖ p(z)) in nats, (B,), where the pair has a closed form; None elsewhere."""
        per_unit = self.kl_per_unit(prior)
        return None if per_unit is None else per_unit.sum(-1)

    def kl_per_unit(self, prior: Prior) -> Tensor | None:
        """KL of each dimension, (B, D), where their sum is the KL in closed form; None elsewhere."""
        return None

    def kl_given(self, prior: Prior, z: Tensor) -> Tensor | None:
        """KL of each dimension given the levels above it, (K, B, D) for draws z, where both have levels.

        The mean over the draws of their sum is an estimate of KL(q(z|x) ‖ p(z)), with less noise than log q
        − log p of the draws.
        """
        return None

    def kl_of_levels(self, prior: Prior, z: Tensor) -> Tensor | None:
        """KL of each level given those above it, (K, B, L) from the top down: sums of `kl_given`."""
        return None

    def sample(self, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Reparameterised draws, (samples, B, D) (Kingma & Welling 2014, sec. 2.4)."""
        return self.transport(randn((samples, *self.centre.shape), self.centre, generator))

    def select(self, rows: slice | Tensor) -> Self:
        """The distributions of some rows."""
        return self._with(**{name: value[rows] for name, value in self._parameters().items()})

    def detach(self) -> Self:
        """The same distributions, whose parameters carry no gradient."""
        return self._with(**{name: value.detach() for name, value in self._parameters().items()})

    def joined(self, others: "list[Any]") -> Self:
        """The distributions of these rows and, after them, of the rows of the others."""
        parts = [other._parameters() for other in others]
        together = {
            name: torch.cat([value, *(part[name] for part in parts)])
            for name, value in self._parameters().items()
        }
        return self._with(**together)

    def _parameters(self) -> dict[str, Tensor]:
        record: Any = self
        named = {field.name: getattr(record, field.name) for field in fields(record)}
        return {name: value for name, value in named.items() if isinstance(value, Tensor)}

    def _with(self, **parameters: Tensor) -> Self:
        record: Any = self
        changed: Self = replace(record, **parameters)
        return changed


def detached(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose weights carry no gradient if it is a module."""
    if not isinstance(function, nn.Module):
        return function
    weights = {name: weight.detach() for name, weight in function.named_parameters()}
    return lambda *arguments, **named: functional_call(function, weights, arguments, named)


def spread_around(mean: Tensor, z: Tensor, temperature: float | Tensor) -> Tensor:
    """Draws z whose distance from the mean is multiplied by the temperature."""
    return mean + temperature * (z - mean)
