"""How heavy the tail of importance weights is: Pareto k̂ of the largest ones.

The mean of K weights has a normal error only if the weights have a variance. Above a high threshold u their
excess w − u follows a generalised Pareto distribution,

    P(w − u > x) = (1 + k x / σ)^(−1/k)

with 1/k the number of moments that exist. An estimate whose k̂ exceeds min(1 − 1/log₁₀ K, 0.7) has an error
that is larger than its standard error says, and that would need impractically many draws to shrink (Vehtari
et al. 2024, "Pareto smoothed importance sampling", sec. 3). The fit is that of Zhang & Stephens (2009): with
θ = −k/σ, the profile likelihood of the n excesses x

    k(θ) = mean log(1 − θ x),    ℓ(θ) = n · (log(−θ / k(θ)) − k(θ) − 1)

is averaged over a grid of θ, weighted by exp ℓ.
"""

import math

import torch
from torch import Tensor

MINIMUM_TAIL = 5  # of fewer excesses, nothing can be said
PRIOR_WEIGHT, PRIOR_K = 10.0, 0.5  # as many imagined excesses hold k̂ at ½ (Vehtari et al. 2024, app. G)


def tail_size(samples: int) -> int:
    """How many of K weights make the tail: min(0.2 K, 3 √K) (Vehtari et al. 2024, sec. 6)."""
    return math.ceil(min(0.2 * samples, 3 * math.sqrt(samples)))


def threshold(samples: int) -> float:
    """The k̂ above which an estimate from K draws is not to be trusted.

    >>> [round(threshold(k), 2) for k in (100, 1000, 5000)]
    [0.5, 0.67, 0.7]
    """
    return min(1 - 1 / math.log10(samples), 0.7) if samples > 1 else 0.0


def pareto_k(largest: Tensor) -> Tensor:
    """k̂ of each row, (N,), from its largest log-weights.

    Args:
        largest: (N, M + 1) of float64, in any order: the log-weights of the tail and the one below them,
            which is the threshold u.

    Returns:
        k̂; NaN where M < 5, and 0 where the weights do not differ, so that there is no tail.
    """
    ordered = largest.sort(-1).values
    cutoff, tail = ordered[:, :1], ordered[:, 1:]
    if tail.shape[1] < MINIMUM_TAIL:
        return torch.full_like(cutoff[:, 0], math.nan)
    top = tail[:, -1:]
    excess = torch.exp(tail - top) - torch.exp(cutoff - top)
    fitted = generalised_pareto_k(excess.clamp(min=1e-300))
    fitted = (tail.shape[1] * fitted + PRIOR_WEIGHT * PRIOR_K) / (tail.shape[1] + PRIOR_WEIGHT)
    flat = torch.isinf(top) | (top - cutoff < 1e-12)
    return torch.where(flat[:, 0], 0.0, fitted)


def generalised_pareto_k(excess: Tensor) -> Tensor:
    """The shape k of a generalised Pareto distribution, (N,), from positive excesses (N, n), sorted."""
    n = excess.shape[1]
    points = 30 + math.isqrt(n)
    quartile = excess[:, math.floor(n / 4 + 0.5) - 1]
    grid = torch.arange(1, points + 1, dtype=excess.dtype, device=excess.device)
    spread = (1 - torch.sqrt(points / (grid - 0.5))) / 3
    theta = 1 / excess[:, -1:] + spread / quartile[:, None]  # (N, points), all below 1 / max
    k = torch.stack([_k(theta[:, j], excess) for j in range(points)], 1)
    log_likelihood = n * (torch.log(-theta / k) - k - 1)
    weight = torch.softmax(log_likelihood.nan_to_num(-math.inf), 1)
    return _k((weight * theta).sum(1), excess)


def _k(theta: Tensor, excess: Tensor) -> Tensor:
    return torch.log1p(-theta[:, None] * excess).mean(1)


class Largest:
    """The `size` largest of the numbers that were added to each row; memory is twice that, whatever came."""

    def __init__(self, rows: int, size: int, device: torch.device):
        self.size = size
        self.kept = torch.full((rows, 0), -math.inf, dtype=torch.float64, device=device)
        self.fresh: list[Tensor] = []
        self.waiting = 0

    def add(self, values: Tensor) -> None:
        """Add `values`, (n, rows)."""
        self.fresh.append(values)
        self.waiting += len(values)
        if self.waiting >= self.size:
            self._merge()

    def _merge(self) -> None:
        everything = torch.cat([self.kept, *(values.T for values in self.fresh)], 1)
        self.kept = everything.topk(min(self.size, everything.shape[1]), sorted=False).values
        self.fresh, self.waiting = [], 0

    def values(self) -> Tensor:
        """(rows, size), or fewer columns if fewer were added; in no order."""
        self._merge()
        return self.kept
