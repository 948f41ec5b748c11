"""Operators: how a damaged observation y came from x.

    y = A x + σ ε,   ε ~ N(0, I),   of which some entries are observed

An operator is written as a product of small ones, in the order in which matrices are multiplied:

    Mask(observed) @ Noise(0.1) @ Downscale(2) @ Blur(1.5)      blur x, downscale it, add noise, hide entries

Each has one role: Downscale, Blur and Linear are maps and make up A, Noise adds to σ, Mask hides entries of
y. Noise and masks belong to the entries of y, so they stand to the left of every map: blurred noise, or a map
of hidden entries, would be another model. `inference.damaged` checks an operator against x and y.

σ is a fraction of the unit of y, which is |A| u for u the unit of x. The unit of x is the full range for
images, and a column's standard deviation in the training data for tables.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from backstory.data.tensors import tensor_of
from backstory.errors import InputError, counted
from backstory.inference.linear_maps import Map, Separable, matrix_of

TRUNCATE = 4.0  # a Gaussian kernel is zero beyond this many σ, as in SciPy
WIDEST = 1000.0  # largest σ of a blur in pixels: it leaves nothing but the mean of images of this size

Array = np.ndarray | Tensor


class Operator:
    """One step from x to y; `a @ b` applies b first, then a.

    A subclass overrides the method of its role and leaves the others as they are.

    Attributes:
        is_map: whether the operator is a part of A.
        is_function: whether it applies a function of the user's own, so that y may be no image.
        keeps_entries: whether the observed entries of y are entries of its input.
    """

    is_map: ClassVar[bool] = False
    is_function: ClassVar[bool] = False
    keeps_entries: ClassVar[bool] = False

    @property
    def parts(self) -> tuple["Operator", ...]:
        """The single operators, the one that is applied last first."""
        return (self,)

    def __matmul__(self, other: "Operator") -> "Operator":
        return Product(self.parts + other.parts)

    def after(self, first: Map, like: Tensor) -> Map:
        """The map `first`, followed by this operator.

        Args:
            first: from x to the input of this operator.
            like: a tensor with the dtype and device of the matrices.
        """
        return first

    def variance(self) -> Tensor | None:
        """σ², a number or one for each entry of y, in squared units of y; None without noise."""
        return None

    def mask(self, y: Tensor) -> Tensor | None:
        """Which entries of y are observed, a bool tensor that broadcasts against y; None for all."""
        return None


@dataclass(frozen=True)
class Product(Operator):
    """Operators one after the other, the one that is applied last first."""

    factors: tuple[Operator, ...]

    @property
    def parts(self) -> tuple[Operator, ...]:
        return self.factors


NOTHING = Product(())  # the operator that leaves x as it is

# -- entries of y -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mask(Operator):
    """Hides the entries of y that were not observed.

    Args:
        observed: bool, true where y was observed, in the shape of y, (N, *shape), or in that of one
            observation, which then holds for all.
    """

    observed: Array

    keeps_entries = True

    def mask(self, y: Tensor) -> Tensor:
        mask = tensor_of(self.observed).to(y.device)
        if mask.dtype != torch.bool:
            raise InputError(f"a mask is an array of bool, true where y was observed, got {mask.dtype}")
        if tuple(mask.shape) not in (tuple(y.shape), tuple(y.shape[1:])):
            raise InputError(
                f"expected a mask in the shape of y, {tuple(y.shape)}, or of one observation, "
                f"{tuple(y.shape[1:])}, got {tuple(mask.shape)}"
            )
        return mask


@dataclass(frozen=True)
class Noise(Operator):
    """Adds Gaussian noise to each entry of y.

    Args:
        sigma: standard deviation, a number or one for each entry of y, in units of y (see the module): a
            fraction of the full range for images.
    """

    sigma: float | Array

    def variance(self) -> Tensor | None:
        sigma = tensor_of(self.sigma).double()
        if not bool((sigma >= 0).all() and sigma.isfinite().all()):
            raise InputError(f"the σ of Noise has to be 0 or more, got {float(sigma.min()):g}")
        return sigma.square() if sigma.any() else None


# -- maps -------------------------------------------------------------------------------------------------


class ImageOperator(Operator):
    """A map of images that acts on rows and columns apart, and on each channel alone."""

    is_map = True

    def after(self, first: Map, like: Tensor) -> Map:
        shape = first.out
        if len(shape) not in (2, 3):
            raise InputError(
                f"{type(self).__name__} needs images, (N, H, W) or (N, H, W, C), got observations of shape "
                f"{shape}"
            )
        if self.is_identity():
            return first
        matrices = (torch.from_numpy(self.matrix(side)).to(like) for side in shape[:2])
        return first.followed_by(Separable(shape, tuple(matrices)))

    def is_identity(self) -> bool:
        """Whether images stay as they are; InputError for a parameter out of range."""
        raise NotImplementedError

    def matrix(self, side: int) -> np.ndarray:
        """The map along an axis of `side` pixels, (new side, side)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Downscale(ImageOperator):
    """Replaces blocks of r × r pixels by their means.

    Where r does not divide a side, the last blocks are smaller: with r = 2 a side of 7 pixels becomes 4.
    """

    r: int

    def is_identity(self) -> bool:
        if not (1 <= self.r < math.inf and self.r == int(self.r)):
            raise InputError(f"Downscale takes a whole factor from 1 on, got {self.r}")
        return self.r == 1

    def matrix(self, side: int) -> np.ndarray:
        block = np.arange(side) // int(self.r)
        member = block == np.arange(block[-1] + 1)[:, None]
        return np.asarray(member / member.sum(1, keepdims=True))


