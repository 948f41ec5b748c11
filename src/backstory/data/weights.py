"""Weights of rows: a row of weight 2 counts as two rows do, in training and validation."""

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backstory.errors import InputError, counted

COLUMN = "column "


def checked_weights(weights: Any, rows: int) -> np.ndarray:
    """The weights of so many rows, (rows,) of float64; one number counts for all.

    Raises:
        InputError: another number of weights, weights that are negative or not finite, or fewer than two
            positive ones.
    """
    values = np.asarray(weights, np.float64)
    values = np.full(rows, values) if values.ndim == 0 else values
    if values.shape != (rows,):
        raise InputError(
            f"expected a weight for each of {counted(rows, 'row')}, got weights of shape {values.shape}; "
            "give one for each"
        )
    bad = np.flatnonzero(~((values >= 0) & np.isfinite(values)))
    if len(bad):
        got = "none" if np.isnan(values[bad[0]]) else f"{values[bad[0]]:g}"
        raise InputError(
            f"expected weights that are finite and not negative, got {got} for row {int(bad[0]) + 1}; "
            "correct it, or leave the row out"
        )
    if (values > 0).sum() < 2:
        raise InputError(
            f"expected two or more rows with a weight above zero, got {(values > 0).sum()} of {rows}; "
            "give more rows a weight"
        )
    return values


def name_of(weights: Any) -> str | None:
    """How a run records its weights: the name of their column, or a checksum of their values; None without.

    >>> name_of("w"), name_of([1, 2])
    ('column w', 'values 2bc1933bf39751c1')
    """
    if weights is None:
        return None
    if isinstance(weights, str):
        return f"{COLUMN}{weights}"
    content = np.ascontiguousarray(weights, np.float64).tobytes()
    return f"values {hashlib.blake2b(content, digest_size=8).hexdigest()}"


def column_of(name: str | None) -> str | None:
    """The column that a run took its weights from, by `name_of`; None for weights by value, or without."""
    if name is None or not name.startswith(COLUMN):
        return None
    return name.removeprefix(COLUMN)


def drawn_by_weight(weights: Tensor, generator: torch.Generator) -> Tensor:
    """N row numbers in random order, in which each row comes N·w / Σw times on average, (N,) of int64.

    The draws are systematic (Madow 1949): each row comes this often up to one, so equal weights give each row
    once.

    >>> drawn_by_weight(torch.tensor([1.0, 3.0, 0.0, 0.0]), torch.Generator().manual_seed(0)).sort().values
    tensor([0, 1, 1, 1])
    """
    count, device = len(weights), weights.device
    ends = weights.double().cumsum(0)
    first = torch.rand(1, generator=generator, device=device, dtype=torch.float64)
    places = (torch.arange(count, device=device) + first) * (ends[-1] / count)
    rows = torch.searchsorted(ends, places, right=True).clamp(max=count - 1)
    return rows[torch.randperm(count, generator=generator, device=device)]
