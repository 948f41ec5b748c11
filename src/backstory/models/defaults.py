"""Options that are left to the data: the values that replace `auto` and None."""

import math
from dataclasses import dataclass, replace
from typing import Any

from backstory.data.schema import Presentation, Schema
from backstory.data.tables.statistics import many_gaps, only_numbers
from backstory.errors import InputError
from backstory.models.networks.ladder import maps
from backstory.options import GaussianOptions, LikelihoodOptions, ModelOptions, NetworkOptions
from backstory.options.choices import make
from backstory.options.levels import Group, size, written

GAPS_FLOOR = 0.2  # sigma_floor of numbers with gaps, if the likelihood is auto
LARGE = 32 * 32  # numbers of an image, above which it is large


def resolve(schema: Schema, options: ModelOptions, incomplete: bool = False) -> tuple[Schema, ModelOptions]:
    """The options with all choices decided, and the schema with the presentation that they need.

    Args:
        schema: of the data.
        options: as they were given.
        incomplete: whether entries of the data are missing.

    Raises:
        InputError: options that do not go together, or do not go with the data.
    """
    network = _network(schema, options)
    likelihood = _likelihood(schema, options, network, incomplete)
    incomplete = likelihood.mixed or (incomplete if options.incomplete is None else options.incomplete)
    if likelihood.mixed and not schema.kinds:
        raise InputError(
            f"likelihood {likelihood.name} is for tables, got data of kind {schema.kind}; leave it out"
        )
    _check_prior(options)
    if likelihood.images:
        _check_complete_images(schema, likelihood, incomplete)
    if likelihood.gaussian:
        _check_missingness(likelihood, incomplete)
        affine = network.affine or network.values.get("hidden") == ()
        likelihood = likelihood.model_copy(update={"bounded": _bounded(schema, likelihood, affine)})
    hierarchy = _hierarchy(schema, options)
    resolved = options.model_copy(
        update={
            "likelihood": likelihood,
            "network": network,
            "latent": sum(map(size, hierarchy)) or options.latent or _auto_latent(schema),
            "hierarchy": hierarchy,
            "incomplete": incomplete,
        }
    )
    return schema.model_copy(update={"presentation": _presentation(schema, likelihood)}), resolved


# -- the likelihood ---------------------------------------------------------------------------------------


def _likelihood(schema: Schema, options: ModelOptions, network: NetworkOptions, incomplete: bool) -> Any:
    asked = options.likelihood
    if asked.decided:
        return asked
    options = options.model_copy(update={"network": network})
    name, given = _auto_likelihood(schema, options, incomplete), dict(asked.values)
    if name == "gaussian-predicted":
        given.setdefault("sigma_floor", GAPS_FLOOR)
    return make("likelihood", name, given)


def _auto_likelihood(schema: Schema, options: ModelOptions, gaps: bool) -> str:
    """The name of the likelihood for `auto`.

    Columns of mixed kinds depend on each other given z. They are independent where the decoder is affine, in
    a plain autoencoder, and where many cells are empty, which are then filled better
    (bench/mixed_imputation.py). Numbers with gaps get a σ(z) with a floor, which imputes them better
    (bench/imputation.py). With an affine decoder each of them gets one σ, so that p(x) has a closed form.
    """
    affine = _affine(options)
    if schema.levels is None and by_kinds(schema, options):
        independent = affine or only_numbers(schema) or many_gaps(schema)
        return "joint" if independent else "autoregressive"
    if schema.levels is None:
        if schema.kind == "images":
            return "gaussian"
        return "gaussian-predicted" if gaps and not affine else "gaussian-per-entry"
    if schema.levels == 2:
        return "bernoulli"
    return "logistic-mixture" if _coloured(schema) or "logistics" in options.likelihood.values else "logistic"


def _coloured(schema: Schema) -> bool:
    """Whether the data are images of three colours, perhaps with transparency."""
    return schema.kind == "images" and len(schema.shape) == 3 and schema.shape[2] in (3, 4)


def by_kinds(schema: Schema, options: ModelOptions) -> bool:
    """Whether likelihood `auto` models the columns of the data by their kinds.

    It does for tables, unless all columns are numbers and many cells are empty, which a likelihood of numbers
    imputes better; the decoder is affine, so that p(x) of numbers has a closed form; z has no distribution;
    or options of a likelihood of numbers are given.
    """
    special = many_gaps(schema) or _affine(options) or bool(options.likelihood.values)
    return bool(schema.kinds) and not (only_numbers(schema) and special)


