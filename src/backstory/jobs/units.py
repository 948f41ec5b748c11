"""The numbers and columns of a data set in those of a model, and back; see `data.units` for images."""

from typing import Any

import numpy as np

from backstory.data.checks import listed
from backstory.data.dataset import Dataset
from backstory.data.schema import Schema
from backstory.data.units import Known, Units, image_units
from backstory.errors import InputError


def units_of(model: Schema, data: Dataset, values: Any, noise: float | None = None) -> Units:
    """The units of values that were chosen from a data set.

    Args:
        model: schema of the model.
        data: the data set.
        values: the chosen ones, (N, ...).
        noise: σ as a fraction of the full range, by which values may leave it; None for values of x itself.

    Raises:
        InputError: the columns are not those of the model, or numbers lie far outside the full range.
    """
    if model.kind == "images":
        known = data.schema.bounds if data.known_range else None
        return image_units(model, values, Known(known, noise, source=data.source))
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


def column_order(schema: Schema, data: Dataset) -> list[int] | None:
    """Positions of the model's columns in a table; None if they are in order, or columns have no names.

    Raises:
        InputError: the table lacks columns of the model, or has others.
    """
    names = data.schema.columns
    if schema.columns is None or names is None or not (schema.header and data.schema.header):
        return None
    absent = [name for name in schema.columns if name not in names]
    if absent:
        raise InputError(
            f"expected the columns that the model was trained on in {data.source}, got none called "
            f"{listed(absent)}; add what is missing, and leave cells empty where nothing is known"
        )
    unknown = [name for name in names if name not in schema.columns]
    if unknown:
        raise InputError(
            f"expected only the columns that the model was trained on in {data.source}, got "
            f"{listed(unknown)} as well; leave them out"
        )
    return None if names == schema.columns else [names.index(name) for name in schema.columns]
