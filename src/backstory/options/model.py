"""What a model is made of: likelihoods, and the model as a whole; each option with its type, bounds and help.

Networks are in `options.networks`, priors and posteriors in `options.latents`. To add one or a likelihood: a
record, and a line beside the module that it builds (`BUILDERS[MyRecord] = ...`, see `models.registry`).
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from backstory.options.choices import (
    AUTO,
    Choice,
    OptionError,
    Record,
    Undecided,
    auto,
    choice,
    flat,
    gather,
)
from backstory.options.latents import GaussianPosterior, NormalPrior, PosteriorOptions, PriorOptions
from backstory.options.levels import Group, as_groups, size, written
from backstory.options.networks import AutoNetwork, NetworkOptions

# -- likelihoods p(x|z) -----------------------------------------------------------------------------------

Missingness = Literal["random", "self", "self-high", "self-low"]


class LikelihoodOptions(Choice):
    """A likelihood.

    Attributes:
        takes: what x has to be: `binary` (two values, or grey images that are binarised at random), `levels`
            (integers) or `numbers` (anything; levels are dequantised).
        mixed: whether it models each column of a table by its kind; the others take all columns as numbers.
        gaussian: whether p(x|z) is Gaussian in each entry.
        dependent: whether columns depend on each other given z.
        images: whether it is for complete images alone.
    """

    group: ClassVar[str] = "likelihood"
    takes: ClassVar[Literal["binary", "levels", "numbers"]] = "numbers"
    mixed: ClassVar[bool] = False
    gaussian: ClassVar[bool] = False
    dependent: ClassVar[bool] = False
    images: ClassVar[bool] = False


@auto
class AutoLikelihood(Undecided, LikelihoodOptions):
    """Decided from the data."""


@choice
class Bernoulli(LikelihoodOptions):
    """Binary data; grey images are binarised at random, anew at each use."""

    takes: ClassVar[Literal["binary", "levels", "numbers"]] = "binary"
    name: Literal["bernoulli"] = "bernoulli"


@choice
class Categorical(LikelihoodOptions):
    """Integer levels without an order, up to a few dozen."""

    takes: ClassVar[Literal["binary", "levels", "numbers"]] = "levels"
    name: Literal["categorical"] = "categorical"


@choice
class Logistic(LikelihoodOptions):
    """Integer levels in order: a discretised logistic."""

    takes: ClassVar[Literal["binary", "levels", "numbers"]] = "levels"
    name: Literal["logistic"] = "logistic"


@choice
class LogisticMixture(LikelihoodOptions):
    """Integer levels in order: for each pixel a mixture of discretised logistics, with dependent channels."""

    takes: ClassVar[Literal["binary", "levels", "numbers"]] = "levels"
    dependent: ClassVar[bool] = True
    name: Literal["logistic-mixture"] = "logistic-mixture"
    logistics: int = Field(default=3, ge=1, description="Number of logistics in the mixture of a pixel.")


class GaussianOptions(LikelihoodOptions):
    """A Gaussian in each entry."""

    gaussian: ClassVar[bool] = True
    bounded: bool | None = Field(
        default=None,
        description="Whether the means of images lie within the full range, by a sigmoid; by default they "
        "do, except in a linear network.",
    )
    missingness: Missingness = Field(
        default="random",
        description="Whether entries are missing at random or because of their own value: self if the data "
        "decides how, self-high if high values go missing, self-low if low ones do.",
    )


class LearnedSigma(GaussianOptions):
    """A Gaussian with a learned σ."""

    sigma_floor: float | None = Field(
        default=None,
        gt=0,
        description="The least σ, as a fraction of the data's standard deviation, so that the density does "
        "not follow single rows; by default none, or 0.2 for numbers with gaps if the likelihood is auto.",
    )


@choice
class Gaussian(LearnedSigma):
    """One learned σ."""

    name: Literal["gaussian"] = "gaussian"


@choice
class GaussianFixed(GaussianOptions):
    """A given σ."""

    name: Literal["gaussian-fixed"] = "gaussian-fixed"
    sigma: float = Field(
        gt=0,
        description="σ, as a fraction of the full range of images, or of the standard deviation of a column.",
    )

    @model_validator(mode="before")
    @classmethod
    def _needs_sigma(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("sigma") is None:
            raise OptionError(
                "likelihood gaussian-fixed needs sigma, a fraction of the data's range or deviation", "sigma"
            )
        return values


@choice
class GaussianPerEntry(LearnedSigma):
    """A learned σ for each pixel or column."""

    name: Literal["gaussian-per-entry"] = "gaussian-per-entry"


@choice
class GaussianPredicted(LearnedSigma):
    """σ(z) predicted by the decoder."""

    name: Literal["gaussian-predicted"] = "gaussian-predicted"


@choice
class Joint(LikelihoodOptions):
    """Each column of a table by its kind."""

    mixed: ClassVar[bool] = True
    name: Literal["joint"] = "joint"


@choice
class Autoregressive(LikelihoodOptions):
    """Each column of a table given z and the columns before it."""

    mixed: ClassVar[bool] = True
    dependent: ClassVar[bool] = True
    name: Literal["autoregressive"] = "autoregressive"
    embedding: int = Field(default=64, ge=8, description="Width of the transformer over the columns.")
    layers: int = Field(default=2, ge=1, description="Layers of the transformer over the columns.")
    heads: int = Field(default=4, ge=1, description="Heads of its attention; they divide the width.")

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.embedding % self.heads:
            raise OptionError(
                f"heads have to divide embedding, got {self.heads} heads and embedding {self.embedding}; "
                "change one of them",
                "heads",
            )
        return self


class PixelOptions(LikelihoodOptions):
    """Each pixel of an image given z and the pixels before it."""

    images: ClassVar[bool] = True
    maps: int = Field(default=8, ge=1, description="Feature maps that z gives to the masked convolutions.")
    pixel_width: int = Field(default=32, ge=1, description="Channels of the masked convolutions.")
    pixel_layers: int = Field(default=2, ge=0, description="Residual blocks of masked convolutions.")


@choice
class Pixels(PixelOptions):
    """Each pixel of an image given z and the pixels before it: logistic-mixture by masked convolutions."""

    takes: ClassVar[Literal["binary", "levels", "numbers"]] = "levels"
    name: Literal["pixels"] = "pixels"
    logistics: int = Field(default=3, ge=1, description="Number of logistics in the mixture of a pixel.")


@choice
class PixelsBernoulli(PixelOptions):
    """The same for binary images; grey ones are binarised at random, anew at each use."""

    takes: ClassVar[Literal["binary", "levels", "numbers"]] = "binary"
    name: Literal["pixels-bernoulli"] = "pixels-bernoulli"


@choice
class Laplace(LikelihoodOptions):
    """A Laplace distribution with predicted scale b(z), whose reconstructions minimise the absolute error."""

    name: Literal["laplace"] = "laplace"


@choice
class Student(LikelihoodOptions):
    """Student's t with predicted σ(z) and degrees of freedom, for data with outliers."""

    name: Literal["student"] = "student"


