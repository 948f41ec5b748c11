"""Counts with point masses: numbers, the atoms, that are more frequent than another distribution has them.

With the atoms a_1, …, a_A of a column, weights w_0, …, w_A that add up to one, and a distribution P,

    p(x) = w_0 P(x) + Σ w_k [x = a_k]

(Lambert 1992, zero-inflated counts).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from backstory.distributions.base import ByMoments, DataDistribution, Head, log_softmax
from backstory.distributions.categorical import Categorical
from backstory.distributions.noise import Generators

NEVER = -1e30  # the logit of an atom that a column does not have


@dataclass(frozen=True)
class Inflated(ByMoments):
    """Counts, and point masses.

    Attributes:
        log_weights: log w, (*batch, 1 + A, C).
        counts: P.
        atoms: a, (A, C); NaN where a column has fewer.
    """

    log_weights: Tensor
    counts: DataDistribution
    atoms: Tensor
    event_dims: int = 1

    def entry_log_probs(self, x: Tensor) -> Tensor:
        masses = torch.where(x.unsqueeze(-2) == self.atoms, self.log_weights[..., 1:, :], NEVER)
        count = self.log_weights[..., 0, :] + self.counts.entries(x)
        return torch.logsumexp(torch.cat((masses, count.unsqueeze(-2)), -2), -2)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        weights, atoms = self.log_weights.exp(), self.atoms.nan_to_num(0.0)
        mean, variance = self.counts.moments
        first = weights[..., 0, :] * mean + (weights[..., 1:, :] * atoms).sum(-2)
        second = weights[..., 0, :] * (variance + mean.square())
        second = second + (weights[..., 1:, :] * atoms.square()).sum(-2)
        return first, (second - first.square()).clamp(min=0)

    def sample(self, generator: Generators = None) -> Tensor:
        count = self.counts.sample(generator)
        chosen = Categorical(self.log_weights, 1).sample(generator).long()
        values = torch.cat((count.unsqueeze(-2), self.atoms.expand(*count.shape[:-1], -1, -1)), -2)
        return values.gather(-2, chosen.unsqueeze(-2)).squeeze(-2)


class InflatedHead(Head):
    """Likelihood of counts with point masses; the decoder's output is the logits of w, then that for P.

    Args:
        counts: the head of the counts.
        atoms: the atoms of each column.
    """

    atoms: Tensor

    def __init__(self, counts: Head, atoms: Sequence[Sequence[float]]):
        table = padded_atoms(atoms)
        parameters, columns = counts.features_shape
        super().__init__((columns,), (1 + len(table) + parameters, columns))
        self.counts = counts
        self.register_buffer("atoms", table, persistent=False)

    def forward(self, features: Tensor) -> Inflated:
        weights, rest = features.split([1 + len(self.atoms), self.counts.features_shape[0]], -2)
        absent = torch.cat((torch.zeros_like(self.atoms[:1]), self.atoms), 0).isnan()
        return Inflated(log_softmax(torch.where(absent, NEVER, weights), -2), self.counts(rest), self.atoms)


def padded_atoms(atoms: Sequence[Sequence[float]]) -> Tensor:
    """The atoms of columns as one tensor, (A, C), NaN where a column has fewer than another."""
    most = max(map(len, atoms), default=0)
    rows = [[*own, *[float("nan")] * (most - len(own))] for own in atoms]
    return torch.tensor(rows, dtype=torch.float32).view(len(rows), most).T.contiguous()
