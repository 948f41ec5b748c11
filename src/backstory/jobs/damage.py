"""Between the command line and restoration: what DATA shows of x, in the units of the model.

Numbers come as people keep them. Integers are levels, floats are fractions of the full range (or levels,
where all are whole and some above 1), and image files are fractions of their own range; the model has the
units of its training data. `Units` turns the one into the other, and the restoration back.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from backstory.data.dataset import Dataset
from backstory.data.rows import subset
from backstory.data.schema import Schema
from backstory.errors import InputError
from backstory.files import format_of, reading
from backstory.inference.operators import Blur, Downscale, Noise, Operator, Product
from backstory.jobs import rows as io
from backstory.model import Model

NOISE_REACH = 10.0  # standard deviations beyond which a value is no noisy fraction
BLACK, WHITE = 0, 255  # of a mask's pixels


@dataclass(frozen=True)
class Damage:
    """The options that say what happened to x; None where nothing did.

    Attributes:
        mask: a file, see `read_mask`.
        noise: σ, a fraction of the full range of images and of a column's standard deviation.
        downscale: r, of blocks of r × r pixels.
        blur: σ in pixels.
        missing: the fraction of entries that is hidden, of data that is whole.
    """

    mask: Path | None = None
    noise: float | None = None
    downscale: int | None = None
    blur: float | None = None
    missing: float | None = None

    def __bool__(self) -> bool:
        return any(value is not None for value in vars(self).values())

    @property
    def operator(self) -> Operator:
        """Blurred, then downscaled, then noisy; what was not seen is NaN in y."""
        parts: list[Operator] = [] if self.noise is None else [Noise(self.noise)]
        parts += [] if self.downscale is None else [Downscale(self.downscale)]
        parts += [] if self.blur is None else [Blur(self.blur)]
        return Product(tuple(parts))

    @property
    def keeps(self) -> bool:
        """Whether entries that were seen are entries of x."""
        return not (self.noise or self.blur or (self.downscale or 1) > 1)


@dataclass(frozen=True)
class Units:
    """From the numbers of DATA to those of the model, and back.

    Attributes:
        schema: of what is written: one x, in the numbers and columns of DATA.
        factor: the model's number for DATA's.
        order: where the model's columns stand in DATA; None where they stand in order.
    """

    schema: Schema
    factor: float = 1.0
    order: list[int] | None = None

    def to_model(self, values: np.ndarray, model: Schema, levels: bool) -> np.ndarray:
        """DATA's values in the model's units; `levels` says that they are entries of x, and rounds them."""
        if self.order is not None:
            values = values[:, self.order]
        if self.factor == 1:
            return values
        values = values.astype(np.float64) * self.factor
        return np.rint(values) if levels and model.levels is not None else values

    def from_model(self, values: np.ndarray) -> np.ndarray:
        """Numbers of x, (..., *shape), in DATA's units and columns; not rounded."""
        values = values if self.factor == 1 else values.astype(np.float64) / self.factor
        return values if self.order is None else values[..., np.argsort(self.order)]


@dataclass(frozen=True)
class Case:
    """What is to be restored.

    Attributes:
        shown: the chosen rows of DATA as they came, (N, *out) or (N, *shape).
        kept: (N, *shape) of bool, the entries of x that are written as they came; None where there are none.
        y, operator: in the model's units, as `Model.restore` takes them, with NaN for what was not seen.
        truth: (N, *shape) in the model's units, where DATA was damaged here; None otherwise.
        units: of DATA.
        data, index: DATA, and the numbers of the chosen rows.
    """

    shown: np.ndarray
    kept: np.ndarray | None
    y: np.ndarray
    operator: Operator
    truth: np.ndarray | None
    units: Units
    data: Dataset
    index: np.ndarray

    @property
    def names(self) -> tuple[str, ...] | None:
        return io.names_of(self.data, self.index)

    @property
    def fill(self) -> np.ndarray:
        """(N, *shape) of bool, the entries of x that are not written as they came."""
        return np.ones(self.shown.shape, bool) if self.kept is None else ~self.kept

    @property
    def rows(self) -> np.ndarray:
        """The chosen rows in the model's columns."""
        return self.shown if self.units.order is None else self.shown[:, self.units.order]


