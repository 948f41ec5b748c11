"""The rows that a job works on: which data, which part of it, and how it is read."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backstory.data.checks import missing, place
from backstory.data.conditions import chosen_stated, encode_stated
from backstory.data.dataset import Dataset
from backstory.data.load import Source as Data
from backstory.data.load import holds_images, read_source
from backstory.data.reading import PLAIN, Reading
from backstory.data.rows import mapped
from backstory.data.schema import Schema
from backstory.data.tables.aligned import as_frame
from backstory.data.units import Units
from backstory.errors import InputError
from backstory.jobs.checks import at_least_one
from backstory.jobs.units import units_of
from backstory.trained import Trained

if TYPE_CHECKING:
    import pandas as pd

    from backstory.data.tables.columns import Columns


@dataclass(frozen=True)
class Source:
    """Which rows of which data a job uses.

    Attributes:
        data: the path of a file or folder, the name of an embedded data set, an array or a frame; see `load`.
        split: `train`, `validation`, `test` or `all`; `auto` is the test part if the data has one, else all.
        limit: use only the first rows of that part; None for all of them.
        reading: how the data is read where it does not tell by itself.
        given: conditions of all rows by name, for a model of p(x|c), in place of those that the data has.
    """

    data: Data
    split: str = "auto"
    limit: int | None = None
    reading: Reading = PLAIN
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path | None:
        """Where the data lies; None for data in memory."""
        return Path(self.data).expanduser() if isinstance(self.data, str | os.PathLike) else None

    @cached_property
    def frame(self) -> "pd.DataFrame | None":
        """The data as a frame of pandas, if it is a frame of any library; None for other data."""
        return None if self.path is not None else as_frame(self.data)

    def first(self, rows: int) -> "Source":
        """The same source, limited to so many rows unless it has a limit."""
        return replace(self, limit=rows) if self.limit is None else self

    def resized(self, size: tuple[int, ...]) -> "Source":
        """The same source, whose images are brought to a height and width."""
        reading = replace(self.reading, resize=(size[0], size[1]))
        return replace(self, reading=reading) if self._holds_images else self

    @property
    def _holds_images(self) -> bool:
        path = self.path
        return path is not None and path.exists() and holds_images(path)

    def load(self, schema: Schema | None = None, columns: "Columns | None" = None) -> Dataset:
        """The whole data set; a table is read with the given schema or kinds of columns."""
        return read_source(self.data, replace(self.reading, columns=columns), schema)


@dataclass(frozen=True)
class ChosenRows:
    """A data set, and the numbers of the rows to use, which are of a `part`: `test`, …, or `all`."""

    data: Dataset
    index: np.ndarray
    part: str = "all"

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the chosen rows (image files); None without names."""
        return None if self.data.names is None else tuple(self.data.names[i] for i in self.index)


def choose(model: Trained, source: Source) -> ChosenRows:
    """The data, read with the model's schema, and the numbers of the rows that the source asks for."""
    at_least_one("limit", source.limit)
    if source.split == "auto":  # no more images are decoded than needed
        source = replace(source, reading=replace(source.reading, limit=source.limit))
    data = _given(source, model.schema) if source.given else source.load(model.schema)
    part = source.split if source.split != "auto" else "all" if data.test_rows is None else "test"
    return ChosenRows(data, model.rows(data, part)[: source.limit], part)


def _given(source: Source, schema: Schema) -> Dataset:
    """The data with the conditions that the source gives."""
    data = source.load(schema.without_conditions())
    stated = chosen_stated(schema.conditions, source.given, len(data))
    assert stated is not None
    own = data.schema.model_copy(update={"conditions": schema.conditions})
    return replace(data, given=encode_stated(schema.conditions, stated), stated=stated, schema=own)


@dataclass(frozen=True)
class ReadRows:
    """Chosen rows as a model stores them.

    Attributes:
        data: the rows, in the model's columns and numbers.
        units: of the data that they came from.
        chosen: the rows as they were read.
    """

    data: Dataset
    units: Units
    chosen: ChosenRows


def read_rows(model: Trained, source: Source) -> ReadRows:
    """The chosen rows in the model's columns and numbers.

    Raises:
        InputError: a cell is empty and the model was not trained on incomplete data, columns are missing or
            unknown, or the rows have another shape or range than the model's.
    """
    chosen = choose(model, source)
    data, index, schema = chosen.data, chosen.index, model.schema
    count, first = missing(data.values, index) if data.incomplete else (0, ())
    if count and not model.incomplete:
        where = place(first, data.schema.columns)
        raise InputError(
            f"expected a value in every cell, got none in {where} of {data.source}; fill it, or drop the row"
        )
    part = data.subset(index)
    schema.check_shape(part.values)
    units = units_of(schema, data, part.values)
    values = part.values
    # whole numbers get the model's type, so that equal rows are equal
    typed = np.dtype(schema.dtype).kind in "bui" and not units.are_same and not data.incomplete
    if units.order is not None or not units.are_same:

        def stored(block: np.ndarray) -> np.ndarray:
            x = units.to_model(block, schema, levels=True)
            return x.astype(schema.dtype) if typed else x

        values = mapped(stored, values)
    schema.check(values)
    own = schema if schema.kind == "images" else data.schema
    return ReadRows(replace(part, values=values, schema=own, known_range=True), units, chosen)
