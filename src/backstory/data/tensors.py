"""Tensors for arrays, and arrays for tensors."""

import numpy as np
import torch
from torch import Tensor

from backstory.data.rows import Rows


def untensored(rows: Rows | Tensor) -> Rows:
    """The rows of a tensor as an array in memory; others as they are."""
    return rows.detach().cpu().numpy() if isinstance(rows, Tensor) else rows


def tensor_of(values: float | np.ndarray | Tensor) -> Tensor:
    """A tensor of the values; arrays are copied, because they may be read-only and tensors cannot be."""
    return values if isinstance(values, Tensor) else torch.tensor(values)
