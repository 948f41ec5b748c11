"""Distributions: of codes z, and of data x given the decoder's output.

The records here (`DiagonalGaussian`, `Bernoulli`, …) hold parameters and answer `log_prob`, `sample`,
`mean`; they check nothing and trace under `torch.compile`. A likelihood head is a small module that turns
the decoder's output into such a record:

    head(features)                p(x|z) for features of shape (*batch, *head.features_shape)
    p.log_prob(x, observed)       (*batch), nats, summed over the observed entries of an observation
    p.sample(generator)           (*batch, *shape), a draw of x
    p.mean                        (*batch, *shape), E[x|z]

x is in the data's units throughout (see `data.schema`). A Gaussian head works inside with standardised
values, x = shift + scale · y, and includes log|dx/dy| = log scale, so its densities are those of x itself.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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


# ---------------------------------------------------------------------------------------------------------
# Distributions of codes z


class CodeDistribution(Protocol):
    """What a posterior q(z|x) or a prior p(z) answers; codes have shape (*, D)."""

    @property
    def mean(self) -> Tensor: ...

    @property
    def std(self) -> Tensor: ...

    def log_prob(self, z: Tensor) -> Tensor: ...

    def sample(self, samples: int = 1, generator: torch.Generator | None = None) -> Tensor: ...


class Posterior(CodeDistribution, Protocol):
    """What a q(z|x) answers besides: it moves noise to draws, and gives the distributions of some rows."""

    def transport(self, noise: Tensor) -> Tensor: ...

    def select(self, rows: slice | Tensor) -> "Posterior": ...


@dataclass(frozen=True)
class DiagonalGaussian:
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

    def log_prob(self, z: Tensor) -> Tensor:
        """log N(z) in nats, summed over the last axis; z is (*, B, D)."""
        y = (z - self.mean) * torch.exp(-self.log_std)
        return -0.5 * (y.square() + LOG_2PI).sum(-1) - self.log_std.sum(-1)

    def sample(self, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Reparameterised draws z = μ + σ·ε, (samples, B, D) (Kingma & Welling 2014, sec. 2.4)."""
        return self.transport(randn((samples, *self.mean.shape), self.mean, generator))

    def transport(self, noise: Tensor) -> Tensor:
        """Standard normal noise carried to this distribution."""
        return self.mean + self.std * noise

    def select(self, rows: slice | Tensor) -> "DiagonalGaussian":
        """The distributions of some rows."""
        return DiagonalGaussian(self.mean[rows], self.log_std[rows])


