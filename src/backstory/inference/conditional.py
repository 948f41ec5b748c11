"""p(y|z) and p(x|z, y), for the observations y of `inference.operators`.

With m and S the mean and the diagonal covariance of p(x|z), and y = A x + σ ε:

    p(y|z)   = N(A m, C),   C = A S Aᵀ + σ² I
    p(x|z,y) = N(m + S Aᵀ C⁻¹ (y − A m),  S − S Aᵀ C⁻¹ A S)

A draw of p(x|z, y) is x' + S Aᵀ C⁻¹ (y − A x' − σ ε') for a draw x' of p(x|z) (Matheron's rule; Hoffman &
Ribak 1991). This is exact if p(x|z) is Gaussian. Two cases are exact for other data too:

    a mask without noise    p(y|z) is the likelihood of the observed entries, which x keeps, and of the mask
                            if it depends on x (`DataDistribution.missing_given`, `entries`)
    noise on levels         p(y_i|z) = Σ_l P(x_i = l|z) N(y_i; l, σ²), the sum taken for each entry, or an
                            integral where levels are many and σ is not smaller than one
                            (`inference.noisy_levels`)

In all other cases (a map of x that is not Gaussian; noise on x that has no levels) p(x|z) is replaced by the
Gaussian with its mean and variance. This is an approximation, and its draws of x are not whole levels.

C is diagonal for Noise and Downscale, and, after a rotation of y, for every map if S does not depend on z.
Else its Cholesky factor takes M³ / 3 operations for M entries of y, for each code. For data of many levels,
where the normal is an approximation anyway, it is computed once for each observation, with the variance at
the centre of q(z|y) for S (`Damaged.variance`).
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from backstory.distributions.base import (
    LOG_2PI,
    DataDistribution,
    EntrywiseMoments,
    MissingEntries,
    sum_observed,
)
from backstory.distributions.gaussian import Gaussian
from backstory.distributions.noise import Generators, randn
from backstory.distributions.normal_scales import NODES
from backstory.inference.damaged import Damaged
from backstory.inference.linear_maps import Dense
from backstory.inference.noisy_levels import Levels, NoisyNormals


class Conditional(Protocol):
    """p(y|z) and p(x|z, y) for codes z of shape (*batch, N, D)."""

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
        """Var[x|z, y] of each entry, (*batch, N, *shape)."""
        ...

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """E[x|z, y] and Var[x|z, y]; zero at missing entries of the columns that `level_probs` covers."""
        ...

    @property
    def level_probs(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """For each group of columns with levels: the columns, (C,), and P(x_j = l|z, y), (*batch, N, L, C).

        At observed entries the probabilities have no meaning.
        """
        ...

    def sample(self, generator: Generators = None) -> Tensor:
        """A draw of x given z and y, (*batch, N, *shape)."""
        ...


def condition(p: DataDistribution, seen: Damaged) -> Conditional:
    """p(y|z) and p(x|z, y), from p(x|z) at codes (*batch, N, D) and the damaged y of N observations."""
    if seen.exact:
        return Kept(p, seen)
    if not seen.direct or not p.levels:
        return Conditioned(p, seen)
    if _continuous(p, seen):
        assert p.rounded is not None
        return NoisyNormals(p.rounded, seen)
    return Levels(p.level_log_probs, seen)


def _continuous(p: DataDistribution, seen: Damaged) -> bool:
    """Whether normals stand for the levels of x."""
    return p.rounded is not None and bool((seen.sigma >= 1).all())


def entries_per_code(features: int, p: DataDistribution, seen: Damaged) -> int:
    """How many numbers are held for each code that is decoded, with so many outputs of the decoder."""
    if not seen.diagonal:
        return features + math.prod(seen.linear.out) ** (2 if seen.variance is None else 1)
    if seen.exact or not seen.direct:
        return features
    return features * (NODES if _continuous(p, seen) else max(1, p.levels))


def back_projection(seen: Damaged, shift: Tensor, scale: Tensor) -> Tensor:
    """E[x|y], (N, *shape), if the entries of x were independent, with mean `shift` and deviation `scale`."""
    shape = seen.linear.shape
    p = Gaussian(shift.to(seen.y).expand(1, *shape), scale.to(seen.y).log(), len(shape))
    return condition(p, seen.prepared(p.constant_variance)).mean


@dataclass(frozen=True)
class Kept:
    """Some entries of x observed without noise: x keeps them."""

    p: DataDistribution
    seen: Damaged

    @cached_property
    def _observed(self) -> tuple[Tensor, MissingEntries]:
        return self.p.observe(self.seen.y, self.seen.observed)

    @property
    def log_evidence(self) -> Tensor:
        return self._observed[0]

    @property
    def _missing(self) -> MissingEntries:
        return self._observed[1]

    @property
    def mean(self) -> Tensor:
        return torch.where(self.seen.observed, self.seen.y, self._missing.mean)

    @property
    def variance(self) -> Tensor:
        return torch.where(self.seen.observed, 0.0, self._missing.variance)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        mean, variance = self._missing.moments
        return torch.where(self.seen.observed, self.seen.y, mean), torch.where(
            self.seen.observed, 0.0, variance
        )

    @property
    def level_probs(self) -> tuple[tuple[Tensor, Tensor], ...]:
        return self._missing.level_probs

    def sample(self, generator: Generators = None) -> Tensor:
        missing = self.p.missing_given(self.seen.y, self.seen.observed)
        return torch.where(self.seen.observed, self.seen.y, missing.sample(generator))


@dataclass(frozen=True)
class Conditioned(EntrywiseMoments):
    """A linear-Gaussian observation of x, with p(x|z) Gaussian or approximated by a Gaussian."""

    p: DataDistribution
    seen: Damaged

    @cached_property
    def _s(self) -> Tensor:
        """The diagonal of S, (*shape) if it is constant, else (*batch, *shape)."""
        if self.seen.variance is not None:
            return self.seen.variance
        constant = self.p.constant_variance
        return self._two[1] if constant is None else constant.expand(self.seen.linear.shape)

    @cached_property
    def _two(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of x given z."""
        return self.p.rough_moments

    @cached_property
    def _covariance(self) -> "Diagonal | Full":
        return Diagonal(self.seen, self._s) if self.seen.diagonal else Full(self.seen, self._s)

    @cached_property
    def _m(self) -> Tensor:
        return self._two[0]

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

    def sample(self, generator: Generators = None) -> Tensor:
        x = self._m + self._s.sqrt() * randn(self._m.shape, self._m, generator)
        residual = self.seen.y - self.seen.linear.forward(x)
        noise = self.seen.sigma * randn(residual.shape, residual, generator)
        return x + self._s * self.seen.linear.adjoint(self._covariance.solve(residual - noise))


