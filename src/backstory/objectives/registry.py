"""The objectives by name, and checks of what each needs of its terms."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeAlias

import torch
from torch import Tensor

from backstory.errors import InputError
from backstory.models.vae import Terms
from backstory.options import OwnObjective
from backstory.options.choices import CHOICES, IMPLEMENTED, record_of

Objective: TypeAlias = Callable[..., Tensor]
Check: TypeAlias = Callable[[Terms, str], None]

OBJECTIVES: dict[str, Objective] = {}
SUPPLIED = ("beta", "warmup", "rows", "generator")  # training passes these to an objective that names them


def objective(name: str, *checks: Check) -> Callable[[Objective], Objective]:
    """Register a function of `Terms` as an objective.

    Its options are those of its record in `backstory.options`. An objective without a record comes from
    outside the package, and gets a record with its keyword arguments.

    Args:
        name: of the objective.
        checks: called with the terms before the function; they raise InputError for what the terms lack.
    """

    def decorate(function: Objective) -> Objective:
        own = CHOICES["objective"].get(name)
        if own is None or "path" in own.model_fields:
            terms = next(iter(inspect.signature(function).parameters))
            own = record_of(OwnObjective, name, function, (terms, *SUPPLIED))
        defaults = {option: f.default for option, f in own.options().items() if not f.is_required()}

        @wraps(function)
        def checked(terms: Terms, /, *args: Any, **kwargs: Any) -> Tensor:
            for check in checks:
                check(terms, name)
            return function(terms, *args, **{**defaults, **kwargs})

        OBJECTIVES[name] = checked
        IMPLEMENTED[checked] = own
        return checked

    return decorate


def arguments(name: str) -> list[str]:
    """The names of an objective's arguments after its terms.

    >>> arguments("renyi")
    ['beta', 'alpha']
    """
    return list(inspect.signature(OBJECTIVES[name]).parameters)[1:]


def path(terms: Terms, name: str) -> None:
    """Check that the draws carry the encoder's gradient."""
    if torch.is_grad_enabled() and not terms.z.requires_grad and terms.posterior.centre.requires_grad:
        raise InputError(
            f"objective {name} differentiates through z, but these draws of z carry no gradient (they are "
            "discrete, or were made under no_grad); draw z by reparameterisation, or use objective score"
        )


def density(terms: Terms, name: str) -> None:
    """Check that q(z|x) has a density."""
    if not terms.posterior.has_density:
        raise InputError(
            f"objective {name} needs a density q(z|x), which a plain autoencoder (posterior delta) does not "
            "have; use objective elbo or mmd, or posterior gaussian"
        )


def closed_form(terms: Terms, name: str) -> None:
    """Check that KL(q(z|x) ‖ p(z)) has a closed form for each unit, or for each level given those above."""
    if terms.kl_per_unit is None and terms.kl_of_levels is None:
        raise InputError(
            f"objective {name} needs the KL of each unit of z in closed form, which this pair of `posterior` "
            "and `prior` does not have; use posterior gaussian with prior normal, or another objective"
        )


def factorised(terms: Terms, name: str) -> None:
    """Check that the units of q(z|x) are independent."""
    if terms.posterior.diagonal() is None:
        raise InputError(
            f"objective {name} needs the density of each unit of z on its own, which this `posterior` does "
            "not have; use posterior gaussian, or another objective"
        )


def at_least(name: str, value: float, lowest: float) -> None:
    """InputError for an argument below its lowest value."""
    if not value >= lowest:
        raise InputError(f"{name} has to be at least {lowest:g}, got {value:g}")
