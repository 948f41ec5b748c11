"""Unordered levels of x."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from backstory.distributions.base import fill_unobserved, log_softmax, sum_observed, with_gumbel


@dataclass(frozen=True)
class Categorical:
    """x ∈ {0, …, L − 1} with P(x = l) = softmax(logits)_l; logits are (*batch, L, *shape)."""

    logits: Tensor
    event_dims: int

    @property
    def _log_probs(self) -> Tensor:
        return log_softmax(self.logits, self._axis)

    @property
    def _axis(self) -> int:
        return -1 - self.event_dims

    @property
    def mean(self) -> Tensor:
        """The expected level."""
        values = torch.arange(self.logits.shape[self._axis], device=self.logits.device)
        values = values.to(self.logits.dtype).view(-1, *[1] * self.event_dims)
        return (self._log_probs.exp() * values).sum(self._axis)

    @property
    def variance(self) -> Tensor:
        """Of the level."""
        values = torch.arange(self.logits.shape[self._axis], device=self.logits.device)
        values = values.to(self.logits.dtype).view(-1, *[1] * self.event_dims)
        distance = values - self.mean.unsqueeze(self._axis)
        return (self._log_probs.exp() * distance.square()).sum(self._axis)

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        axis = self.logits.dim() + self._axis
        batch = self.logits.shape[:axis]
        x = fill_unobserved(x, observed)
        index = x.long().expand(*batch, *x.shape[x.dim() - self.event_dims :]).unsqueeze(axis)
        total = torch.logsumexp(self.logits, self._axis, keepdim=True)
        entries = (self.logits.gather(axis, index) - total).squeeze(axis)
        return sum_observed(entries, observed, self.event_dims)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        return with_gumbel(self.logits, generator).argmax(self._axis).to(self.logits.dtype)


class CategoricalHead(nn.Module):
    """Categorical likelihood over `levels` unordered levels; the decoder's output is the logits."""

    def __init__(self, shape: tuple[int, ...], levels: int):
        super().__init__()
        self.shape, self.levels, self.features_shape = shape, levels, (levels, *shape)

    def forward(self, features: Tensor) -> Categorical:
        return Categorical(features, len(self.shape))
