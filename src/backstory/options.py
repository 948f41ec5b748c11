"""The options of a model and of its training: typed records that need no PyTorch."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backstory.distributions.self_masked import SIGNS
from backstory.errors import InputError

KEPT = ("best", "last")


PRECISIONS = ("float32", "bf16")


class TrainOptions(BaseModel):
    """How a model is trained; None leaves the choice to the size of the data.

    Attributes:
        objective: one of `OBJECTIVES`; `auto` is the ELBO, or MIWAE's bound for tables with gaps.
        objective_args: arguments of the objective by name, such as `alpha` of `renyi`; see its function.
        samples: draws of z for each observation and step, L (ELBO), K (importance-weighted), M · K (miwae).
        beta: final factor of the KL term; 1 is the ELBO.
        warmup: epochs over which β rises from 0 to its final value, as does the capacity of `capacity`.
        warmup_cycles: how often it does so; before each rise but the first, β stays final for as many epochs.
        epochs: passes over the training rows.
        minutes: a time budget; training ends, with its learning rate run down, at whichever comes first.
        batch_size: rows of a step.
        lr: the highest learning rate of Adam.
        ema: decay of an average of the weights, which validation and the final model use.
        clip: the largest norm of a gradient; a larger one is scaled down to it.
        skip_spikes: a step whose gradient norm exceeds this many medians of the last 100 is left out.
        patience: epochs without a better validation value before training stops.
        keep: the weights of which epoch: the `best` by the objective of the validation rows, or the `last`.
        compile: whether the step is compiled; None leaves it to the length of the run, see `step.decide`.
        precision: of the networks: `float32`, or `bf16`, in which matrix products are computed in bfloat16;
            weights, likelihoods and KL stay in single precision.
        seed: of the initial weights, the order, and every draw.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: str = "auto"
    objective_args: dict[str, float] = Field(default_factory=dict)
    samples: int | None = None
    beta: float = 1.0
    warmup: int | None = None
    warmup_cycles: int = 1
    epochs: int | None = None
    minutes: float | None = None
    batch_size: int | None = None
    lr: float | None = None
    ema: float | None = None
    clip: float | None = None
    skip_spikes: float | None = None
    patience: int | None = None
    keep: str | None = None
    compile: bool | None = None
    precision: str = "float32"
    seed: int = Field(0, ge=0, lt=2**63)


LIKELIHOODS = {
    "bernoulli": "binary data; grey images are binarised at random, anew at each use",
    "categorical": "integer levels without an order, up to a few dozen",
    "logistic": "integer levels in order: a discretised logistic",
    "gaussian": "one learned σ",
    "gaussian-fixed": "σ given by --sigma",
    "gaussian-per-entry": "a learned σ for each pixel or column",
    "gaussian-predicted": "σ(z) predicted by the decoder",
    "joint": "of a table: for each column what its kind calls for",
    "student": "Student's t, whose σ(z) and degrees of freedom are predicted: for data with outliers",
}


NETWORKS = ("mlp", "residual", "plain", "conv", "linear")


POSTERIORS = ("gaussian", "delta")


MISSINGNESS = ("random", *SIGNS)


BOUNDED_PRIORS = ("uniform", "beta", "truncated-normal")  # asked for at times, and impossible here


class ModelOptions(BaseModel):
    """What a model is made of; `auto` and None leave the choice to the data.

    Attributes:
        likelihood: one of `LIKELIHOODS`.
        network: `mlp` (gated), `residual`, `plain`, `conv` or `linear`.
        hidden: widths of the hidden layers of the fully connected networks.
        activation: of `plain` and `residual` networks.
        latent: number of units of z.
        posterior: `gaussian`, or `delta` for a plain autoencoder.
        prior: `normal`, or `mixture`, learned with the model or, for a plain autoencoder, fitted afterwards.
        components: of a mixture prior.
        sigma: of `gaussian-fixed`: a fraction of the full range for images, of a column's standard
            deviation for tables and arrays.
        sigma_floor: a width that a learned or predicted σ cannot fall below, a fraction of the data's
            standard deviation; for densities that do not follow single rows.
        bounded: whether the mean of a Gaussian likelihood lies within the full range of the images, by a
            sigmoid, which fits grey images better than an affine output; None where it can be.
        incomplete: whether entries may be missing, and the encoder is told which are there; by default,
            whether some are missing in the data that the model is trained on.
        missingness: `random`, if what is missing does not depend on its own value; `self`, if it does, see
            `distributions.self_masked`; `self-high` or `self-low`, if high or low values are known to vanish.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    likelihood: str = "auto"
    network: str = "auto"
    hidden: tuple[int, ...] | None = None
    activation: str = "relu"
    latent: int | None = None
    posterior: str = "gaussian"
    prior: str = "normal"
    components: int = 10
    sigma: float | None = None
    sigma_floor: float | None = None
    bounded: bool | None = None
    incomplete: bool | None = None
    missingness: str = "random"


O = TypeVar("O", bound=BaseModel)


def one_of(name: str, value: str, choices: Sequence[str]) -> str:
    """`value` if it is among the choices; otherwise an InputError that names the nearest one."""
    if value in choices:
        return value
    near = _nearest(value, choices)
    raise InputError(f"{name} is one of {', '.join(choices)}, got {value!r}; did you mean {near!r}?")


def check_option(function: str, name: str, known: Sequence[str]) -> None:
    """InputError for a name that is no option of a function, with the nearest one."""
    if name not in known:
        raise InputError(f"{function} has no option {name!r}; did you mean {_nearest(name, known)!r}?")


def _nearest(word: str, choices: Sequence[str]) -> str:
    return get_close_matches(word, choices, n=1, cutoff=0.0)[0]


def options_from(kind: type[O], values: dict[str, Any]) -> O:
    """An options record from loose values; InputError on one of the wrong type."""
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise InputError(f"{name}: {first['msg'].lower()}, got {first.get('input')!r}") from None
