"""Choices from outside the package: own networks, priors, posteriors, likelihoods and objectives.

    @backstory.register.prior("wide")
    class Wide(nn.Module):
        def __init__(self, latent: int, width: float = 2.0): ...

    backstory.fit(data, prior="wide", width=3.0)

Parameters of the constructor that have the name of something in `models.registry.Setting`, such as `latent`,
`shape`, `shift` and `scale`, get it from there; all others are options, with the type, default, bounds and
description of their annotation. A run keeps the name, the import path and the options of a choice. Opening it
needs the choice to be registered in the process: Backstory never imports what a run names.
"""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from functools import partial
from typing import Any, Literal, TypeVar

from backstory.errors import InputError
from backstory.models.registry import BUILDERS, Likelihood, Networks, Setting
from backstory.objectives.registry import objective
from backstory.options import (
    LikelihoodOptions,
    NetworkOptions,
    PosteriorOptions,
    PriorOptions,
)
from backstory.options.choices import CHOICES, IMPLEMENTED, Choice, path_of, record_of

__all__ = ["likelihood", "network", "objective", "posterior", "prior"]

M = TypeVar("M", bound=type)
Takes = Literal["binary", "levels", "numbers"]

SUPPLIED = (
    *(field.name for field in fields(Setting)),
    *(name for name, value in vars(Setting).items() if isinstance(value, property)),
)
COMMON = ("latent", "hierarchy")  # options of the whole model among these


def network(name: str) -> Callable[[M], M]:
    """Register a module class as a network.

    Its constructor takes `inputs` and `outputs`, the shapes of one observation and of what the network
    returns for it, and options. The encoder and the decoder are one each. The encoder of a model of p(x|c)
    also takes `context`, the number of conditions, and its call takes c, (B, context), after x.
    """

    def decorate(module: M) -> M:
        def build(options: Choice, inputs: Any, outputs: Any, context: int = 0) -> Any:
            told = {"context": context} if context else {}
            if told and "context" not in inspect.signature(module).parameters:
                raise InputError(
                    f"network {name} is for models of p(x), because its constructor has no `context`, got "
                    "conditions; leave them out, or give it that parameter"
                )
            return module(inputs=inputs, outputs=outputs, **told, **options.values)

        record = record_of(NetworkOptions, name, module, ("inputs", "outputs", "context"))
        BUILDERS[record] = Networks(build, build)
        return module

    return decorate


def prior(name: str) -> Callable[[M], M]:
    """Register a module class as a prior: a call without arguments gives p(z)."""
    return _of_setting(PriorOptions, name, _built)


def posterior(name: str) -> Callable[[M], M]:
    """Register a module class as a posterior, see `models.posteriors` for its attributes."""
    return _of_setting(PosteriorOptions, name, _built)


def likelihood(name: str, takes: Takes = "numbers") -> Callable[[M], M]:
    """Register a module class as a likelihood.

    Args:
        name: of the likelihood.
        takes: what x has to be, see `LikelihoodOptions`.

    An instance has `features_shape`, the shape of the decoder's output for one z, and a call with features
    (*, *features_shape) gives p(x|z).
    """
    return _of_setting(LikelihoodOptions, name, lambda module: Likelihood(_built(module)), takes=takes)


def _of_setting(base: type[Choice], name: str, entry: Callable[[Any], Any], **about: Any) -> Callable[[M], M]:
    def decorate(module: M) -> M:
        record = record_of(base, name, module, SUPPLIED)
        for attribute, value in about.items():
            setattr(record, attribute, value)
        BUILDERS[record] = entry(module)
        return module

    return decorate


def _built(module: Any) -> Callable[[Choice, Setting], Any]:
    taken = _taken(module, SUPPLIED)

    def build(options: Choice, setting: Setting) -> Any:
        return module(**{name: getattr(setting, name) for name in taken}, **options.values)

    return build


def _taken(module: Any, names: Collection[str]) -> list[str]:
    return [name for name in inspect.signature(module).parameters if name in names]


# -- objects in place of names ----------------------------------------------------------------------------


def adopted(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `fit` with records in place of own classes, functions and objects.

    A class that is not registered is, under its import path. Of an object its class and its options count,
    which are read from attributes of their names; its weights are made anew.

    Raises:
        InputError: an object does not keep an option as an attribute.
    """
    own = {name: value for name, value in options.items() if name in CHOICES and not _is_plain(value)}
    records = {name: _record(name, value) for name, value in own.items()}
    common = [_common(name, value, options) for name, value in own.items() if not _is_named(value)]
    return {**options, **records, **dict(pair for pairs in common for pair in pairs.items())}


def _common(group: str, module: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the whole model that an object was made with, such as `latent`.

    InputError where another value was given to `fit`.
    """
    parameters = inspect.signature(type(module)).parameters
    kept = {name: getattr(module, name, None) for name in COMMON if name in parameters}
    kept = {name: value for name, value in kept.items() if isinstance(value, int | tuple) and value}
    for name, value in kept.items():
        if options.get(name, value) != value:
            raise InputError(
                f"{group} was made with {name} {value}, got {name} {options[name]} for the model; give both "
                "the same"
            )
    return kept


def _is_named(value: Any) -> bool:
    """Whether a class, a function or a partial of one was given in place of an object."""
    return isinstance(value, partial) or inspect.isclass(value) or inspect.isroutine(value)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | Choice | Mapping)


def _record(group: str, value: Any) -> Choice:
    made = value.func if isinstance(value, partial) else value
    named = inspect.isclass(made) or inspect.isroutine(made)
    implementation = made if named else type(made)
    if implementation.__module__.split(".")[0] == "backstory" and implementation not in IMPLEMENTED:
        raise InputError(
            f"{group}: {implementation.__name__} is one of Backstory's own; give its name or its record "
            "from backstory.options"
        )
    if implementation not in IMPLEMENTED:
        implementation = DECORATORS[group](path_of(implementation))(implementation)
    record = IMPLEMENTED[implementation]
    if isinstance(value, partial):
        return record(**value.keywords)
    given = {} if named else _attributes(made, record)
    return record(**given)


def _attributes(module: Any, record: type[Choice]) -> dict[str, Any]:
    for option in record.options():
        if not hasattr(module, option):
            raise InputError(
                f"{path_of(type(module))} does not keep its option {option!r}; set self.{option} in the "
                "constructor, so that a run can be saved with it"
            )
    return {option: getattr(module, option) for option in record.options()}


DECORATORS: dict[str, Callable[[str], Callable[[Any], Any]]] = {
    "network": network,
    "prior": prior,
    "posterior": posterior,
    "likelihood": likelihood,
    "objective": objective,
}
