"""Log-evidence by importance sampling.

    log p(x) = log E_q(z|x)[w],   w = p(x|z) p(z) / q(z|x)
    estimate:  log (1/K) Σ_k w_k                      (Burda et al. 2016, eq. 8; Rezende et al. 2014, app. E)

The estimate is the log of a mean: on average it lies below the truth and rises to it with K. Its standard
error comes from the delta method, s(w) / (√K · w̄), and the effective sample size is (Σw)² / Σw². Both are
computed from the same weights, and both are too optimistic if a few weights dominate. Pareto k̂ of the
largest weights detects this (`inference.pareto`).

The draws depend on the observations, K and the generator. The size of chunks changes memory alone.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from backstory.data.observation import Observation
from backstory.errors import InputError, counted
from backstory.inference.memory import pairs_at_once
from backstory.inference.pareto import Largest, pareto_k, tail_size, threshold
from backstory.inference.target import Evidenced, Target, check_density, terms_at
from backstory.models.vae import VAE

BLOCK = 64  # draws whose weights are collected before they are added up
METHODS = ("is", "variational", "ais", "exact")
LEAST_CHAINS = 2.0  # with fewer effective chains, annealing is not trusted
ADVICE = {  # how to come nearer to the truth than with each method
    "auto": "give it a larger `budget`, or take `method` ais with more `steps`",
    "is": "take `method` auto, without a number of samples",
    "variational": "take `method` auto or ais",
    "ais": "take more `steps`",
}
HEAVY_SHARE = 0.1  # a larger share of observations with too heavy a tail gives a warning


@dataclass(frozen=True)
class Evidence:
    """Bounds and estimates for each observation, (N,), float64, nats.

    Attributes:
        log_evidence: estimate of log p(x).
        standard_error: of log_evidence over the draws; NaN for a single draw.
        ess: effective sample size, between 1 and K; NaN for a closed form.
        pareto_k: Pareto k̂, the shape of the tail of the weights, which can be trusted if it is at most
            `pareto.threshold(K)`; NaN for fewer than 46 draws.
        elbo: mean of log w, a lower bound of log p(x); its error vanishes if q(z|x) = p(z|x).
        reconstruction: E_q[log p(x|z)], as elbo + kl.
        kl: KL(q(z|x) ‖ p(z)), in closed form if there is one.
        samples: K; of method `auto` the draws with which every observation begins.
        acceptance: share of accepted proposals of annealed importance sampling; NaN for other methods.
        method: the one that was asked for: `auto`, or one of `methods`.
        methods: of each observation: `is`, `variational`, `ais` or `exact`.
    """

    log_evidence: Tensor
    standard_error: Tensor
    ess: Tensor
    pareto_k: Tensor
    elbo: Tensor
    reconstruction: Tensor
    kl: Tensor
    samples: int
    acceptance: Tensor
    method: str
    methods: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """The number of observations of each method, the cheapest first."""
        return {name: self.methods.count(name) for name in METHODS if name in self.methods}


@dataclass(frozen=True)
class LogMean:
    """The log of the mean of K weights for each observation, (N,), with its error.

    Attributes:
        value: log (1/K) Σ w.
        standard_error: s(w) / (√K · w̄); NaN for K = 1.
        ess: (Σw)² / Σw².
    """

    value: Tensor
    standard_error: Tensor
    ess: Tensor

    @classmethod
    def of(cls, log_weight: Tensor) -> "LogMean":
        """The log-mean of weights from their logs, (K, N)."""
        return cls.from_sums(
            torch.logsumexp(log_weight, 0), torch.logsumexp(2 * log_weight, 0), len(log_weight)
        )

    @classmethod
    def from_sums(cls, log_sum: Tensor, log_square: Tensor, samples: int) -> "LogMean":
        """The log-mean from log Σ w and log Σ w², (N,) each."""
        inverse_ess = torch.exp(log_square - 2 * log_sum)
        variance = (samples * inverse_ess - 1).clamp(min=0) / (samples - 1) if samples > 1 else math.nan
        error = torch.sqrt(torch.zeros_like(inverse_ess) + variance)
        return cls(log_sum - math.log(samples), error, 1 / inverse_ess)


def check_samples(samples: int) -> None:
    """InputError unless `samples` is a positive whole number."""
    if samples < 1:
        raise InputError(f"samples has to be at least 1, got {samples}")


def tail_warning(evidence: Evidence) -> str | None:
    """A warning if the weights of many observations cannot be trusted; None otherwise."""
    limit, chains = threshold(evidence.samples), torch.tensor([m == "ais" for m in evidence.methods])
    poor = (evidence.pareto_k.cpu() > limit) | (chains & (evidence.ess.cpu() < LEAST_CHAINS))
    heavy = int(poor.sum())
    if heavy <= HEAVY_SHARE * len(poor):
        return None
    return (
        f"the importance weights of {heavy} of {counted(len(poor), 'observation')} are too heavy-tailed "
        f"to trust (Pareto k above {limit:.2f}): log_evidence is probably too low, by more than its standard "
        f"error; {ADVICE[evidence.method]}"
    )


def importance_sampling(
    vae: VAE,
    batches: Iterable[Observation | Tensor],
    samples: int = 1000,
    generator: torch.Generator | None = None,
    chunk: int | None = None,
    advance: Callable[[int], None] = lambda rows: None,
) -> Evidence:
    """Importance-sampled log-evidence with the model's own q(z|x) as the proposal.

    Args:
        vae: the model.
        batches: B observations at a time; a whole batch is held in memory.
        samples: K.
        generator: source of the draws, on the model's device.
        chunk: pairs of draw and observation decoded at once; by default `memory.pairs_at_once`.
        advance: called with the number of finished observations.

    Raises:
        InputError: the model is a plain autoencoder, or `samples` or `chunk` is below 1.
    """
    check_samples(samples)
    check_density(vae)
    if chunk is not None and chunk < 1:
        raise InputError(f"chunk has to be at least 1, got {chunk}")
    parts = []
    with torch.no_grad():
        for batch in map(Observation.of, batches):
            parts.append(target_evidence(Evidenced(vae, batch), samples, generator, chunk))
            advance(len(batch))
    return joined(parts)


def joined(parts: list[Evidence]) -> Evidence:
    """The evidence of all observations from that of batches."""
    stacked = {
        field.name: torch.cat([getattr(part, field.name) for part in parts])
        for field in fields(Evidence)
        if field.name not in ("samples", "method", "methods")
    }
    methods = tuple(name for part in parts for name in part.methods)
    return Evidence(**stacked, samples=parts[0].samples, method=parts[0].method, methods=methods)


@torch.no_grad()
def target_evidence(
    target: Target, samples: int, generator: torch.Generator | None, chunk: int | None = None
) -> Evidence:
    """The estimate for one target, with its posterior as the proposal."""
    count, device = len(target), target.vae.device
    pairs = chunk or pairs_at_once(target.vae)
    draws, rows = max(1, pairs // count), min(count, pairs)
    block = draws * math.ceil(BLOCK / draws)
    sums = _Sums(count, samples, device)
    for start in range(0, samples, block):
        size = (min(block, samples - start), count)
        log_likelihood, log_weight = (torch.empty(size, dtype=torch.float64, device=device) for _ in "12")
        noise = _noise(target.posterior.centre, size[0], generator)
        for row in range(0, count, rows):
            part = slice(row, row + rows)
            some = target.rows(part)
            for k in range(0, size[0], draws):
                at = slice(k, k + draws)
                with target.vae.one_pass():
                    terms = terms_at(some, some.posterior, some.posterior.transport(noise[at, part]))
                    log_likelihood[at, part], log_weight[at, part] = terms.log_likelihood, terms.log_weight
        sums.add(log_likelihood, log_weight)
    kl = target.posterior.kl(target.prior)
    return sums.evidence(kl.double() if kl is not None else None)


def _noise(centre: Tensor, draws: int, generator: torch.Generator | None) -> Tensor:
    """Noise (draws, B, D), one call of the generator for each k: chunks of any size get the same."""
    noise = centre.new_empty(draws, *centre.shape)
    for draw in noise:
        draw.normal_(generator=generator)
    return noise


class _Sums:
    """Running sums over k of log p(x|z) and log w, log-sums of w and w², and the largest w."""

    def __init__(self, rows: int, samples: int, device: torch.device):
        zeros = torch.zeros(rows, dtype=torch.float64, device=device)
        self.samples = samples
        self.log_likelihood, self.log_weight = zeros, zeros
        self.log_sum, self.log_square = zeros - math.inf, zeros - math.inf
        self.largest = Largest(rows, tail_size(samples) + 1, device)

    def add(self, log_likelihood: Tensor, log_weight: Tensor) -> None:
        self.log_likelihood = self.log_likelihood + log_likelihood.sum(0)
        self.log_weight = self.log_weight + log_weight.sum(0)
        self.log_sum = torch.logaddexp(self.log_sum, torch.logsumexp(log_weight, 0))
        self.log_square = torch.logaddexp(self.log_square, torch.logsumexp(2 * log_weight, 0))
        self.largest.add(log_weight)

    def evidence(self, kl: Tensor | None) -> Evidence:
        elbo = self.log_weight / self.samples
        kl = kl if kl is not None else self.log_likelihood / self.samples - elbo
        mean = LogMean.from_sums(self.log_sum, self.log_square, self.samples)
        return Evidence(
            log_evidence=mean.value,
            standard_error=mean.standard_error,
            ess=mean.ess,
            pareto_k=pareto_k(self.largest.values()),
            elbo=elbo,
            reconstruction=elbo + kl,
            kl=kl,
            samples=self.samples,
            acceptance=torch.full_like(kl, math.nan),
            method="is",
            methods=("is",) * len(kl),
        )
