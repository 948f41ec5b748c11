"""Recognises training that diverges: the model ends worse than one that knows the marginals alone.

The yardstick is log p(x) of a model with the same likelihood, in which entries are independent and have their
marginal distributions in the training data: any model with a constant decoder can be that. No useful bound is
below it. A bound that is far below both the yardstick and the initial weights gets there by divergence alone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backstory.data.stored import StoredRows
from backstory.models.vae import VAE
from backstory.training.step import Bound

ROWS = 1_000  # that the marginals are taken from, and that are judged
BATCH = 250
FAR = 0.1  # of a bound: how far below it is far below
DIVERGED = "diverged"  # why a run ended


@dataclass(frozen=True)
class Yardstick:
    """What the bound of a model is compared with, in nats for each row.

    Attributes:
        initial: the objective of the initial weights.
        trivial: log p(x) under independent entries; None for a likelihood that does not know its marginals.
        error: the standard error of `trivial`.
    """

    initial: float
    trivial: float | None
    error: float = 0.0

    def is_trivial(self, value: float) -> bool:
        """Whether a bound is below that of independent entries by more than chance."""
        return self.trivial is not None and not value >= self.trivial - 3 * self.error

    def is_diverged(self, value: float) -> bool:
        """Whether a bound is far below that of independent entries and that of the initial weights."""
        low = min(self.initial, math.inf if self.trivial is None else self.trivial)
        return self.is_trivial(value) and not value >= low - max(1.0, FAR * abs(low))


def attained(metrics: Mapping[str, Any], beta: float) -> float:
    """The bound of an epoch: its objective, or its ELBO with the final β where that is higher.

    Independent entries have no KL, so they have the same value at any β.
    """
    objective, reconstruction, kl = (
        metrics.get(f"validation_{name}", metrics[name]) for name in ("objective", "reconstruction", "kl")
    )
    values = [objective, reconstruction - beta * kl]
    return max((value for value in values if not math.isnan(value)), default=-math.inf)


@torch.no_grad()
def yardstick(bound: Bound, rows: StoredRows, validation: StoredRows, seed: int) -> Yardstick:
    """The yardstick of a model with its initial weights, from up to 1000 rows spread over the data.

    Args:
        bound: the objective and the model.
        rows: training rows, which give the marginals.
        validation: rows to judge; without any, training rows.
        seed: of the draws.
    """
    vae, generator = bound.vae, torch.Generator(bound.vae.device).manual_seed(seed)
    vae.eval()
    known = _spread(rows)
    judged = _spread(validation) if len(validation) else known
    features = _marginal_features(bound, known, generator)
    initial, trivial = [], []
    for start in range(0, len(judged), BATCH):
        stored = judged.on(vae.device, slice(start, start + BATCH))
        batch = bound.batch(stored, len(stored.values), generator)
        initial.append(bound(batch, 1.0, len(rows), generator).objective)
        if features is not None:
            trivial.append(_log_prob(vae, features, batch.x))
    mean, error = _mean(trivial) if trivial else (None, 0.0)
    return Yardstick(_mean(initial)[0] or 0.0, mean, error)


def _spread(rows: StoredRows) -> StoredRows:
    """Up to 1000 rows at equal distances, in memory."""
    return rows.take(np.linspace(0, len(rows) - 1, min(ROWS, len(rows))).astype(np.int64)).in_memory()


def _marginal_features(bound: Bound, rows: StoredRows, generator: torch.Generator) -> Tensor | None:
    marginal: Any = getattr(bound.vae.head, "marginal", None)
    if marginal is None:
        return None
    stored = rows.on(bound.vae.device, slice(None))
    x = bound.batch(stored, len(rows), generator).x
    features: Tensor = marginal(x, bound.vae.inputs.observed(x))
    return features


def _log_prob(vae: VAE, features: Tensor, x: Tensor) -> Tensor:
    """log p of rows x, (B,), under the distribution that the same features give every row."""
    auxiliary = vae.latents.auxiliary
    beside = (torch.linspace(-1, 1, auxiliary, device=x.device).expand(len(x), -1),) if auxiliary else ()
    distribution = vae.head(features.expand(len(x), *features.shape), *beside)
    log_prob: Tensor = distribution.log_prob(x, vae.inputs.observed(x))
    return log_prob


def _mean(parts: list[Tensor]) -> tuple[float | None, float]:
    """The mean and its standard error; None for a mean that is not finite."""
    values = torch.cat(parts).double()
    mean = float(values.mean())
    error = float(values.std(correction=0)) / math.sqrt(len(values))
    return (mean, error) if math.isfinite(mean) else (None, 0.0)
