"""The mixture of N densities with equal weights, from the answers of each.

    p(x)    = (1/N) Σ_n p_n(x)
    p(x|y)  ≈ (1/N) Σ_n p_n(x|y)

The second line gives each member the same weight whatever its p_n(y): a linear pool (Lakshminarayanan et al.
2017). Bayes' rule would weigh members by p_n(y), which for rows with many entries leaves one of them. The
levels of a missing condition are weighed by Bayes' rule (`inference.missing_levels`).
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from backstory.inference.effort import METHODS
from backstory.inference.importance import METHODS as METHODS_OF_EVIDENCE
from backstory.inference.importance import Evidence
from backstory.inference.restoration import NUMBERS, Restoration, guess_levels
from backstory.inference.scoring import Looks

LEAST = 0.01  # the weight of a part, beside the largest one, from which its diagnostics count


def mixture_evidence(parts: list[Evidence]) -> Evidence:
    """log (1/N) Σ_n p_n(x) from estimates of each log p_n(x), with independent draws.

    With r_n, the share of a member in the sum, the error is √Σ (r_n s_n)² (delta method), and all draws
    together have an effective sample size of 1 / Σ (r_n² / ess_n). The ELBO and its two terms are averages;
    by Jensen's inequality the average ELBO bounds the mixture, too. Pareto k̂ is averaged with the shares.
    The method of an observation is the most expensive one that a member needed.
    """
    even = torch.full((len(parts), 1), -math.log(len(parts)))
    return weighted_evidence(parts, even, even)


def weighted_evidence(parts: list[Evidence], log_weights: Tensor, log_q: Tensor) -> Evidence:
    """log Σ_n π_n p_n(x), as in `mixture_evidence`, with weights π_n that sum to one.

    The ELBO is Σ_n q_n (ELBO_n + log π_n − log q_n), with q_n that sum to one, a bound for any of them.

    Args:
        parts: the evidence under each p_n.
        log_weights: log π_n, (N, rows) or (N, 1).
        log_q: log q_n, likewise; −∞ where π_n is zero.
    """
    each = zip(*(part.methods for part in parts), strict=True)
    log_evidence = torch.stack([part.log_evidence for part in parts])
    joint = log_evidence + log_weights.to(log_evidence)
    share = torch.softmax(joint, 0)
    log_q = log_q.to(log_evidence)
    q = log_q.exp()
    divergence = torch.where(q > 0, q * (log_q - log_weights.to(log_evidence)), 0.0).sum(0)

    def stacked(name: str) -> Tensor:
        return torch.stack([getattr(part, name) for part in parts])

    return Evidence(
        log_evidence=torch.logsumexp(joint, 0),
        standard_error=(share * stacked("standard_error")).square().sum(0).sqrt(),
        ess=1 / (share.square() / stacked("ess")).sum(0),
        pareto_k=(share * stacked("pareto_k")).sum(0),
        elbo=(q * stacked("elbo")).sum(0) - divergence,
        reconstruction=(q * stacked("reconstruction")).sum(0),
        kl=(q * stacked("kl")).sum(0) + divergence,
        samples=sum(part.samples for part in parts),
        acceptance=stacked("acceptance").mean(0),
        method=parts[0].method,
        methods=tuple(max(names, key=METHODS_OF_EVIDENCE.index) for names in each),
    )


def mixture_restoration(parts: list[Restoration[np.ndarray]], draws: int) -> Restoration[np.ndarray]:
    """The mixture of restorations, with `draws` draws of each row, of the members in turn."""
    even = np.full((len(parts), 1), 1 / len(parts))
    return weighted_restoration(parts, even, lambda values: in_turn(values, draws))


def weighted_restoration(
    parts: list[Restoration[np.ndarray]], weights: np.ndarray, chosen: Callable[[np.ndarray], np.ndarray]
) -> Restoration[np.ndarray]:
    """The mixture of restorations of the same rows under N densities p_n.

    The variance follows from the law of total variance, Σ π_n (v_n + m_n²) − m². The mean of a part has an
    error of 1 / ess_n of its variance; together they have that of 1 / Σ π_n² / ess_n.

    Args:
        parts: the restoration under each p_n.
        weights: π_n, (N, rows) or (N, 1), which sum to one.
        chosen: draws of each row, (M, rows, …), from those of all parts, (N, M', rows, …).
    """
    means = np.stack([part.mean for part in parts]).astype(np.float64)
    variances = np.square(np.stack([part.std for part in parts]).astype(np.float64))
    each = weights.reshape(*weights.shape, *[1] * (means.ndim - 2))
    distances = means - means[0]  # exactly zero where all parts return the observed value
    shift = (each * distances).sum(0)
    std = np.sqrt((each * (variances + np.square(distances - shift))).sum(0))
    share = torch.from_numpy(weights)
    numbers = {name: torch.stack([getattr(part, name) for part in parts]) for name in NUMBERS}
    # a part that counts for little may have failed
    judged = {name: v.masked_fill(share < LEAST * share.amax(0), math.nan) for name, v in numbers.items()}
    every = [sorted(names, key=_effort) for names in zip(*(part.methods for part in parts), strict=True)]
    found = Restoration(
        (means[0] + shift).astype(parts[0].mean.dtype),
        std.astype(parts[0].std.dtype),
        chosen(np.stack([part.draws for part in parts])),
        torch.from_numpy(chosen(np.stack([part.codes.cpu().numpy() for part in parts]))),
        tuple(names[-1] for names in every),
        torch.logsumexp(share.log() + numbers["log_evidence"], 0),
        1 / (share.square() / numbers["ess"]).sum(0),
        _largest(judged["pareto_k"]),
        _largest(judged["r_hat"]),
        judged["acceptance"].nanmean(0),
        _weighted_levels(parts, share),
    )
    for columns, probs in found.level_probs:  # the tensors share the arrays' memory
        guess_levels(torch.from_numpy(found.mean), torch.from_numpy(found.std), columns, probs)
    return found


def _weighted_levels(
    parts: list[Restoration[np.ndarray]], share: Tensor
) -> tuple[tuple[Tensor, Tensor], ...]:
    """`Restoration.level_probs` of the mixture."""
    groups = []
    for same in zip(*(part.level_probs for part in parts), strict=False):  # () of a part with all observed
        probs = torch.stack([own for _, own in same])
        groups.append((same[0][0], (share[..., None, None].to(probs) * probs).sum(0)))
    return tuple(groups)


def mixture_looks(parts: list[Looks]) -> Looks:
    """log p(x) of the mixture, and the members' average surprise at each entry."""
    return Looks(
        log_mean_exp(torch.stack([part.log_evidence for part in parts])),
        torch.stack([part.surprise for part in parts]).mean(0),
    )


def log_mean_exp(values: Tensor) -> Tensor:
    """log (1/N) Σ_n exp v_n over the first axis."""
    return torch.logsumexp(values, 0) - math.log(len(values))


def in_turn(parts: np.ndarray, draws: int) -> np.ndarray:
    """M draws of each row, (M, rows, …), from those of each member, (N, ⌈M / N⌉, rows, …).

    Draw m of row i is of member (m + i) mod N, so that every row has as many of each as possible.
    """
    members, rows = parts.shape[0], parts.shape[2]
    m, i = np.ogrid[:draws, :rows]
    taken: np.ndarray = parts[(m + i) % members, np.broadcast_to(m // members, (draws, rows)), i]
    return taken


def most_common(votes: np.ndarray) -> float:
    """The most frequent of some values, the smallest of several."""
    values, counts = np.unique(votes, return_counts=True)
    return float(values[counts.argmax()])


def _effort(method: str) -> int:
    return METHODS.index(method) if method in METHODS else -1


def _largest(values: Tensor) -> Tensor:
    """The largest over the members, NaN left out; NaN where all are NaN."""
    return torch.where(values.isnan().all(0), torch.nan, values.nan_to_num(nan=-math.inf).amax(0))
