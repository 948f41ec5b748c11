"""Linear maps A of observations: two matrices for an image's rows and columns, or one for everything.

    separable    x ↦ R x Cᵀ, for each channel of an image alone
    dense        x ↦ A x, over the entries in order, read off the map's values at the unit vectors

Where y = A x + σ ε and x has a diagonal covariance S, Uᵀy has the diagonal covariance Λ + σ² I in place of
A S Aᵀ + σ² I = U Λ Uᵀ + σ² I. For S = s I and a separable A, U is of the same form, from R Rᵀ and C Cᵀ.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from backstory.errors import InputError

DENSE_LIMIT = 4096  # entries of x or y for which a matrix is kept


@dataclass(frozen=True)
class Separable:
    """x ↦ R x Cᵀ along the first two axes of an image; the identity of any shape where there are none.

    Attributes:
        shape, out: of x and of A x.
        matrices: () or (R, C).
    """

    shape: tuple[int, ...]
    matrices: tuple[Tensor, ...] = ()

    @property
    def out(self) -> tuple[int, ...]:
        return (*(len(m) for m in self.matrices), *self.shape[len(self.matrices) :])

    def forward(self, x: Tensor) -> Tensor:
        """A x for x of shape (*batch, *shape)."""
        return self._apply(x, self.matrices)

    def adjoint(self, y: Tensor) -> Tensor:
        """Aᵀ y for y of shape (*batch, *out)."""
        return self._apply(y, tuple(m.T for m in self.matrices))

    def _apply(self, x: Tensor, matrices: tuple[Tensor, ...]) -> Tensor:
        for axis, matrix in enumerate(matrices):
            x = (x.movedim(axis - len(self.shape), -1) @ matrix.T).movedim(-1, axis - len(self.shape))
        return x

    def entrywise(self, function: Callable[[Tensor], Tensor]) -> "Separable":
        """The map whose matrix has `function` of A's entries, for one with f(a b) = f(a) f(b)."""
        return replace(self, matrices=tuple(map(function, self.matrices)))

    @property
    def disjoint(self) -> bool:
        """Whether no entry of x serves two of y, so that A S Aᵀ is diagonal for a diagonal S."""
        return all(bool(((m != 0).sum(0) <= 1).all()) for m in self.matrices)

    def to(self, like: Tensor) -> "Separable":
        return self.entrywise(lambda m: m.to(like))

    def diagonalised(self, variance: Tensor) -> tuple["Map", Callable[[Tensor], Tensor]]:
        """UᵀA and Uᵀ, for which UᵀA S AᵀU is diagonal, where S is `variance` for each entry."""
        if variance.numel() > 1:
            return dense(self, variance).diagonalised(variance)
        bases = tuple(torch.linalg.eigh(m @ m.T).eigenvectors.T for m in self.matrices)
        rotation = Separable(self.out, bases)
        products = tuple(u @ m for u, m in zip(bases, self.matrices, strict=True))
        return Separable(self.shape, products), rotation.forward


@dataclass(frozen=True)
class Dense:
    """x ↦ A x with a matrix A, (M, P), over the entries of an observation in order."""

    shape: tuple[int, ...]
    out: tuple[int, ...]
    matrix: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """A x for x of shape (*batch, *shape)."""
        batch = x.shape[: x.dim() - len(self.shape)]
        return (x.reshape(*batch, -1) @ self.matrix.T).reshape((*batch, *self.out))

    def adjoint(self, y: Tensor) -> Tensor:
        """Aᵀ y for y of shape (*batch, *out)."""
        batch = y.shape[: y.dim() - len(self.out)]
        return (y.reshape(*batch, -1) @ self.matrix).reshape((*batch, *self.shape))

    def entrywise(self, function: Callable[[Tensor], Tensor]) -> "Dense":
        """The map whose matrix has `function` of A's entries."""
        return replace(self, matrix=function(self.matrix))

    @property
    def disjoint(self) -> bool:
        """Whether no entry of x serves two of y, so that A S Aᵀ is diagonal for a diagonal S."""
        return bool(((self.matrix != 0).sum(0) <= 1).all())

    def to(self, like: Tensor) -> "Dense":
        return self.entrywise(lambda m: m.to(like))

    def diagonalised(self, variance: Tensor) -> tuple["Map", Callable[[Tensor], Tensor]]:
        """UᵀA and Uᵀ, for which UᵀA S AᵀU is diagonal, where S is `variance` for each entry."""
        s = variance.expand(self.shape).flatten()
        u = torch.linalg.eigh((self.matrix * s) @ self.matrix.T).eigenvectors
        rotation = Dense(self.out, self.out, u.T)
        return replace(self, matrix=u.T @ self.matrix), rotation.forward


Map = Separable | Dense


def dense(linear: Map, like: Tensor) -> Dense:
    """The matrix of a map; InputError for one that is too large."""
    return matrix_of(linear.forward, linear.shape, like)


def matrix_of(function: Callable[[Tensor], Tensor], shape: tuple[int, ...], like: Tensor) -> Dense:
    """The matrix of a linear function, from its values at the unit vectors."""
    entries = math.prod(shape)
    if entries > DENSE_LIMIT:
        raise InputError(
            f"this observation needs a matrix over all entries of x, at most {DENSE_LIMIT}, got {entries}; "
            "use Downscale or noise alone, or a model with one constant σ for a Blur without a mask"
        )
    units = torch.eye(entries, dtype=torch.float64, device=like.device).to(like.dtype)
    columns = function(units.reshape(entries, *shape))
    out = tuple(columns.shape[1:])
    if math.prod(out) > DENSE_LIMIT:
        raise InputError(f"y may have up to {DENSE_LIMIT} entries for this operator, got {math.prod(out)}")
    return Dense(shape, out, columns.reshape(entries, -1).T.contiguous())
