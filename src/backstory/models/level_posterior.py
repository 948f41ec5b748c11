"""q(c|x) of a condition whose level is missing in some rows, and bounds that sum over its levels.

    log p(x) ≥ Σ_c q(c|x) [ELBO(x|c) + log p(c) − log q(c|x)]

(Kingma et al. 2014, "Semi-supervised learning with deep generative models", model M2, eq. 7). Where c is
observed, q(c|x) is one at its level, and the sum is a bound of log p(x, c) = log p(x|c) + log p(c) (eq. 6).

Levels with q(c|x) below `LEAST` are left out, and the others are rescaled. That is another q(c|x), so the sum
stays a lower bound, and most rows cost as much as one or two levels once q(c|x) has learned them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from backstory.data.missing_levels import MissingLevel
from backstory.data.observation import Observation

LEAST = 0.01  # q(c|x) of a level that is summed over


class LevelPosterior(nn.Module):
    """q(c|x), and p(c).

    Args:
        network: from the encoder's input, and the codes of the other conditions if there are any, to (B, L).
        missing: the condition and its place among the codes.
    """

    log_prior: Tensor

    def __init__(self, network: nn.Module, missing: MissingLevel):
        super().__init__()
        self.network, self.missing = network, missing
        shares = torch.tensor(missing.condition.log_shares, dtype=torch.float32)
        self.register_buffer("log_prior", shares, persistent=False)

    def forward(self, y: Tensor, given: Tensor) -> Tensor:
        """log q(c|x) of every level, (B, L), also where c is observed.

        Args:
            y: the encoder's input.
            given: codes of all conditions, (B, C).
        """
        others = self.missing.others(given)
        features: Tensor = self.network(y, others) if others.shape[1] else self.network(y)
        return torch.log_softmax(features.float(), -1)

    def observed(self, given: Tensor) -> Tensor:
        """log q of observed levels, (B, L): 0 for the level and −∞ for others; NaN where it is missing."""
        return torch.log(given[:, self.missing.place])

    def posterior(self, y: Tensor, given: Tensor) -> Tensor:
        """log q(c|x) of the levels that are summed over, (B, L), and −∞ of the others."""
        log_q = self(y, given)
        small = log_q < torch.log(torch.tensor(LEAST))
        small = small & (log_q < log_q.amax(-1, keepdim=True))
        log_q = torch.log_softmax(log_q.masked_fill(small, -torch.inf), -1)
        gaps = self.missing.gaps(given).unsqueeze(-1)
        return torch.where(gaps, log_q, self.observed(given).nan_to_num(nan=-torch.inf))


@dataclass(frozen=True)
class Spread:
    """A batch of B rows in which a row without its level stands once for each level: R rows.

    Attributes:
        observation: the R rows, all with a level.
        rows: which of the B rows each one is, (R,).
        levels: its level, (R,).
        log_q: log q(c|x), (B, L), −∞ for levels that are left out.
        kl: KL(q(c|x) ‖ p(c)), (B,); −log p(c) where c is observed.
    """

    observation: Observation
    rows: Tensor
    levels: Tensor
    log_q: Tensor
    kl: Tensor

    @classmethod
    def of(cls, inference: LevelPosterior, y: Tensor, observation: Observation) -> "Spread":
        """The batch, whose encoder input is y, with every level of q(c|x)."""
        given = observation.given
        assert given is not None
        log_q = inference.posterior(y, given)
        summed = log_q > -torch.inf
        rows, levels = summed.nonzero(as_tuple=True)
        codes = inference.missing.with_levels(given[rows], levels)
        finite = log_q.masked_fill(~summed, 0.0)  # 0 · ∞ has no gradient
        kl = (finite.exp() * (finite - inference.log_prior) * summed).sum(-1)
        return cls(Observation(observation.x[rows], codes), rows, levels, log_q, kl)

    def mean(self, values: Tensor) -> Tensor:
        """Σ_c q(c|x) v of values of the R rows, (R, …) to (B, …)."""
        table = values.new_zeros(*self.log_q.shape, *values.shape[1:])
        table = table.index_put((self.rows, self.levels), values)
        weights = self.log_q.exp().to(values)
        return (weights.view(*weights.shape, *[1] * (values.dim() - 1)) * table).sum(1)