def read_case(
    model: Model,
    source: str,
    damage: Damage,
    whole: bool = False,
    resize: str | None = None,
    stream: bool | None = None,
    part: str = "all",
    limit: int | None = None,
    seed: int = 0,
) -> Case:
    """The chosen rows of DATA, and what they show of x; `whole` if they are x itself, which is damaged here.

    Raises:
        InputError: a mask or images of another size than the options say, missing columns, numbers of
            another scale.
    """
    if damage.missing is not None and not whole:
        raise InputError(
            "--missing hides entries of whole data, and needs --damage; empty cells need no option"
        )
    data, index = io.chosen(model, source, resize, stream, part, limit)
    data = data.in_file_order()
    values = np.asarray(subset(data.values, index))
    units = _units(model.schema, data, values, damage)
    _check_size(model.schema, data, damage, whole)
    ours = units.to_model(values, model.schema, whole or damage.keeps)
    y = model.damage(ours, damage.operator, damage.missing or 0.0, seed) if whole else ours
    if damage.mask is not None:
        mask = read_mask(damage.mask, model, damage, data, index)
        y = y if mask.all() else np.where(mask, y, np.nan)
    kept = None
    if damage.keeps:
        kept = ~np.isnan(y) if y.dtype.kind == "f" else np.ones(y.shape, bool)
        kept = kept if units.order is None else kept[:, np.argsort(units.order)]
    return Case(values, kept, y, damage.operator, ours if whole else None, units, data, index)


def _units(schema: Schema, data: Dataset, values: np.ndarray, damage: Damage) -> Units:
    theirs = data.schema
    if schema.kind != "images":
        named = schema.columns is not None and theirs.columns is not None
        order = io.columns_of(schema, data)
        mine = dict(zip(schema.columns or (), theirs.columns or (), strict=False) if order is None else ())
        changes: dict[str, Any] = {"dtype": theirs.dtype}
        if named:
            whole = {mine.get(name, name) for name in schema.integer_columns}
            whole -= _fractional(theirs, values)
            changes |= {"columns": theirs.columns, "header": theirs.header, "integer_columns": tuple(whole)}
            changes |= {"kinds": theirs.kinds, "left_out": theirs.left_out}
        return Units(schema.model_copy(update=changes), 1.0, order)
    full = _full_range(schema, data, values, damage.noise or 0.0)
    levels = schema.levels
    if full not in (schema.maximum, 1.0) and levels != 2:
        levels = int(full) + 1 if theirs.dtype.startswith("uint") else levels
    written = schema.model_copy(update={"dtype": theirs.dtype, "maximum": full, "levels": levels})
    return Units(written, (schema.maximum or 1.0) / full)


def _fractional(schema: Schema, values: np.ndarray) -> set[str]:
    """Columns in which something is no whole number."""
    broken = (values != np.rint(values)) & ~np.isnan(values)
    return {name for name, some in zip(schema.columns or (), broken.any(axis=0), strict=False) if some}


def _full_range(schema: Schema, data: Dataset, values: np.ndarray, noise: float) -> float:
    """DATA's number for full brightness."""
    top, theirs = float(schema.maximum or 1.0), float(data.schema.maximum or 1.0)
    if data.names is not None:  # image files
        return theirs
    known = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    levels = values.dtype.kind != "f" or (high > 1 and bool((known == np.rint(known)).all()))
    full = 1.0 if not levels else top if schema.levels is not None else theirs
    reach = 1 + NOISE_REACH * abs(noise)
    if max(-low, high) > full * reach + 1e-3:
        what = f"levels from 0 to {full:g}" if levels else "fractions of the full range, from 0 to 1"
        advice = "rescale them" if levels or top == 1 else f"divide by the top level, {top:g}"
        raise InputError(
            f"expected {what}, and at most {NOISE_REACH:g} σ of noise around them in {data.source}, got "
            f"numbers from {low:.4g} to {high:.4g}; {advice}, or say with --noise how noisy they are"
        )
    return full


