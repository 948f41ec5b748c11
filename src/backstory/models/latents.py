"""The groups of z in one packed code.

Inference, objectives and files treat z as one tensor (K, B, D). A network or a picture that needs the groups
of a hierarchy unpacks them here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from backstory.distributions.auxiliary import Auxiliary


@dataclass(frozen=True)
class LatentGroup:
    """Dimensions of z that belong together.

    Attributes:
        name: such as `z`, or `z1` and `z2` of a hierarchy.
        shape: of the group for one draw.
        level: 1 for the group next to x, higher further away.
    """

    name: str
    shape: tuple[int, ...]
    level: int = 1

    @property
    def size(self) -> int:
        """Number of dimensions."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class LatentSpace:
    """All groups of z in the order in which they are packed, and auxiliary coordinates after them.

    Attributes:
        groups: of z.
        auxiliary: number of standard normal coordinates that the decoder uses as its own randomness.

    >>> space = LatentSpace((LatentGroup("z2", (2,), level=2), LatentGroup("z1", (3,))))
    >>> {name: tuple(part.shape) for name, part in space.unpack(torch.zeros(7, 5, space.size)).items()}
    {'z2': (7, 5, 2), 'z1': (7, 5, 3)}
    """

    groups: tuple[LatentGroup, ...]
    auxiliary: int = 0

    @property
    def units(self) -> int:
        """Dimensions of z itself."""
        return sum(group.size for group in self.groups)

    @property
    def size(self) -> int:
        """D, the length of a packed code: the dimensions of z and the auxiliary coordinates."""
        return self.units + self.auxiliary

    def unpack(self, z: Tensor) -> dict[str, Tensor]:
        """The groups of packed codes (*, D) by name, (*, *shape) each."""
        parts = z[..., : self.units].split([group.size for group in self.groups], -1)
        return {
            group.name: part.unflatten(-1, group.shape)
            for group, part in zip(self.groups, parts, strict=True)
        }

    def per_level(self, values: Tensor) -> dict[str, Tensor]:
        """Sums over the units of each group, from x upwards, of values (*, units).

        >>> LatentSpace((LatentGroup("z2", (2,)), LatentGroup("z1", (3,)))).per_level(torch.ones(5))
        {'z1': tensor(3.), 'z2': tensor(2.)}
        """
        parts = values.split([group.size for group in self.groups], -1)
        named = [(group.name, part.sum(-1)) for group, part in zip(self.groups, parts, strict=True)]
        return dict(named[::-1])

    def spread(self, values: Sequence[float], like: Tensor) -> Tensor:
        """A value for each group, from x upwards, repeated for each of its units, (units,)."""
        pairs = zip(self.groups, tuple(values)[::-1], strict=True)
        return torch.cat([like.new_full((group.size,), value) for group, value in pairs])

    def lift(self, distribution: Any) -> Any:
        """A distribution of z itself as one of packed codes."""
        return Auxiliary(distribution, self.auxiliary) if self.auxiliary else distribution

    def base(self, distribution: Any) -> Any:
        """The distribution of z itself in one of packed codes: undoes `lift`."""
        return distribution.base if self.auxiliary else distribution

    def own(self, z: Tensor) -> Tensor:
        """z itself, (*, units), of packed codes (*, D)."""
        return z[..., : self.units] if self.auxiliary else z

    def beside(self, z: Tensor) -> tuple[Tensor, ...]:
        """The auxiliary coordinates, (*, auxiliary), of packed codes; nothing where there are none."""
        return (z[..., self.units :],) if self.auxiliary else ()

    def packed(self, z: Tensor) -> Tensor:
        """Packed codes, (*, D), of z itself, (*, units), with zeros as auxiliary coordinates."""
        return torch.cat((z, z.new_zeros(*z.shape[:-1], self.auxiliary)), -1)

    def movable(self, like: Tensor) -> Tensor:
        """1 for the dimensions of z and 0 for auxiliary coordinates, (D,)."""
        return (torch.arange(self.size, device=like.device) < self.units).to(like.dtype)
