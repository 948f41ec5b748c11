"""Stored values from everything that people pass, and batches of them in the model's units."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from backstory.data.conditions import (
    Condition,
    chosen_conditions,
    decode_conditions,
    encode_stated,
    no_conditions,
    stated_conditions,
    unexpected_conditions,
)
from backstory.data.dataset import Dataset
from backstory.data.load import load
from backstory.data.missing_levels import unknown
from backstory.data.observation import Observation
from backstory.data.rows import Rows, is_in_file
from backstory.data.schema import Schema
from backstory.data.stored import StoredRows
from backstory.data.tables import constants
from backstory.data.tensors import tensor_of
from backstory.data.units import Known, as_stored
from backstory.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from backstory.data.load import ArrowStream

# Rows held at once in the model's units. Part of the definition of a seeded result, not a setting.
BATCH = 500

Values: TypeAlias = (
    "Rows | Tensor | StoredRows | Dataset | str | os.PathLike[str] | pd.DataFrame | ArrowStream"
)
Given: TypeAlias = "Mapping[str, Any] | None"


def read(x: "Values | None", schema: Schema) -> Any:
    """x itself, or the data set in it where x is a frame or the path of a file, read with the schema."""
    named = isinstance(x, str | os.PathLike) or hasattr(x, "__arrow_c_stream__")
    return load(x, schema=schema) if named else x  # type: ignore[arg-type]


def stored_rows(
    x: Values, schema: Schema, given: Given = None, noise: float | None = None, whole: bool = True
) -> StoredRows:
    """Observations as they are stored, (N, *shape), with the codes of their conditions, (N, C).

    Images may have other numbers than the model's, such as fractions of the full range; see `data.units`.

    Args:
        x: the observations; stored rows as they are.
        schema: of the model.
        given: the conditions by name, one value for all observations or one for each; by default those that
            come with x: of a `Dataset`, or of the columns of a table. The only condition of a model may be
            left out if the model infers it where it is missing.
        noise: σ by which images may leave the full range, as a fraction of it; None for values of x itself,
            and infinite for what is no image, which stays as it is.
        whole: whether the values are entries of x, not blurred or noisy ones.

    Raises:
        InputError: anything but numbers, conditions for a model of p(x), or none for a model of p(x|c).
    """
    if given is not None:
        values = _stored(read(x, schema.without_conditions()), schema, noise, whole).values
        return StoredRows(values, chosen_conditions(schema.conditions, given, len(values)))
    rows = _stored(x, schema, noise, whole)
    if rows.given is None and (codes := unknown(schema.conditions, len(rows))) is not None:
        return StoredRows(rows.values, codes)
    if rows.given is None and schema.conditions:
        raise no_conditions(schema.conditions, getattr(x, "source", ""))
    if rows.given is not None and not schema.conditions:
        raise unexpected_conditions(x.schema.conditions if isinstance(x, Dataset) else ())
    return rows


def new_values(x: "Values | None") -> dict[int, dict[str, str]]:
    """By number of the row, values that no training row has; only a table's `Dataset` tells of them."""
    return constants.new_values(x.constants) if isinstance(x, Dataset) else {}


def stored_values(x: Values, schema: Schema) -> Rows | Tensor:
    """The stored values of observations, (N, *shape); InputError for anything but numbers."""
    return _stored(x, schema).values


def _stored(x: Values, schema: Schema, noise: float | None = None, whole: bool = True) -> StoredRows:
    """The stored values, with those conditions of the schema that come with x."""
    if isinstance(x, StoredRows):
        return x
    x = read(x, schema)
    given, known = None, Known(noise=noise, whole=whole)
    if isinstance(x, Dataset):
        bounds = x.schema.bounds if x.known_range else None
        known = replace(known, range=bounds, source=x.source)
        rows = with_conditions(x, schema.conditions).stored
        x, given = rows.values, rows.given
    values = x if isinstance(x, Tensor) else _numbers(x)
    if schema.kind == "images" and len(values) and noise != math.inf:
        values = as_stored(schema, values, known)
    return StoredRows(values, given)


def _numbers(x: Any) -> Rows:
    values = x if is_in_file(x) else np.asarray(x)
    if values.dtype.kind not in "buif":
        raise InputError(f"expected an array of numbers, got type {values.dtype}; convert it to numbers")
    return values


def only_given(values: np.ndarray, given: np.ndarray | Tensor) -> np.ndarray:
    """The values, (N, *shape), with NaN for the entries outside a mask; InputError for another mask.

    Args:
        values: of float.
        given: of bool, (*shape) or (N, *shape): the entries that stay.
    """
    mask = np.asarray(given)
    if mask.dtype != bool or mask.shape not in (values.shape, values.shape[1:]):
        raise InputError(
            f"given has to be a mask of booleans, true for the given entries, of shape "
            f"{values.shape[1:]} or {values.shape}, got {mask.dtype} of shape {mask.shape}"
        )
    return np.where(mask, values, np.nan)


def with_conditions(data: Dataset, conditions: Sequence[Condition]) -> Dataset:
    """The data set with these conditions; as it is without conditions, or if it does not tell them."""
    own = data.schema.conditions
    if data.given is not None and conditions and own != tuple(conditions):
        stated = stated_conditions(conditions, decode_conditions(own, data.given))
        return replace(data, given=encode_stated(conditions, stated, data.source), stated=stated)
    return (
        data.conditioned_as(conditions) if data.given is None and all(map(data.tells, conditions)) else data
    )


@dataclass(frozen=True)
class Batches:
    """Stored values in batches of `BATCH` rows, in the model's units.

    Attributes:
        rows: values, (N, *shape), and codes of conditions, (N, C).
        schema: of the values.
        incomplete: whether entries may be missing (NaN).
        device: of the batches.
    """

    rows: StoredRows
    schema: Schema
    incomplete: bool
    device: torch.device

    @property
    def values(self) -> Rows | Tensor:
        """The stored values."""
        return self.rows.values

    @property
    def given(self) -> Tensor | None:
        """Codes of the conditions, (N, C); None without."""
        return None if self.rows.given is None else torch.as_tensor(self.rows.given)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.values)

    def draw(self, generator: torch.Generator) -> Iterator[Observation]:
        """The batches; the generator matters where values are presented at random.

        InputError for values that do not fit the schema, and for infinite or unexpectedly missing entries.
        """
        self.schema.check(self.values)
        for start in range(0, len(self.values), BATCH):
            tensor = tensor_of(self.values[start : start + BATCH])
            if tensor.is_floating_point():
                self._check_finite(tensor)
            given = self.rows.given
            if given is not None:
                given = torch.as_tensor(given[start : start + BATCH]).to(self.device)
            yield Observation(self.schema.prepare(tensor.to(self.device), generator), given)

    def observed_entries(self, generator: torch.Generator) -> float:
        """The number of observed entries of an observation, on average."""
        if not self.incomplete:
            return self.schema.numel
        return sum(int((~torch.isnan(o.x)).sum()) for o in self.draw(generator)) / len(self)

    def _check_finite(self, values: Tensor) -> None:
        if self.incomplete and not torch.isinf(values).any():
            return
        if not torch.isfinite(values).all():
            got = "infinity" if self.incomplete else "NaN or infinity"
            raise InputError(
                f"expected a finite number in every entry, got {got}; "
                "leave such observations out, or fill the entries"
            )