@dataclass(frozen=True)
class Delta:
    """All mass on `mean`: the zero-variance limit, in which a VAE is a plain autoencoder.

    It has no density. Its KL term is defined as zero, the limit's convention: the constant that diverges
    does not depend on the data.
    """

    mean: Tensor

    @property
    def std(self) -> Tensor:
        return torch.zeros_like(self.mean)

    def log_prob(self, z: Tensor) -> Tensor:
        return z.new_zeros(z.shape[:-1])

    def sample(self, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        return self.mean.expand(samples, *self.mean.shape)

    def transport(self, noise: Tensor) -> Tensor:
        return self.mean.expand(noise.shape)

    def select(self, rows: slice | Tensor) -> "Delta":
        return Delta(self.mean[rows])


@dataclass(frozen=True)
class GaussianMixture:
    """Σ_c π_c N(mean_c, diag(exp(log_std_c)²)), with parameters of shape (C,), (C, D), (C, D)."""

    log_weights: Tensor
    means: Tensor
    log_stds: Tensor

    @property
    def mean(self) -> Tensor:
        return self.log_weights.exp() @ self.means

    @property
    def std(self) -> Tensor:
        weights = self.log_weights.exp()
        second = weights @ (self.means.square() + torch.exp(2 * self.log_stds))
        return (second - self.mean.square()).sqrt()

    def log_prob(self, z: Tensor) -> Tensor:
        """The squares are multiplied out, (z − m)² / s² by matrix products, in float64 for what cancels."""
        if z.device.type == "mps":  # has no float64
            components = DiagonalGaussian(self.means, self.log_stds).log_prob(z.unsqueeze(-2))
            return torch.logsumexp(self.log_weights + components, -1)
        wide, means = z.double(), self.means.double()
        precision = torch.exp(-2 * self.log_stds.double())
        squares = wide.square() @ precision.mT - 2 * wide @ (means * precision).mT
        squares = squares + (means.square() * precision).sum(-1)
        constant = self.log_weights - self.log_stds.sum(-1) - 0.5 * LOG_2PI * z.shape[-1]
        return torch.logsumexp(constant - 0.5 * squares, -1).to(z.dtype)

    def sample(self, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """(samples, D)."""
        index = torch.multinomial(self.log_weights.exp(), samples, replacement=True, generator=generator)
        noise = randn((samples, self.means.shape[-1]), self.means, generator)
        return self.means[index] + self.log_stds[index].exp() * noise


def kl_per_unit(posterior: CodeDistribution, prior: CodeDistribution) -> Tensor | None:
    """KL(posterior ‖ prior) for each unit of z, (B, D) in nats, where it has a closed form; None elsewhere.

    Between Gaussians, for each unit (Kingma & Welling 2014, appendix B, for the standard normal prior):

        KL = log(σ_p / σ_q) + (σ_q² + (μ_q − μ_p)²) / (2 σ_p²) − ½
    """
    if isinstance(posterior, Delta):
        return torch.zeros_like(posterior.mean)
    if isinstance(posterior, DiagonalGaussian) and isinstance(prior, DiagonalGaussian):
        log_ratio = posterior.log_std - prior.log_std
        shift = (posterior.mean - prior.mean) * torch.exp(-prior.log_std)
        return 0.5 * (torch.exp(2 * log_ratio) + shift.square() - 1) - log_ratio
    return None


# ---------------------------------------------------------------------------------------------------------
# Distributions of data x


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


@dataclass(frozen=True)
class Bernoulli:
    """x ∈ {0, 1} with P(x = 1) = sigmoid(logits); −log_prob is the binary cross-entropy."""

    logits: Tensor
    event_dims: int

    @property
    def mean(self) -> Tensor:
        return torch.sigmoid(self.logits)

    @property
    def variance(self) -> Tensor:
        return torch.sigmoid(self.logits) * torch.sigmoid(-self.logits)

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        if observed is None and self.event_dims > 0 and self.logits.dtype.itemsize >= 4:
            entries = (self.logits.flatten(-self.event_dims), x.flatten(-self.event_dims))
            log_prob: Tensor = _BernoulliLogProb.apply(*entries)
            return log_prob
        x = fill_unobserved(x, observed)
        return sum_observed(x * self.logits - F.softplus(self.logits), observed, self.event_dims)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        u = torch.rand(self.logits.shape, generator=generator, device=self.logits.device)
        return (u < self.mean).to(self.logits.dtype)


class _BernoulliLogProb(torch.autograd.Function):
    """Σ x·l − log(1 + eˡ) over the last axis, with its derivative: fewer passes than by softplus.

        x·l − log(1 + eˡ) = (x − ½)·l − ½|l| − log f     f = 1 + e^−|l|
        ∂/∂l = x − sigmoid(l) = x − ½ − sign(l) (1/f − ½)

    The logs of up to 64 entries are the log of a product, which lies between 1 and 2⁶⁴, and the gradient
    shares its exponentials.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, x: Tensor) -> Tensor:
        centred, size = x - 0.5, logits.shape[-1]
        entries = centred * logits
        magnitude = torch.abs(logits)
        total = entries.sub_(magnitude, alpha=0.5).sum(-1)
        factors = magnitude.neg_().exp_().add_(1)
        ctx.save_for_backward(logits, centred, factors)
        group = next(n for n in range(min(64, size), 0, -1) if size % n == 0)
        return total - factors.unflatten(-1, (size // group, group)).prod(-1).log_().sum(-1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None]:
        logits, centred, factors = ctx.saved_tensors
        gradient = gradients[0].unsqueeze(-1)
        away = factors.reciprocal().sub_(0.5).copysign_(logits)
        of_logits = (centred - away).mul_(gradient).sum_to_size(logits.shape)
        return of_logits, (gradient * logits).sum_to_size(centred.shape) if ctx.needs_input_grad[1] else None


@dataclass(frozen=True)
class Gaussian:
    """N(mean, exp(log_std)²) for each entry; `log_std` broadcasts against `mean`."""

    mean: Tensor
    log_std: Tensor
    event_dims: int

    @property
    def std(self) -> Tensor:
        return self.log_std.exp().expand_as(self.mean)

    @property
    def variance(self) -> Tensor:
        return torch.exp(2 * self.log_std).expand_as(self.mean)

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        y = (fill_unobserved(x, observed) - self.mean) * torch.exp(-self.log_std)
        return sum_observed(-0.5 * (y.square() + LOG_2PI) - self.log_std, observed, self.event_dims)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        return self.mean + self.log_std.exp() * randn(tuple(self.mean.shape), self.mean, generator)


@dataclass(frozen=True)
class StudentT:
    """Student's t for each entry: heavy tails, so that single values far away count little.

        log p(x) = log Γ((ν + 1)/2) − log Γ(ν/2) − ½ log(π ν) − log σ − (ν + 1)/2 · log(1 + ((x − μ)/σ)²/ν)

    Attributes:
        mean: μ.
        log_scale: log σ.
        degrees: ν > 2, so that there is a variance.
    """

    mean: Tensor
    log_scale: Tensor
    degrees: Tensor
    event_dims: int

    @property
    def variance(self) -> Tensor:
        return torch.exp(2 * self.log_scale) * self.degrees / (self.degrees - 2)

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        y, half = (fill_unobserved(x, observed) - self.mean) * torch.exp(-self.log_scale), self.degrees / 2
        constant = torch.lgamma(half + 0.5) - torch.lgamma(half) - 0.5 * torch.log(math.pi * self.degrees)
        entries = constant - self.log_scale - (half + 0.5) * torch.log1p(y.square() / self.degrees)
        return sum_observed(entries, observed, self.event_dims)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """From two uniform numbers each, as Box and Muller do for the normal (Bailey 1994, eq. 2)."""
        shape = (2, *self.mean.shape)
        u, v = torch.rand(shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        radius = torch.sqrt(self.degrees * torch.expm1(-2 / self.degrees * torch.log1p(-u)))
        return self.mean + self.log_scale.exp() * radius * torch.cos(2 * math.pi * v)


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


def log_softmax(logits: Tensor, axis: int) -> Tensor:
    """As of torch, which is several times slower where the levels are not on the last axis."""
    return logits - torch.logsumexp(logits, axis, keepdim=True)


def with_gumbel(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Logits plus Gumbel noise, of which the argmax is a draw of the softmax (Gumbel 1954)."""
    u = torch.rand(logits.shape, generator=generator, device=logits.device)
    return logits - torch.log(-torch.log(u.clamp(1e-20, 1 - 1e-7)))


@dataclass(frozen=True)
class DiscretisedLogistic:
    """x ∈ {0, …, L − 1}: a logistic density integrated over each level's cell, the outer cells open.

    P(x = l) = F(l + ½) − F(l − ½) with F(t) = sigmoid((t − location) / exp(log_scale)), F(−½) := 0 and
    F(L − ½) := 1 (Kingma et al. 2016, sec. 5; Salimans et al. 2017, eq. 2).
    """

    location: Tensor
    log_scale: Tensor
    levels: int
    event_dims: int

    @property
    def mean(self) -> Tensor:
        """The expected level, E[x] = Σ_{l < L−1} P(x > l), summed level by level: memory stays flat."""
        total = torch.zeros_like(self.location)
        inverse = torch.exp(-self.log_scale)
        for level in range(self.levels - 1):
            total = total + torch.sigmoid((self.location - level - 0.5) * inverse)
        return total

    @property
    def variance(self) -> Tensor:
        """Of the level: E[x²] = Σ_{l < L−1} (2l + 1) P(x > l), less the square of the mean."""
        first, second = torch.zeros_like(self.location), torch.zeros_like(self.location)
        inverse = torch.exp(-self.log_scale)
        for level in range(self.levels - 1):
            above = torch.sigmoid((self.location - level - 0.5) * inverse)
            first, second = first + above, second + (2 * level + 1) * above
        return (second - first.square()).clamp(min=0)

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        inverse = torch.exp(-self.log_scale)
        upper = (fill_unobserved(x, observed) + 0.5 - self.location) * inverse
        lower = upper - inverse
        # log(F(upper) − F(lower)) without cancellation, for a cell of width w = 1 / scale:
        # F(u) − F(l) = (1 − e^{−w}) · sigmoid(u) · sigmoid(−l)
        inside = torch.log(-torch.expm1(-inverse)) + F.logsigmoid(upper) + F.logsigmoid(-lower)
        first, last = x <= 0, x >= self.levels - 1
        log_prob = torch.where(first, F.logsigmoid(upper), torch.where(last, F.logsigmoid(-lower), inside))
        return sum_observed(log_prob, observed, self.event_dims)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        u = torch.rand(self.location.shape, generator=generator, device=self.location.device)
        draw = self.location + self.log_scale.exp() * torch.logit(u, eps=1e-7)
        return draw.round().clamp(0, self.levels - 1)


# ---------------------------------------------------------------------------------------------------------
# Likelihood heads: the decoder's output -> p(x|z)


class BernoulliHead(nn.Module):
    """Bernoulli likelihood; the decoder's output is the logits."""

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.shape, self.features_shape = shape, (1, *shape)

    def forward(self, features: Tensor) -> Bernoulli:
        return Bernoulli(_parameter(features, 0, self.shape), len(self.shape))


class GaussianHead(nn.Module):
    """Gaussian likelihood in the data's units, with x = shift + scale · y standardised inside.

    Args:
        shape: of one observation.
        sigma: `fixed`; `learned`, one σ for all entries; `per-entry`, one for each; `predicted`, σ(z) by
            the decoder. A learned σ starts at `scale`, and all but a fixed one stay within
            (e⁻⁷, e⁴) · scale, so that a constant entry cannot drive the density to infinity.
        shift, scale: in the data's units, broadcast against `shape`; the data's mean and deviation.
        value: the fixed σ, in the data's units, broadcast against `shape`.
        full: the mean lies within (0, full), by a sigmoid; anywhere without it.
        floor: makes a learned or predicted σ √(σ² + (floor · scale)²), so that nothing is denser than a
            Gaussian of that width; None for none.
    """

    LOW, HIGH = -7.0, 4.0

    shift: Tensor
    log_scale: Tensor
    log_value: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        sigma: str = "learned",
        shift: Tensor | float = 0.0,
        scale: Tensor | float = 1.0,
        value: Tensor | float = 1.0,
        full: float | None = None,
        floor: float | None = None,
    ):
        super().__init__()
        self.shape, self.sigma, self.full, self.floor = shape, sigma, full, floor
        self.features_shape = (2 if sigma == "predicted" else 1, *shape)
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32))
        self.register_buffer("log_scale", torch.as_tensor(scale, dtype=torch.float32).log())
        if sigma == "fixed":
            self.register_buffer("log_value", torch.as_tensor(value, dtype=torch.float32).log())
        elif sigma in ("learned", "per-entry"):
            self.log_sigma = nn.Parameter(torch.zeros(shape if sigma == "per-entry" else ()))

    def forward(self, features: Tensor) -> Gaussian:
        raw = _parameter(features, 0, self.shape)
        if self.full is None:
            mean = self.shift + self.log_scale.exp() * raw
        else:
            mean = self.full * torch.sigmoid(raw)
        return Gaussian(mean, self._log_std(features), len(self.shape))

    def _log_std(self, features: Tensor) -> Tensor:
        if self.sigma == "fixed":
            return self.log_value
        raw = _parameter(features, 1, self.shape) if self.sigma == "predicted" else self.log_sigma
        log_std = soft_clamp(raw, self.LOW, self.HIGH)
        if self.floor is not None:
            log_std = 0.5 * torch.logaddexp(2 * log_std, torch.full_like(log_std, 2 * math.log(self.floor)))
        return self.log_scale + log_std


