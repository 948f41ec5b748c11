"""The options of a model and of its training, each declared once. Needs no PyTorch.

A field's type, default, bounds and description are all that is said of an option. The parameters and help of
the command `fit`, config.json, what `info` shows and docs/options.md are made from these records.

To add a likelihood, network, prior, posterior or objective: a record here, and a line in the registry that
builds it (`models.registry`, or the decorator `objectives.registry.objective`).
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from backstory.choices import (
    AUTO,
    CHOICES,
    Choice,
    OptionError,
    Record,
    Undecided,
    auto,
    choice,
    gather,
    settle,
    spelt_out,
)
from backstory.choices import check_option as check_option
from backstory.choices import one_of as one_of

# -- likelihoods p(x|z) -----------------------------------------------------------------------------------

Missingness = Literal["random", "self", "self-high", "self-low"]


class LikelihoodOptions(Choice):
    """A likelihood.

    Attributes:
        takes: what x has to be: `binary` (two values, or grey images that are binarised at random), `levels`
            (integers) or `numbers` (anything; levels are dequantised).
        mixed: whether it models each column of a table by its kind; the others take all columns as numbers.
        gaussian: whether p(x|z) is Gaussian in each entry.
    """

    group: ClassVar[str] = "likelihood"
    takes: ClassVar[Literal["binary", "levels", "numbers"]] = "numbers"
    mixed: ClassVar[bool] = False
    gaussian: ClassVar[bool] = False


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


class GaussianOptions(LikelihoodOptions):
    """A Gaussian in each entry."""

    gaussian: ClassVar[bool] = True
    bounded: bool | None = Field(
        None,
        description="Whether the means of images lie within the full range, by a sigmoid; by default they do, "
        "except in a linear network.",
    )
    missingness: Missingness = Field(
        "random",
        description="Whether entries are missing at random or because of their own value: self if the data "
        "decides how, self-high if high values go missing, self-low if low ones do.",
    )


class LearnedSigma(GaussianOptions):
    """A Gaussian with a learned σ."""

    sigma_floor: float | None = Field(
        None,
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
class Student(LikelihoodOptions):
    """Student's t with predicted σ(z) and degrees of freedom, for data with outliers."""

    name: Literal["student"] = "student"


# -- networks ---------------------------------------------------------------------------------------------

Activation = Literal["relu", "tanh", "silu", "gelu"]


class NetworkOptions(Choice):
    """The networks of encoder and decoder."""

    group: ClassVar[str] = "network"
    affine: ClassVar[bool] = False


@auto
class AutoNetwork(Undecided, NetworkOptions):
    """Decided from the data."""


