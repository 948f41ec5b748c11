"""Linear maps A of observations: two matrices for the rows and columns of an image, or one for all entries.

    separable    x ↦ R x Cᵀ, for each channel of an image alone
    dense        x ↦ A x, over the entries in order; the columns of A are the map's values at the unit vectors

Both can make the covariance of y diagonal. If y = A x + σ ε and x has the diagonal covariance S, then Uᵀ y
has the diagonal covariance Λ + σ² I, where A S Aᵀ = U Λ Uᵀ. For S = s I and a separable A, U is separable
too: its two matrices are the eigenvectors of R Rᵀ and of C Cᵀ.
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
    """x ↦ R x Cᵀ along the first two axes of an image; without matrices the identity, of any shape.

    Attributes:
        shape: of x.
        matrices: () or (R, C).
    """

    shape: tuple[int, ...]
    matrices: tuple[Tensor, ...] = ()

    @property
    def out(self) -> tuple[int, ...]:
        """Shape of A x."""
        return (*(len(m) for m in self.matrices), *self.shape[len(self.matrices) :])

    @property
    def is_identity(self) -> bool:
        """Whether A x is x by construction."""
        return not self.matrices

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

    def followed_by(self, step: "Separable") -> "Separable":
        """The map x ↦ step(A x)."""
        if self.is_identity:
            return replace(step, shape=self.shape)
        pairs = zip(step.matrices, self.matrices, strict=True)
        return Separable(self.shape, tuple(new @ old for new, old in pairs))

    def entrywise(self, function: Callable[[Tensor], Tensor]) -> "Separable":
        """The map with `function` applied to each entry of A; it has to satisfy f(a b) = f(a) f(b)."""
        return replace(self, matrices=tuple(map(function, self.matrices)))

    @property
    def disjoint(self) -> bool:
        """Whether an entry of x affects at most one of y, so that A S Aᵀ is diagonal for a diagonal S."""
        return all(bool(((m != 0).sum(0) <= 1).all()) for m in self.matrices)

    def to(self, like: Tensor) -> "Separable":
        """The map with the dtype and device of a tensor."""
        return self.entrywise(lambda m: m.to(like))

    def diagonalised(self, variance: Tensor) -> tuple["Map", Callable[[Tensor], Tensor]]:
        """Uᵀ A, and the function y ↦ Uᵀ y.

        Args:
            variance: the diagonal of S, a number or one for each entry of x.
        """
        if variance.numel() > 1:
            return dense(self, variance).diagonalised(variance)
        bases = tuple(torch.linalg.eigh(m @ m.T).eigenvectors.T for m in self.matrices)
        rotation = Separable(self.out, bases)
        products = tuple(u @ m for u, m in zip(bases, self.matrices, strict=True))
        return Separable(self.shape, products), rotation.forward


@dataclass(frozen=True)
class Dense:
    """x ↦ A x with a matrix A over the entries of an observation in order.

    Attributes:
        shape: of x, with P entries.
        out: shape of A x, with M entries.
        matrix: A, (M, P).
    """

    shape: tuple[int, ...]
    out: tuple[int, ...]
    matrix: Tensor

    is_identity = False

    def forward(self, x: Tensor) -> Tensor:
        """A x for x of shape (*batch, *shape)."""
        batch = x.shape[: x.dim() - len(self.shape)]
        return (x.reshape(*batch, -1) @ self.matrix.T).reshape((*batch, *self.out))

    def adjoint(self, y: Tensor) -> Tensor:
        """Aᵀ y for y of shape (*batch, *out)."""
        batch = y.shape[: y.dim() - len(self.out)]
        return (y.reshape(*batch, -1) @ self.matrix).reshape((*batch, *self.shape))

    def followed_by(self, step: Separable) -> "Dense":
        """The map x ↦ step(A x)."""
        return matrix_of(lambda x: step.forward(self.forward(x)), self.shape, self.matrix)

    def entrywise(self, function: Callable[[Tensor], Tensor]) -> "Dense":
        """The map with `function` applied to each entry of A."""
        return replace(self, matrix=function(self.matrix))

    @property
    def disjoint(self) -> bool:
        """Whether an entry of x affects at most one of y, so that A S Aᵀ is diagonal for a diagonal S."""
        return bool(((self.matrix != 0).sum(0) <= 1).all())

    def to(self, like: Tensor) -> "Dense":
        """The map with the dtype and device of a tensor."""
        return self.entrywise(lambda m: m.to(like))

    def diagonalised(self, variance: Tensor) -> tuple["Map", Callable[[Tensor], Tensor]]:
        """Uᵀ A, and the function y ↦ Uᵀ y.

        Args:
            variance: the diagonal of S, a number or one for each entry of x.
        """
        s = variance.expand(self.shape).flatten()
        u = torch.linalg.eigh((self.matrix * s) @ self.matrix.T).eigenvectors
        rotation = Dense(self.out, self.out, u.T)
        return replace(self, matrix=u.T @ self.matrix), rotation.forward


Map = Separable | Dense


def dense(linear: Map, like: Tensor) -> Dense:
    """The map as one matrix with the dtype and device of `like`; InputError where it is too large."""
    return matrix_of(linear.forward, linear.shape, like)


def matrix_of(function: Callable[[Tensor], Tensor], shape: tuple[int, ...], like: Tensor) -> Dense:
    """The matrix of a linear function, from its values at the unit vectors.

    Args:
        function: from (N, *shape) to (N, *out).
        shape: of one x.
        like: a tensor with the dtype and device of the matrix.

    Raises:
        InputError: x or y has more than `DENSE_LIMIT` entries.
    """
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