def _check_size(schema: Schema, data: Dataset, damage: Damage, whole: bool) -> None:
    """What a downscaled image has to measure, in the words of the command line."""
    r = damage.downscale or 1
    expected, got = list(schema.shape), list(data.schema.shape)
    if schema.kind == "images" and r >= 1 and not whole:
        expected[:2] = [-(-side // r) for side in schema.shape[:2]]
    if got == expected:
        return
    said = " × ".join(map(str, expected))
    if r == 1:
        advice = "give data of this shape, or --downscale if it is smaller"
        advice = advice if schema.kind == "images" and not whole else "give data of this shape"
    else:
        said += "" if whole else f" for --downscale {r} and a model of {' × '.join(map(str, schema.shape))}"
        advice = (
            "give --damage if these images are whole" if got == list(schema.shape) else "check --downscale"
        )
    raise InputError(
        f"expected observations of {said} in {data.source}, got {' × '.join(map(str, got))}; {advice}"
    )


def read_mask(path: Path, model: Model, damage: Damage, data: Dataset, index: np.ndarray) -> np.ndarray:
    """Where y was observed, (N, *out) of bool for the chosen rows, in the model's columns.

    A `.npy` of booleans, or a picture in which white is what was observed; for all rows, or for each row of
    DATA or of those chosen. One without channels holds for all channels.
    """
    r = max(1, damage.downscale or 1)
    sides = tuple(-(-side // r) for side in model.schema.shape[:2])
    out = model.schema.shape
    out = (*sides, *out[2:]) if model.schema.kind == "images" else out
    mask = _load_mask(path)
    columns = io.columns_of(model.schema, data)
    shapes = [out, out[:2]] if model.schema.kind == "images" and len(out) == 3 else [out]
    for shape in shapes:
        rest = (1,) * (len(out) - len(shape))
        if mask.shape == shape:
            mask = np.broadcast_to(mask.reshape(*shape, *rest), (len(index), *out))
        elif mask.shape[1:] == shape and len(mask) in (len(data), len(index)):
            mask = mask[index] if len(mask) == len(data) else mask
            mask = np.broadcast_to(mask.reshape(*mask.shape, *rest), (len(index), *out))
        else:
            continue
        return mask if columns is None else mask[:, columns]
    one, each = (" × ".join(map(str, shape)) for shape in (out, (len(data), *out)))
    raise InputError(
        f"expected a mask of {one} for all observations, or of {each} for each, got "
        f"{' × '.join(map(str, mask.shape))} in {path}; give one of these"
    )


def _load_mask(path: Path) -> np.ndarray:
    kinds = "a .npy of booleans or a black and white .png, true or white where a value was observed"
    with reading(path, "a mask"):
        if format_of(path) == "npy":
            mask = np.load(path, allow_pickle=False)
            if not isinstance(mask, np.ndarray) or mask.dtype != bool:
                got = mask.dtype if isinstance(mask, np.ndarray) else "several arrays (.npz)"
                raise InputError(
                    f"expected a mask of booleans in {path}, true where a value was observed, got {got}; "
                    "save it with numpy.save(path, mask.astype(bool))"
                )
            return mask
        try:
            with Image.open(path) as image:
                grey = np.asarray(image.convert("L"))
        except UnidentifiedImageError:
            raise InputError(f"expected {kinds} for --mask, got {path}, which is neither") from None
    shades = np.unique(grey)
    if not np.isin(shades, (BLACK, WHITE)).all():
        raise InputError(
            f"expected a mask that is black ({BLACK}) and white ({WHITE}) in {path}, white where a value was "
            f"observed, got {len(shades)} shades from {shades[0]} to {shades[-1]}; save it without grey"
        )
    return np.asarray(grey == WHITE)