class LayeredOptions(NetworkOptions):
    """A fully connected network."""

    hidden: tuple[int, ...] | None = Field(
        None,
        json_schema_extra={"metavar": "300,300"},
        description="Widths of the hidden layers of the encoder; the decoder has them in reverse. By default "
        "128,128, or 400,400 for more than 128 entries.",
    )

    @field_validator("hidden")
    @classmethod
    def _widths(cls, hidden: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if hidden is not None and min(hidden, default=1) < 1:
            raise OptionError(f"hidden widths have to be at least 1, got {hidden}", "hidden")
        return hidden


class ActivatedOptions(LayeredOptions):
    """A fully connected network with an activation function."""

    activation: Activation = Field("relu", description="The activation function.")


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


@choice
class ConvNetwork(NetworkOptions):
    """Convolutions, for images."""

    name: Literal["conv"] = "conv"
    width: int = Field(32, ge=1, description="Channels of the first stage; they double from stage to stage.")


@choice
class LinearNetwork(NetworkOptions):
    """Affine maps, so that many p(x) have a closed form."""

    affine: ClassVar[bool] = True
    name: Literal["linear"] = "linear"


# -- priors p(z) and posteriors q(z|x) --------------------------------------------------------------------


class PriorOptions(Choice):
    """A prior."""

    group: ClassVar[str] = "prior"


@choice
class NormalPrior(PriorOptions):
    """N(0, I)."""

    name: Literal["normal"] = "normal"


@choice
class MixturePrior(PriorOptions):
    """A mixture of diagonal Gaussians, learned with the model; a plain autoencoder's is fitted afterwards."""

    name: Literal["mixture"] = "mixture"
    components: int = Field(10, ge=1, description="Number of Gaussians.")


class PosteriorOptions(Choice):
    """A posterior."""

    group: ClassVar[str] = "posterior"


@choice
class GaussianPosterior(PosteriorOptions):
    """A Gaussian with independent units."""

    name: Literal["gaussian"] = "gaussian"


@choice
class DeltaPosterior(PosteriorOptions):
    """A point, which makes a plain autoencoder without p(x)."""

    name: Literal["delta"] = "delta"


# -- objectives -------------------------------------------------------------------------------------------


class ObjectiveOptions(Choice):
    """An objective."""

    group: ClassVar[str] = "objective"
    compiled: ClassVar[bool] = True  # False where it differentiates inside, or draws
    many_draws: ClassVar[bool] = False  # True where a single draw makes it the sampled ELBO


@auto
class AutoObjective(Undecided, ObjectiveOptions):
    """Decided from the data."""


class OwnObjective(ObjectiveOptions):
    """An objective from outside the package, which may differentiate inside, or draw."""

    compiled: ClassVar[bool] = False


@choice
class Elbo(ObjectiveOptions):
    """The evidence lower bound."""

    name: Literal["elbo"] = "elbo"


@choice
class ElboSampled(ObjectiveOptions):
    """The evidence lower bound with a sampled KL."""

    name: Literal["elbo-sampled"] = "elbo-sampled"


@choice
class FreeBits(ObjectiveOptions):
    """The ELBO with a least KL for each unit."""

    name: Literal["free-bits"] = "free-bits"
    threshold: float = Field(0.125, ge=0, description="λ, the least KL of a unit in nats.")


@choice
class Capacity(ObjectiveOptions):
    """The likelihood at a KL that is held at a given capacity."""

    name: Literal["capacity"] = "capacity"
    gamma: float = Field(10.0, ge=0, description="γ, the weight of |KL − C|.")
    capacity: float = Field(25.0, ge=0, description="C after the warm-up, in nats for each observation.")


@choice
class StickingTheLanding(ObjectiveOptions):
    """The sampled ELBO without the score's gradient."""

    name: Literal["stl"] = "stl"


@choice
class Score(ObjectiveOptions):
    """The ELBO with the score-function gradient."""

    compiled: ClassVar[bool] = False
    name: Literal["score"] = "score"


@choice
class Iwae(ObjectiveOptions):
    """The importance-weighted bound."""

    many_draws: ClassVar[bool] = True
    name: Literal["iwae"] = "iwae"


@choice
class Miwae(ObjectiveOptions):
    """The mean of several importance-weighted bounds."""

    many_draws: ClassVar[bool] = True
    name: Literal["miwae"] = "miwae"
    averages: int = Field(1, description="M, how many bounds are averaged; it divides the number of draws.")


@choice
class Dreg(ObjectiveOptions):
    """The importance-weighted bound with doubly reparameterised gradients."""

    compiled: ClassVar[bool] = False
    many_draws: ClassVar[bool] = True
    name: Literal["dreg"] = "dreg"


@choice
class Renyi(ObjectiveOptions):
    """The variational Rényi bound."""

    many_draws: ClassVar[bool] = True
    name: Literal["renyi"] = "renyi"
    alpha: float = Field(0.5, description="α: 1 is the sampled ELBO, 0 the importance-weighted bound.")


@choice
class TotalCorrelation(ObjectiveOptions):
    """β-TCVAE: the ELBO with weights for the three parts of the KL."""

    name: Literal["tcvae"] = "tcvae"
    alpha: float = Field(1.0, description="α, the factor of the mutual information I(x; z).")
    gamma: float = Field(1.0, description="γ, the factor of the units' KL.")


@choice
class MaximumMeanDiscrepancy(ObjectiveOptions):
    """InfoVAE: the ELBO and the maximum mean discrepancy of q(z) and p(z)."""

    compiled: ClassVar[bool] = False
    name: Literal["mmd"] = "mmd"
    weight: float = Field(100.0, ge=0, description="Nats for each unit of MMD².")
    width: float = Field(1.0, gt=0, description="Width of the kernel.")


# -- the model --------------------------------------------------------------------------------------------

MODEL_GROUPS = ("likelihood", "network", "prior", "posterior")
BOUNDED_PRIORS = ("uniform", "beta", "truncated-normal")  # people ask for them, and they cannot work


class ModelOptions(Record):
    """What a model is made of. An option that is None, or a choice that is `auto`, is left to the data.

    Options are given flat or as records:

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
        None,
        ge=1,
        description="Number of units of z; by default 16 or 40 for images, and half as many as there are "
        "columns, at most 16, for tables.",
    )
    prior: SerializeAsAny[PriorOptions] = Field(default_factory=NormalPrior, description="p(z).")
    posterior: SerializeAsAny[PosteriorOptions] = Field(default_factory=GaussianPosterior, description="q(z|x).")
    incomplete: bool | None = Field(
        None,
        description="Whether entries may be missing; the encoder is then told which are observed. By default, "
        "whether some are missing in the training data.",
    )

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, values: Any) -> Any:
        if values.get("prior") in BOUNDED_PRIORS:
            raise OptionError(
                f"prior {values['prior']} has bounded support, and a Gaussian q(z|x) always has mass outside "
                f"it, so KL(q(z|x) ‖ p(z)) is infinite; use prior {' or '.join(CHOICES['prior'])}",
                "prior",
            )
        defaults = {"likelihood": AUTO, "network": AUTO, "prior": "normal", "posterior": "gaussian"}
        chosen, rest = gather(MODEL_GROUPS, defaults, values)
        return {**rest, **chosen}

    def flat(self) -> dict[str, Any]:
        """All options by name, flat and as JSON has them, as they are given to `fit`."""
        return _flat(self, MODEL_GROUPS)


# -- training ---------------------------------------------------------------------------------------------

Precision = Literal["float32", "bf16"]
Keep = Literal["best", "last"]


class TrainOptions(Record):
    """How a model is trained. An option that is None is left to the size of the data."""

    objective: SerializeAsAny[ObjectiveOptions] = Field(
        default_factory=AutoObjective,
        description="What training maximises; by default elbo, or iwae for tables with gaps.",
    )
    samples: int | None = Field(
        None,
        ge=1,
        description="Draws of z for each row and step; by default 1, or 20 for tables with gaps.",
    )
    beta: float = Field(1.0, ge=0, description="Factor of the KL term after the warm-up; 1 is the ELBO.")
    warmup: int | None = Field(
        None,
        ge=0,
        json_schema_extra={"metavar": "EPOCHS"},
        description="Epochs in which β rises from 0, as does the capacity of objective capacity.",
    )
    warmup_cycles: int = Field(
        1,
        ge=1,
        json_schema_extra={"metavar": "N"},
        description="How often β rises from 0; before each further rise it stays for as many epochs.",
    )
    epochs: int | None = Field(None, ge=1, description="Passes over the training rows.")
    minutes: float | None = Field(
        None, gt=0, description="A limit of time; training ends at the first limit that it reaches."
    )
    batch_size: int | None = Field(None, ge=1, description="Rows of a step.")
    lr: float | None = Field(None, gt=0, description="The highest learning rate of Adam.")
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        examples=[0.999],
        json_schema_extra={"metavar": "DECAY"},
        description="Decay of an average of the weights, which then is the model; by default none, or 0.995 "
        "for tables with gaps.",
    )
    clip: float | None = Field(
        None,
        gt=0,
        json_schema_extra={"metavar": "NORM"},
        description="The largest norm of a gradient; larger ones are scaled down.",
    )
    skip_spikes: float | None = Field(
        None,
        gt=1,
        examples=[5],
        json_schema_extra={"metavar": "X"},
        description="Skip a step with a gradient above X medians of the norms of the last 100 steps.",
    )
    patience: int | None = Field(
        None,
        ge=1,
        json_schema_extra={"metavar": "EPOCHS"},
        description="Stop after so many epochs without a better validation value.",
    )
    keep: Keep | None = Field(
        None,
        description="Which epoch's weights are kept: the best on the validation rows, or the last; by default "
        "best, or last for tables of numbers with gaps.",
    )
    compile: bool | None = Field(
        None, description="Whether the step is compiled; by default it is in long runs."
    )
    precision: Precision = Field(
        "float32",
        description="Of the matrix products of the networks; weights, likelihoods and KL stay in float32.",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Of the split, the initial weights and every draw.")

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, values: Any) -> Any:
        rest = dict(values)
        name, given = spelt_out("objective", rest.pop("objective", None) or AUTO)
        arguments = rest.pop("objective_args", None) or {}
        return {**rest, "objective": settle("objective", name, {**given, **arguments})}

    def flat(self) -> dict[str, Any]:
        """All options by name, flat and as JSON has them, as they are given to `fit`."""
        return _flat(self, ("objective",))


def _flat(record: Record, groups: Iterable[str]) -> dict[str, Any]:
    values = record.model_dump(mode="json")
    for group in groups:
        part = values.pop(group)
        part.pop("path", None)
        values[group] = part.pop("name")
        part = part.get("given", part)
        values |= {"objective_args": part} if group == "objective" else part
    return values


# -- options as people give them --------------------------------------------------------------------------


def model_names() -> list[str]:
    """Names of all options of a model, flat."""
    inside = [name for group in MODEL_GROUPS for record in CHOICES[group].values() for name in record.options()]
    return list(dict.fromkeys([*ModelOptions.model_fields, *inside]))


def train_names() -> list[str]:
    """Names of all options of the training, flat."""
    return [*TrainOptions.model_fields, "objective_args"]


def sort_options(options: Mapping[str, Any]) -> tuple[ModelOptions, TrainOptions]:
    """The two records from options of `fit`; InputError for one that does not exist or cannot be."""
    of_model, of_training = model_names(), train_names()
    for name in options:
        check_option("fit", name, [*of_model, *of_training])
    return (
        ModelOptions(**{name: value for name, value in options.items() if name in of_model}),
        TrainOptions(**{name: value for name, value in options.items() if name in of_training}),
    )


def given_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, checked, flat, and as JSON has them."""
    records = sort_options(options)
    everything = records[0].flat() | records[1].flat()
    named = set(options)
    for group in (*MODEL_GROUPS, "objective"):
        if group in options and not isinstance(options[group], str):
            _, inside = spelt_out(group, options[group])
            named |= {"objective_args"} if group == "objective" else set(inside)
    return {name: value for name, value in everything.items() if name in named}