@dataclass(frozen=True)
class Blur(ImageOperator):
    """Blurs an image by a Gaussian with a standard deviation of `sigma` pixels.

    Edges are reflected (d c b a | a b c d | d c b a) and the kernel ends at 4 σ, as by default in
    `scipy.ndimage.gaussian_filter`.
    """

    sigma: float

    def is_identity(self) -> bool:
        if not 0 <= self.sigma <= WIDEST:
            raise InputError(f"the σ of Blur lies between 0 and {WIDEST:g} pixels, got {self.sigma:g}")
        return self.sigma == 0

    def matrix(self, side: int) -> np.ndarray:
        from scipy.ndimage import gaussian_filter1d  # slow to import

        return np.asarray(gaussian_filter1d(np.eye(side), self.sigma, axis=0, truncate=TRUNCATE))


@dataclass(frozen=True, eq=False)
class Linear(Operator):
    """Applies any linear map.

    Args:
        function: from tensors (N, *shape) to tensors (N, *other shape) of the same type, each observation on
            its own, without a constant; a `Model` gives it float32.
    """

    is_map = is_function = True

    function: Callable[[Tensor], Tensor]

    def after(self, first: Map, like: Tensor) -> Map:
        return matrix_of(lambda x: self._checked(first.forward(x)), first.shape, like)

    def _checked(self, x: Tensor) -> Tensor:
        """The function's value; InputError if the function is not linear."""
        y = self._value(x)
        zero, both = self._value(torch.stack([torch.zeros_like(x[0]), x[0] + 2 * x[-1]]))
        expected = y[0] + 2 * y[-1]
        close = torch.allclose(both, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()) + 1e-12)
        if zero.any() or not close:
            raise InputError(
                "Linear needs a linear function of each observation alone: A(0) = 0, A(a + 2b) = A(a) + 2A(b)"
            )
        return y

    def _value(self, x: Tensor) -> Tensor:
        """The function's value; InputError if it fails or gives no tensor with a row for each of x."""
        try:
            y = self.function(x)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise InputError(
                f"Linear's function has to take tensors such as one of {x.dtype} and shape {tuple(x.shape)}, "
                f"and failed with {str(error).splitlines()[0]!r}; correct it"
            ) from error
        is_tensor = isinstance(y, Tensor)
        if is_tensor and y.shape[:1] == x.shape[:1]:
            return y
        got = f"a tensor of shape {tuple(y.shape)}" if is_tensor else type(y).__name__
        raise InputError(
            f"Linear's function has to give a tensor with {counted(len(x), 'observation')} for {len(x)}, "
            f"got {got}"
        )
