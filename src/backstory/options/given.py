"""Options as people give them: flat, by name."""

from collections.abc import Mapping
from typing import Any

from backstory.options.choices import CHOICES, OptionError, check_option, spelt_out
from backstory.options.model import MODEL_GROUPS, ModelOptions
from backstory.options.training import ObjectiveOptions, TrainOptions

# options of `fit` that are of neither the model nor its training:
OURS = ("split_seed", "validation", "given", "weights", "labelled", "preset")


def model_names() -> list[str]:
    """Names of all options of a model, flat."""
    inside = [
        name for group in MODEL_GROUPS for record in CHOICES[group].values() for name in record.options()
    ]
    return list(dict.fromkeys([*ModelOptions.model_fields, *inside]))


def train_names() -> list[str]:
    """Names of all options of the training, flat."""
    return [*TrainOptions.model_fields, "objective_args"]


def sort_options(options: Mapping[str, Any]) -> tuple[ModelOptions, TrainOptions]:
    """The two records from options of `fit`; InputError for one that does not exist or cannot be."""
    of_model, of_training = model_names(), train_names()
    for name in options:
        check_option("fit", name, [*of_model, *of_training])
    model = ModelOptions(**{name: value for name, value in options.items() if name in of_model})
    training = TrainOptions(**{name: value for name, value in options.items() if name in of_training})
    _check_objective(model, training.objective)
    return model, training


NEEDS = {
    "density": "a density q(z|x)",
    "units": "the density of each unit of z on its own",
    "kl": "the KL of each unit of z in closed form",
}


def _check_objective(model: ModelOptions, objective: ObjectiveOptions) -> None:
    """Raise OptionError for an objective that the prior or the posterior does not go with."""
    both = model.posterior.levels and model.prior.levels
    for need in objective.needs:
        for chosen, usual in ((model.posterior, "gaussian"), (model.prior, "normal")):
            if need in chosen.lacks or (need == "kl" and chosen.levels and not both):
                without = " without `hierarchy`" if chosen.name == "hierarchy" else ""
                raise OptionError(
                    f"objective {objective.name} needs {NEEDS[need]}, which {chosen.group} {chosen.name} "
                    f"does not have; use {chosen.group} {usual}{without}, or objective elbo",
                    "objective",
                )


def given_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, checked, flat, and as JSON has them."""
    records = sort_options(options)
    everything = records[0].flat() | records[1].flat()
    named = {*options, *(("hierarchy",) if "latent" in options and records[0].hierarchy else ())}
    for group in (*MODEL_GROUPS, "objective"):
        if group in options and not isinstance(options[group], str):
            _, inside = spelt_out(group, options[group])
            named |= {"objective_args"} if group == "objective" else set(inside)
    return {name: value for name, value in everything.items() if name in named}


def asked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """All options that were given to `fit`, as `given_options` has them, and those of `OURS` as they are."""
    ours = {name: options[name] for name in OURS if name in options}
    return {**given_options({name: v for name, v in options.items() if name not in OURS}), **ours}
