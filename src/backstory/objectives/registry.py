"""The objectives by name, and what each needs of its terms."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeAlias

import torch
from torch import Tensor

from backstory.errors import InputError
from backstory.models.vae import Terms

Objective = Callable[..., Tensor]


Check = Callable[[Terms, str], None]


P = ParamSpec("P")


OfTerms: TypeAlias = Callable[Concatenate[Terms, P], Tensor]


OBJECTIVES: dict[str, Objective] = {}


SUPPLIED = ("beta", "warmup", "rows", "generator")  # arguments that training gives to those who name them


def objective(name: str, *checks: Check) -> Callable[[OfTerms[P]], OfTerms[P]]:
    """Enter a function into OBJECTIVES, and check first that its terms have what it needs."""

    def decorate(function: OfTerms[P]) -> OfTerms[P]:
        @wraps(function)
        def checked(terms: Terms, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
            for check in checks:
                check(terms, name)
            return function(terms, *args, **kwargs)

        OBJECTIVES[name] = checked
        return checked

    return decorate


def arguments(name: str) -> list[str]:
    """What an objective takes besides its terms.

    >>> arguments("renyi")
    ['beta', 'alpha']
    """
    return list(inspect.signature(OBJECTIVES[name]).parameters)[1:]


def path(terms: Terms, name: str) -> None:
    """Draws that carry the encoder's gradient."""
    if torch.is_grad_enabled() and terms.posterior.centre.requires_grad and not terms.z.requires_grad:
        raise InputError(
            f"objective {name} differentiates through z, but these draws of z carry no gradient (they are "
            "discrete, or were made under no_grad); draw z by reparameterisation, or use objective score"
        )


def density(terms: Terms, name: str) -> None:
    """A density q(z|x)."""
    if not terms.posterior.has_density:
        raise InputError(
            f"objective {name} needs a density q(z|x), which a plain autoencoder (posterior delta) does not "
            "have; use objective elbo or mmd, or posterior gaussian"
        )


def closed_form(terms: Terms, name: str) -> None:
    """KL(q(z|x) ‖ p(z)) of each unit in closed form."""
    if terms.kl_per_unit is None:
        raise InputError(
            f"objective {name} needs the KL of each latent unit in closed form, which this pair of posterior "
            f"and prior ({type(terms.posterior).__name__}, {type(terms.prior).__name__}) does not have; "
            "use prior normal, or another objective"
        )


def factorised(terms: Terms, name: str) -> None:
    """A q(z|x) with independent units."""
    if terms.posterior.diagonal() is None:
        raise InputError(
            f"objective {name} needs the density of each latent unit on its own, which a posterior of type "
            f"{type(terms.posterior).__name__} does not have; use posterior gaussian"
        )


def at_least(name: str, value: float, lowest: float) -> None:
    """InputError for an argument that is too small."""
    if not value >= lowest:
        raise InputError(f"{name} has to be at least {lowest:g}, got {value:g}")
