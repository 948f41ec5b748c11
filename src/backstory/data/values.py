"""Stored values from everything that people pass, and batches of them in the model's units."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from backstory.data.dataset import Dataset
from backstory.data.load import load
from backstory.data.observation import Observation
from backstory.data.rows import FileRows, Rows
from backstory.data.schema import Schema
from backstory.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from backstory.data.load import ArrowStream

# Rows held at once in the model's units. Part of the definition of a seeded result, not a setting.
BATCH = 500

Values: TypeAlias = "Rows | Tensor | Dataset | str | os.PathLike[str] | pd.DataFrame | ArrowStream"


def read(x: Values, schema: Schema) -> Any:
    """x itself, or the data set in it where x is a frame or the path of a file, read with the schema."""
    named = isinstance(x, str | os.PathLike) or hasattr(x, "__arrow_c_stream__")
    return load(x, schema=schema) if named else x  # type: ignore[arg-type]


def stored_values(x: Values, schema: Schema) -> Rows | Tensor:
    """The stored values of observations, (N, *shape); InputError for anything but numbers."""
    if isinstance(x, Tensor):
        return x
    x = read(x, schema)
    values = x.values if isinstance(x, Dataset) else x if isinstance(x, FileRows) else np.asarray(x)
    if values.dtype.kind not in "buif":
        raise InputError(f"expected an array of numbers, got type {values.dtype}; convert it to numbers")
    return values


@dataclass(frozen=True)
class Batches:
    """Stored values in batches of `BATCH` rows, in the model's units.

    Attributes:
        values: (N, *shape).
        schema: of the values.
        incomplete: whether entries may be missing (NaN).
        device: of the batches.
    """

    values: Rows | Tensor
    schema: Schema
    incomplete: bool
    device: torch.device

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.values)

    def draw(self, generator: torch.Generator) -> Iterator[Observation]:
        """The batches; the generator matters where values are presented at random.

        InputError for values that do not fit the schema, and for infinite or unexpectedly missing entries.
        """
        self.schema.check(self.values)
        for start in range(0, len(self.values), BATCH):
            part = self.values[start : start + BATCH]
            # A copy of an array: it may be read-only, which tensors cannot be
            tensor = part if isinstance(part, Tensor) else torch.tensor(part)
            if tensor.is_floating_point():
                self._check_finite(tensor)
            yield Observation(self.schema.prepare(tensor.to(self.device), generator))

    def _check_finite(self, values: Tensor) -> None:
        if self.incomplete and not torch.isinf(values).any():
            return
        if not torch.isfinite(values).all():
            got = "infinity" if self.incomplete else "NaN or infinity"
            raise InputError(
                f"expected a finite number in every entry, got {got}; "
                "leave such observations out, or fill the entries"
            )
