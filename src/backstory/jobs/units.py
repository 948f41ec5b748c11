"""The numbers of a data set in the units of a model, and back.

Integers are levels. Floats are fractions of the full range, or levels if all are whole and some are above 1.
Image files are fractions of their own range. The model has the units of its training data.
"""

from typing import Any

import numpy as np

from backstory.data.dataset import Dataset
from backstory.data.schema import Schema
from backstory.data.units import Units
from backstory.errors import InputError
from backstory.jobs.source import column_order

NOISE_REACH = 10.0  # standard deviations beyond which a value is no noisy fraction


def units_of(model: Schema, data: Dataset, values: np.ndarray, noise: float | None) -> Units:
    """The units of values that were chosen from a data set.

    Args:
        model: schema of the model.
        data: the data set.
        values: the chosen ones, (N, ...).
        noise: σ as a fraction of the full range, by which values may leave it.

    Raises:
        InputError: the columns are not those of the model, or numbers lie far outside the full range.
    """
    if model.kind == "images":
        return _image_units(model, data, values, noise or 0.0)
    return _column_units(model, data, values)


def _column_units(model: Schema, data: Dataset, values: np.ndarray) -> Units:
    order, own = column_order(model, data), data.schema
    changes: dict[str, Any] = {"dtype": own.dtype}
    if model.columns is not None and own.columns is not None:
        # without names in a file, columns correspond by position
        names = dict(zip(model.columns, own.columns, strict=False)) if order is None else {}
        whole = {names.get(name, name) for name in model.integer_columns} - _fractional(own, values)
        changes |= {"columns": own.columns, "header": own.header, "integer_columns": tuple(whole)}
        changes |= {"kinds": own.kinds, "left_out": own.left_out}
    return Units(model.model_copy(update=changes), 1.0, order)


def _fractional(schema: Schema, values: np.ndarray) -> set[str]:
    """The columns that hold numbers that are not whole."""
    broken = (values != np.rint(values)) & ~np.isnan(values)
    return {name for name, some in zip(schema.columns or (), broken.any(axis=0), strict=False) if some}


def _image_units(model: Schema, data: Dataset, values: np.ndarray, noise: float) -> Units:
    full, levels, dtype = _full_range(model, data, values, noise), model.levels, data.schema.dtype
    if full not in (model.maximum, 1.0) and levels != 2 and dtype.startswith("uint"):
        levels = int(full) + 1
    schema = model.model_copy(update={"dtype": dtype, "maximum": full, "levels": levels})
    return Units(schema, (model.maximum or 1.0) / full)


def _full_range(model: Schema, data: Dataset, values: np.ndarray, noise: float) -> float:
    """The number of full brightness in the data set; InputError for numbers far beyond it."""
    top, own = float(model.maximum or 1.0), float(data.schema.maximum or 1.0)
    if data.names is not None:  # image files
        return own
    known = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    levels = values.dtype.kind != "f" or (high > 1 and bool((known == np.rint(known)).all()))
    full = 1.0 if not levels else top if model.levels is not None else own
    reach = 1 + NOISE_REACH * abs(noise)
    if max(-low, high) > full * reach + 1e-3:
        what = f"levels from 0 to {full:g}" if levels else "fractions of the full range, from 0 to 1"
        advice = "rescale them" if levels or top == 1 else f"divide by the top level, {top:g}"
        raise InputError(
            f"expected {what}, and at most {NOISE_REACH:g} σ of noise around them in {data.source}, got "
            f"numbers from {low:.4g} to {high:.4g}; {advice}, or say with `noise` how noisy they are"
        )
    return full
