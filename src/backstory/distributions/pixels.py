"""Pixels that depend on each other given z, in reading order (PixelVAE, Gulrajani et al. 2017).

    p(x|z) = ∏_i p(x_i | x_1, …, x_{i−1}, z)                p(x) = ∫ p(x|z) p(z) dz

A pixel x_i has all its channels; its distribution is another likelihood, whose parameters a network gives
from the pixels before it and from maps m(z).

A draw is a fixed point. With uniform noise u, pixel i of a draw is T(u_i; x_1, …, x_{i−1}, z), so the map of
all pixels at once,

    x ← T(u; x, z),

leaves x alone where x is that draw. After n rounds the first n pixels are right, and in most images all are
after far fewer rounds (Wiggers & Hoogeboom 2020, "Predictive sampling with forecasting autoregressive
models"; Song et al. 2021, "Accelerating feedforward computation via parallel nonlinear equation solving").

Pixels that are missing after all observed ones have the exact distribution p(x_m | x_o, z). Where a missing
pixel comes before an observed one, log p(x_o|z) is an integral without a closed form, which is refused.

Moments E[x_i|z] have no closed form. They are means over DRAWS draws of x_1, …, x_{i−1}, whose noise is the
same for every z, of the moments of x_i given these.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from backstory.distributions.base import (
    Dependent,
    EntrywiseMoments,
    Head,
    fill_unobserved,
    sum_observed,
)
from backstory.distributions.noise import Generators, rand
from backstory.errors import InputError

DRAWS = 8

REFUSED = (
    "the pixels of the model depend on each other given z, so {what} has no closed form; train a model with "
    "likelihood logistic, logistic-mixture or bernoulli for it"
)


@dataclass(frozen=True)
class Pixels(Dependent):
    """p(x|z) for codes of shape (*batch).

    Attributes:
        maps: m(z), (*batch, M, H, W).
        head: the conditionals.
    """

    maps: Tensor
    head: "PixelsHead"

    refuses_noise = REFUSED.format(what="a noisy or transformed image")

    @property
    def event_dims(self) -> int:
        return len(self.head.shape)

    @property
    def batch(self) -> tuple[int, ...]:
        """Of the codes."""
        return self.maps.shape[:-3]

    def given(self, x: Tensor) -> Any:
        """p(x_i | x_1, …, x_{i−1}, z) of each pixel; x broadcasts against (*batch, *shape)."""
        return self.head.conditionals(x, self.maps)

    def entries(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        if observed is not None:
            _check_order(observed, self.event_dims)
            x = fill_unobserved(x, observed)
        entries: Tensor = self.given(x).entries(x)
        return entries if observed is None else torch.where(observed, entries, 0.0)

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        if observed is None:
            log_prob: Tensor = self.given(x).log_prob(x)
            return log_prob
        return sum_observed(self.entries(x, observed), None, self.event_dims)

    def missing_given(self, x: Tensor, observed: Tensor) -> "MissingPixels":
        _check_order(observed, self.event_dims)
        return MissingPixels(self, fill_unobserved(x, observed), observed)

    @cached_property
    def _blank(self) -> "MissingPixels":
        none = self.maps.new_zeros(self.head.shape)
        return MissingPixels(self, none, none.bool())


@dataclass(frozen=True)
class MissingPixels(EntrywiseMoments):
    """The missing pixels given z and the observed ones, which come before them.

    Attributes:
        p: p(x|z).
        x: images, without NaN; broadcasts against (*batch, *shape).
        observed: which of their entries are observed, likewise.
    """

    p: Pixels
    x: Tensor
    observed: Tensor

    def sample(self, generator: Generators = None) -> Tensor:
        """A draw of the missing pixels; observed pixels are as they are."""
        noise = (*self.p.batch, *self.p.head.own.noise_shape)
        return self._draw(rand(noise, self.p.maps, generator))

    def _draw(self, u: Tensor) -> Tensor:
        """The fixed point for uniform noise, (*batch, *noise_shape)."""
        x = self.x.expand(*self.p.batch, *self.p.head.shape)
        while True:
            drawn = torch.where(self.observed, self.x, self.p.given(x).transport(u))
            if torch.equal(drawn, x):
                return drawn
            x = drawn

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        batch, head = self.p.batch, self.p.head
        noise = torch.rand((DRAWS, *head.own.noise_shape), generator=torch.Generator().manual_seed(0))
        first = second = torch.zeros(*batch, *head.shape).to(self.p.maps)
        for u in noise.to(self.p.maps):
            given = self.p.given(self._draw(u.expand(*batch, *u.shape)))
            mean, variance = given.rough_moments
            first, second = first + mean / DRAWS, second + (variance + mean.square()) / DRAWS
        return first, (second - first.square()).clamp(min=0)

    @property
    def mean(self) -> Tensor:
        return self._moments[0]

    @property
    def variance(self) -> Tensor:
        return self._moments[1]


def _check_order(observed: Tensor, event_dims: int) -> None:
    """InputError if a missing pixel comes before an observed one, or if a pixel misses some channels."""
    whole = observed
    if event_dims == 3:
        whole = observed.all(-1)
        if not torch.equal(whole, observed.any(-1)):
            raise InputError(f"expected pixels with all their channels, got a part, and {_refused()}")
    line = whole.flatten(-2)
    if bool((line[..., 1:] & ~line[..., :-1]).any()):
        raise InputError(
            f"expected missing pixels after all observed ones, row by row, got one before, and {_refused()}"
        )


def _refused() -> str:
    return REFUSED.format(what="an image with such gaps")


class PixelsHead(Head):
    """The likelihood of an image whose pixels depend on each other given z. The decoder's output is m(z).

    Args:
        own: the head of the likelihood of a pixel given the ones before it, for the whole image; its record
            has `transport` from uniform noise, (*batch, *own.noise_shape), to draws.
        network: from images in standard units and m(z) to the features of `own`, such as a
            `models.networks.masked_conv.PixelNetwork`.
        maps: M.
        shift, scale: location and scale of the training data, which broadcast against the shape of x.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self, own: Head, network: torch.nn.Module, maps: int, shift: Tensor | float, scale: Tensor | float
    ):
        super().__init__(own.shape, (maps, *own.shape[:2]))
        self.own, self.network = own, network
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32))
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))

    @property
    def entry(self) -> Tensor:
        raise NotImplementedError("the decoder's outputs belong to no single entry")

    def conditionals(self, x: Tensor, maps: Tensor) -> Any:
        """The record of each pixel given the ones before it; see `PixelNetwork.forward`."""
        return self.own(self.network((x - self.shift) / self.scale, maps).to(maps.dtype))

    def forward(self, maps: Tensor) -> Pixels:
        return Pixels(maps, self)
