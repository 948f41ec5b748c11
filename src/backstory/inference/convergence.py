"""Whether chains have converged: rank-normalised split R̂ and bulk effective sample size.

Each chain is cut into halves, and all draws of a unit are replaced by the normal scores of their ranks, so
that neither heavy tails nor the unit's scale matter. With m half chains of n draws each, W the mean of
their variances and B / n the variance of their means:

    var⁺ = (n − 1)/n W + B/n,    R̂ = √(var⁺ / W),    ess = m n / τ̂,    τ̂ = 1 + 2 Σ_{t≥1} ρ̂_t
    ρ̂_t = 1 − (W − mean autocovariance at lag t) / var⁺

R̂ is the larger of two: of the draws, and of their distances from the median, which tells chains that agree
in location but not in scale. The sum over lags stops at the first negative pair ρ̂_2t + ρ̂_2t+1, and the
pairs are made monotone (Geyer 1992). All is from Vehtari et al. 2021, "Rank-normalization, folding, and
localization: an improved R̂", sec. 3 and 4. At the last lags the sum follows ArviZ, and the tests
compare with its figures. ArviZ treats one series at a time; here a batch has one for each observation and
unit.
"""

import math

import torch
from torch import Tensor

BLOM = 3 / 8  # offset of ranks (Blom 1958)


def convergence(z: Tensor) -> tuple[Tensor, Tensor]:
    """R̂, the largest over the units, and the effective sample size, its median over the units, (B,) each.

    Args:
        z: (S, C, B, D): S ≥ 4 draws of each of C chains, in order.

    Returns:
        R̂ ≥ 1 up to rounding, infinite where draws do not vary; and the effective sample size, up to
        S C log₁₀(S C) for draws that are better than independent ones.
    """
    half = len(z) // 2
    chains = torch.cat([z[:half], z[-half:]], 1).double().movedim(0, -1)  # (2 C, B, D, n)
    folded = _folded(chains)
    ranked = _normal_scores(chains)
    r_hat = torch.fmax(_r_hat(ranked), _r_hat(_normal_scores(folded)))
    return r_hat.nan_to_num(math.inf).amax(-1), _effective(ranked).median(-1).values


def _folded(chains: Tensor) -> Tensor:
    """Distances from the median, rounded to nine digits: the two draws in the middle are equally far from it.

    Without this their order would be a matter of rounding.
    """
    distance = (chains - _median(chains)).abs()
    largest = distance.amax((0, -1), keepdim=True)
    return (distance / torch.where(largest > 0, largest, 1.0)).round(decimals=9)


def _median(chains: Tensor) -> Tensor:
    """Median over chains and draws, the mean of the middle two, (1, B, D, 1)."""
    ordered = chains.movedim(0, -1).flatten(-2).sort(-1).values
    count = ordered.shape[-1]
    return ordered[..., [(count - 1) // 2, count // 2]].mean(-1)[None, ..., None]


def _normal_scores(chains: Tensor) -> Tensor:
    """Φ⁻¹ of the ranks of all draws, (2 C, B, D, n); equal draws share their mean rank."""
    flat = chains.movedim(0, -2).flatten(-2).contiguous()
    ordered = flat.sort(-1).values
    below, up_to = (torch.searchsorted(ordered, flat, right=right) for right in (False, True))
    rank = (below + 1 + up_to).double() / 2
    score = torch.special.ndtri((rank - BLOM) / (flat.shape[-1] - 2 * BLOM + 1))
    return score.unflatten(-1, (len(chains), -1)).movedim(-2, 0)


def _r_hat(chains: Tensor) -> Tensor:
    """√(var⁺ / W), (B, D)."""
    n = chains.shape[-1]
    within, between = chains.var(-1).mean(0), chains.mean(-1).var(0)
    return torch.sqrt(((n - 1) / n * within + between) / within)


def _effective(chains: Tensor) -> Tensor:
    """m n / τ̂, (B, D); m n where all draws are equal."""
    m, n = len(chains), chains.shape[-1]
    centred = chains - chains.mean(-1, keepdim=True)
    spectrum = torch.fft.rfft(centred, 2 * n)
    covariance = torch.fft.irfft(spectrum.abs().square(), 2 * n)[..., :n].mean(0) / n
    within = covariance[..., :1] * n / (n - 1)
    total = covariance[..., :1] + chains.mean(-1).var(0).unsqueeze(-1)
    rho = 1 - (within - covariance) / total
    rho[..., 0] = 1
    tau = _autocorrelation_time(rho).clamp(min=1 / math.log10(m * n))
    return torch.where(total[..., 0] > 0, m * n / tau, m * n)


def _autocorrelation_time(rho: Tensor) -> Tensor:
    """τ̂ from autocorrelations ρ̂ at lags 0 … n − 1, by Geyer's initial monotone sequence."""
    count = max(1, (rho.shape[-1] - 1) // 2)
    pairs = rho[..., : 2 * count].unflatten(-1, (count, 2))
    sums = pairs.sum(-1)
    positive = (sums > 0).cumprod(-1).bool()
    positive[..., -1] = False
    kept = torch.where(positive, sums, 0.0).cummin(-1).values
    stop = positive.sum(-1, keepdim=True)
    even, total = (values.gather(-1, stop).squeeze(-1) for values in (pairs[..., 0], sums))
    return -1 + 2 * kept.sum(-1) + torch.where(total < 0, even.clamp(min=0), even)
