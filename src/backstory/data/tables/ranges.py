"""Rows of a table whose cells lie in the ranges that the columns have in training."""

import torch
from torch import Tensor

from backstory.data.schema import Schema


def in_ranges(x: Tensor, schema: Schema) -> Tensor:
    """Whether every cell of drawn rows, (N, C) in the model's units, lies in the range of its column, (N,).

    A cell that is rounded to the lowest or the highest stored value lies in it. Of other data than tables
    every row does.
    """
    inside = torch.ones(len(x), dtype=torch.bool, device=x.device)
    values = x.double().cpu().numpy()
    origins = 0.0 if schema.origins is None else schema.origins
    values = values + origins
    for j, column in enumerate(schema.kinds):
        inside &= torch.from_numpy(column.covers(values[:, j])).to(x.device)
    return inside
