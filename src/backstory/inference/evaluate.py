"""The averages over observations that `Model.evaluate` returns."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from backstory.data.observation import Observation
from backstory.data.rows import Rows
from backstory.data.schema import Schema
from backstory.data.stored import StoredRows
from backstory.data.values import BATCH
from backstory.inference.importance import Evidence
from backstory.inference.picture_quality import psnr, ssim
from backstory.models.diagnostics import bits_per_dim
from backstory.models.vae import VAE


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Averages over observations, in nats per observation; None where a quantity does not exist.

    Attributes:
        elbo: reconstruction − kl.
        reconstruction: E_q[log p(x|z)].
        kl: KL(q(z|x) ‖ p(z)).
        log_evidence: log p(x), by `method`.
        standard_error: Monte Carlo error of log_evidence, over the draws for the same observations.
        ess: effective sample size, average over observations.
        bits_per_dim: −log₂ p(x) per entry, from log_evidence; for discrete data.
        kl_per_level: of z in levels, the part of the KL that each level adds to those above it, by the name
            of the level, from x upwards; estimated with one draw of z for each observation.
        active_units: latent units whose posterior mean varies over the observations.
        n: observations.
        samples: K; of method `auto` the draws with which every observation begins.
        method: of the log-evidence: `auto`, `is`, `variational`, `ais` or `exact`.
        methods: the number of observations of each method; what `auto` chose.
        pareto_k: of the weights, average over the observations that have one; see `inference.pareto`.
        acceptance: share of accepted proposals of `ais`.
        psnr, ssim: of reconstructions E[x|z] of whole images, see `inference.picture_quality`, averaged over
            images; psnr in dB, of those that are not reconstructed without any error.
    """

    elbo: float | None = None
    reconstruction: float
    kl: float | None = None
    log_evidence: float | None = None
    standard_error: float | None = None
    ess: float | None = None
    bits_per_dim: float | None = None
    kl_per_level: dict[str, float] | None = None
    active_units: int
    n: int
    samples: int
    method: str
    methods: dict[str, int] = field(default_factory=dict)
    pareto_k: float | None = None
    acceptance: float | None = None
    psnr: float | None = None
    ssim: float | None = None


def average(evidence: Evidence, active_units: int, entries: float | None) -> Evaluation:
    """The averages of an `Evidence`.

    Args:
        evidence: of each observation.
        active_units: see `Evaluation`.
        entries: observed entries of an observation, on average; None for continuous x.
    """
    n = len(evidence.log_evidence)
    log_evidence = float(evidence.log_evidence.mean())
    return Evaluation(
        reconstruction=float(evidence.reconstruction.mean()),
        active_units=active_units,
        n=n,
        samples=evidence.samples,
        method=evidence.method,
        methods=evidence.counts(),
        elbo=float(evidence.elbo.mean()),
        kl=float(evidence.kl.mean()),
        log_evidence=log_evidence,
        standard_error=_number(evidence.standard_error.square().sum().sqrt() / n),
        ess=_number(evidence.ess.mean()),
        bits_per_dim=None if entries is None else bits_per_dim(log_evidence, entries),
        pareto_k=_number(evidence.pareto_k.nanmean()),
        acceptance=_number(evidence.acceptance.nanmean()),
    )


@torch.no_grad()
def kl_per_level(
    vae: VAE, batches: Iterable[Observation], generator: torch.Generator
) -> dict[str, float] | None:
    """See `Evaluation`; None for z without levels.

    Args:
        vae: the model.
        batches: of x.
        generator: of one z for each x.
    """
    if len(vae.latents.groups) < 2:
        return None
    parts = []
    for batch in batches:
        posterior, prior = vae.encode(batch), vae.prior(batch.given)
        with vae.one_pass():
            kl = posterior.kl_given(prior, posterior.sample(1, generator))
        if kl is None:
            return None
        parts.append(kl[0])
    mean = torch.cat(parts).double().mean(0)
    return {name: float(kl) for name, kl in vae.latents.per_level(mean).items()}


@torch.no_grad()
def reconstruction(
    vae: VAE,
    draw: Callable[[torch.Generator], Iterable[Observation]],
    generator: torch.Generator,
    active_units: int,
) -> Evaluation:
    """The averages of a plain autoencoder, which has no p(x).

    Args:
        vae: the autoencoder.
        draw: gives x in batches.
        generator: of x where it is presented at random, and of z.
        active_units: see `Evaluation`.
    """
    total, n = 0.0, 0
    for batch in draw(generator):
        total += float(vae.terms(batch, generator=generator).log_likelihood.double().sum())
        n += len(batch)
    return Evaluation(reconstruction=total / n, active_units=active_units, n=n, samples=1, method="is")


def with_picture_quality(
    found: Evaluation, schema: Schema, rows: StoredRows, reconstruct: Callable[[StoredRows], Rows]
) -> Evaluation:
    """The evaluation with PSNR and SSIM, averaged over images without missing pixels; as it is for other x.

    Args:
        found: the other averages.
        schema: of x.
        rows: x as it is stored.
        reconstruct: gives the means E[x|z] of some rows as they are stored.
    """
    if schema.kind != "images" or schema.bounds is None:
        return found
    nearness, likeness = [np.empty(0)], [np.empty(0)]
    for start in range(0, len(rows), BATCH):
        some = rows.part(slice(start, start + BATCH))
        x, y = (
            schema.fractions(np.asarray(values).astype(np.float64))
            for values in (some.values, reconstruct(some))
        )
        whole = ~np.isnan(x).reshape(len(x), -1).any(1)
        nearness.append(psnr(x[whole], y[whole]))
        likeness.append(ssim(x[whole], y[whole]))
    finite, every = np.concatenate(nearness), np.concatenate(likeness)
    finite = finite[np.isfinite(finite)]
    means = [float(values.mean()) if len(values) else None for values in (finite, every)]
    return replace(found, psnr=means[0], ssim=means[1])


def _number(value: Tensor) -> float | None:
    """None for NaN, which stands for a quantity that does not exist."""
    return None if torch.isnan(value) else float(value)
