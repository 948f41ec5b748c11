"""Pixels of ordered levels whose channels depend on each other: a mixture of discretised logistics.

A pixel x = (x_1, …, x_C) with x_c ∈ {0, …, L − 1} has one component k for all of its channels, and the
location of a channel moves with the channels before it:

    P(x) = Σ_k π_k ∏_c P(x_c; μ_kc + Σ_{b<c} a_kcb x_b, s_kc)

where P(·; μ, s) is the discretised logistic of `distributions.logistic` (Salimans et al. 2017, "PixelCNN++",
sec. 2.1 and 2.2). Pixels are independent given z. With one channel this is a mixture for each entry.

The channels of a pixel have an order, so P(x_1, …, x_c) needs no sum over the channels after c. A pixel may
therefore be missing as a whole, or from some channel on:

    P(x_c | x_1, …, x_{c−1}) = Σ_k π_k ∏_{b≤c} P(x_b | …, k)  /  Σ_k π_k ∏_{b<c} P(x_b | …, k)

A pixel whose observed channel comes after a missing one would need that sum, and is refused.

Mean and variance of a channel are sums over the values of a whole pixel. They are exact where these are few.
Otherwise quasi-random points stand for each component (Sobol 1967); their coordinates have the mean and the
variance of the logistic. Such moments are exact where a component has no mass beyond the outer levels, and
within a few hundredths of a standard deviation where it has.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor

from backstory.distributions.base import (
    ByMoments,
    Dependent,
    LocationScaleHead,
    MissingEntries,
    fill_unobserved,
    level_values,
    log_softmax,
    soft_clamp,
    with_gumbel,
)
from backstory.distributions.logistic import cell_log_probs
from backstory.distributions.noise import Generators, rand
from backstory.distributions.normal_scales import Rounded
from backstory.errors import InputError

ENUMERATED = 512  # values of a pixel, at most, over which moments are summed
POINTS = 64  # quasi-random points of a component
Known = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]  # the channels of x, and whether they are observed
SPREAD = 1.5  # deviations of the data between the middle and the outer components of an untrained model


@dataclass(frozen=True)
class LogisticMixture(Dependent):
    """Mixtures of discretised logistics, one for each pixel; parameters are (*batch, K, *pixels).

    Attributes:
        log_weights: log π.
        locations: μ of each channel.
        log_scales: log s of each channel.
        slopes: a of each channel for the channels before it.
        size: L.
        event_dims: the number of axes of x.
        has_channels: whether the last of these is the axis of the channels; else there is one channel.
    """

    log_weights: Tensor
    locations: tuple[Tensor, ...]
    log_scales: tuple[Tensor, ...]
    slopes: tuple[tuple[Tensor, ...], ...]
    size: int
    event_dims: int
    has_channels: bool

    @property
    def channels(self) -> int:
        """C."""
        return len(self.locations)

    @property
    def axis(self) -> int:
        """The axis of the components, counted from the right."""
        return self.has_channels - self.event_dims - 1

    @cached_property
    def levels(self) -> int:
        """L for pixels of one channel; 0 for more, because the levels of one depend on those before it."""
        return self.size if self.channels == 1 else 0

    @property
    def level_log_probs(self) -> Tensor:
        return self.entries(level_values(self.size, self.joined([self.log_weights.select(self.axis, 0)])))

    @property
    def shares_variance(self) -> bool:
        return not self.is_enumerated

    @property
    def is_enumerated(self) -> bool:
        """Whether moments are sums over all values of a pixel."""
        return self.size**self.channels <= ENUMERATED

    def planes(self, x: Tensor) -> tuple[Tensor, ...]:
        """The channels of x, with an axis for the components."""
        each = x.unbind(-1) if self.has_channels else (x,)
        return tuple(plane.unsqueeze(self.axis) for plane in each)

    def joined(self, channels: list[Tensor]) -> Tensor:
        """Channels, (*batch, *pixels) each, as values like x."""
        return torch.stack(channels, -1) if self.has_channels else channels[0]

    def location(self, channel: int, before: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
        """The location of a channel, given the values of the channels before it."""
        location = self.locations[channel]
        for slope, x in zip(self.slopes[channel], before, strict=False):
            location = location + slope * x
        return location

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        pixels = torch.logsumexp(self.log_joint(x, observed)[-1], self.axis)
        if observed is not None:  # exactly zero for a pixel that is missing
            pixels = torch.where(self.planes(observed)[0].squeeze(self.axis), pixels, 0.0)
        dims = -1 - self.axis
        return pixels.flatten(pixels.dim() - dims).sum(-1) if dims else pixels

    def entries(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """log P(x_c | x_1, …, x_{c−1}, z) of each channel of each pixel, zero where it is missing."""
        totals = [torch.logsumexp(joint, self.axis) for joint in self.log_joint(x, observed)]
        entries = self.joined([totals[0], *(after - before for before, after in itertools.pairwise(totals))])
        return entries if observed is None else torch.where(observed, entries, 0.0)

    def log_joint(self, x: Tensor, observed: Tensor | None = None) -> list[Tensor]:
        """log P(component, x_1, …, x_c) for each channel c, (*batch, K, *pixels), without missing channels.

        InputError for a pixel with an observed channel after a missing one.
        """
        values = self.planes(fill_unobserved(x, observed))
        there = None if observed is None else self.planes(observed)
        if there is not None and not torch.compiler.is_compiling():
            _check_order(there)
        joint, total = [], self.log_weights
        for c in range(self.channels):
            location = self.location(c, values)
            terms = cell_log_probs(values[c], location, self.log_scales[c], self.size)
            total = total + (terms if there is None else torch.where(there[c], terms, 0.0))
            joint.append(total)
        return joint

    def missing_given(self, x: Tensor, observed: Tensor) -> MissingEntries:
        if self.channels == 1:
            return self
        return MissingChannels(self, x, observed)

    @cached_property
    def _blank(self) -> "MissingChannels":
        pixel = self.log_weights.select(self.axis, 0)
        none = torch.zeros_like(self.joined([pixel] * self.channels))
        return MissingChannels(self, none, none.bool())

    @property
    def rough_moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance, as if a location that moves with channels before it were a logistic's."""
        if self.is_enumerated:
            return self.moments
        weights, means, variances = self.log_weights.exp(), *self._moments_of_components()
        mean = [(weights * each).sum(self.axis, keepdim=True) for each in means]
        parts = zip(mean, means, variances, strict=True)
        variance = [(weights * (v + (each - m).square())).sum(self.axis) for m, each, v in parts]
        return self.joined([m.squeeze(self.axis) for m in mean]), self.joined(variance)

    def _moments_of_components(self) -> tuple[list[Tensor], list[Tensor]]:
        """Mean and variance of each channel, given the component.

        The location and the logistic around it are taken as one logistic with the variance of both. Its
        covariance with earlier channels is that of the location, as far as the levels do not end.
        """
        means: list[Tensor] = []
        covariances: dict[tuple[int, int], Tensor] = {}
        for c, slopes in enumerate(self.slopes):
            location = self.location(c, means)
            along = [
                sum((a * covariances[min(b, d), max(b, d)] for d, a in enumerate(slopes)), torch.zeros(()))
                for b in range(c)
            ]
            moved = sum(
                (a * covariance for a, covariance in zip(slopes, along, strict=True)), torch.zeros(())
            )
            scale = (torch.exp(2 * self.log_scales[c]) + moved * 3 / math.pi**2).sqrt()
            mean, variance = Rounded(location, scale, self.size).moments()
            top = (self.size - 1 - location) / scale
            inside = torch.sigmoid(top) - torch.sigmoid(-location / scale)
            covariances |= {(b, c): inside * covariance for b, covariance in enumerate(along)}
            covariances[c, c] = variance
            means.append(mean)
        return means, [covariances[c, c] for c in range(self.channels)]

    def transport(self, u: Tensor) -> Tensor:
        """The draw at uniform noise, (*batch, *pixels, 1 + C): of the component, then of the channels."""
        chosen, *noise = (part.unsqueeze(self.axis) for part in u.unbind(-1))
        below = (
            self.log_weights.exp()
            .cumsum(self.axis)
            .narrow(self.axis, 0, self.log_weights.shape[self.axis] - 1)
        )
        return self.joined(self.drawn((below < chosen).sum(self.axis, keepdim=True), noise))

    def drawn(self, component: Tensor, noise: Sequence[Tensor], known: Known | None = None) -> list[Tensor]:
        """The channels of a component at uniform noise; those that are known stay as they are."""
        drawn: list[Tensor] = []
        for c, u in enumerate(noise):
            location, log_scale, *slopes = (
                part.gather(self.axis, component)
                for part in (self.locations[c], self.log_scales[c], *self.slopes[c])
            )
            for slope, before in zip(slopes, drawn, strict=True):
                location = location + slope * before
            x = (location + log_scale.exp() * torch.logit(u, eps=1e-7)).round().clamp(0, self.size - 1)
            drawn.append(x if known is None else torch.where(known[1][c], known[0][c], x))
        return [plane.squeeze(self.axis) for plane in drawn]


