"""Defaults that depend on the data: what `auto` and None mean."""

import math
from typing import Any

from backstory.data.schema import Presentation, Schema
from backstory.data.tables.statistics import only_numbers
from backstory.errors import InputError
from backstory.models.networks.mlp import ACTIVATIONS
from backstory.models.priors import PRIORS
from backstory.options import (
    BOUNDED_PRIORS,
    LIKELIHOODS,
    MISSINGNESS,
    NETWORKS,
    POSTERIORS,
    ModelOptions,
    one_of,
)

GAPS_FLOOR = 0.2  # of σ(z), by default, for numbers with gaps


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
