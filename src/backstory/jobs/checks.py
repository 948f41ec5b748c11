"""Checks of the numbers and the images that jobs are given."""

import numpy as np

from backstory.data.dataset import Dataset
from backstory.data.schema import Schema
from backstory.data.units import in_shape
from backstory.errors import InputError


def at_least_one(name: str, value: int | None) -> None:
    """Raise InputError for a value below 1; None is no value."""
    if value is not None and value < 1:
        raise InputError(f"`{name}` has to be at least 1, got {value}")


def check_images(data: Dataset, schema: Schema, purpose: str) -> None:
    """Raise InputError unless data are images of the shape that a model has; `purpose` is for the message."""
    shape = in_shape(schema, data.subset(np.arange(1)).values).shape[1:]
    if tuple(shape) != schema.shape:
        raise InputError(
            f"expected images of shape {schema.shape} {purpose}, got {data.schema.kind} of shape "
            f"{tuple(shape)}; give the images that the model was trained on"
        )