@dataclass(frozen=True)
class MissingChannels(ByMoments):
    """The missing channels of pixels, given z and the observed channels before them.

    Attributes:
        p: p(x|z).
        x: values, any at missing entries; broadcasts against (*batch, *shape).
        observed: which of them are observed, likewise.
    """

    p: LogisticMixture
    x: Tensor
    observed: Tensor

    @cached_property
    def _known(self) -> Known:
        """The channels of x, and whether they are observed."""
        return self.p.planes(fill_unobserved(self.x, self.observed)), self.p.planes(self.observed)

    @cached_property
    def _log_weights(self) -> Tensor:
        """log P(component | observed channels)."""
        return log_softmax(self.p.log_joint(self.x, self.observed)[-1], self.p.axis)

    def sample(self, generator: Generators = None) -> Tensor:
        """A draw of the missing channels; observed ones are as they are."""
        p, log_weights = self.p, self._log_weights
        component = with_gumbel(log_weights, generator).argmax(p.axis, keepdim=True)
        noise = [rand(component.shape, log_weights, generator) for _ in range(p.channels)]
        return p.joined(p.drawn(component, noise, self._known))

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of each channel; as if levels were not rounded, if moments are not exact."""
        p = self.p
        points = self._values_of_a_pixel() if p.is_enumerated else self._spread_points()
        weights = self._log_weights.exp()
        centres = self._chain([0.0] * p.channels)  # sums of distances from there cancel little
        origins = [(weights * centre).sum(p.axis, keepdim=True) for centre in centres]
        sums = [[torch.zeros_like(origin.squeeze(p.axis))] * 2 for origin in origins]
        for log_weights, values in points:
            weights = log_weights.exp()
            for c in range(p.channels):
                distance = values[c] - origins[c]
                weighted = weights * distance
                first, second = sums[c]
                sums[c] = [first + weighted.sum(p.axis), second + (weighted * distance).sum(p.axis)]
        means = [origin.squeeze(p.axis) + first for origin, (first, _) in zip(origins, sums, strict=True)]
        variances = [(second - first.square()).clamp(min=0) for first, second in sums]
        return p.joined(means), p.joined(variances)

    def _chain(self, noise: Sequence[float]) -> list[Tensor]:
        """The channels for each component at noise in units of its scales, (*batch, K, *pixels)."""
        values, there = self._known
        chain: list[Tensor] = []
        for c, e in enumerate(noise):
            x = self.p.location(c, chain) + e * self.p.log_scales[c].exp()
            chain.append(torch.where(there[c], values[c], x.clamp(0, self.p.size - 1)))
        return chain

    def _spread_points(self) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """Log-weights of components and channels at a point of each of them."""
        log_weights = self._log_weights - math.log(POINTS)
        for noise in _logistic_points(self.p.channels):
            yield log_weights, self._chain(noise)

    def _values_of_a_pixel(self) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """All values of a pixel, with log P(component, value)."""
        p, (known, there) = self.p, self._known
        for levels in itertools.product(range(p.size), repeat=p.channels):
            values: list[Tensor] = []
            log_weights = self._log_weights
            for c, level in enumerate(levels):
                x = torch.where(there[c], known[c], float(level))
                terms = cell_log_probs(x, p.location(c, values), p.log_scales[c], p.size)
                log_weights = log_weights + torch.where(there[c], -math.log(p.size), terms)
                values.append(x)
            yield log_weights, values


@cache
def _logistic_points(channels: int) -> list[list[float]]:
    """Points of so many coordinates, with the mean and the variances of standard logistic variables."""
    sobol = torch.quasirandom.SobolEngine(channels).draw(POINTS, dtype=torch.float64)
    points = torch.logit(sobol + 0.5 / POINTS)  # each coordinate has the middles of as many equal parts
    root = torch.linalg.cholesky(points.T @ points / POINTS)
    points = torch.linalg.solve_triangular(root, points.T, upper=False).T  # without correlations
    rows: list[list[float]] = (points * math.pi / math.sqrt(3)).tolist()
    return rows


def _check_order(observed: Sequence[Tensor]) -> None:
    """InputError if a channel is observed in a pixel in which one before it is missing."""
    for c, (before, after) in enumerate(itertools.pairwise(observed), 1):
        if bool((after & ~before).any()):
            raise InputError(
                "expected pixels of which all channels are observed, or the first ones, or none, got one in "
                f"which channel {c + 1} is observed and channel {c} is missing; hide whole pixels, or train "
                "a model with `likelihood` logistic"
            )


class LogisticMixtureHead(LocationScaleHead):
    """A mixture of discretised logistics over `levels` ordered levels for each pixel.

    The last of three axes is the axis of the channels; x of fewer axes has one channel.

    The decoder's output is for each pixel and component the log-weight, the location and the log-scale of
    each channel, and a number for each pair of channels, whose tanh is the slope.

    Args:
        shape: of x.
        levels: L.
        shift, scale: location and scale of the data.
        components: K.
    """

    offsets: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        levels: int,
        shift: Tensor | float = 0.0,
        scale: Tensor | float = 1.0,
        components: int = 5,
    ):
        super().__init__(shape, 1, shift, scale)
        self.levels, self.components = levels, components
        self.has_channels = len(shape) == 3
        self.channels = shape[-1] if self.has_channels else 1
        pixels = shape[:-1] if self.has_channels else shape
        self.parts = (1, self.channels, self.channels, self.channels * (self.channels - 1) // 2)
        self.features_shape = (sum(self.parts) * components, *pixels)
        offsets = torch.linspace(-SPREAD, SPREAD, components) if components > 1 else torch.zeros(1)
        self.register_buffer("offsets", offsets.view(-1, *[1] * len(pixels)), persistent=False)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return (*self.features_shape[1:], 1 + self.channels)

    def forward(self, features: Tensor) -> LogisticMixture:
        axis = features.dim() - len(self.features_shape)
        # pixels side by side in memory, which is quicker to sum over components
        parts = features.contiguous().unflatten(axis, (-1, self.components)).unbind(axis)
        c = self.channels
        raw, scales, pairs = parts[1 : c + 1], parts[c + 1 : 2 * c + 1], iter(parts[2 * c + 1 :])
        shift, unit = self._of_channels(self.shift), self._of_channels(self.log_scale)
        locations, slopes = [], []
        for channel in range(c):
            own = tuple(torch.tanh(next(pairs)) for _ in range(channel))
            location = shift[channel] + unit[channel].exp() * (raw[channel] + self.offsets)
            for slope, before in zip(own, shift, strict=False):
                location = location - slope * before  # channels count from the location of the data
            locations.append(location)
            slopes.append(own)
        log_scales = tuple(u + soft_clamp(s, -7.0, 4.0) for u, s in zip(unit, scales, strict=True))
        log_weights = log_softmax(parts[0], axis)
        return LogisticMixture(
            log_weights,
            tuple(locations),
            log_scales,
            tuple(slopes),
            self.levels,
            len(self.shape),
            self.has_channels,
        )

    def _of_channels(self, values: Tensor) -> tuple[Tensor, ...]:
        """Statistics of the data for each channel: a number, or one for each pixel."""
        if values.dim() == 0:
            return (values,) * self.channels
        whole = values.expand(self.shape)
        return whole.unbind(-1) if self.has_channels else (whole,)
