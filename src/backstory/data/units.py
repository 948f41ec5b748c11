"""Units of values: the numbers of some data, the stored numbers of a model's schema, and the model's x.

data     people's numbers: levels, or fractions of the full range, with columns in the file's order
stored   the numbers of the schema that a model was trained with
x        the model's numbers; `Schema.factor` is the model's x for a stored 1

One rule decides what the numbers of images are, for every command and method (`image_units`). Image files are
fractions of their own range. Whole numbers are levels. Floats are fractions of the full range, or levels if
all are whole and some are above 1, or stored numbers of a model of floats. Floats that reach well beyond 1
are levels with fractions, such as means and noisy levels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from backstory.data.checks import extremes
from backstory.data.meaning import guessed_schema
from backstory.data.rows import Rows, blocks, mapped
from backstory.data.schema import Schema
from backstory.data.tensors import untensored
from backstory.errors import InputError

NOISE_REACH = 10.0  # standard deviations beyond which a value is no noisy one
_ROUNDING = 1e-3  # of the full range, by which a fraction may leave it
_BRIGHT = 0.5  # of the full range: floats that reach above 1 and above this are levels

Range: TypeAlias = tuple[float, float]  # black and white
FRACTIONS: Range = (0.0, 1.0)


def full_range(schema: Schema) -> float:
    """The model's x for full brightness of an image: its top level, else its maximum, else 1."""
    return float(schema.top or schema.maximum or 1)


@dataclass(frozen=True)
class Units:
    """From the numbers of some data to those of a model's schema, and back.

    Attributes:
        schema: of one x in the numbers and columns of the data, as it is written.
        factor: the stored number of the model's schema for a difference of 1 in the data.
        order: for each of the model's columns, its index in the data; None if they are in order.
        black: of images, in the data and in the model's schema.
    """

    schema: Schema
    factor: float = 1.0
    order: list[int] | None = None
    black: Range = (0.0, 0.0)

    @property
    def are_same(self) -> bool:
        """Whether the data has the numbers of the model's schema."""
        return self.factor == 1 and self.black[0] == self.black[1]

    def to_model(self, values: np.ndarray, model: Schema, levels: bool) -> np.ndarray:
        """The data's values in stored numbers of the model's schema, in its columns.

        Args:
            values: (N, ...) of the data.
            model: the schema.
            levels: whether the values are entries of x, which are rounded to a level if the model has levels.

        >>> schema = Schema(kind="images", shape=(1, 2), dtype="uint8", levels=17, maximum=16)
        >>> Units(schema, factor=16.0).to_model(np.array([[[0.0, 0.51]]]), schema, levels=True)
        array([[[0., 8.]]])
        """
        values = self.to_model_columns(values)
        if self.are_same:
            return values
        values = (values.astype(np.float64) - self.black[0]) * self.factor
        return (np.rint(values) if levels and model.levels is not None else values) + self.black[1]

    def to_model_columns(self, values: np.ndarray) -> np.ndarray:
        """The same numbers, (N, ...), in the order of the model's columns."""
        return values if self.order is None else values[:, self.order]

    def from_model(self, values: np.ndarray) -> np.ndarray:
        """Stored numbers of x, (..., *shape), in the data's numbers and columns; not rounded."""
        if not self.are_same:
            values = (values.astype(np.float64) - self.black[1]) / self.factor + self.black[0]
        return self.from_model_columns(values)

    def from_model_deviations(self, values: np.ndarray) -> np.ndarray:
        """Differences of stored numbers, such as standard deviations, in the data's numbers and columns."""
        return self.from_model_columns(values if self.factor == 1 else values / self.factor)

    def from_model_columns(self, values: np.ndarray) -> np.ndarray:
        """The same numbers, (..., C), in the order of the columns of the data."""
        return values if self.order is None else values[..., np.argsort(self.order)]


@dataclass(frozen=True)
class Known:
    """What is known of images besides their numbers.

    Attributes:
        range: black and white; None to judge by the values.
        noise: σ as a fraction of the full range, by which values may leave it; None for values of x itself.
        whole: whether the values are entries of x, which are rounded to levels.
        source: of the data, for messages.
    """

    range: Range | None = None
    noise: float | None = None
    whole: bool = True
    source: str = "array"


