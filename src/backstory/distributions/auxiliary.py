"""Standard normal coordinates beside z, which a decoder may use as its own source of randomness.

A decoder with dependent entries draws an order of the columns with each z. Its keys are the last coordinates
of the packed code. They are N(0, 1) under p and under q, so their densities cancel and are left out of both.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from backstory.distributions.latent import Moments
from backstory.distributions.noise import randn


@dataclass(frozen=True)
class Auxiliary:
    """A prior or posterior with `width` auxiliary coordinates after its own.

    They have mean and deviation zero in `moments` and `centre`, so chains leave them where they are.

    Attributes:
        base: the distribution of z itself.
        width: number of auxiliary coordinates.
    """

    base: Any
    width: int

    @property
    def has_density(self) -> bool:
        density: bool = self.base.has_density
        return density

    @property
    def centre(self) -> Tensor:
        return self._padded(self.base.centre)

    def moments(self) -> Moments | None:
        moments = self.base.moments()
        return None if moments is None else Moments(*map(self._padded, moments))

    def at_rest(self, moments: Moments) -> Moments:
        return Moments(*(self._padded(self.own(values)) for values in moments))

    def diagonal(self) -> tuple[Tensor, Tensor] | None:
        diagonal: tuple[Tensor, Tensor] | None = self.base.diagonal()
        return diagonal

    def own(self, z: Tensor) -> Tensor:
        return z[..., : -self.width]

    def log_prob(self, z: Tensor) -> Tensor:
        """log density of z itself."""
        log_prob: Tensor = self.base.log_prob(self.own(z))
        return log_prob

    def sample(self, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        return self._beside(self.base.sample(samples, generator), generator)

    def tempered(
        self, temperature: float | Tensor, samples: int, generator: torch.Generator | None = None
    ) -> Tensor:
        return self._beside(self.base.tempered(temperature, samples, generator), generator)

    def transport(self, noise: Tensor) -> Tensor:
        """The noise of the auxiliary coordinates stays as it is."""
        return self._carried(self.base.transport, noise)

    def whiten(self, z: Tensor) -> Tensor:
        return self._carried(self.base.whiten, z)

    def _carried(self, function: Any, points: Tensor) -> Tensor:
        return torch.cat((function(self.own(points)), points[..., -self.width :]), -1)

    def wider(self, times: float) -> "Auxiliary":
        return replace(self, base=self.base.wider(times))

    def select(self, rows: slice | Tensor) -> "Auxiliary":
        return replace(self, base=self.base.select(rows))

    def of_rows(self, rows: slice | Tensor) -> "Auxiliary":
        return replace(self, base=self.base.of_rows(rows))

    def detach(self) -> "Auxiliary":
        return replace(self, base=self.base.detach())

    def joined(self, others: "list[Auxiliary]") -> "Auxiliary":
        return replace(self, base=self.base.joined([other.base for other in others]))

    def kl(self, prior: "Auxiliary") -> Tensor | None:
        kl: Tensor | None = self.base.kl(prior.base)
        return kl

    def kl_per_unit(self, prior: "Auxiliary") -> Tensor | None:
        per_unit: Tensor | None = self.base.kl_per_unit(prior.base)
        return per_unit

    def conditionals(self, z: Tensor) -> tuple[Any, ...] | None:
        levels: tuple[Any, ...] | None = self.base.conditionals(self.own(z))
        return levels

    def kl_given(self, prior: "Auxiliary", z: Tensor) -> Tensor | None:
        kl: Tensor | None = self.base.kl_given(prior.base, self.own(z))
        return kl

    def kl_of_levels(self, prior: "Auxiliary", z: Tensor) -> Tensor | None:
        kl: Tensor | None = self.base.kl_of_levels(prior.base, self.own(z))
        return kl

    def _padded(self, values: Tensor) -> Tensor:
        return torch.cat((values, values.new_zeros(*values.shape[:-1], self.width)), -1)

    def _beside(self, z: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.cat((z, randn((*z.shape[:-1], self.width), z, generator)), -1)
