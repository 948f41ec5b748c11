"""What every distribution shares: protocols, masks and numerics."""

import math
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


def soft_clamp(raw: Tensor, low: float, high: float) -> Tensor:
    """A smooth, monotone map onto (low, high) that is the identity well inside and never has zero gradient.

    Used for every log standard deviation: neither an overflow nor a dead gradient can occur.

        y = low + log(1 + e^(r − low)) − log(1 + e^(r − high))
        ∂y/∂r = sigmoid(r − low) · sigmoid(high − r) · (1 − e^(low − high))
    """
    y: Tensor = _SoftClamp.apply(raw, low, high)
    return y


class _SoftClamp(torch.autograd.Function):
    """Both logs split into max(0, ·) and the rest, so that nothing cancels, and few operations each way."""

    @staticmethod
    def forward(ctx: Any, raw: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(raw)
        ctx.low, ctx.high = low, high
        return raw.clamp(low, high) + F.softplus(-(raw - low).abs()) - F.softplus(-(raw - high).abs())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (raw,) = ctx.saved_tensors
        factor = 1 - math.exp(ctx.low - ctx.high)
        slope = torch.sigmoid(raw - ctx.low) * torch.sigmoid(ctx.high - raw)
        return gradients[0] * slope * factor, None, None


def soft_clamp_inverse(value: Tensor, low: float, high: float) -> Tensor:
    """The `raw` whose soft clamp is `value`, or the nearest value within the bounds."""
    value = value.clamp(low + 1e-3, high - 1e-3)
    return low + torch.log(torch.expm1(value - low)) - torch.log1p(-torch.exp(value - high))


def randn(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise on the device and in the type of `like`."""
    return torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)


class DataDistribution(Protocol):
    """What p(x|z) answers, for one observation per batch entry."""

    @property
    def mean(self) -> Tensor: ...

    @property
    def variance(self) -> Tensor: ...

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor: ...

    def sample(self, generator: torch.Generator | None = None) -> Tensor: ...


def fill_unobserved(x: Tensor, observed: Tensor | None) -> Tensor:
    """Zero in place of what was not observed, which may be NaN: 0 · NaN would reach the gradient."""
    return x if observed is None else torch.where(observed, x, 0.0)


def sum_observed(log_prob: Tensor, observed: Tensor | None, event_dims: int) -> Tensor:
    """Sum over the entries of an observation, those that were observed alone if a mask is given."""
    if observed is not None:
        log_prob = torch.where(observed, log_prob, 0.0)
    return log_prob.flatten(log_prob.dim() - event_dims).sum(-1) if event_dims else log_prob


def log_softmax(logits: Tensor, axis: int) -> Tensor:
    """As of torch, which is several times slower where the levels are not on the last axis."""
    return logits - torch.logsumexp(logits, axis, keepdim=True)


def with_gumbel(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Logits plus Gumbel noise, of which the argmax is a draw of the softmax (Gumbel 1954)."""
    u = torch.rand(logits.shape, generator=generator, device=logits.device)
    return logits - torch.log(-torch.log(u.clamp(1e-20, 1 - 1e-7)))


def parameter(features: Tensor, index: int, shape: tuple[int, ...]) -> Tensor:
    """One of the parameters that the decoder's output (*batch, P, *shape) holds."""
    return features.select(features.dim() - 1 - len(shape), index)
