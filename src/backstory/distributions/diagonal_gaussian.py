"""The Gaussian with independent dimensions: the usual q(z|x), and p(z) = N(0, I).

The KL divergence of two of them is a sum over dimensions (Kingma & Welling 2014, appendix B):

    KL = log(σ_p / σ_q) + (σ_q² + (μ_q − μ_p)²) / (2 σ_p²) − ½
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from backstory.distributions.base import LOG_2PI
from backstory.distributions.latent import Moments, Posterior, Prior, spread_around


@dataclass(frozen=True)
class DiagonalGaussian(Posterior, Prior):
    """N(mean, diag(exp(log_std)²)) over the last axis.

    >>> q = DiagonalGaussian(torch.zeros(5, 3), torch.zeros(5, 3))
    >>> q.sample(7).shape, q.log_prob(q.mean)
    (torch.Size([7, 5, 3]), tensor([-2.7568, -2.7568, -2.7568, -2.7568, -2.7568]))
    """

    mean: Tensor
    log_std: Tensor

    @property
    def std(self) -> Tensor:
        return self.log_std.exp()

    @property
    def centre(self) -> Tensor:
        return self.mean

    def moments(self) -> Moments:
        return Moments(self.mean, self.std)

    def diagonal(self) -> tuple[Tensor, Tensor]:
        return self.mean, self.log_std

    def log_prob(self, z: Tensor) -> Tensor:
        """log N(z) in nats, summed over the last axis; z is (*, B, D)."""
        y = (z - self.mean) * torch.exp(-self.log_std)
        return -0.5 * (y.square() + LOG_2PI).sum(-1) - self.log_std.sum(-1)

    def transport(self, noise: Tensor) -> Tensor:
        """z = μ + σ·ε."""
        return self.mean + self.std * noise

    def tempered(
        self, temperature: float | Tensor, samples: int, generator: torch.Generator | None = None
    ) -> Tensor:
        return spread_around(self.mean, self.sample(samples, generator), temperature)

    def kl_per_unit(self, prior: Prior) -> Tensor | None:
        other = prior.diagonal()
        if other is None:
            return None
        if torch.compiler.is_compiling():  # which fuses the operations, and takes no tensor twice in `apply`
            return _kl(self.mean, self.log_std, *other)
        kl: Tensor = _KL.apply(self.mean, self.log_std, *other)
        return kl


@dataclass(frozen=True)
class GaussianOfRows(DiagonalGaussian):
    """A prior p(z|c) of B rows with c of their own; parameters are (B, D)."""

    def of_rows(self, rows: slice | Tensor) -> Self:
        return self.select(rows)

    def sample(self, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """One draw of each of the rows, (B, D), of which there have to be as many as samples."""
        assert samples == len(self.mean)
        return super().sample(1, generator)[0]


def _kl(mean: Tensor, log_std: Tensor, other_mean: Tensor, other_log_std: Tensor) -> Tensor:
    log_ratio = log_std - other_log_std
    return _kl_of(log_ratio, torch.exp(2 * log_ratio), mean - other_mean, other_log_std)


def _kl_of(log_ratio: Tensor, variances: Tensor, distance: Tensor, other_log_std: Tensor) -> Tensor:
    """The KL from log σ_q / σ_p, σ_q² / σ_p² and μ_q − μ_p."""
    shift = distance * torch.exp(-other_log_std)
    return 0.5 * (variances + shift.square() - 1) - log_ratio


class _KL(torch.autograd.Function):
    """The KL of each dimension with its derivatives, which is one node of the graph in place of ten.

    ∂/∂μ_q = (μ_q − μ_p) / σ_p² = −∂/∂μ_p
    ∂/∂log σ_q = σ_q²/σ_p² − 1,    ∂/∂log σ_p = 1 − (σ_q² + (μ_q − μ_p)²) / σ_p²
    """

    @staticmethod
    def forward(ctx: Any, mean: Tensor, log_std: Tensor, other_mean: Tensor, other_log_std: Tensor) -> Tensor:
        log_ratio, distance = log_std - other_log_std, mean - other_mean
        variances = torch.exp(2 * log_ratio)
        ctx.save_for_backward(variances, distance, other_log_std)
        ctx.shapes = mean.shape, log_std.shape, other_mean.shape, other_log_std.shape
        return _kl_of(log_ratio, variances, distance, other_log_std)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        variances, distance, other_log_std = ctx.saved_tensors
        (gradient,) = gradients
        slope = distance * torch.exp(-2 * other_log_std)
        of_mean, of_log_std = gradient * slope, gradient * (variances - 1)
        if not any(ctx.needs_input_grad[2:]):
            return of_mean, of_log_std, None, None
        every = (of_mean, of_log_std, -of_mean, gradient * (1 - variances - slope * distance))
        return tuple(part.sum_to_size(shape) for part, shape in zip(every, ctx.shapes, strict=True))