def image_units(model: Schema, values: Rows, known: Known) -> Units:
    """The units of images, (N, …) in the data's numbers, for a model of images.

    Raises:
        InputError: numbers that lie far outside the full range.
    """
    black, white = known.range or _range_of(model, values, known)
    own, levels, dtype = model.bounds or (0.0, 1.0), model.levels, values.dtype.name
    if (white - black) not in (model.maximum, 1.0) and levels != 2 and dtype.startswith("uint"):
        levels = int(white - black) + 1
    changes = {"dtype": dtype, "maximum": white - black, "levels": levels}
    changes["origin"] = (black,) if black else ()
    factor = (own[1] - own[0]) / (white - black)
    return Units(model.model_copy(update=changes), factor, black=(black, own[0]))


def _range_of(model: Schema, values: Rows, known: Known) -> Range:
    """Black and white in the numbers of the data."""
    noise = abs(known.noise or 0.0)
    own = model.bounds or (0.0, 1.0)
    low, high = extremes(values)
    if math.isinf(low) or math.isinf(high):
        raise InputError(
            f"expected a finite number in every entry, got NaN or infinity in {known.source}; "
            "leave such observations out, or fill the entries"
        )
    # what is left of x may lie between two levels
    between = 0.0 if known.noise is None or not model.top else 0.5 / model.top
    if values.dtype.kind != "f":
        candidates = [own if model.levels is not None else _range_of_levels(values)]
    elif (model.levels is None and model.origin) or (high > 1 and _all_whole(values)):
        candidates = [own]
    else:
        candidates = [FRACTIONS] if own == FRACTIONS else [FRACTIONS, own]
    likely = (2 * math.log(max(2, values.size))) ** 0.5 + 2  # σ that the noise of so many values reaches
    if len(candidates) > 1 and _within(low, high, candidates[0], likely * noise + between):
        return candidates[0]
    for bounds in reversed(candidates):
        bright = bounds == candidates[0] or high > bounds[0] + _BRIGHT * (bounds[1] - bounds[0])
        if bright and _within(low, high, bounds, NOISE_REACH * noise + between):
            return bounds
    if low > FRACTIONS[1] and _within(low, high, own, likely * noise + between):
        return own  # levels, though dark ones
    raise _far_outside(candidates[0], own, (low, high), known)


def _within(low: float, high: float, bounds: Range, noise: float) -> bool:
    reach = (bounds[1] - bounds[0]) * (abs(noise) + _ROUNDING)
    return not (low < bounds[0] - reach or high > bounds[1] + reach)


def _range_of_levels(values: Rows) -> Range:
    """Black and white of whole numbers, from their type and values."""
    return 0.0, float(guessed_schema(values).maximum or 1.0)


def _far_outside(bounds: Range, own: Range, got: Range, known: Known) -> InputError:
    between = f"between {bounds[0]:g} and {bounds[1]:g}"
    what = f"fractions of the full range, {between}" if bounds == FRACTIONS else f"levels {between}"
    divide = bounds == FRACTIONS and own[1] > 1 and own[0] == 0
    advice = f"divide by the top level, {own[1]:g}" if divide else "rescale them"
    if known.noise is not None:
        what += f", and at most {NOISE_REACH:g} σ of noise around them"
        advice += ", or say with `noise` how noisy they are"
    return InputError(
        f"expected {what}, in {known.source}, got numbers from {got[0]:.4g} to {got[1]:.4g}; {advice}"
    )


def _all_whole(values: Rows) -> bool:
    return all(((b == np.rint(b)) | np.isnan(b)).all() for b in blocks(values))


# -- the way in -------------------------------------------------------------------------------------------


def as_stored(model: Schema, values: Rows | Tensor, known: Known) -> Rows | Tensor:
    """Images of any layout in stored numbers of a model's schema, (N, H, W) or (N, H, W, C)."""
    rows = in_shape(model, values)
    if known.whole and tuple(rows.shape[1:]) != model.shape:
        return rows  # which are refused later
    array = untensored(rows)
    units = image_units(model, array, known)
    if units.are_same:
        return rows
    return mapped(lambda block: units.to_model(block, model, levels=known.whole), array)


def in_shape(model: Schema, values: Any) -> Any:
    """Images with their channels where the model has them."""
    shape, own = tuple(values.shape), model.shape
    if shape[1:] == own:
        return values
    if len(own) == 3 and model.channels == "first" and len(shape) == 4 and shape[1] == own[2]:
        return _reshaped(values, lambda block: np.moveaxis(block, 1, -1))
    if len(own) == 3 and own[2] == 1 and len(shape) == 3:
        return _reshaped(values, lambda block: block[..., None])
    if len(own) == 2 and len(shape) == 4 and shape[3] == 1:
        return _reshaped(values, lambda block: block[..., 0])
    return values


def _reshaped(values: Any, change: Callable[[np.ndarray], np.ndarray]) -> Rows:
    return mapped(lambda block: np.ascontiguousarray(change(block)), untensored(values))