class Diagonal:
    """C = A S Aᵀ + σ² I, if it is diagonal."""

    def __init__(self, seen: Damaged, s: Tensor):
        self.seen, self.squared = seen, seen.linear.entrywise(torch.square)
        self.c = self.squared.forward(s) + seen.sigma.square()

    def log_prob(self, residual: Tensor) -> Tensor:
        """log N(residual; 0, C) over the observed entries of y."""
        entries = -0.5 * (residual.square() / self.c + LOG_2PI + self.c.log())
        return sum_observed(entries, self.seen.observed, len(self.seen.linear.out))

    def solve(self, residual: Tensor) -> Tensor:
        """C⁻¹ residual, zero at missing entries of y."""
        return torch.where(self.seen.observed, residual / self.c, 0.0)

    def explained(self) -> Tensor:
        """The diagonal of Aᵀ C⁻¹ A, over the entries of x."""
        return self.squared.adjoint(torch.where(self.seen.observed, 1 / self.c, 0.0))


class Full:
    """C = A S Aᵀ + σ² I as a full matrix, with its Cholesky factor in double precision.

    At missing entries of y, rows and columns are those of the identity, and residuals are zero.
    """

    def __init__(self, seen: Damaged, s: Tensor):
        assert isinstance(seen.linear, Dense)
        self.seen, self.out = seen, seen.linear.out
        self.a = seen.linear.matrix.double()
        flat = s.double().reshape(*s.shape[: s.dim() - len(seen.linear.shape)], 1, -1)
        sigma = seen.sigma.double().expand(self.out).flatten()
        self.mask = seen.observed.flatten(1)
        c = (self.a * flat) @ self.a.T + torch.diag(sigma.square())
        both = self.mask.unsqueeze(-1) & self.mask.unsqueeze(-2)
        c = torch.where(both, c, torch.diag_embed((~self.mask).to(c)))
        self.factor = torch.linalg.cholesky(c)  # ([*batch,] N, M, M)

    def _columns(self, residual: Tensor) -> Tensor:
        """Residuals (*batch, N, *out) as columns beside each factor, ([*batch,] N, M, 1 or K).

        One factor for all codes of an observation takes them all at once.
        """
        flat = residual.double().flatten(residual.dim() - len(self.out))
        flat = torch.where(self.mask, flat, 0.0)
        if self.factor.dim() > 3 or flat.dim() == 2:
            return flat.unsqueeze(-1)
        return flat.flatten(0, -3).movedim(0, -1)

    def _rows(self, columns: Tensor, shape: torch.Size) -> Tensor:
        """Columns back in the order of the residuals, of this shape."""
        if self.factor.dim() == 3:
            columns = columns.movedim(-1, 0)
        return columns.reshape(shape)

    def log_prob(self, residual: Tensor) -> Tensor:
        """log N(residual; 0, C) over the observed entries of y."""
        whitened = torch.linalg.solve_triangular(self.factor, self._columns(residual), upper=False)
        batch = residual.shape[: residual.dim() - len(self.out)]
        distance = self._rows(whitened, torch.Size([*batch, self.mask.shape[1]])).square().sum(-1)
        log_det = self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = 0.5 * LOG_2PI * self.mask.to(self.a).sum(-1)
        return (-0.5 * distance - log_det - constant).to(residual.dtype)

    def solve(self, residual: Tensor) -> Tensor:
        """C⁻¹ residual, zero at missing entries of y."""
        solved = torch.cholesky_solve(self._columns(residual), self.factor)
        return self._rows(solved, residual.shape).to(residual.dtype)

    def explained(self) -> Tensor:
        """The diagonal of Aᵀ C⁻¹ A, over the entries of x."""
        kept = self.a * self.mask.unsqueeze(-1)
        whitened = torch.linalg.solve_triangular(
            self.factor, kept.expand(*self.factor.shape[:-2], *kept.shape[-2:]), upper=False
        )
        entries = whitened.square().sum(-2).to(self.seen.y.dtype)
        return entries.reshape(*entries.shape[:-1], *self.seen.linear.shape)
