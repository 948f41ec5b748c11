"""From the data's schema and a few options to a VAE: the one place that chooses defaults."""

import math
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from backstory.data.rows import Rows, blocks
from backstory.data.schema import Presentation, Schema
from backstory.distributions import (
    BernoulliHead,
    CategoricalHead,
    DiscretisedLogisticHead,
    GaussianHead,
    StudentTHead,
)
from backstory.errors import InputError
from backstory.joint import ColumnInputs, JointHead, Marginals
from backstory.missingness import SIGNS, SelfMasking
from backstory.networks.conv import ConvDecoder, ConvEncoder
from backstory.networks.mlp import ACTIVATIONS, MLP
from backstory.priors import PRIORS, Mixture, StandardNormal
from backstory.tabular import only_numbers, quantities
from backstory.vae import VAE

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
GAPS_FLOOR = 0.2  # of σ(z), by default, for numbers with gaps
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
            `backstory.missingness`; `self-high` or `self-low`, if high or low values are known to vanish.
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


Statistics = tuple[Tensor, Tensor]  # location and scale of x
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


def resolve(schema: Schema, options: ModelOptions, incomplete: bool = False) -> tuple[Schema, ModelOptions]:
    """Decide everything that was left to the data, and how the data is presented to the model.

    Args:
        schema, options: the data's, and what was asked for.
        incomplete: whether entries of the data are missing.

    Raises:
        InputError: for options that cannot be, or do not go with the data.
    """
    one_of("likelihood", options.likelihood, ["auto", *LIKELIHOODS])
    one_of("network", options.network, ["auto", *NETWORKS])
    one_of("posterior", options.posterior, POSTERIORS)
    if options.prior in BOUNDED_PRIORS:
        raise InputError(
            f"prior {options.prior} has bounded support, and a Gaussian q(z|x) always has mass outside it, "
            f"so KL(q(z|x) ‖ p(z)) is infinite; use prior {' or '.join(PRIORS)}"
        )
    one_of("prior", options.prior, list(PRIORS))
    one_of("missingness", options.missingness, MISSINGNESS)
    one_of("activation", options.activation, list(ACTIVATIONS))
    for name in ("latent", "components"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"{name} has to be at least 1, got {value}")
    if options.hidden is not None and min(options.hidden, default=1) < 1:
        raise InputError(f"hidden widths have to be at least 1, got {options.hidden}")
    likelihood, floor = options.likelihood, options.sigma_floor
    if likelihood == "auto":
        likelihood = _auto_likelihood(schema, options, incomplete)
        if likelihood == "gaussian-predicted":
            floor = GAPS_FLOOR if floor is None else floor
    incomplete = _incomplete(likelihood, incomplete, options.incomplete)
    _check_missingness(options.missingness, likelihood, incomplete)
    network = options.network if options.network != "auto" else _auto_network(schema)
    hidden = options.hidden if options.hidden is not None else _auto_hidden(schema, network)
    if likelihood == "joint" and not schema.kinds:
        raise InputError(f"likelihood joint is for tables, got data of kind {schema.kind}; leave it out")
    if network == "conv" and schema.kind != "images":
        raise InputError("network conv needs images; use mlp for tables and arrays")
    if network == "conv" and min(schema.shape[:2]) < 4:
        raise InputError(f"network conv needs images of at least 4 × 4, got {schema.shape}; use mlp")
    resolved = options.model_copy(
        update={
            "likelihood": likelihood,
            "network": network,
            "hidden": hidden,
            "latent": options.latent or _auto_latent(schema),
            "sigma": _sigma(likelihood, options.sigma),
            "sigma_floor": _sigma_floor(likelihood, floor),
            "bounded": _bounded(schema, likelihood, network == "conv" or hidden != (), options.bounded),
            "incomplete": incomplete,
        }
    )
    return schema.model_copy(update={"presentation": _presentation(schema, likelihood)}), resolved