def _affine(options: ModelOptions) -> bool:
    """Whether the decoder is affine or z has no distribution."""
    return options.network.affine or options.posterior.name == "delta"


def _check_missingness(likelihood: GaussianOptions, incomplete: bool) -> None:
    if likelihood.missingness != "random" and not incomplete:
        raise InputError(
            f"missingness {likelihood.missingness} is learned from missing entries, got data without any; "
            "leave it out"
        )


def _check_complete_images(schema: Schema, likelihood: LikelihoodOptions, incomplete: bool) -> None:
    if schema.kind != "images":
        raise InputError(f"likelihood {likelihood.name} is for images, got {schema.kind}; leave it out")
    if incomplete:
        raise InputError(
            f"likelihood {likelihood.name} learns from complete images, got some with missing pixels; use "
            "logistic or bernoulli"
        )


def _check_prior(options: ModelOptions) -> None:
    if options.posterior.name == "delta" and not options.prior.of_codes:
        raise InputError(
            f"prior {options.prior.name} is learned through q(z|x), which posterior delta lacks; use "
            "prior mixture, which is fitted to its codes"
        )


def _bounded(schema: Schema, likelihood: GaussianOptions, affine: bool) -> bool:
    """Whether means are bounded; by default not with an affine decoder, so that p(x) has a closed form."""
    possible = schema.kind == "images" and schema.maximum is not None
    if likelihood.bounded and not possible:
        raise InputError(
            "bounded means belong to gaussian likelihoods of images with a full range, got likelihood "
            f"{likelihood.name} and data of kind {schema.kind}; leave it out"
        )
    return possible and not affine if likelihood.bounded is None else likelihood.bounded


def _presentation(schema: Schema, likelihood: LikelihoodOptions) -> Presentation:
    """The presentation of stored values to the model; InputError if the likelihood cannot take them."""
    if likelihood.takes == "binary":
        if schema.levels == 2:
            return "exact"
        if schema.kind == "images" and schema.maximum is not None:
            return "binarised"
        raise InputError(
            f"likelihood {likelihood.name} needs binary data (two values, 0 and a maximum) or images, "
            f"got {schema.kind} data of type {schema.dtype}; use a gaussian one, or make the data 0 and 1"
        )
    if likelihood.takes == "levels":
        if schema.levels is None:
            raise InputError(
                f"likelihood {likelihood.name} needs integer levels, got continuous data of type "
                f"{schema.dtype}; use a gaussian likelihood, or store the data as integers"
            )
        return "exact"
    return "exact" if schema.levels is None else "dequantised"


# -- the network and z ------------------------------------------------------------------------------------


def _network(schema: Schema, options: ModelOptions) -> Any:
    asked: Any = options.network
    network: Any = asked
    if not asked.decided:
        name = _auto_network(schema, asked.given)
        own = {"depth": 0} if name == "resnet" else {}
        network = make("network", name, own | asked.given)
    if network.convolutional:
        _check_images(schema, network.name)
    if "hidden" in network.values and network.hidden is None:
        hidden = (400, 400) if schema.numel > 128 else (128, 128)
        network = network.model_copy(update={"hidden": hidden})
    return network


def _auto_network(schema: Schema, given: dict[str, Any]) -> str:
    """The name of the network for `auto`: `resnet` for large images without `hidden` or `activation`."""
    large = schema.kind == "images" and schema.numel > LARGE and min(schema.shape[:2]) >= 8
    return "resnet" if large and not {"hidden", "activation"} & set(given) else "mlp"


def _check_images(schema: Schema, name: str) -> None:
    if schema.kind != "images":
        raise InputError(f"network {name} needs images; use mlp for tables and arrays")
    if min(schema.shape[:2]) < 4:
        raise InputError(f"network {name} needs images of at least 4 × 4, got {schema.shape}; use mlp")