class StudentTHead(nn.Module):
    """Student-t likelihood in the data's units, standardised inside as in `GaussianHead`.

    μ, σ and ν = 3 + softplus are all predicted; σ stays within (e⁻⁷, e⁴) · scale (Mattei & Frellsen 2019,
    sec. 5.2).
    """

    LOWEST = 3.0

    shift: Tensor
    log_scale: Tensor

    def __init__(self, shape: tuple[int, ...], shift: Tensor | float = 0.0, scale: Tensor | float = 1.0):
        super().__init__()
        self.shape, self.features_shape = shape, (3, *shape)
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32))
        self.register_buffer("log_scale", torch.as_tensor(scale, dtype=torch.float32).log())

    def forward(self, features: Tensor) -> StudentT:
        mean, raw_scale, raw_degrees = (_parameter(features, i, self.shape) for i in range(3))
        return StudentT(
            self.shift + self.log_scale.exp() * mean,
            self.log_scale + soft_clamp(raw_scale, GaussianHead.LOW, GaussianHead.HIGH),
            self.LOWEST + F.softplus(raw_degrees),
            len(self.shape),
        )


class CategoricalHead(nn.Module):
    """Categorical likelihood over `levels` unordered levels; the decoder's output is the logits."""

    def __init__(self, shape: tuple[int, ...], levels: int):
        super().__init__()
        self.shape, self.levels, self.features_shape = shape, levels, (levels, *shape)

    def forward(self, features: Tensor) -> Categorical:
        return Categorical(features, len(self.shape))


class DiscretisedLogisticHead(nn.Module):
    """Discretised logistic likelihood over `levels` ordered levels, location and scale predicted."""

    shift: Tensor
    log_scale: Tensor

    def __init__(
        self, shape: tuple[int, ...], levels: int, shift: Tensor | float = 0.0, scale: Tensor | float = 1.0
    ):
        super().__init__()
        self.shape, self.levels, self.features_shape = shape, levels, (2, *shape)
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32))
        self.register_buffer("log_scale", torch.as_tensor(scale, dtype=torch.float32).log())

    def forward(self, features: Tensor) -> DiscretisedLogistic:
        location = self.shift + self.log_scale.exp() * _parameter(features, 0, self.shape)
        log_scale = self.log_scale + soft_clamp(_parameter(features, 1, self.shape), -7.0, 4.0)
        return DiscretisedLogistic(location, log_scale, self.levels, len(self.shape))


def _parameter(features: Tensor, index: int, shape: tuple[int, ...]) -> Tensor:
    """One of the parameters that the decoder's output (*batch, P, *shape) holds."""
    return features.select(features.dim() - 1 - len(shape), index)
