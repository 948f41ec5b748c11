"""Several independent posteriors of the same rows as one: their dimensions stand side by side."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from backstory.distributions.latent import Moments
from backstory.distributions.noise import randn


@dataclass(frozen=True)
class SideBySide:
    """q(z|x) with z = (z_1, …, z_N), where q_n gives z_n: the codes of the members of an ensemble.

    Attributes:
        parts: q_1 … q_N of the same B rows, of D_1 … D_N dimensions.
    """

    parts: tuple[Any, ...]

    @property
    def centre(self) -> Tensor:
        """(B, ΣD)."""
        return torch.cat([part.centre for part in self.parts], -1)

    @property
    def mean(self) -> Tensor:
        return torch.cat([part.mean for part in self.parts], -1)

    @property
    def std(self) -> Tensor:
        return torch.cat([part.std for part in self.parts], -1)

    def moments(self) -> Moments | None:
        """Mean and deviation, where all parts have them in closed form."""
        known = [moments for part in self.parts if (moments := part.moments()) is not None]
        if len(known) < len(self.parts):
            return None
        return Moments(*(torch.cat(values, -1) for values in zip(*known, strict=True)))

    def at_rest(self, moments: Moments) -> Moments:
        """The moments as they are: codes without auxiliary coordinates."""
        return moments

    def transport(self, noise: Tensor) -> Tensor:
        """z for standard normal noise, (K, B, ΣD)."""
        return torch.cat([part.transport(e) for part, e in self._with_parts(noise)], -1)

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x) in nats, the sum over the parts."""
        return torch.stack([part.log_prob(own) for part, own in self._with_parts(z)]).sum(0)

    def sample(self, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Draws, (K, B, ΣD)."""
        centre = self.centre
        return self.transport(randn((samples, *centre.shape), centre, generator))

    def _with_parts(self, z: Tensor) -> list[tuple[Any, Tensor]]:
        sizes = [part.centre.shape[-1] for part in self.parts]
        return list(zip(self.parts, z.split(sizes, -1), strict=True))
