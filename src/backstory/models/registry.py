"""How each choice of a model is built: one entry for each record of `backstory.options`.

    BUILDERS[MixturePrior] = lambda options, setting: Mixture(setting.latent, options.components)

An entry is a function of the record and of the `Setting`, which gives the module. Two kinds of choices have
more than one module: `Networks` and `Likelihood`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from backstory.data.schema import Schema
from backstory.distributions.quantities import ColumnStatistics
from backstory.options.choices import Choice

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Setting:
    """What a piece of a model is built for.

    Attributes:
        schema: the data's.
        latent: number of units of z.
        shift, scale: location and scale of x in the training data, broadcast against `shape`.
        columns: statistics of the columns of a table; blank for other data.
        incomplete: whether entries of x may be missing.
        hierarchy: units or shapes of the levels of z from x upwards; () for z without levels.
        affine: whether the networks are affine.
        network: options of the networks.
        encoder, posterior: the network and the module that give q(z|x), for a prior that is made of them.
        encoder_input: the shape of that network's input for one observation.
    """

    schema: Schema
    latent: int
    shift: Tensor
    scale: Tensor
    columns: ColumnStatistics
    incomplete: bool = False
    hierarchy: tuple[Any, ...] = ()
    affine: bool = False
    network: Any = None
    encoder: nn.Module | None = None
    posterior: nn.Module | None = None
    encoder_input: Shape = ()

    @property
    def shape(self) -> Shape:
        """Of one observation x."""
        return self.schema.shape

    @property
    def context(self) -> int:
        """Number of conditions c of p(x|c) that the networks take."""
        return self.schema.condition_width

    @property
    def levels(self) -> int:
        """Number of levels of x."""
        return self.schema.model_levels or 2

    @property
    def full_range(self) -> float:
        """The highest value of x: the top level, or full brightness."""
        schema = self.schema
        return float(schema.levels - 1) if schema.levels is not None else float(schema.maximum or 1.0)

    @property
    def unit(self) -> Tensor:
        """The unit of a given σ: the full range of images, the standard deviation of other data."""
        return torch.tensor(self.full_range) if self.schema.kind == "images" else self.scale

    @property
    def encoder_shape(self) -> Shape:
        """Of the encoder's input: with a mask beside x if entries may be missing, see `VAE`."""
        shape = self.shape
        if not self.incomplete:
            return shape
        return (*shape, 2) if len(shape) < 3 else (*shape[:2], 2 * math.prod(shape[2:]))


@dataclass(frozen=True)
class Networks:
    """Builders of the two networks, functions (options, shape of the input, shape of the output).

    The encoder's builder also takes C, the number of conditions. Unless it is 0, the encoder takes c,
    (B, C), as its second argument; the decoder takes c after z in its input.
    """

    encoder: Callable[[Any, Shape, Shape, int], nn.Module]
    decoder: Callable[[Any, Shape, Shape], nn.Module]

    def beside(self, posterior: Any) -> "Networks":
        """The builders of networks beside a posterior, with which they may share weights."""
        return self


Network: TypeAlias = Callable[[Shape, Shape], nn.Module]


def _network_decoder(options: Any, setting: Setting, head: Any, network: Network) -> nn.Module:
    return network((setting.latent + setting.context,), head.features_shape)


@dataclass(frozen=True)
class Likelihood:
    """Builders of what belongs to a likelihood.

    Attributes:
        head: (options, setting) to the module from the decoder's features to p(x|z).
        decoder: (options, setting, head, network) to the decoder; by default network((latent + context,),
            head.features_shape). `network` makes a network of the chosen kind from its two shapes.
        inputs: (options, setting) to a module in front of the encoder, with its `outputs`; None for none.
    """

    head: Callable[[Any, Setting], Any]
    decoder: Callable[[Any, Setting, Any, Network], nn.Module] = _network_decoder
    inputs: Callable[[Any, Setting], Any] | None = None


BUILDERS: dict[type[Choice], Any] = {}


def builder(options: Choice) -> Any:
    """How a choice is built; NotImplementedError if its record has no entry."""
    if type(options) not in BUILDERS:
        raise NotImplementedError(f"{options.group} {options.name}")
    return BUILDERS[type(options)]
