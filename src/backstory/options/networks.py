"""The networks of encoder and decoder: each with its options, their defaults, bounds and help."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from backstory.options.choices import Choice, OptionError, Undecided, as_tuple, auto, choice

Activation = Literal["relu", "tanh", "silu", "gelu"]


class NetworkOptions(Choice):
    """The networks of encoder and decoder.

    Attributes:
        affine: whether they are affine maps.
        convolutional: whether they take images alone.
    """

    group: ClassVar[str] = "network"
    affine: ClassVar[bool] = False
    convolutional: ClassVar[bool] = False


@auto
class AutoNetwork(Undecided, NetworkOptions):
    """Decided from the data."""


class LayeredOptions(NetworkOptions):
    """A fully connected network."""

    hidden: tuple[int, ...] | None = Field(
        default=None,
        json_schema_extra={"metavar": "300,300"},
        description="Widths of the hidden layers of the encoder; the decoder has them in reverse; by default "
        "128,128, or 400,400 for more than 128 entries.",
    )

    _one_layer = field_validator("hidden", mode="before")(as_tuple)

    @field_validator("hidden")
    @classmethod
    def _widths(cls, hidden: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if hidden is not None and min(hidden, default=1) < 1:
            raise OptionError(f"hidden widths have to be at least 1, got {hidden}", "hidden")
        return hidden


class ActivatedOptions(LayeredOptions):
    """A fully connected network with an activation function."""

    activation: Activation = Field(default="relu", description="The activation function.")


@choice
class MLPNetwork(LayeredOptions):
    """Fully connected, with gated layers."""

    name: Literal["mlp"] = "mlp"


@choice
class ResidualNetwork(ActivatedOptions):
    """Fully connected, with residual blocks."""

    name: Literal["residual"] = "residual"


@choice
class PlainNetwork(ActivatedOptions):
    """Fully connected, with plain layers."""

    name: Literal["plain"] = "plain"


class ConvolutionalOptions(NetworkOptions):
    """Convolutions, for images."""

    convolutional: ClassVar[bool] = True
    width: int = Field(
        default=32,
        ge=1,
        description="Channels of the first stage, which double from stage to stage; by default 32, or 16 "
        "in a ladder.",
    )


@choice
class ConvNetwork(ConvolutionalOptions):
    """Convolutions, for images."""

    name: Literal["conv"] = "conv"


@choice
class ResNetwork(ConvolutionalOptions):
    """Convolutions in residual blocks, for images."""

    name: Literal["resnet"] = "resnet"
    depth: int = Field(default=1, ge=0, description="Residual blocks of each stage.")


@choice
class LadderNetwork(ResNetwork):
    """Convolutions for groups of z at several sizes of feature maps, in images."""

    name: Literal["ladder"] = "ladder"  # type: ignore[assignment]
    width: int = Field(default=16, ge=1, description="Channels of the first stage.")


@choice
class LinearNetwork(NetworkOptions):
    """Affine maps, so that many p(x) have a closed form."""

    affine: ClassVar[bool] = True
    name: Literal["linear"] = "linear"
