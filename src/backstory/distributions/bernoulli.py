"""Binary x: the Bernoulli distribution, x ∈ {0, 1}.

With logits l,

    P(x = 1) = sigmoid(l),    log p(x) = x l − log(1 + eˡ)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from backstory.distributions.base import Entrywise, Head, level_counts, level_values, parameter
from backstory.distributions.noise import Generators, rand
from backstory.distributions.quantities import Marginals, Quantity

FEW = 1 << 15  # with fewer entries, PyTorch's operations are faster than a derivative in Python


@dataclass(frozen=True)
class Bernoulli(Entrywise):
    """x ∈ {0, 1} with P(x = 1) = sigmoid(logits); −log_prob is the binary cross-entropy."""

    logits: Tensor
    event_dims: int

    levels = 2

    @property
    def mean(self) -> Tensor:
        return torch.sigmoid(self.logits)

    @property
    def variance(self) -> Tensor:
        return torch.sigmoid(self.logits) * torch.sigmoid(-self.logits)

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        if (
            observed is None
            and self.event_dims > 0
            and self.logits.dtype.itemsize >= 4
            and not self._is_small
        ):
            entries = (self.logits.flatten(-self.event_dims), x.flatten(-self.event_dims))
            log_prob: Tensor = _BernoulliLogProb.apply(*entries)
            return log_prob
        return super().log_prob(x, observed)

    @property
    def _is_small(self) -> bool:
        """Whether calling Python for the derivative of these logits takes longer than the passes it saves."""
        few = self.logits.requires_grad and self.logits.numel() < FEW
        return few and not torch.compiler.is_compiling()

    def entry_log_probs(self, x: Tensor) -> Tensor:
        return x * self.logits - F.softplus(self.logits)

    @property
    def level_log_probs(self) -> Tensor:
        return self.entries(level_values(self.levels, self.logits))

    def sample(self, generator: Generators = None) -> Tensor:
        return self.transport(rand(self.logits.shape, self.logits, generator))

    def transport(self, u: Tensor) -> Tensor:
        """The draw that belongs to uniform noise of the same shape."""
        return (u < self.mean).to(self.logits.dtype)


class _BernoulliLogProb(torch.autograd.Function):
    """Σ x·l − log(1 + eˡ) over the last axis, with its derivative: fewer passes than by softplus.

        log(1 + eˡ) = max(l, 0) − log sigmoid|l| = ½ (l + |l|) − log sigmoid|l|
        ∂/∂l = x − sigmoid(l)

    The logs of up to 64 entries are the log of a product, which lies between 2⁻⁶⁴ and 1.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(logits, x)
        size = logits.shape[-1]
        magnitude = logits.abs()
        total = torch.linalg.vecdot(logits, x).sub_(logits.sum(-1).add_(magnitude.sum(-1)), alpha=0.5)
        group = next(n for n in range(min(64, size), 0, -1) if size % n == 0)
        factors = magnitude.sigmoid_().unflatten(-1, (size // group, group))
        return total.add_(factors.prod(-1).log_().sum(-1))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None]:
        logits, x = ctx.saved_tensors
        gradient = gradients[0].unsqueeze(-1)
        of_logits = (x - torch.sigmoid(logits)).mul_(gradient).sum_to_size(logits.shape)
        return of_logits, (gradient * logits).sum_to_size(x.shape) if ctx.needs_input_grad[1] else None


class BernoulliHead(Head):
    """Bernoulli likelihood; the decoder's output is the logits, so `shift` and `scale` have no effect."""

    def __init__(self, shape: tuple[int, ...], shift: Tensor | float = 0.0, scale: Tensor | float = 1.0):
        super().__init__(shape, (1, *shape))

    @classmethod
    def of_columns(cls, quantities: Sequence[Quantity], marginals: Marginals) -> "BernoulliHead":
        return cls((len(quantities),))

    def marginal(self, x: Tensor, observed: Tensor | None) -> Tensor:
        absent, present = level_counts(x, 2, observed)
        return torch.log(present / absent).unsqueeze(0)

    def forward(self, features: Tensor) -> Bernoulli:
        return Bernoulli(parameter(features, 0, self.shape), len(self.shape))
