"""How a damaged observation y came from x: a linear map, noise, and a mask of what was seen.

    y = A x + σ ε,   ε ~ N(0, I),   of which the entries in `observed` are known

It is written as a product of small operators, in the order in which matrices are multiplied:

    Mask(seen) @ Noise(0.1) @ Downscale(2) @ Blur(1.5)         blurred, downscaled, noisy, partly seen

Maps stand to the right of noise and mask, which belong to the entries of y: noise that is blurred, or a map
of what was not seen, is another model, and is refused. `observe` checks an operator against x and y and gives
the one form that inference works with.

Downscale and Blur act on an image's rows and columns apart, for each channel alone; see `inference.maps`.

σ is a fraction of the unit of y: |A| u, where u is the unit of x. For images u is the full range; for tables
a column's standard deviation in the training data.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from backstory.distributions.base import randn
from backstory.errors import InputError
from backstory.inference.linear_maps import Dense, Map, Separable, dense, matrix_of

TRUNCATE = 4.0  # σ, beyond which a Gaussian kernel is zero; as in SciPy
WIDEST = 1000.0  # σ of a blur in pixels, which leaves nothing but the mean of images of this size
ROUNDING = 1 / (256 * math.sqrt(12))  # σ of rounding to a 256th, in units of y
LEAST = 1e-6  # σ, in units of y, below which noise is taken as this: densities would be singular

Array = np.ndarray | Tensor


class Operator:
    """A part of what happened to x; `a @ b` is a after b."""

    @property
    def parts(self) -> tuple["Operator", ...]:
        """From the last to the first that acts."""
        return (self,)

    def __matmul__(self, other: "Operator") -> "Operator":
        return Product(self.parts + other.parts)


@dataclass(frozen=True)
class Product(Operator):
    """Operators one after the other, the last one first."""

    factors: tuple[Operator, ...]

    @property
    def parts(self) -> tuple[Operator, ...]:
        return self.factors


@dataclass(frozen=True)
class Mask(Operator):
    """Only the entries where `observed` is true were seen.

    Args:
        observed: of bool, in the shape of y, (N, *shape), or of one observation, the same for all.
    """

    observed: Array


@dataclass(frozen=True)
class Noise(Operator):
    """Gaussian noise was added to each entry.

    Args:
        sigma: its standard deviation, a number or one for each entry of y, in units of y (see above): for
            images a fraction of the full range.
    """

    sigma: float | Array


@dataclass(frozen=True)
class Downscale(Operator):
    """An image's blocks of r × r pixels were replaced by their means.

    Where r does not divide a side, the last blocks are smaller: a side of 7 becomes 4 with r = 2.
    """

    r: int


@dataclass(frozen=True)
class Blur(Operator):
    """An image was blurred by a Gaussian of `sigma` pixels.

    Its edges are reflected (d c b a | a b c d | d c b a) and the kernel ends at 4 σ, as in
    `scipy.ndimage.gaussian_filter`.
    """

    sigma: float


@dataclass(frozen=True, eq=False)
class Linear(Operator):
    """Any linear map.

    Args:
        function: from tensors (N, *shape) to tensors (N, *other shape) of the same type, without a constant;
            a `Model` gives it float32.
    """

    function: Callable[[Tensor], Tensor]


def _compose(parts: list[Operator], shape: tuple[int, ...], like: Tensor) -> Map:
    """The product of Downscale, Blur and Linear operators, the last one first."""
    linear: Map = Separable(shape)
    for part in reversed(parts):
        if isinstance(part, Linear):
            linear = matrix_of(_after(_checked(part), linear), shape, like)
            continue
        step = _separable(part, linear.out, like)
        if part in (Downscale(1), Blur(0)):
            continue
        if isinstance(linear, Dense):
            linear = matrix_of(_after(step.forward, linear), shape, like)
            continue
        pairs = zip(step.matrices, linear.matrices or [None, None], strict=True)
        linear = Separable(shape, tuple(new if old is None else new @ old for new, old in pairs))
    return linear


def _after(function: Callable[[Tensor], Tensor], first: Map) -> Callable[[Tensor], Tensor]:
    return lambda x: function(first.forward(x))


def _separable(part: Operator, shape: tuple[int, ...], like: Tensor) -> Separable:
    name = type(part).__name__
    if len(shape) not in (2, 3):
        raise InputError(f"{name} needs images, (N, H, W) or (N, H, W, C), got observations of shape {shape}")
    if isinstance(part, Downscale):
        if not (1 <= part.r < math.inf and part.r == int(part.r)):
            raise InputError(f"Downscale takes a whole factor from 1 on, got {part.r}")
        make: Callable[[int], np.ndarray] = lambda side: _block_means(side, int(part.r))  # noqa: E731
    else:
        assert isinstance(part, Blur)
        if not 0 <= part.sigma <= WIDEST:
            raise InputError(f"the σ of Blur lies between 0 and {WIDEST:g} pixels, got {part.sigma:g}")
        make = lambda side: _gaussian_blur(side, part.sigma)  # noqa: E731
    return Separable(shape, tuple(torch.from_numpy(make(side)).to(like) for side in shape[:2]))


def _block_means(side: int, r: int) -> np.ndarray:
    block = np.arange(side) // r
    member = block == np.arange(block[-1] + 1)[:, None]
    return np.asarray(member / member.sum(1, keepdims=True))


def _gaussian_blur(side: int, sigma: float) -> np.ndarray:
    if sigma == 0:
        return np.eye(side)
    radius = int(TRUNCATE * sigma + 0.5)
    offset = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offset / sigma) ** 2)
    source = (np.arange(side)[:, None] + offset) % (2 * side)
    source = np.where(source < side, source, 2 * side - 1 - source)  # reflected at both edges
    blur = np.zeros((side, side))
    np.add.at(blur, (np.arange(side)[:, None], source), kernel / kernel.sum())
    return blur


def _checked(part: Linear) -> Callable[[Tensor], Tensor]:
    """The function of a Linear; InputError where it is not linear."""

    def applied(x: Tensor) -> Tensor:
        try:
            y = part.function(x)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise InputError(
                f"Linear's function has to take tensors such as one of {x.dtype} and shape {tuple(x.shape)}, "
                f"and failed with {str(error).splitlines()[0]!r}; correct it"
            ) from error
        if not isinstance(y, Tensor) or y.shape[:1] != x.shape[:1]:
            got = f"a tensor of shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
            raise InputError(
                f"Linear's function has to give a tensor with {len(x)} observations for {len(x)}, got {got}"
            )
        return y

    def function(x: Tensor) -> Tensor:
        y = applied(x)
        zero, both = applied(torch.stack([torch.zeros_like(x[0]), x[0] + 2 * x[-1]]))
        expected = y[0] + 2 * y[-1]
        close = torch.allclose(both, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()) + 1e-12)
        if zero.any() or not close:
            raise InputError(
                "Linear needs a linear function of each observation alone: A(0) = 0, A(a + 2b) = A(a) + 2A(b)"
            )
        return y

    return function


# ---------------------------------------------------------------------------------------------------------
# An operator and its y


@dataclass(frozen=True)
class Damaged:
    """What was seen of N observations: y = A x + σ ε, at the entries where `seen` is true.

    Attributes:
        y: (N, *out), in the model's units, zero where nothing was seen.
        linear: A.
        sigma: σ in the model's units, broadcast against one y; zero for what was seen without noise.
        seen: (N, *out) of bool.
        diagonal: whether A S Aᵀ is diagonal, for any diagonal S or for the one it was made for.
    """

    y: Tensor
    linear: Map
    sigma: Tensor
    seen: Tensor
    diagonal: bool

    @property
    def direct(self) -> bool:
        """Whether the entries of y are entries of x."""
        return isinstance(self.linear, Separable) and not self.linear.matrices

    @cached_property
    def exact(self) -> bool:
        """Whether y holds entries of x without noise: a mask and nothing else."""
        return self.direct and not bool(self.sigma.any())

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, rows: slice | Tensor) -> "Damaged":
        """What was seen of some observations."""
        return replace(self, y=self.y[rows], seen=self.seen[rows])

    def prepared(self, variance: Tensor | None) -> "Damaged":
        """The same, with y rotated so that A S Aᵀ + σ² I is diagonal; with A as a matrix, where it cannot be.

        Args:
            variance: the diagonal of S, a number or one for each entry of x; None if it depends on z.
        """
        if self.diagonal:
            return self
        if variance is None or self.sigma.numel() > 1 or bool((self.seen != self.seen[:1]).any()):
            return replace(self, linear=dense(self.linear, self.y))
        return self._kept()._rotated(variance.to(self.y))

    def _kept(self) -> "Damaged":
        """Without the entries that were not seen, which are the same in every observation."""
        seen = self.seen[0]
        if bool(seen.all()):
            return self
        matrix = dense(self.linear, self.y).matrix[seen.flatten()]
        linear = Dense(self.linear.shape, (len(matrix),), matrix)
        return replace(self, y=self.y[:, seen], linear=linear, seen=self.seen[:, seen])

    def _rotated(self, variance: Tensor) -> "Damaged":
        linear, rotate = self.linear.diagonalised(variance)
        return replace(self, y=rotate(self.y), linear=linear, diagonal=True)


def observe(operator: Operator, y: Tensor, shape: tuple[int, ...], unit: Tensor | float = 1.0) -> Damaged:
    """Check an operator against the observations and bring it into its one form.

    Args:
        operator: what happened.
        y: (N, *out), in the model's units. NaN is what was not seen; a mask may say more, not less.
        shape: of one x.
        unit: of x, in the model's units: a number, or one for each entry.

    Raises:
        InputError: for operators in an order that is another model, a mask or y of another shape, a σ that is
            negative, numbers that are not finite.
    """
    maps, sigma, mask = _canonical(operator)
    linear = _compose(maps, shape, y)
    if tuple(y.shape[1:]) != linear.out or len(y) == 0:
        expected = ", ".join(["N", *map(str, linear.out)])
        raise InputError(
            f"this operator makes observations of shape ({expected}) from {shape}, got y of shape "
            f"{tuple(y.shape)}; give another operator, or another y"
        )
    seen = _seen(mask, y)
    if sigma is None and linear == Separable(shape):
        absolute = y.new_zeros(())
    else:  # what a map gives without noise was at least rounded; without that its density would be singular
        fraction = torch.tensor(ROUNDING) if sigma is None else _sigma(sigma, linear.out).clamp(min=LEAST)
        absolute = _one_number(fraction.to(y) * _unit(linear, unit, y))
    return Damaged(torch.where(seen, y, 0.0), linear, absolute, seen, linear.disjoint)


def damage(
    operator: Operator, x: Tensor, unit: Tensor | float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """y of x, (N, *shape): a draw of the noise where there is some, NaN where nothing was seen.

    Entries of x that are NaN are missing, and so are those of y that they would be part of.

    >>> damage(Downscale(2), torch.arange(16.0).view(1, 4, 4))
    tensor([[[ 2.5000,  4.5000],
             [10.5000, 12.5000]]])
    """
    maps, sigma, masks = _canonical(operator)
    shape = tuple(x.shape[1:])
    linear = _compose(maps, shape, x)
    missing = x.isnan()
    y = linear.forward(x.masked_fill(missing, 0))
    if missing.any():
        y = y.masked_fill(linear.entrywise(torch.abs).forward(missing.to(x)) > 0, math.nan)
    if sigma is not None:
        absolute = _sigma(sigma, linear.out).to(y) * _unit(linear, unit, y)
        y = y + absolute * randn(tuple(y.shape), y, generator)
    return torch.where(_seen(masks, y), y, math.nan)


def _unit(linear: Map, unit: Tensor | float, like: Tensor) -> Tensor:
    """|A| u, the unit of y."""
    return linear.entrywise(torch.abs).forward(torch.as_tensor(unit).to(like).expand(linear.shape))


def _canonical(operator: Operator) -> tuple[list[Operator], Tensor | None, list[Mask]]:
    """The maps of an operator, the last one first, its σ and its masks."""
    maps: list[Operator] = []
    masks, variance = [], None
    for part in operator.parts:
        if isinstance(part, Mask):
            masks.append(part)
        elif isinstance(part, Noise):
            sigma = _tensor(part.sigma).double()
            if not bool((sigma >= 0).all() and sigma.isfinite().all()):
                raise InputError(f"the σ of Noise has to be 0 or more, got {float(sigma.min()):g}")
            if sigma.any():
                variance = sigma.square() + (0 if variance is None else variance)
        else:
            maps.append(part)
            continue
        if maps:
            raise InputError(
                f"{type(part).__name__} belongs to the entries of y and stands left of every map, as in "
                f"Mask(m) @ Noise(0.1) @ Downscale(2), got it right of {type(maps[-1]).__name__}"
            )
    return maps, None if variance is None else variance.sqrt(), masks


def _seen(masks: list[Mask], y: Tensor) -> Tensor:
    missing = y.isnan()
    if y.isinf().any():
        raise InputError("expected finite numbers in y, or NaN for what is missing, got infinity")
    if not masks:
        return ~missing
    seen = torch.ones_like(missing)
    for mask in masks:
        observed = _tensor(mask.observed).to(y.device)
        if observed.dtype != torch.bool:
            raise InputError(f"a mask is an array of bool, true where y was observed, got {observed.dtype}")
        if tuple(observed.shape) not in (tuple(y.shape), tuple(y.shape[1:])):
            raise InputError(
                f"expected a mask in the shape of y, {tuple(y.shape)}, or of one observation, "
                f"{tuple(y.shape[1:])}, got {tuple(observed.shape)}"
            )
        seen = seen & observed
    if (missing & seen).any():
        raise InputError(
            "y has NaN where the mask says that it was observed; correct the mask, or leave it out"
        )
    return seen


def _sigma(sigma: Tensor, out: tuple[int, ...]) -> Tensor:
    try:
        sigma.expand(out)
    except RuntimeError:
        raise InputError(
            f"expected one σ, or one for each entry of y, {out}, got {tuple(sigma.shape)}"
        ) from None
    if not sigma.all():
        raise InputError("the σ of Noise has to be positive in every entry, got zero in some; use one number")
    return sigma


def _tensor(values: float | Array) -> Tensor:
    """A copy of an array: it may be read-only, which tensors cannot be."""
    return values if isinstance(values, Tensor) else torch.tensor(values)


def _one_number(sigma: Tensor) -> Tensor:
    """A single σ where all are the same to rounding."""
    low, high = sigma.aminmax()
    return high if bool(high - low <= 1e-5 * high) else sigma
