"""Pareto k̂: how heavy the tail of importance weights is.

The mean of K weights has a normal error only if the weights have a finite variance. Above a high threshold u,
their excess w − u follows approximately a generalised Pareto distribution,

    P(w − u > x) = (1 + k x / σ)^(−1/k)

where moments up to the order 1/k exist. If k̂ exceeds min(1 − 1/log₁₀ K, 0.7), the true error is larger
than the standard error, and impractically many draws would be needed to reduce it (Vehtari et al. 2024,
"Pareto smoothed importance sampling", sec. 3). The fit is that of Zhang & Stephens (2009): with θ = −k/σ,
the profile likelihood of the n excesses x,

    k(θ) = mean log(1 − θ x),    ℓ(θ) = n · (log(−θ / k(θ)) − k(θ) − 1)

is averaged over a grid of θ, weighted by exp ℓ.
"""

import math

import torch
from torch import Tensor

MINIMUM_TAIL = 10  # excesses, with fewer of which k̂ would be mostly its prior
PRIOR_WEIGHT, PRIOR_K = 10.0, 0.5  # a prior worth 10 excesses pulls k̂ to ½ (Vehtari et al. 2024, app. G)


def tail_size(samples: int) -> int:
    """Number of weights in the tail of K weights: min(0.2 K, 3 √K) (Vehtari et al. 2024, sec. 6)."""
    return math.ceil(min(0.2 * samples, 3 * math.sqrt(samples)))


def threshold(samples: int) -> float:
    """The k̂ above which an estimate from K draws is not reliable.

    >>> [round(threshold(k), 2) for k in (100, 1000, 5000)]
    [0.5, 0.67, 0.7]
    """
    return min(1 - 1 / math.log10(samples), 0.7) if samples > 1 else 0.0


def weights_k(log_weight: Tensor) -> Tensor:
    """k̂ of each row, (N,), from all of its K log-weights, (K, N)."""
    count = len(log_weight)
    return pareto_k(log_weight.T.topk(min(count, tail_size(count) + 1)).values)


def pareto_k(largest: Tensor) -> Tensor:
    """k̂ of each row, (N,), from its largest log-weights.

    Args:
        largest: (N, M + 1) of float64, in any order: the log-weights of the tail, and the next smaller one,
            which is the threshold u.

    Returns:
        k̂; NaN if M < 10, and 0 where all weights are equal, so that there is no tail.
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
    """The shape k of a generalised Pareto distribution, (N,), from sorted positive excesses (N, n)."""
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
    """k(θ), (N,), for θ (N,)."""
    return torch.log1p(-theta[:, None] * excess).mean(1)


class Largest:
    """The `size` largest numbers of each row, among all that are added; it holds about twice as many.

    Args:
        rows: N.
        size: numbers kept for each row.
        device: of the numbers.
    """

    def __init__(self, rows: int, size: int, device: torch.device):
        self.size = size
        self.kept = torch.full((rows, 0), -math.inf, dtype=torch.float64, device=device)
        self._new: list[Tensor] = []
        self._count = 0

    def add(self, values: Tensor) -> None:
        """Add n numbers to each row; `values` is (n, rows)."""
        self._new.append(values)
        self._count += len(values)
        if self._count >= self.size:
            self._merge()

    def _merge(self) -> None:
        together = torch.cat([self.kept, *(values.T for values in self._new)], 1)
        self.kept = together.topk(min(self.size, together.shape[1]), sorted=False).values
        self._new, self._count = [], 0

    def values(self) -> Tensor:
        """The largest numbers, (rows, size), in no order; fewer columns if fewer were added."""
        self._merge()
        return self.kept