# -- the model --------------------------------------------------------------------------------------------

MODEL_GROUPS = ("likelihood", "network", "prior", "posterior")
BOUNDED_PRIORS = ("uniform", "beta", "truncated-normal")  # people ask for them, and they cannot work


class ModelOptions(Record):
    """What a model is made of. An option that is None, or a choice that is `auto`, is left to the data.

    Options are given flat or as records:

    >>> from backstory.options import MixturePrior
    >>> ModelOptions(prior="mixture", components=5) == ModelOptions(prior=MixturePrior(components=5))
    True
    """

    likelihood: SerializeAsAny[LikelihoodOptions] = Field(
        default_factory=AutoLikelihood, description="p(x|z), the distribution of the data."
    )
    network: SerializeAsAny[NetworkOptions] = Field(
        default_factory=AutoNetwork, description="The networks of encoder and decoder."
    )
    latent: int | None = Field(
        default=None,
        ge=1,
        json_schema_extra={"metavar": "16|2x14x14,16", "text": True},
        description="Number of units of z; by default 16, 40 or 64 for images, and half as many as there are "
        "columns, at most 16, for tables. Several groups, from x upwards, are levels as in hierarchy: 32,16, "
        "or for images 2x14x14,4x7x7,16 with channels, height and width.",
    )
    hierarchy: tuple[Group, ...] | None = Field(
        default=None,
        json_schema_extra={"metavar": "16,8"},
        description="Units of the levels z1, z2, … from x upwards, or shapes in feature maps of images; "
        "prior and posterior are then hierarchy, or ladder with shapes, unless they are given, and latent is "
        "the sum; by default a third of latent is z2.",
    )
    prior: SerializeAsAny[PriorOptions] = Field(default_factory=NormalPrior, description="p(z).")
    posterior: SerializeAsAny[PosteriorOptions] = Field(
        default_factory=GaussianPosterior, description="q(z|x)."
    )
    incomplete: bool | None = Field(
        default=None,
        description="Whether entries may be missing, so that the encoder is told which are observed; by "
        "default, whether some are missing in the training data.",
    )

    _groups = field_validator("hierarchy", mode="before")(as_groups)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        if values.get("prior") in BOUNDED_PRIORS:
            raise OptionError(
                f"prior {values['prior']} has bounded support, and a Gaussian q(z|x) always has mass outside "
                f"it, so KL(q(z|x) ‖ p(z)) is infinite; use prior normal or mixture or flow",
                "prior",
            )
        values = _with_levels(values)
        defaults = {"likelihood": AUTO, "network": AUTO, "prior": "normal", "posterior": "gaussian"}
        groups, parts = values.get("hierarchy"), ("network", "prior", "posterior")
        named = [getattr(values.get(part), "name", values.get(part)) for part in parts]
        if "ladder" in named or any(isinstance(group, tuple) for group in groups or ()):
            defaults |= dict.fromkeys(parts, "ladder")
        elif groups is not None:
            defaults |= {"prior": "hierarchy", "posterior": "hierarchy"}
        chosen, rest = gather(MODEL_GROUPS, defaults, values)
        return {**rest, **chosen}

    @model_validator(mode="after")
    def _levels(self) -> Self:
        _check_ladder(self)
        if not self.hierarchy:
            return self
        ladder, total = self.posterior.name == "ladder", sum(map(size, self.hierarchy))
        if len(self.hierarchy) < 2 - ladder or min(map(size, self.hierarchy)) < 1:
            raise OptionError(
                f"hierarchy has two levels or more, with at least 1 unit each, got {written(self.hierarchy)}",
                "hierarchy",
            )
        named = [f"{c.group} {c.name}" for c in (self.prior, self.posterior)]
        if not ladder and not any(choice.endswith(" hierarchy") for choice in named):
            raise OptionError(
                f"hierarchy is for prior hierarchy or posterior hierarchy, got {' and '.join(named)}; leave "
                "it out",
                "hierarchy",
            )
        if self.latent not in (None, total):
            raise OptionError(
                f"latent is the sum of hierarchy, {total}, got {self.latent}; leave it out", "latent"
            )
        return self

    def flat(self) -> dict[str, Any]:
        """All options by name, flat and as JSON has them, as they are given to `fit`."""
        return flat(self, MODEL_GROUPS)


def _with_levels(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values with groups in `hierarchy`, where people gave them as `latent`."""
    latent, hierarchy = values.get("latent"), as_groups(values.get("hierarchy"))
    several = isinstance(latent, list | tuple) or (isinstance(latent, str) and re.search("[x,]", latent))
    if not several:
        return {**values, "hierarchy": hierarchy} if hierarchy else values
    if hierarchy is not None:
        raise OptionError(
            "latent with groups is another way to give hierarchy; leave one of them out", "latent"
        )
    groups = as_groups(latent, "latent")
    assert groups is not None
    if len(groups) == 1 and isinstance(groups[0], int):
        return {**values, "latent": groups[0]}
    return {**values, "latent": None, "hierarchy": groups}


def _check_ladder(options: ModelOptions) -> None:
    """OptionError for a piece of a ladder without the others."""
    chosen = (options.network, options.prior, options.posterior)
    if "ladder" not in (c.name for c in chosen):
        return
    if options.network.name == options.posterior.name == "ladder":
        return
    named = ", ".join(f"{c.group} {c.name}" for c in chosen)
    raise OptionError(
        f"a ladder has network ladder and posterior ladder, got {named}; give latent with shapes, such as "
        "2x14x14,16, and leave these out",
        "network",
    )
