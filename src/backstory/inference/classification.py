"""p(c | x) of the levels c of a condition, by Bayes' rule from p(x | c).

    p(c | x) = p(c) p(x|c) / Σ_k p(k) p(x|k)

p(c) are the shares of the levels in training. log p(x|c) of each level is estimated by importance sampling,
with the same noise for all levels, so that their differences have less noise than each of them.
"""

from dataclasses import dataclass

import numpy as np

CLASSIFYING = 50  # draws of z for each observation and level
BINS = 15  # of the expected calibration error


@dataclass(frozen=True)
class Classification:
    """The levels of a condition for N observations.

    Attributes:
        condition: its name.
        levels: the L levels.
        probabilities: p(c | x), (N, L).
        log_evidence: log p(x | c), (N, L), nats; NaN where q(c|x) stands for p(c | x).
        shares: p(c), (L,).
    """

    condition: str
    levels: tuple[str, ...]
    probabilities: np.ndarray
    log_evidence: np.ndarray
    shares: np.ndarray

    @classmethod
    def by_bayes(
        cls, condition: str, levels: tuple[str, ...], log_evidence: np.ndarray, log_shares: np.ndarray
    ) -> "Classification":
        """p(c | x) from log p(x | c), (N, L), and log p(c), (L,)."""
        joint = log_evidence + log_shares
        weights = np.exp(joint - joint.max(1, keepdims=True))
        probabilities = weights / weights.sum(1, keepdims=True)
        return cls(condition, levels, probabilities, log_evidence, np.exp(log_shares))

    @property
    def codes(self) -> np.ndarray:
        """The number of the most probable level of each observation, (N,)."""
        return self.probabilities.argmax(1)

    @property
    def most_probable(self) -> np.ndarray:
        """The most probable level of each observation, (N,) of texts."""
        return np.array(self.levels, dtype=object)[self.codes]

    def columns(self) -> dict[str, np.ndarray]:
        """The most probable level and the probability of each level, as columns of a table."""
        each = {f"p_{level}": self.probabilities[:, k] for k, level in enumerate(self.levels)}
        return {self.condition: self.most_probable} | each

    def quality(self, codes: np.ndarray) -> "Quality | None":
        """How well the probabilities agree with the levels; None where no row has one.

        Args:
            codes: the number of the level of each observation, (N,), NaN where it is missing.
        """
        known = np.flatnonzero(np.isfinite(codes))
        if not len(known):
            return None
        truth, p = codes[known].astype(int), self.probabilities[known]
        right = p.argmax(1) == truth
        floor = np.finfo(np.float64).tiny
        return Quality(
            n=len(known),
            accuracy=float(right.mean()),
            log_loss=float(-np.log(np.maximum(p[np.arange(len(p)), truth], floor)).mean()),
            calibration_error=calibration_error(p.max(1), right),
            majority=float(np.bincount(truth).max() / len(truth)),
        )


@dataclass(frozen=True)
class Quality:
    """Agreement of p(c | x) with n known levels.

    Attributes:
        n: rows whose level is known.
        accuracy: the share of them whose most probable level is theirs.
        log_loss: −log p(c | x) of their level, nats.
        calibration_error: see `calibration_error`.
        majority: the share of the most frequent level, the accuracy of a constant answer.
    """

    n: int
    accuracy: float
    log_loss: float
    calibration_error: float
    majority: float


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """The expected calibration error (Guo et al. 2017, eq. 3) with 15 bins of equal width.

    Args:
        confidence: the probability of the most probable level, (N,).
        right: whether it is the right one, (N,).

    >>> calibration_error(np.array([0.8, 0.8, 0.8, 0.8]), np.array([True, True, True, False]))
    0.05
    """
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, confidence - right, minlength=BINS)
    return round(float(np.abs(gaps).sum() / len(right)), 12)
