"""Codes that stand for p(z|y), by methods of rising cost.

    p(z|y) ∝ p(z) p(y|z)

    encoder      q(z|y), the encoder's posterior
    importance   K codes of r(z) with weights w = p(z) p(y|z) / r(z); r mixes q, a wider q, and p(z)
    variational  the same with q* in place of q: the best Gaussian with correlations (`inference.variational`)
    hmc          chains from p(z) to p(z|y) and on in it (`inference.tempering`)

r is a mixture with a fixed number of draws of each part, and all draws are weighed by the density of the
whole (Veach & Guibas 1995; Owen & Zhou 2000). The part of p(z) bounds the weights by p(y|z) / share wherever
q misses.

The noise of a row depends on the seed and the number of the row alone.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.full_gaussian import FullGaussian
from backstory.inference.effort import GRADIENTS_PER_DIMENSION, Effort
from backstory.inference.hmc import RowNoise, Rows
from backstory.inference.moments import matched, prior_moments
from backstory.inference.target import Target
from backstory.inference.tempering import Walk, tempered_walk
from backstory.inference.variational import diagonal_fit, full_fit

SHARES = (0.6, 0.3, 0.1)  # of the two Gaussians and of p(z) among the proposals
WIDER = 1.5  # the larger σ, as a multiple
NOISE_STEPS = 10  # steps of Adam whose noise is drawn together
PROBED, WORTH = 100, 0.1  # draws that show whether importance weights will do, and the share they are worth

PROPOSE, PRIOR, OPTIMISE, REGRESS, CHAINS = range(10, 15)  # streams of noise, apart from those of annealing


T = TypeVar("T", bound=Target)


@dataclass(frozen=True)
class Codes:
    """Codes for each of B observations.

    Attributes:
        z: (K, B, D).
        log_ratio: log p(z) − log r(z), (K, B), of codes that p(y|z) has still to weigh; None where all codes
            count alike.
        acceptance, r_hat, ess: of chains, (B,); NaN for codes that are independent.
    """

    z: Tensor
    log_ratio: Tensor | None
    acceptance: Tensor
    r_hat: Tensor
    ess: Tensor

    @classmethod
    def independent(cls, z: Tensor, log_ratio: Tensor | None = None) -> "Codes":
        """Independent draws."""
        nothing = torch.full((z.shape[1],), math.nan, dtype=torch.float64, device=z.device)
        return cls(z, log_ratio, nothing, nothing, nothing)

    @classmethod
    def of_chains(cls, walk: Walk) -> "Codes":
        """The draws of chains."""
        return cls(walk.z, None, walk.acceptance, walk.r_hat, walk.ess)


@dataclass(frozen=True)
class Fit:
    """Gaussians near p(z|y), of z itself: the best one with independent dimensions, and with correlations."""

    diagonal: DiagonalGaussian
    full: FullGaussian

    def select(self, rows: Tensor) -> "Fit":
        """The fits of some rows."""
        return Fit(self.diagonal.select(rows), self.full.select(rows))


class CodeSearch(Generic[T]):
    """Codes for some observations by any method; Gaussians are fitted once, when a method first needs them.

    Args:
        target: p(z) p(y|z).
        rows: the numbers of the rows, which decide their noise.
        effort: of the fits.
        fit: Gaussians that were fitted before.
    """

    def __init__(self, target: T, rows: Rows, effort: Effort, fit: Fit | None = None):
        self.target, self.rows, self.effort, self._fit = target, rows, effort, fit
        self.latents = target.vae.latents

    def take(self, rows: Tensor) -> "CodeSearch[T]":
        """The same for some of the observations, with their fits."""
        fit = None if self._fit is None else self._fit.select(rows)
        return CodeSearch(self.target.rows(rows), self.rows.take(rows), self.effort, fit)

    def codes(self, method: str, effort: Effort) -> Codes:
        """Codes by `prior`, `encoder`, `importance`, `variational` or `hmc`."""
        by: dict[str, Any] = {
            "prior": self._of_prior,
            "encoder": self._of_encoder,
            "importance": self._weighed,
            "variational": self._weighed_fit,
            "hmc": self._walked,
        }
        found: Codes = by[method](effort)
        return found

    @torch.no_grad()
    def promising(self) -> Tensor:
        """Whether a few importance weights of each observation are worth enough to draw all of them, (B,)."""
        codes = self._weighed(replace(self.effort, proposals=PROBED))
        assert codes.log_ratio is not None
        log_weight = (codes.log_ratio + self.target.log_likelihood(codes.z)).double().nan_to_num(-1e300)
        return 1 / torch.softmax(log_weight, 0).square().sum(0) >= WORTH * PROBED

    def _of_prior(self, effort: Effort) -> Codes:
        return Codes.independent(self._noise(PROPOSE, effort.proposals).draw(self.target.prior))

    def _of_encoder(self, effort: Effort) -> Codes:
        noise = self._noise(PROPOSE, effort.proposals).normal(self.latents.size)
        return Codes.independent(self.target.posterior.transport(noise))

    def _weighed(self, effort: Effort) -> Codes:
        near = matched(self.latents.base(self.target.posterior))
        wide = DiagonalGaussian(near.mean, near.log_std + math.log(WIDER))
        return self._mixture(self.target.posterior, self.latents.lift(wide), effort.proposals)

    def _weighed_fit(self, effort: Effort) -> Codes:
        full = self.fit.full
        # with more dimensions, each needs less extra width
        wide = full.wider(1 + math.sqrt(2 / self.latents.units))
        return self._mixture(self.latents.lift(full), self.latents.lift(wide), effort.proposals)

    def _walked(self, effort: Effort) -> Codes:
        noise = self._noise(CHAINS, effort.chains)
        return Codes.of_chains(tempered_walk(self.target, self.fit.diagonal, self.fit.full, noise, effort))

    @property
    def fit(self) -> Fit:
        """The Gaussians."""
        if self._fit is None:
            start, effort = self.target.start(), self.effort
            prior_std = self.latents.own(prior_moments(self.target.prior, self.target.vae.device).std)
            unit = (start.std * prior_std).sqrt()
            noise = self._blocks(self._noise(OPTIMISE, effort.gradient_draws))
            diagonal = diagonal_fit(self.target, start, unit, noise, effort.steps)
            half = self._noise(REGRESS, GRADIENTS_PER_DIMENSION * self.latents.units // 2)
            rounds = (half.normal(self.latents.size) for _ in range(effort.rounds))
            full = full_fit(self.target, diagonal, rounds, effort.rounds, effort.gradient_draws)
            self._fit = Fit(diagonal, full)
        return self._fit

    def _blocks(self, noise: RowNoise) -> Iterator[Tensor]:
        """Noise for one step of Adam after the other."""
        while True:
            ahead = noise.normal(NOISE_STEPS * self.latents.size).unflatten(-1, (NOISE_STEPS, -1))
            yield from ahead.unbind(-2)

    def _noise(self, stream: int, draws: int) -> RowNoise:
        return self.rows.noise(stream, draws, self.target.posterior.centre)

    @torch.no_grad()
    def _mixture(self, first: Any, second: Any, count: int) -> Codes:
        """K codes of the mixture of two proposals and p(z)."""
        prior = self.target.prior
        numbers = [int(share * count) for share in SHARES[1:]]
        numbers = [count - sum(numbers), *numbers]
        noise = self._noise(PROPOSE, numbers[0] + numbers[1]).normal(self.latents.size)
        z = torch.cat([first.transport(noise[: numbers[0]]), second.transport(noise[numbers[0] :])])
        if numbers[2]:
            z = torch.cat([z, self._noise(PRIOR, numbers[2]).draw(prior)])
        log_r = torch.full(z.shape[:2], -math.inf, dtype=z.dtype, device=z.device)
        for part, number in zip((first, second, prior), numbers, strict=True):
            if number:
                log_r = torch.logaddexp(log_r, part.log_prob(z) + math.log(number / count))
        return Codes.independent(z, prior.log_prob(z) - log_r)