def _auto_likelihood(schema: Schema, options: ModelOptions, gaps: bool) -> str:
    """Numbers with gaps have a σ(z) with a floor, which fills them better (see bench/imputation.py).

    An affine decoder keeps one σ for each column: its p(x) has a closed form then.
    """
    if schema.levels is None and schema.kinds and not only_numbers(schema):
        return "joint"
    if schema.levels is None:
        if schema.kind == "images":
            return "gaussian"
        affine = options.network == "linear" or options.posterior == "delta"
        return "gaussian-predicted" if gaps and not affine else "gaussian-per-entry"
    if schema.levels == 2:
        return "bernoulli"
    return "logistic"


def _auto_network(schema: Schema) -> str:
    return (
        "conv" if schema.kind == "images" and schema.numel > 32 * 32 and min(schema.shape[:2]) >= 8 else "mlp"
    )


def _auto_hidden(schema: Schema, network: str) -> tuple[int, ...]:
    if network in ("linear", "conv"):
        return ()
    return (400, 400) if schema.numel > 128 else (128, 128)


def _auto_latent(schema: Schema) -> int:
    if schema.kind == "images":
        return 16 if schema.numel <= 256 else 40
    return max(1, min(16, schema.numel // 2))


def default_schedule(schema: Schema, options: ModelOptions, gaps: bool = False) -> dict[str, Any]:
    """How a model is trained, by default: arguments of `schedule.resolve`.

    An affine model takes large steps, and many: it is there to reach its one optimum and cannot overfit much.
    Where entries are missing, p(z|x) is less like the Gaussian q, and the bound with many draws can do
    without that (Mattei & Frellsen 2019). Averaged weights generalise better, which shows in small tables;
    so does a short run down to a learning rate of zero, beside a long one that is stopped early. Where σ has
    a floor, the last weights are kept: the bound of held-out rows is best long before their means are, and
    the floor keeps it from falling far.

    Args:
        schema, options: from `resolve`.
        gaps: whether entries of the data are missing.
    """
    lr, longest = (1e-2, 2000) if options.network == "linear" else (3e-3, 200)
    defaults: dict[str, Any] = {"lr": lr, "longest": longest}
    if gaps and schema.kind != "images" and options.posterior != "delta":
        defaults |= {"objective": "iwae", "samples": 20, "ema": 0.995}
        if options.network != "linear":
            defaults |= {"longest": 150, "least_steps": 1, "patience": 150}
        if options.sigma_floor is not None:
            defaults |= {"keep": "last"}
    return defaults


def _check_missingness(missingness: str, likelihood: str, incomplete: bool) -> None:
    if missingness == "random":
        return
    if not likelihood.startswith("gaussian"):
        raise InputError(
            f"missingness {missingness} needs a gaussian likelihood, got {likelihood}; "
            "take gaussian-per-entry, or missingness random"
        )
    if not incomplete:
        raise InputError(
            f"missingness {missingness} is learned from missing entries, got data without any; leave it out"
        )


def _sigma(likelihood: str, sigma: float | None) -> float | None:
    if likelihood != "gaussian-fixed":
        if sigma is not None:
            raise InputError(f"sigma belongs to likelihood gaussian-fixed, got likelihood {likelihood}")
        return None
    if sigma is None:
        raise InputError("likelihood gaussian-fixed needs sigma, a fraction of the data's range or deviation")
    _check_positive("sigma", sigma)
    return sigma


def _sigma_floor(likelihood: str, floor: float | None) -> float | None:
    if floor is not None:
        if likelihood not in ("gaussian", "gaussian-per-entry", "gaussian-predicted"):
            raise InputError(
                f"sigma_floor belongs to gaussian likelihoods that learn σ, got likelihood {likelihood}"
            )
        _check_positive("sigma_floor", floor)
    return floor


def _check_positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise InputError(f"{name} has to be positive, got {value:g}")


def _bounded(schema: Schema, likelihood: str, layered: bool, bounded: bool | None) -> bool:
    """An affine decoder keeps its affine mean, unless it is asked for: its p(x) has a closed form."""
    images = schema.kind == "images" and schema.maximum is not None
    possible = likelihood.startswith("gaussian") and images
    if bounded and not possible:
        raise InputError(
            "bounded means belong to gaussian likelihoods of images with a full range, got likelihood "
            f"{likelihood} and data of kind {schema.kind}; leave it out"
        )
    return possible and layered if bounded is None else bounded


def _incomplete(likelihood: str, data: bool, asked: bool | None) -> bool:
    """Tables of mixed columns always may have empty cells."""
    return likelihood == "joint" or (data if asked is None else asked)


def _presentation(schema: Schema, likelihood: str) -> Presentation:
    if likelihood == "bernoulli":
        if schema.levels == 2:
            return "exact"
        if schema.kind == "images" and schema.maximum is not None:
            return "binarised"
        raise InputError(
            "likelihood bernoulli needs binary data (two values, 0 and a maximum) or images, "
            f"got {schema.kind} data of type {schema.dtype}; use a gaussian one, or make the data 0 and 1"
        )
    if likelihood in ("categorical", "logistic"):
        if schema.levels is None:
            raise InputError(
                f"likelihood {likelihood} needs integer levels, got continuous data of type {schema.dtype}; "
                "use a gaussian likelihood, or store the data as integers"
            )
        return "exact"
    return "exact" if schema.levels is None else "dequantised"


def build(
    schema: Schema,
    options: ModelOptions,
    seed: int = 0,
    statistics: Statistics | None = None,
    marginals: Marginals | None = None,
) -> VAE:
    """The model for resolved options; initial weights depend on `seed` alone, not on the global state.

    Args:
        schema, options: from `resolve`.
        statistics: the training data's location and scale, from `data_statistics`; loading sets them later.
        marginals: of likelihood joint, from `tabular.data_marginals`; likewise.
    """
    shift, scale = statistics or _blank_statistics(schema)
    assert options.latent is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if options.likelihood == "joint":
            known = marginals or Marginals.blank(schema.numel)
            head: Any = JointHead(quantities(schema), known)
            inputs = ColumnInputs(quantities(schema), known, shift, scale)
            encoder, decoder = _networks((inputs.outputs,), options, head.features_shape)
            encoder = nn.Sequential(inputs, encoder)
        else:
            head = _head(schema, options, shift, scale)
            if options.missingness != "random":
                head = SelfMasking(head, SIGNS[options.missingness], shift, scale)
            seen = _with_mask(schema.shape) if options.incomplete else schema.shape
            encoder, decoder = _networks(seen, options, head.features_shape)
        incomplete = bool(options.incomplete)
        return VAE(encoder, decoder, head, _prior(options), options.posterior, shift, scale, incomplete)


def _prior(options: ModelOptions) -> nn.Module:
    latent = options.latent or 1
    match options.prior:
        case "mixture":
            return Mixture(latent, options.components)
        case "normal":
            return StandardNormal(latent)
    raise NotImplementedError(f"prior {options.prior}")


def _head(schema: Schema, options: ModelOptions, shift: Tensor, scale: Tensor) -> Any:
    levels = schema.model_levels
    match options.likelihood:
        case "bernoulli":
            return BernoulliHead(schema.shape)
        case "categorical":
            return CategoricalHead(schema.shape, levels or 2)
        case "logistic":
            return DiscretisedLogisticHead(schema.shape, levels or 2, shift, scale)
        case "student":
            return StudentTHead(schema.shape, shift, scale)
    family, _, sigma = options.likelihood.partition("-")
    if family != "gaussian":
        raise NotImplementedError(f"likelihood {options.likelihood}")
    unit = scale if schema.kind != "images" else torch.tensor(_full_range(schema))
    full = _full_range(schema) if options.bounded else None
    value = (options.sigma or 1.0) * unit
    return GaussianHead(schema.shape, sigma or "learned", shift, scale, value, full, options.sigma_floor)


def _full_range(schema: Schema) -> float:
    return float(schema.levels - 1) if schema.levels is not None else float(schema.maximum or 1.0)


def _networks(
    inputs: tuple[int, ...], options: ModelOptions, features: tuple[int, ...]
) -> tuple[nn.Module, nn.Module]:
    latent, hidden = options.latent or 1, options.hidden or ()
    if options.network == "conv":
        return ConvEncoder(inputs, (2, latent)), ConvDecoder((latent,), features)
    block = "gated" if options.network == "mlp" else options.network
    make: Callable[..., MLP] = MLP
    return (
        make(inputs, (2, latent), hidden, block, options.activation),
        make((latent,), features, hidden[::-1], block, options.activation),
    )


def _with_mask(shape: tuple[int, ...]) -> tuple[int, ...]:
    """What the encoder of incomplete data sees, see `VAE`."""
    return (*shape, 2) if len(shape) < 3 else (*shape[:2], 2 * math.prod(shape[2:]))


def data_statistics(values: Rows, schema: Schema) -> Statistics:
    """Location and scale of the model's x over the training rows: one of each for images, else per entry.

    The scale is the population standard deviation; a constant entry has scale 1. Missing entries are left
    out. Columns of levels have location 0 and scale 1.
    """
    axis = None if schema.kind == "images" else 0
    mean, variance = _moments(values, axis)
    if schema.presentation == "binarised":
        mean = mean / (schema.maximum or 1.0)
        variance = mean * (1 - mean)
    elif schema.levels is not None and schema.maximum:
        factor = (schema.levels - 1) / schema.maximum
        mean, variance = mean * factor, variance * factor**2
    if schema.presentation == "dequantised":
        variance = variance + 1 / 12  # of the uniform noise
    if schema.origins is not None:
        mean = mean - schema.origins
    std = np.sqrt(variance)
    std = np.where(std > 1e-6 * np.maximum(np.abs(mean), 1e-30), std, 1.0)
    if schema.levels is None and schema.kinds:
        numbers = np.array([column.levels is None for column in schema.kinds])
        mean, std = np.where(numbers, mean, 0.0), np.where(numbers, std, 1.0)
    return torch.as_tensor(mean, dtype=torch.float32), torch.as_tensor(std, dtype=torch.float32)


def _moments(values: Rows, axis: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population variance in double precision, a block of rows at a time, of what is not NaN."""
    origin = _first(values)  # keeps digits where the mean is large beside the deviation
    origin = origin.mean() if axis is None else origin
    total = square = count = np.zeros(())
    for block in blocks(values):
        for piece in blocks(block, 1 << 16):  # stays in the processor's cache
            part = np.subtract(piece, origin, dtype=np.float64)
            there = ~np.isnan(part)
            part[~there] = 0
            count = count + there.sum(axis)
            total = total + part.sum(axis)
            square = square + np.square(part, out=part).sum(axis)
    count = np.maximum(count, 1)
    return origin + total / count, np.maximum(square / count - (total / count) ** 2, 0)


def _first(values: Rows) -> np.ndarray:
    """A value of each entry that is there in the first rows, else zero, of float64."""
    rows = values[:100].astype(np.float64)
    row = np.expand_dims(np.isnan(rows).argmin(0), 0)
    return np.nan_to_num(np.take_along_axis(rows, row, 0)[0])


def _blank_statistics(schema: Schema) -> Statistics:
    shape = () if schema.kind == "images" else schema.shape
    return torch.zeros(shape), torch.ones(shape)


def describe(schema: Schema, options: ModelOptions) -> list[str]:
    """The choices in words, for people to read."""
    likelihood = options.likelihood
    if schema.presentation == "binarised":
        likelihood += " (grey values binarised at random, anew at each use)"
    elif schema.presentation == "dequantised":
        likelihood += " (integer levels dequantised with uniform noise)"
    elif schema.levels is not None and schema.levels > 2:
        likelihood += f" ({schema.levels} levels)"
    network = options.network + (f" {'-'.join(map(str, options.hidden))}" if options.hidden else "")
    posterior = "none: a plain autoencoder" if options.posterior == "delta" else "diagonal gaussian"
    shape = " × ".join(map(str, schema.shape))
    return [
        f"data        {schema.kind}, {shape}, {schema.dtype}",
        f"likelihood  {likelihood}",
        f"network     {network}",
        f"latent      {options.latent} units, prior {options.prior}, posterior {posterior}",
    ]
