"""Ancestral sampling, z ~ p(z) and x ~ p(x|z), and reconstruction, x → z → x."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from backstory.data.observation import Observation
from backstory.distributions.base import DataDistribution
from backstory.errors import InputError
from backstory.models.priors import StandardNormal
from backstory.models.vae import VAE

BATCH = 512
ROUNDS = 10
Temperature: TypeAlias = float | Sequence[float]


@torch.no_grad()
def sample(
    vae: VAE,
    n: int,
    mean: bool = False,
    temperature: Temperature = 1.0,
    generator: torch.Generator | None = None,
    given: Tensor | None = None,
) -> Tensor:
    """n draws of x, (n, *shape), in the model's units.

    Args:
        vae: the model.
        n: number of draws.
        mean: return `estimate` for each drawn z instead of a draw of x.
        temperature: factor of the spread of p(z) around its centre; 1 is the model itself. Of z in levels one
            for each level given those above, from x upwards, or one for all.
        generator: source of the draws, on the model's device.
        given: conditions of each observation, (n, C); None for a model of p(x).

    Raises:
        InputError: the model is a plain autoencoder without a p(z), n is below 1, or a temperature is
            negative, or there are not as many as levels.
    """
    every = _decoded(vae, n, temperature, generator, given)
    return torch.cat([estimate(p) if mean else p.sample(generator) for p in every])


@torch.no_grad()
def sample_with_means(
    vae: VAE,
    n: int,
    temperature: Temperature = 1.0,
    generator: torch.Generator | None = None,
    given: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The draws of `sample`, and `estimate` at the z of each, (n, *shape) both; arguments as there."""
    pairs = [(p.sample(generator), estimate(p)) for p in _decoded(vae, n, temperature, generator, given)]
    draws, means = zip(*pairs, strict=True)
    return torch.cat(draws), torch.cat(means)


def _decoded(
    vae: VAE, n: int, temperature: Temperature, generator: torch.Generator | None, given: Tensor | None
) -> Iterator[DataDistribution]:
    """p(x|z) at n draws of z, a batch at a time."""
    n, factors = checked_number(n), _factors(vae, temperature)
    if vae.is_autoencoder and isinstance(vae.prior_module, StandardNormal):
        raise InputError(
            "this model is a plain autoencoder: nothing was learned about how z is distributed, so there is "
            "nothing to sample from; fit a density to its codes with `prior` mixture (Model.fit_prior)"
        )
    z = vae.prior(given).tempered(factors, n, generator)
    for start in range(0, n, BATCH):
        some = slice(start, start + BATCH)
        yield vae.decode(z[some], None if given is None else given[some])


def sample_within(draw: Callable[[Tensor], Tensor], within: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The draws x, (n, *shape), in which those that are not within a set are drawn anew.

    So they are draws of p(x | x in the set). Those that are outside `ROUNDS` times stay.

    Args:
        draw: new draws for some of the n numbers of draws.
        within: whether each of some draws is in the set.
        x: draws of p(x).
    """
    for _ in range(ROUNDS):
        outside = (~within(x)).nonzero().squeeze(1)
        if len(outside) == 0:
            break
        x = x.index_copy(0, outside, draw(outside))
    return x


def _factors(vae: VAE, temperature: Temperature) -> float | Tensor:
    """The temperature, or one for each unit of z in levels."""
    given = (temperature,) if isinstance(temperature, int | float) else tuple(temperature)
    for value in given:
        if not 0 <= value < math.inf:
            raise InputError(f"temperature has to be 0 or more, got {value:g}")
    levels = len(vae.latents.groups)
    if len(given) not in (1, levels):
        raise InputError(
            f"temperature is one number, or one for each level of z, {levels} of this model, got {len(given)}"
        )
    return given[0] if len(given) == 1 else vae.latents.spread(given, vae.shift)


@torch.no_grad()
def reconstruct(
    vae: VAE, observation: Observation | Tensor, mean: bool = True, generator: torch.Generator | None = None
) -> Tensor:
    """x at the centre z of q(z|x), see `estimate`, (B, *shape); with `mean=False` a draw of z, and of x."""
    o = Observation.of(observation)
    q = vae.encode(o)
    if mean:
        return estimate(vae.decode(q.centre, o.given))
    return vae.decode(q.sample(1, generator)[0], o.given).sample(generator)


def estimate(p: DataDistribution) -> Tensor:
    """E[x|z], (*batch, *shape); the most probable level in columns with levels, which have no mean."""
    groups = p.level_probs
    if not groups:
        return p.mean
    x = p.moments[0].clone()
    for columns, probs in groups:
        x[..., columns] = probs.argmax(-2).to(x)
    return x


def checked_number(n: float) -> int:
    """The number of samples; InputError unless it is whole and at least 1."""
    if n != int(n) or n < 1:
        raise InputError(f"expected a whole number of samples, at least 1, got {n:g}; give such a number")
    return int(n)