def _hierarchy(schema: Schema, options: ModelOptions) -> tuple[Group, ...]:
    """Units or shapes of the levels of z from x upwards; () for z without levels."""
    if options.network.name == "ladder":
        return _ladder(schema, options.hierarchy or ((options.latent,) if options.latent else None))
    if options.hierarchy or "hierarchy" not in (options.prior.name, options.posterior.name):
        return options.hierarchy or ()
    latent = options.latent or _auto_latent(schema)
    if latent < 2:
        raise InputError(f"a hierarchy of two levels needs two units of z or more, got latent {latent}")
    above = max(1, latent // 3)
    return latent - above, above


def _ladder(schema: Schema, groups: tuple[Group, ...] | None) -> tuple[Group, ...]:
    """The groups of a ladder; InputError for shapes that the feature maps of the images do not have."""
    sides = [shape[1:] for shape in maps(schema.shape[:2], 1)[:-1]]
    if groups is None:
        first, *others = sides
        return (2, *first), *((4, *side) for side in others), 16
    names = [f"{height}x{width}" for height, width in sides]
    at = []
    for group in groups:
        side = None if isinstance(group, int) else group[1:]
        if side is not None and side not in sides:
            raise InputError(
                f"images of {schema.shape[0]} x {schema.shape[1]} have feature maps of {' and '.join(names)} "
                f"for groups of z, got {written((group,))}; take one of these or a number of units"
            )
        at.append(len(sides) if side is None else sides.index(side))
    if at != sorted(at):
        raise InputError(
            f"groups of z go from x upwards, so their feature maps may not grow, got {written(groups)}"
        )
    return groups


def _auto_latent(schema: Schema) -> int:
    if schema.kind == "images":
        return 16 if schema.numel <= 256 else 40 if schema.numel <= LARGE else 64
    return max(1, min(16, schema.numel // 2))


# -- training ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScheduleDefaults:
    """Options of the training where none are given.

    Attributes:
        lr: the highest learning rate.
        hold: the share of the run after which it falls.
        batch_size: rows of a step; None for a size that follows from the number of rows.
        longest: the most epochs, unless they make fewer than `least_steps` steps.
        steps: about as many are taken, in ten epochs or more.
        objective, samples: the objective and its draws of z for each observation.
        ema: decay of the averaged weights; None for no average.
        patience: epochs without improvement after which to stop; None for a fifth of all epochs.
        keep: `best` or `last`.
    """

    lr: float
    hold: float = 0.1
    batch_size: int | None = None
    longest: int = 200
    least_steps: int = 3_000
    steps: int = 10_000
    objective: str = "elbo"
    samples: int = 1
    ema: float | None = None
    patience: int | None = None
    keep: str = "best"


def default_schedule(schema: Schema, options: ModelOptions, gaps: bool = False) -> ScheduleDefaults:
    """Defaults of the training, for `training.schedule.resolve`.

    An affine model takes many large steps, because it has one optimum and cannot overfit much. With missing
    entries, p(z|x) is less like the Gaussian q, and the bound with many draws does not require this (Mattei &
    Frellsen 2019). Averaged weights generalise better, as small tables show; so does a short run with a
    learning rate that falls to zero, compared with a long run that is stopped early. If σ has a floor, the
    last weights are kept: held-out rows have their best bound long before their best means, and the floor
    keeps the bound from falling far. A step of residual convolutions takes time for each row, so small
    batches learn more in the same time (bench/images.py).

    Args:
        schema, options: see `resolve`.
        gaps: whether entries of the data are missing.
    """
    if options.likelihood.mixed and options.likelihood.dependent:
        return ScheduleDefaults(2e-3, least_steps=1, steps=3_000, ema=0.998)
    if options.network.name == "ladder":
        return ScheduleDefaults(3e-3, batch_size=64, ema=0.998)
    affine = options.network.affine
    defaults = ScheduleDefaults(1e-2, longest=2000) if affine else ScheduleDefaults(3e-3)
    if options.network.name == "resnet":
        rows = 32 * 64**2 // math.prod(schema.shape[:2])  # of larger images fewer, which bounds the memory
        defaults = ScheduleDefaults(2e-3, hold=0.7, batch_size=max(8, min(32, rows)))
    if not gaps or schema.kind == "images" or options.posterior.name == "delta":
        return defaults
    defaults = replace(defaults, objective="iwae", samples=20, ema=0.995)
    if not affine:
        defaults = replace(defaults, longest=150, least_steps=1, patience=150)
    return defaults if options.flat().get("sigma_floor") is None else replace(defaults, keep="last")
