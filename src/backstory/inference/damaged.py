"""Damaged observations: y in the one form that inference works with, and draws of y from x.

`observe` checks an operator (`inference.operators`) against y and gives `Damaged`. `damage` applies an
operator to x. Both read an operator in the same way: the product of its maps is A, its noise adds up to σ,
and an entry of y is observed where all masks say so.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from backstory.distributions.noise import randn
from backstory.errors import InputError
from backstory.inference.linear_maps import Dense, Map, Separable, dense
from backstory.inference.operators import Operator

ROUNDING = 1 / (256 * math.sqrt(12))  # σ of rounding to a 256th, in units of y
LEAST = 1e-6  # the smallest σ in units of y: with a smaller one, densities would be singular


@dataclass(frozen=True)
class Damaged:
    """N damaged observations: y = A x + σ ε, at the entries that are observed.

    Attributes:
        y: (N, *out), in the model's units, zero at missing entries.
        linear: A.
        sigma: σ in the model's units, broadcast against one y; zero for entries of x without noise.
        observed: (N, *out) of bool, true where y was observed.
        diagonal: whether A S Aᵀ is diagonal, for any diagonal S or for the one that y was prepared for.
        variance: one diagonal of S for all codes, (N, *shape); None where each code has its own.
    """

    y: Tensor
    linear: Map
    sigma: Tensor
    observed: Tensor
    diagonal: bool
    variance: Tensor | None = None

    @property
    def direct(self) -> bool:
        """Whether the entries of y are entries of x, with or without noise."""
        return self.linear.is_identity

    @cached_property
    def exact(self) -> bool:
        """Whether y holds entries of x without noise: a mask and nothing else."""
        return self.direct and not bool(self.sigma.any())

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, rows: slice | Tensor) -> "Damaged":
        """The observations with these numbers."""
        variance = None if self.variance is None else self.variance[rows]
        return replace(self, y=self.y[rows], observed=self.observed[rows], variance=variance)

    def prepared(self, variance: Tensor | None) -> "Damaged":
        """The same observations with y rotated so that A S Aᵀ + σ² I is diagonal.

        Where no rotation does that for all observations, A is a full matrix instead.

        Args:
            variance: the diagonal of S, a number or one for each entry of x; None if it depends on z.
        """
        if self.diagonal:
            return self
        if variance is None or self.sigma.numel() > 1 or bool((self.observed != self.observed[:1]).any()):
            return replace(self, linear=dense(self.linear, self.y))
        return self._kept()._rotated(variance.to(self.y))

    def _kept(self) -> "Damaged":
        """Without the hidden entries of y, which are the same in every observation."""
        seen = self.observed[0]
        if bool(seen.all()):
            return self
        matrix = dense(self.linear, self.y).matrix[seen.flatten()]
        linear = Dense(self.linear.shape, (len(matrix),), matrix)
        return replace(self, y=self.y[:, seen], linear=linear, observed=self.observed[:, seen])

    def _rotated(self, variance: Tensor) -> "Damaged":
        linear, rotate = self.linear.diagonalised(variance)
        return replace(self, y=rotate(self.y), linear=linear, diagonal=True)


def observe(operator: Operator, y: Tensor, shape: tuple[int, ...], unit: Tensor | float = 1.0) -> Damaged:
    """Check an operator against observations y, and bring both into one form.

    Args:
        operator: how y came from x.
        y: (N, *out), in the model's units; NaN where an entry is missing. Entries that a mask hides may have
            any value, entries that it shows may not be NaN.
        shape: of one x.
        unit: of x, in the model's units: a number, or one for each entry.

    Raises:
        InputError: the operators stand in an order that is another model, a mask or y has another shape, a σ
            is negative, or a number is not finite.
    """
    sigma = _sigma_of(operator)
    linear = _map_of(operator, shape, y)
    if tuple(y.shape[1:]) != linear.out or len(y) == 0:
        expected = ", ".join(["N", *map(str, linear.out)])
        raise InputError(
            f"this operator makes observations of shape ({expected}) from {shape}, got y of shape "
            f"{tuple(y.shape)}; give another operator, or another y"
        )
    observed = _observed(operator, y)
    if sigma is None and linear.is_identity:
        absolute = y.new_zeros(())
    else:  # a map without noise at least rounds; its density would be singular without that
        relative = torch.tensor(ROUNDING) if sigma is None else _checked(sigma, linear.out).clamp(min=LEAST)
        absolute = _one_number(relative.to(y) * _unit(linear, unit, y))
    return Damaged(torch.where(observed, y, 0.0), linear, absolute, observed, linear.disjoint)


def damage(
    operator: Operator, x: Tensor, unit: Tensor | float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """A draw of y given x, (N, *out), with NaN where nothing is observed.

    An entry of y that depends on a missing entry of x, which is NaN, is missing too.

    Args:
        operator: how y comes from x.
        x: (N, *shape), in the model's units.
        unit: of x, as in `observe`.
        generator: source of the noise.

    >>> from backstory import Downscale
    >>> damage(Downscale(2), torch.arange(16.0).view(1, 4, 4))
    tensor([[[ 2.5000,  4.5000],
             [10.5000, 12.5000]]])
    """
    sigma = _sigma_of(operator)
    linear = _map_of(operator, tuple(x.shape[1:]), x)
    missing = x.isnan()
    y = linear.forward(x.masked_fill(missing, 0))
    if missing.any():
        y = y.masked_fill(linear.entrywise(torch.abs).forward(missing.to(x)) > 0, math.nan)
    if sigma is not None:
        absolute = _checked(sigma, linear.out).to(y) * _unit(linear, unit, y)
        y = y + absolute * randn(tuple(y.shape), y, generator)
    return torch.where(_observed(operator, y), y, math.nan)


# -- the parts of an operator -----------------------------------------------------------------------------


def _sigma_of(operator: Operator) -> Tensor | None:
    """σ of all noise together, in units of y; None without noise. InputError for a wrong order."""
    last_map = None
    for part in operator.parts:
        if part.is_map:
            last_map = type(part).__name__
        elif last_map is not None:
            raise InputError(
                f"{type(part).__name__} belongs to the entries of y and stands left of every map, as in "
                f"Mask(m) @ Noise(0.1) @ Downscale(2), got it right of {last_map}"
            )
    variances = [variance for part in operator.parts if (variance := part.variance()) is not None]
    total = None
    for variance in variances:
        total = variance if total is None else variance + total
    return None if total is None else total.sqrt()


def _map_of(operator: Operator, shape: tuple[int, ...], like: Tensor) -> Map:
    """A: the product of all maps."""
    linear: Map = Separable(shape)
    for part in reversed(operator.parts):
        linear = part.after(linear, like)
    return linear


def _observed(operator: Operator, y: Tensor) -> Tensor:
    """Which entries of y are observed, of its shape; InputError where y and the masks disagree."""
    missing = y.isnan()
    if y.isinf().any():
        raise InputError("expected finite numbers in y, or NaN for what is missing, got infinity")
    masks = [mask for part in operator.parts if (mask := part.mask(y)) is not None]
    if not masks:
        return ~missing
    observed = torch.ones_like(missing)
    for mask in masks:
        observed = observed & mask
    if (missing & observed).any():
        raise InputError(
            "y has NaN where the mask says that it was observed; correct the mask, or leave it out"
        )
    return observed


def _unit(linear: Map, unit: Tensor | float, like: Tensor) -> Tensor:
    """|A| u, the unit of y."""
    return linear.entrywise(torch.abs).forward(torch.as_tensor(unit).to(like).expand(linear.shape))


def _checked(sigma: Tensor, out: tuple[int, ...]) -> Tensor:
    """σ; InputError if its shape is not that of one y, or an entry is zero."""
    try:
        sigma.expand(out)
    except RuntimeError:
        raise InputError(
            f"expected one σ, or one for each entry of y, {out}, got {tuple(sigma.shape)}"
        ) from None
    if not sigma.all():
        raise InputError("the σ of Noise has to be positive in every entry, got zero in some; use one number")
    return sigma


def _one_number(sigma: Tensor) -> Tensor:
    """A single σ if all entries are the same up to rounding."""
    low, high = sigma.aminmax()
    return high if bool(high - low <= 1e-5 * high) else sigma
