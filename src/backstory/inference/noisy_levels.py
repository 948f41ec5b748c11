"""Noise on data with levels: p(y|z) and p(x|z, y) for y = x + σ ε.

`Levels` sums over the levels of each entry, which is exact. `NoisyNormals` takes many levels between the
outer ones as a continuum: a mixture of normals between the edges, convolved with normal noise, is a mixture
of normals again. It does so in a dozen operations for each of ten normals, where the sum needs as many for
each of 256 levels. Rounding to whole levels adds 1/12 to the variance of the noise, which is exact to the
second order; `condition` uses it where σ is at least one level.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from backstory.distributions.base import LOG_2PI, EntrywiseMoments, level_values, sum_observed
from backstory.distributions.noise import Generators, rand
from backstory.distributions.normal_scales import Rounded, log_normal_between, normal_density
from backstory.inference.damaged import Damaged

ROUNDING = 1 / 12  # variance of rounding to whole numbers


@dataclass(frozen=True)
class Levels(EntrywiseMoments):
    """Noise on data with levels: the level of each entry given its noisy value, by enumeration.

    Attributes:
        log_prior: log P(x_i = l|z), (L, *batch, *shape).
        seen: the noisy y.
    """

    log_prior: Tensor
    seen: Damaged

    @property
    def _values(self) -> Tensor:
        return level_values(len(self.log_prior), self.log_prior[0])

    @cached_property
    def _log_joint(self) -> Tensor:
        sigma = self.seen.sigma
        noise = -0.5 * (((self.seen.y - self._values) / sigma).square() + LOG_2PI) - sigma.log()
        return self.log_prior + torch.where(self.seen.observed, noise, 0.0)

    @cached_property
    def _posterior(self) -> Tensor:
        return torch.softmax(self._log_joint, 0)

    @property
    def log_evidence(self) -> Tensor:
        entries = torch.logsumexp(self._log_joint, 0)
        return sum_observed(entries, self.seen.observed, len(self.seen.linear.shape))

    @property
    def mean(self) -> Tensor:
        return (self._posterior * self._values).sum(0)

    @property
    def variance(self) -> Tensor:
        return (self._posterior * (self._values - self.mean).square()).sum(0)

    def sample(self, generator: Generators = None) -> Tensor:
        cumulative = self._posterior.cumsum(0)
        u = rand(cumulative.shape[1:], cumulative, generator)
        return (cumulative[:-1] <= u).sum(0).to(self.log_prior.dtype)


@dataclass(frozen=True)
class NoisyNormals(EntrywiseMoments):
    """Noise on many levels, whose distribution given z is a rounded mixture of normals.

    Attributes:
        p: the distribution of x given z.
        seen: the noisy y.
    """

    p: Rounded
    seen: Damaged

    @cached_property
    def _noise(self) -> Tensor:
        """Variance of the noise and of rounding."""
        return self.seen.sigma.square() + ROUNDING

    @cached_property
    def _inside(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean and deviation of each normal given y, and its edges in units of the deviation."""
        spread = self.p.normals[1].square()
        total = spread + self._noise
        mean = (self.p.location * self._noise + self.seen.y * spread) / total
        std = (spread * self._noise / total).sqrt()
        low, high = self.p.edges
        return mean, std, (low - mean) / std, (high - mean) / std

    @cached_property
    def _log_joint(self) -> Tensor:
        """log p(part, y|z) of the first level, the last level and each normal between, (2 + K, …)."""
        p, y, (log_weight, std) = self.p, self.seen.y, self.p.normals
        _, _, a, b = self._inside
        between = log_weight + _log_normal(y - p.location, std.square() + self._noise)
        outer = _log_normal(torch.stack([y, y - (p.levels - 1)]), self.seen.sigma.square())
        outer = p.log_outer + outer.view(2, *[1] * (p.location.dim() - y.dim()), *y.shape)
        return torch.cat([outer, between + log_normal_between(a, b)])

    @property
    def log_evidence(self) -> Tensor:
        entries = torch.logsumexp(self._log_joint, 0)
        return sum_observed(entries, self.seen.observed, len(self.seen.linear.shape))

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of x at entries of y that are observed, else those of p(x|z)."""
        mean, std, a, b = self._inside
        low, high = self.p.edges
        log_mass = log_normal_between(a, b)
        left, right = ((normal_density(t).log() - log_mass).exp() for t in (a, b))
        slope = (left - right).nan_to_num(0)
        centre = (mean + std * slope).clamp(low, high)
        bend = (a * left - b * right).nan_to_num(0)
        spread = (std.square() * (1 + bend - slope.square())).clamp(0, (high - low) ** 2 / 4)
        share = torch.softmax(self._log_joint, 0)
        top = self.p.levels - 1.0
        first = top * share[1] + (share[2:] * centre).sum(0)
        second = top**2 * share[1] + (share[2:] * (spread + centre.square())).sum(0)
        variance = (second - first.square()).clamp(min=0)
        prior = self.p.moments()
        observed = self.seen.observed
        return torch.where(observed, first, prior[0]), torch.where(observed, variance, prior[1])

    @property
    def mean(self) -> Tensor:
        return self._moments[0]

    @property
    def variance(self) -> Tensor:
        return self._moments[1]

    def sample(self, generator: Generators = None) -> Tensor:
        """A part by its share, and a draw of its normal between the edges, rounded to a level."""
        observed, (low, high) = self.seen.observed, self.p.edges
        shape = self._log_joint.shape[1:]
        u, v = (rand(shape, self.seen.y, generator).double() for _ in range(2))
        share = torch.softmax(self._log_joint.double(), 0)
        part = (share.cumsum(0)[:-1] <= u).sum(0)
        mean, std, a, b = (
            t.double().expand(len(share) - 2, *shape).gather(0, (part - 2).clamp(min=0).unsqueeze(0))[0]
            for t in self._inside
        )
        bottom, top = torch.special.ndtr(a), torch.special.ndtr(b)
        between = (
            (mean + std * torch.special.ndtri(bottom + v * (top - bottom))).nan_to_num(0).clamp(low, high)
        )
        edge = torch.where(part == 0, 0.0, self.p.levels - 1.0)
        drawn = torch.where(part < 2, edge, between.clamp(low, high).round()).to(self.seen.y.dtype)
        return torch.where(observed, drawn, self._prior(u, v).to(drawn))

    def _prior(self, u: Tensor, v: Tensor) -> Tensor:
        """A draw of p(x|z), for entries of y that are missing."""
        log_weight, std = (part.double() for part in self.p.normals)
        part = (log_weight.exp().cumsum(0)[:-1] <= u).sum(0)
        std = std.gather(0, part.unsqueeze(0))[0]
        return (self.p.location + std * torch.special.ndtri(v)).round().clamp(0, self.p.levels - 1)


def _log_normal(distance: Tensor, variance: Tensor) -> Tensor:
    """log N(distance; 0, variance)."""
    return -0.5 * (distance.square() / variance + LOG_2PI + variance.log())
