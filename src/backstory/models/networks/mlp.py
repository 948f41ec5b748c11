"""Fully connected networks: plain, gated or residual blocks between arrays of any shape."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from backstory import options as o
from backstory.models.networks.conditions import beside
from backstory.models.registry import BUILDERS, Networks, Shape

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU, "gelu": nn.GELU}


class Gated(nn.Module):
    """h(x) · sigmoid(g(x)) with affine h and g (Dauphin et al. 2017)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.both = nn.Linear(inputs, 2 * outputs)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.glu(self.both(x), -1)


class Residual(nn.Module):
    """x + W₂ a(W₁ norm(x)): keeps gradients alive in deep stacks (He et al. 2016)."""

    def __init__(self, width: int, activation: str):
        super().__init__()
        self.body = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), ACTIVATIONS[activation](), nn.Linear(width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class MLP(nn.Module):
    """A fully connected map from arrays of one shape to arrays of another.

    Args:
        inputs, outputs: shapes of one observation, without the batch axis.
        hidden: width of each hidden layer; without any the map is affine.
        block: `plain` (affine, activation), `gated` or `residual` (all widths equal).
        activation: of plain and residual blocks: `relu`, `tanh`, `silu` or `gelu`.
        context: C, the number of conditions that the first layer takes beside the inputs.

    >>> import torch
    >>> MLP((8, 8), (2, 8, 8), hidden=(32,))(torch.zeros(5, 8, 8)).shape
    torch.Size([5, 2, 8, 8])
    """

    def __init__(
        self,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        hidden: Sequence[int] = (300, 300),
        block: str = "gated",
        activation: str = "relu",
        context: int = 0,
    ):
        super().__init__()
        self.outputs = outputs
        width, layers = math.prod(inputs) + context, []
        for index, next_width in enumerate(hidden):
            layers.append(_layer(width, next_width, block, activation, first=index == 0))
            width = next_width
        self.layers = nn.Sequential(*layers, nn.Linear(width, math.prod(outputs)))

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        return self.layers(beside(x.flatten(1), given)).unflatten(1, self.outputs)


def _layer(width: int, next_width: int, block: str, activation: str, first: bool) -> nn.Module:
    if block == "gated":
        return Gated(width, next_width)
    if block == "residual" and not first:
        return Residual(next_width, activation)
    return nn.Sequential(nn.Linear(width, next_width), ACTIVATIONS[activation]())


def _mirrored(block: str) -> Networks:
    """Networks of one kind of block; the decoder has the encoder's widths in reverse."""

    def encoder(options: o.NetworkOptions, inputs: Shape, outputs: Shape, context: int) -> MLP:
        own = options.values
        return MLP(inputs, outputs, own.get("hidden") or (), block, own.get("activation", "relu"), context)

    def decoder(options: o.NetworkOptions, inputs: Shape, outputs: Shape) -> MLP:
        own = options.values
        return MLP(inputs, outputs, (own.get("hidden") or ())[::-1], block, own.get("activation", "relu"))

    return Networks(encoder, decoder)


BUILDERS[o.MLPNetwork] = _mirrored("gated")
BUILDERS[o.ResidualNetwork] = _mirrored("residual")
BUILDERS[o.PlainNetwork] = _mirrored("plain")
BUILDERS[o.LinearNetwork] = _mirrored("plain")
