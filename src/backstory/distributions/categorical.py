"""Unordered levels of x: the categorical distribution, x ∈ {0, …, L − 1}.

With logits l_0, …, l_{L−1} for each entry,

    log P(x = k) = l_k − log Σ_m e^{l_m}
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from backstory.distributions.base import Entrywise, Head, level_counts, level_values, log_softmax, with_gumbel
from backstory.distributions.noise import Generators
from backstory.distributions.quantities import Marginals, Quantity


@dataclass(frozen=True)
class Categorical(Entrywise):
    """x ∈ {0, …, L − 1} with P(x = k) = softmax(logits)_k; logits are (*batch, L, *shape)."""

    logits: Tensor
    event_dims: int

    @property
    def _axis(self) -> int:
        """The axis of the levels, counted from the left."""
        return self.logits.dim() - 1 - self.event_dims

    @cached_property
    def levels(self) -> int:
        return self.logits.shape[self._axis]

    @property
    def level_log_probs(self) -> Tensor:
        return log_softmax(self.logits, self._axis).movedim(self._axis, 0)

    @property
    def mean(self) -> Tensor:
        """The expected level."""
        probs = self.level_log_probs.exp()
        return (probs * level_values(self.levels, probs[0])).sum(0)

    @property
    def variance(self) -> Tensor:
        """The variance of the level."""
        probs = self.level_log_probs.exp()
        distance = level_values(self.levels, probs[0]) - self.mean
        return (probs * distance.square()).sum(0)

    def entry_log_probs(self, x: Tensor) -> Tensor:
        axis = self._axis
        index = x.long().expand(*self.logits.shape[:axis], *x.shape[x.dim() - self.event_dims :])
        chosen = self.logits.gather(axis, index.unsqueeze(axis))
        return (chosen - torch.logsumexp(self.logits, axis, keepdim=True)).squeeze(axis)

    def sample(self, generator: Generators = None) -> Tensor:
        return with_gumbel(self.logits, generator).argmax(self._axis).to(self.logits.dtype)


class CategoricalHead(Head):
    """Categorical likelihood over `levels` unordered levels.

    The decoder's output is the logits, so `shift` and `scale` have no effect.
    """

    def __init__(
        self, shape: tuple[int, ...], levels: int, shift: Tensor | float = 0.0, scale: Tensor | float = 1.0
    ):
        super().__init__(shape, (levels, *shape))

    @classmethod
    def of_columns(cls, quantities: Sequence[Quantity], marginals: Marginals) -> "CategoricalHead":
        return cls((len(quantities),), quantities[0].levels)

    def marginal(self, x: Tensor, observed: Tensor | None) -> Tensor:
        return level_counts(x, self.features_shape[0], observed).log()

    def forward(self, features: Tensor) -> Categorical:
        return Categorical(features, len(self.shape))
