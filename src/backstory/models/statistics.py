"""Location and scale of the training data."""

import numpy as np
import torch
from torch import Tensor

from backstory.data.rows import Rows, blocks
from backstory.data.schema import Schema

Statistics = tuple[Tensor, Tensor]  # location and scale of x


@np.errstate(invalid="ignore")  # of signalling NaN
def data_statistics(values: Rows, schema: Schema) -> Statistics:
    """Location and scale of the model's x over the training rows: a number each for images, else (*shape).

    The location is the mean, the scale the population standard deviation, or 1 for a constant entry. Missing
    entries are left out. Columns with levels have location 0 and scale 1.
    """
    axis = None if schema.kind == "images" else 0
    mean, variance = _moments(values, axis)
    if schema.origins is not None:
        mean = mean - schema.origins
    if schema.presentation == "binarised":
        mean = mean / (schema.maximum or 1.0)
        variance = mean * (1 - mean)
    elif schema.levels is not None and schema.maximum:
        factor = (schema.levels - 1) / schema.maximum
        mean, variance = mean * factor, variance * factor**2
    if schema.presentation == "dequantised":
        variance = variance + 1 / 12  # of the uniform noise
    std = np.sqrt(variance)
    std = np.where(std > 1e-6 * np.maximum(np.abs(mean), 1e-30), std, 1.0)
    if schema.levels is None and schema.kinds:
        numbers = np.array([column.levels is None for column in schema.kinds])
        mean, std = np.where(numbers, mean, 0.0), np.where(numbers, std, 1.0)
    return torch.as_tensor(mean, dtype=torch.float32), torch.as_tensor(std, dtype=torch.float32)


def _moments(values: Rows, axis: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population variance of all values but NaN, in double precision, a block of rows at a time."""
    origin = _first(values)  # keeps digits if the mean is large compared with the standard deviation
    origin = origin.mean() if axis is None else origin
    total = square = count = np.zeros(())
    for block in blocks(values):
        for piece in blocks(block, 1 << 16):  # stays in the processor's cache
            part = np.subtract(piece, origin, dtype=np.float64)
            there = ~np.isnan(part)
            part[~there] = 0
            count = count + there.sum(axis)
            total = total + part.sum(axis)
            square = square + np.square(part, out=part).sum(axis)
    count = np.maximum(count, 1)
    return origin + total / count, np.maximum(square / count - (total / count) ** 2, 0)


def _first(values: Rows) -> np.ndarray:
    """The first observed value of each entry in the first 100 rows, or zero, of float64."""
    rows = values[:100].astype(np.float64)
    row = np.expand_dims(np.isnan(rows).argmin(0), 0)
    return np.nan_to_num(np.take_along_axis(rows, row, 0)[0])


def blank_statistics(schema: Schema) -> Statistics:
    """Location 0 and scale 1, in the shapes of `data_statistics`."""
    shape = () if schema.kind == "images" else schema.shape
    return torch.zeros(shape), torch.ones(shape)
