"""Log-evidence by importance sampling.

    log p(x) = log E_q(z|x)[w],   w = p(x|z) p(z) / q(z|x)
    estimate:  log (1/K) Σ_k w_k                      (Burda et al. 2016, eq. 8; Rezende et al. 2014, app. E)

The estimate is a log of a mean: on average it lies below the truth and rises to it with K. Its standard
error comes from the delta method, s(w) / (√K · w̄), and the effective sample size is (Σw)² / Σw².

The draws depend on the observations, K and the generator; how the work is cut into chunks changes nothing
but memory.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from backstory.distributions import Posterior, randn
from backstory.errors import InputError
from backstory.vae import VAE

# Entries of decoder output held at once; small enough to stay in a processor's cache.
CHUNK_ENTRIES = 2**20


@dataclass(frozen=True)
class Evidence:
    """Bounds and estimates for each observation, (N,), float64, nats.

    Attributes:
        log_evidence: importance-sampled log p(x).
        standard_error: of log_evidence over the draws; NaN for a single draw.
        ess: effective sample size, between 1 and K.
        elbo: reconstruction − kl, a lower bound of log p(x).
        reconstruction: E_q[log p(x|z)], averaged over the draws.
        kl: KL(q(z|x) ‖ p(z)), in closed form where there is one.
        samples: K.
    """

    log_evidence: Tensor
    standard_error: Tensor
    ess: Tensor
    elbo: Tensor
    reconstruction: Tensor
    kl: Tensor
    samples: int


def check_samples(samples: int) -> None:
    """InputError unless `samples` is a positive whole number."""
    if samples < 1:
        raise InputError(f"samples has to be at least 1, got {samples}")


def importance_sampling(
    vae: VAE,
    batches: Iterable[Tensor],
    samples: int = 1000,
    generator: torch.Generator | None = None,
    chunk: int | None = None,
    advance: Callable[[int], None] = lambda rows: None,
) -> Evidence:
    """Importance-sampled log-evidence with the model's own q(z|x) as the proposal.

    Args:
        vae: the model; InputError if it is a plain autoencoder.
        batches: x in the model's units, (B, *shape) at a time; all of a batch is held at once.
        samples: K.
        generator: source of the draws, on the model's device.
        chunk: pairs of draw and observation decoded at once; by default as many as fit in a cache.
        advance: called with the number of observations finished.
    """
    check_samples(samples)
    if vae.is_autoencoder:
        raise InputError(
            "a plain autoencoder has no distribution of z and so no p(x); train with posterior gaussian"
        )
    parts = []
    with torch.no_grad():
        for x in batches:
            parts.append(_batch_evidence(vae, x, samples, generator, chunk))
            advance(len(x))
    stacked = {
        field.name: torch.cat([getattr(part, field.name) for part in parts])
        for field in fields(Evidence)
        if field.name != "samples"
    }
    return Evidence(**stacked, samples=samples)


def _batch_evidence(
    vae: VAE, x: Tensor, samples: int, generator: torch.Generator | None, chunk: int | None
) -> Evidence:
    pairs = chunk or max(1, CHUNK_ENTRIES // math.prod(vae.features_shape))
    draws, rows = max(1, pairs // len(x)), min(len(x), pairs)
    posterior = vae.encode(x)
    sums = _Sums(len(x), x.device)
    for start in range(0, samples, draws):
        noise = _noise(posterior, min(draws, samples - start), generator)
        for row in range(0, len(x), rows):
            part = slice(row, row + rows)
            selected = posterior.select(part)
            terms = vae.terms_at(x[part], selected, selected.transport(noise[:, part]))
            sums.add(part, terms.log_likelihood.double(), terms.log_weight.double())
    kl = vae.kl(posterior)
    return sums.evidence(samples, kl.double() if kl is not None else None)


def _noise(posterior: Posterior, draws: int, generator: torch.Generator | None) -> Tensor:
    """One draw of the generator for each k, so that chunks of any size see the same numbers."""
    shape = tuple(posterior.mean.shape)
    return torch.stack([randn(shape, posterior.mean, generator) for _ in range(draws)])


class _Sums:
    """Running sums over k: of log p(x|z) and log w, and log-sums of w and w²."""

    def __init__(self, rows: int, device: torch.device):
        zeros = torch.zeros(rows, dtype=torch.float64, device=device)
        self.log_likelihood, self.log_weight = zeros, zeros.clone()
        self.log_sum, self.log_square = zeros - math.inf, zeros - math.inf

    def add(self, rows: slice, log_likelihood: Tensor, log_weight: Tensor) -> None:
        self.log_likelihood[rows] += log_likelihood.sum(0)
        self.log_weight[rows] += log_weight.sum(0)
        self.log_sum[rows] = torch.logaddexp(self.log_sum[rows], torch.logsumexp(log_weight, 0))
        self.log_square[rows] = torch.logaddexp(self.log_square[rows], torch.logsumexp(2 * log_weight, 0))

    def evidence(self, samples: int, kl: Tensor | None) -> Evidence:
        reconstruction = self.log_likelihood / samples
        kl = kl if kl is not None else reconstruction - self.log_weight / samples
        inverse_ess = torch.exp(self.log_square - 2 * self.log_sum)
        variance = (samples * inverse_ess - 1).clamp(min=0) / (samples - 1) if samples > 1 else math.nan
        return Evidence(
            log_evidence=self.log_sum - math.log(samples),
            standard_error=torch.sqrt(torch.zeros_like(inverse_ess) + variance),
            ess=1 / inverse_ess,
            elbo=reconstruction - kl,
            reconstruction=reconstruction,
            kl=kl,
            samples=samples,
        )
