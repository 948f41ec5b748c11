"""What y says about x and z: p(y|z) and p(x|z, y), for the y of `inference.operators`.

With m and S the mean and the diagonal covariance of p(x|z), and y = A x + σ ε:

    p(y|z)   = N(A m, C),   C = A S Aᵀ + σ² I
    p(x|z,y) = N(m + S Aᵀ C⁻¹ (y − A m),  S − S Aᵀ C⁻¹ A S)

and a draw of it is x' + S Aᵀ C⁻¹ (y − A x' − σ ε') for a draw x' of p(x|z) (Matheron's rule; Hoffman & Ribak
1991). That is exact where p(x|z) is Gaussian. Two cases are exact for other data too:

    a mask without noise    p(y|z) is the model's own likelihood of the entries that were seen, which x keeps,
                            and of the mask, if that depends on x (`backstory.distributions.self_masked`)
    noise on levels         p(y_i|z) = Σ_l P(x_i = l|z) N(y_i; l, σ²), each level weighed for each entry

Elsewhere (a map of x that is not Gaussian; noise on heads without levels) p(x|z) is replaced by the Gaussian
of its mean and variance: an approximation, whose draws of x are numbers between the levels.

C is diagonal for Noise and Downscale, and after a rotation of y for any map if S does not depend on z; else
a Cholesky factor is computed for each code, M³ / 3 operations for M entries of y.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from backstory.distributions.base import LOG_2PI, DataDistribution, randn, sum_observed
from backstory.distributions.bernoulli import Bernoulli
from backstory.distributions.categorical import Categorical
from backstory.distributions.gaussian import Gaussian
from backstory.distributions.logistic import DiscretisedLogistic
from backstory.distributions.self_masked import SelfMasked, Vanished
from backstory.inference.damaged import Damaged
from backstory.inference.linear_maps import Dense


class Conditional(Protocol):
    """What p(y|z) and p(x|z, y) answer for codes z of shape (*batch, N, D)."""

    @property
    def log_evidence(self) -> Tensor:
        """log p(y|z), (*batch, N), nats."""
        ...

    @property
    def mean(self) -> Tensor:
        """E[x|z, y], (*batch, N, *shape)."""
        ...

    @property
    def variance(self) -> Tensor:
        """Of each entry of x given z and y, (*batch, N, *shape)."""
        ...

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """A draw of x given z and y, (*batch, N, *shape)."""
        ...


def condition(p: DataDistribution, seen: Damaged) -> Conditional:
    """p(y|z) and p(x|z, y), from p(x|z) of codes (*batch, N, D) and what was seen of N observations."""
    if seen.exact:
        return Kept(p, seen)
    if seen.direct and level_count(p):
        return Levels(level_log_probs(p), seen)
    return Conditioned(p, seen)


def constant_variance(p: DataDistribution) -> Tensor | None:
    """The variance of x given z where it does not depend on z, a number or one for each entry."""
    if isinstance(p, Gaussian) and p.log_std.dim() <= p.event_dims:
        return torch.exp(2 * p.log_std.detach())
    return None


def back_projection(seen: Damaged, shift: Tensor, scale: Tensor) -> Tensor:
    """E[x|y], (N, *shape), if the entries of x were independent, with mean `shift` and deviation `scale`."""
    shape = seen.linear.shape
    p = Gaussian(shift.to(seen.y).expand(1, *shape), scale.to(seen.y).log(), len(shape))
    return condition(p, seen.prepared(constant_variance(p))).mean


@dataclass(frozen=True)
class Kept:
    """Entries seen without noise: x has them exactly."""

    p: DataDistribution
    seen: Damaged

    @property
    def log_evidence(self) -> Tensor:
        return self.p.log_prob(self.seen.y, self.seen.seen)

    @property
    def _missing(self) -> DataDistribution | Vanished:
        """Of the entries that were not seen."""
        return self.p.missing if isinstance(self.p, SelfMasked) else self.p

    @property
    def mean(self) -> Tensor:
        return torch.where(self.seen.seen, self.seen.y, self._missing.mean)

    @property
    def variance(self) -> Tensor:
        return torch.where(self.seen.seen, 0.0, self._missing.variance)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        return torch.where(self.seen.seen, self.seen.y, self._missing.sample(generator))


def level_count(p: DataDistribution) -> int:
    """How many levels x has, where each has its probability; 0 for other data."""
    if isinstance(p, Bernoulli):
        return 2
    if isinstance(p, Categorical):
        return p.logits.shape[-1 - p.event_dims]
    return p.levels if isinstance(p, DiscretisedLogistic) else 0


def level_log_probs(p: DataDistribution) -> Tensor:
    """log P(x_i = l|z), (L, *batch, *shape)."""
    if isinstance(p, Categorical):
        axis = p.logits.dim() - 1 - p.event_dims
        return torch.log_softmax(p.logits, axis).movedim(axis, 0)
    assert isinstance(p, Bernoulli | DiscretisedLogistic)
    like = p.logits if isinstance(p, Bernoulli) else p.location
    values = torch.arange(level_count(p), device=like.device).to(like.dtype)
    entrywise: Bernoulli | DiscretisedLogistic = replace(p, event_dims=0)
    return entrywise.log_prob(values.view(-1, *[1] * like.dim()))


@dataclass(frozen=True)
class Levels:
    """Noise on data with levels: each entry's level given its noisy value, by enumeration.

    Attributes:
        log_prior: log P(x_i = l|z), (L, *batch, *shape).
    """

    log_prior: Tensor
    seen: Damaged

    @property
    def _values(self) -> Tensor:
        levels = torch.arange(len(self.log_prior), device=self.log_prior.device)
        return levels.to(self.log_prior.dtype).view(-1, *[1] * (self.log_prior.dim() - 1))

    @cached_property
    def _log_joint(self) -> Tensor:
        sigma = self.seen.sigma
        noise = -0.5 * (((self.seen.y - self._values) / sigma).square() + LOG_2PI) - sigma.log()
        return self.log_prior + torch.where(self.seen.seen, noise, 0.0)

    @cached_property
    def _posterior(self) -> Tensor:
        return torch.softmax(self._log_joint, 0)

    @property
    def log_evidence(self) -> Tensor:
        entries = torch.logsumexp(self._log_joint, 0)
        return sum_observed(entries, self.seen.seen, len(self.seen.linear.shape))

    @property
    def mean(self) -> Tensor:
        return (self._posterior * self._values).sum(0)

    @property
    def variance(self) -> Tensor:
        return (self._posterior * (self._values - self.mean).square()).sum(0)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        cumulative = self._posterior.cumsum(0)
        u = torch.rand(cumulative.shape[1:], generator=generator, device=cumulative.device)
        return (cumulative[:-1] <= u).sum(0).to(self.log_prior.dtype)


@dataclass(frozen=True)
class Conditioned:
    """A linear-Gaussian observation of x, whose p(x|z) is Gaussian or taken as one."""

    p: DataDistribution
    seen: Damaged

    @cached_property
    def _s(self) -> Tensor:
        """The diagonal of S, (*shape) if it is constant, else (*batch, *shape)."""
        constant = constant_variance(self.p)
        return self.p.variance if constant is None else constant.expand(self.seen.linear.shape)

    @cached_property
    def _covariance(self) -> "Diagonal | Full":
        return Diagonal(self.seen, self._s) if self.seen.diagonal else Full(self.seen, self._s)

    @cached_property
    def _m(self) -> Tensor:
        return self.p.mean

    @cached_property
    def _residual(self) -> Tensor:
        return self.seen.y - self.seen.linear.forward(self._m)

    @property
    def log_evidence(self) -> Tensor:
        return self._covariance.log_prob(self._residual)

    @property
    def mean(self) -> Tensor:
        return self._m + self._s * self.seen.linear.adjoint(self._covariance.solve(self._residual))

    @property
    def variance(self) -> Tensor:
        explained = self._s.square() * self._covariance.explained()
        return (self._s - explained).clamp(min=0).expand_as(self._m)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        x = self._m + self._s.sqrt() * randn(tuple(self._m.shape), self._m, generator)
        residual = self.seen.y - self.seen.linear.forward(x)
        noise = self.seen.sigma * randn(tuple(residual.shape), residual, generator)
        return x + self._s * self.seen.linear.adjoint(self._covariance.solve(residual - noise))


class Diagonal:
    """C = A S Aᵀ + σ² I, where it is diagonal."""

    def __init__(self, seen: Damaged, s: Tensor):
        self.seen, self.squared = seen, seen.linear.entrywise(torch.square)
        self.c = self.squared.forward(s) + seen.sigma.square()

    def log_prob(self, residual: Tensor) -> Tensor:
        """log N(residual; 0, C) over the entries that were seen."""
        entries = -0.5 * (residual.square() / self.c + LOG_2PI + self.c.log())
        return sum_observed(entries, self.seen.seen, len(self.seen.linear.out))

    def solve(self, residual: Tensor) -> Tensor:
        """C⁻¹ residual, zero where nothing was seen."""
        return torch.where(self.seen.seen, residual / self.c, 0.0)

    def explained(self) -> Tensor:
        """The diagonal of Aᵀ C⁻¹ A, over the entries of x."""
        return self.squared.adjoint(torch.where(self.seen.seen, 1 / self.c, 0.0))


class Full:
    """C = A S Aᵀ + σ² I in full, with its Cholesky factor in double precision.

    Rows and columns of entries that were not seen are those of the identity, and their residuals zero.
    """

    def __init__(self, seen: Damaged, s: Tensor):
        assert isinstance(seen.linear, Dense)
        self.seen, self.out = seen, seen.linear.out
        self.a = seen.linear.matrix.double()
        flat = s.double().reshape(*s.shape[: s.dim() - len(seen.linear.shape)], 1, -1)
        sigma = seen.sigma.double().expand(self.out).flatten()
        self.mask = seen.seen.flatten(1)
        c = (self.a * flat) @ self.a.T + torch.diag(sigma.square())
        both = self.mask.unsqueeze(-1) & self.mask.unsqueeze(-2)
        c = torch.where(both, c, torch.diag_embed((~self.mask).to(c)))
        self.factor = torch.linalg.cholesky(c)  # ([*batch,] N, M, M)

    def _flat(self, residual: Tensor) -> Tensor:
        flat = residual.double().flatten(residual.dim() - len(self.out))
        return torch.where(self.mask, flat, 0.0).unsqueeze(-1)

    def log_prob(self, residual: Tensor) -> Tensor:
        """log N(residual; 0, C) over the entries that were seen."""
        whitened = torch.linalg.solve_triangular(self.factor, self._flat(residual), upper=False)
        log_det = self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = 0.5 * LOG_2PI * self.mask.to(self.a).sum(-1)
        return (-0.5 * whitened.square().sum((-2, -1)) - log_det - constant).to(residual.dtype)

    def solve(self, residual: Tensor) -> Tensor:
        """C⁻¹ residual, zero where nothing was seen."""
        return (
            torch.cholesky_solve(self._flat(residual), self.factor).reshape(residual.shape).to(residual.dtype)
        )

    def explained(self) -> Tensor:
        """The diagonal of Aᵀ C⁻¹ A, over the entries of x."""
        kept = self.a * self.mask.unsqueeze(-1)
        whitened = torch.linalg.solve_triangular(
            self.factor, kept.expand(*self.factor.shape[:-2], *kept.shape[-2:]), upper=False
        )
        entries = whitened.square().sum(-2).to(self.seen.y.dtype)
        return entries.reshape(*entries.shape[:-1], *self.seen.linear.shape)
