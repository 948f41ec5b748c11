"""The options of `fit`: checked when they are given, and decided where they were left open."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from backstory.data.dataset import Dataset
from backstory.data.missing_levels import MissingLevel, with_few_labels
from backstory.data.schema import Schema
from backstory.data.splits import Splits, check_for_training, split
from backstory.data.tables.statistics import as_numbers
from backstory.errors import InputError
from backstory.fitting.second_stage import check_second_stage
from backstory.model import check_components
from backstory.models.defaults import by_kinds, default_schedule, resolve
from backstory.options import ExemplarPrior, ModelOptions, TrainOptions, sort_options
from backstory.options.given import OURS, model_names
from backstory.options.presets import with_preset
from backstory.training import schedule
from backstory.training.compile import decide
from backstory.training.devices import Alone

VALIDATION, SEED = 0.1, 0  # by default
LABEL_WEIGHT = 100.0  # nats, see `TrainOptions`; by a few short runs on MNIST with 100 labels


@dataclass(frozen=True)
class Decided:
    """All choices for a model and its training.

    Attributes:
        schema: of the data, with its presentation to the model.
        model, training: options, with all defaults resolved.
    """

    schema: Schema
    model: ModelOptions
    training: TrainOptions


def _sort_options(options: dict[str, Any]) -> tuple[ModelOptions, TrainOptions]:
    return sort_options({name: value for name, value in options.items() if name not in OURS})


@contextmanager
def _naming_preset(asked: dict[str, Any]) -> Iterator[None]:
    """A context in which a refusal of options names the preset from which some of them are."""
    try:
        yield
    except InputError as error:
        if "preset" not in asked:
            raise
        raise InputError(f"cannot use preset {asked['preset']} here: {error}") from None


def as_modelled(dataset: Dataset, asked: dict[str, Any]) -> Dataset:
    """The data set; a table with all columns continuous where the likelihood is for numbers alone."""
    options = _sort_options(asked)[0]
    decided = options.likelihood.decided
    mixed = options.likelihood.mixed if decided else by_kinds(dataset.schema, options)
    with _naming_preset(asked):
        return dataset if mixed else as_numbers(dataset)


def columns_depend(dataset: Dataset, asked: dict[str, Any]) -> bool:
    """Whether columns depend on each other given z in the model that is asked for.

    Args:
        dataset: the rows.
        asked: options of `fit` as they were given; those of the model decide.
    """
    asked = {name: v for name, v in with_preset(asked).items() if name in model_names() and v is not None}
    dataset = as_modelled(dataset, asked)
    options = resolve(dataset.schema, _sort_options(asked)[0], dataset.incomplete)[1]
    return options.likelihood.dependent


def split_rows(dataset: Dataset, asked: dict[str, Any]) -> Splits:
    """The training, validation and test rows."""
    seed = asked.get("split_seed", asked.get("seed", SEED))
    return split(dataset, asked.get("validation", VALIDATION), seed)


def as_labelled(dataset: Dataset, asked: dict[str, Any]) -> Dataset:
    """The data set with as many labels in its training rows as are asked for; as it is if nothing is."""
    if "labelled" not in asked:
        return dataset
    seed = asked.get("split_seed", asked.get("seed", SEED))
    return with_few_labels(dataset, split_rows(dataset, asked).train, asked["labelled"], seed)


def decide_options(dataset: Dataset, asked: dict[str, Any], train: np.ndarray, group: Alone) -> Decided:
    """All options with defaults resolved.

    Args:
        dataset: from `as_modelled`.
        asked: from `options.given.asked_options`.
        train: the training rows.
        group: the processes that train.

    Raises:
        InputError: for options that cannot be, or data that cannot be trained on.
    """
    check_for_training(dataset, train)
    with _naming_preset(asked):
        return _decided(dataset, asked, train, group)


def _decided(dataset: Dataset, asked: dict[str, Any], train: np.ndarray, group: Alone) -> Decided:
    options, training = _sort_options(asked)
    gaps = dataset.incomplete
    schema, options = resolve(dataset.schema, options, gaps)
    options = _with_exemplars(options, len(train))
    training = schedule.resolve(training, len(train), default_schedule(schema, options, gaps))
    training = _with_label_weight(training, dataset)
    training = decide(training, len(train), group.device, group.world)
    check_second_stage(options, training, asked.get("validation", VALIDATION))
    if options.posterior.name == "delta" and options.prior.name == "mixture":
        check_components(options.prior.values["components"], len(train))
    return Decided(schema, options, training)


def _with_exemplars(options: ModelOptions, rows: int) -> ModelOptions:
    """The options with as many exemplars as there are training rows, at most."""
    if not isinstance(options.prior, ExemplarPrior):
        return options
    prior = options.prior.model_copy(update={"exemplars": min(options.prior.exemplars, rows)})
    return options.model_copy(update={"prior": prior})


def _with_label_weight(training: TrainOptions, dataset: Dataset) -> TrainOptions:
    """The options with `label_weight` decided; InputError for options that do not go with missing levels."""
    missing = MissingLevel.of(dataset.schema.conditions)
    if missing is None:
        if training.label_weight is not None:
            raise InputError(
                "label_weight is for a condition whose level is missing in some rows, got data without one; "
                "leave it out"
            )
        return training
    name, objective = missing.condition.name, training.objective
    if objective.compares_rows:
        raise InputError(
            f"objective {objective.name} compares the rows of a batch, which cannot be where the level of "
            f"{name!r} is missing; use objective elbo"
        )
    if training.compile:
        raise InputError(
            f"a step cannot be compiled where the level of {name!r} is missing in some rows; leave `compile` "
            "out"
        )
    weight = LABEL_WEIGHT if training.label_weight is None else training.label_weight
    return training.model_copy(update={"label_weight": weight, "compile": False})
