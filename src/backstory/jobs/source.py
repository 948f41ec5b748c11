"""The rows that a job works on: which data, which part of it, and how it is read."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backstory.data.checks import listed, missing, place
from backstory.data.conditions import chosen_stated, encode_stated
from backstory.data.dataset import Dataset
from backstory.data.load import Source as Data
from backstory.data.load import load
from backstory.data.rows import mapped
from backstory.data.schema import Schema
from backstory.errors import InputError
from backstory.jobs.checks import at_least_one
from backstory.trained import Trained

if TYPE_CHECKING:
    from backstory.data.tables.read import Columns


@dataclass(frozen=True)
class Source:
    """Which rows of which data a job uses.

    Attributes:
        data: the path of a file or folder, the name of an embedded data set, an array or a frame; see `load`.
        split: `train`, `validation`, `test` or `all`; `auto` is the test part if the data has one, else all.
        limit: use only the first rows of that part; None for all of them.
        resize: height and width to which images are resized; None leaves their size.
        stream: whether the data stays in its file; None leaves this to its size.
        given: conditions of all rows by name, for a model of p(x|c), in place of those that the data has.
    """

    data: Data
    split: str = "auto"
    limit: int | None = None
    resize: tuple[int, int] | None = None
    stream: bool | None = None
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path | None:
        """Where the data lies; None for data in memory."""
        return Path(self.data).expanduser() if isinstance(self.data, str | os.PathLike) else None

    def first(self, rows: int) -> "Source":
        """The same source, limited to so many rows unless it has a limit."""
        return replace(self, limit=rows) if self.limit is None else self

    def load(self, schema: Schema | None = None, columns: "Columns | None" = None) -> Dataset:
        """The whole data set; a table is read with the given schema or kinds of columns."""
        return load(self.data, self.resize, self.stream, columns, schema)


@dataclass(frozen=True)
class ChosenRows:
    """A data set, and the numbers of the rows to use."""

    data: Dataset
    index: np.ndarray

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the chosen rows (image files); None without names."""
        return None if self.data.names is None else tuple(self.data.names[i] for i in self.index)


def choose(model: Trained, source: Source) -> ChosenRows:
    """The data, read with the model's schema, and the numbers of the rows that the source asks for."""
    at_least_one("limit", source.limit)
    data = _given(source, model.schema) if source.given else source.load(model.schema)
    return ChosenRows(data, model.rows(data, source.split)[: source.limit])


def _given(source: Source, schema: Schema) -> Dataset:
    """The data with the conditions that the source gives."""
    data = source.load(schema.without_conditions())
    stated = chosen_stated(schema.conditions, source.given, len(data))
    assert stated is not None
    own = data.schema.model_copy(update={"conditions": schema.conditions})
    return replace(data, given=encode_stated(schema.conditions, stated), stated=stated, schema=own)


def read_rows(model: Trained, source: Source) -> Dataset:
    """The chosen rows in the model's columns.

    Raises:
        InputError: a cell is empty and the model was not trained on incomplete data, columns are missing or
            unknown, or the rows have another shape than the model's.
    """
    chosen = choose(model, source)
    data, index = chosen.data, chosen.index
    count, first = missing(data.values, index) if data.incomplete else (0, ())
    if count and not model.incomplete:
        where = place(first, data.schema.columns)
        raise InputError(
            f"expected a value in every cell, got none in {where} of {data.source}; fill it, or drop the row"
        )
    part, order = data.subset(index), column_order(model.schema, data)
    values = part.values
    values = values if order is None else mapped(lambda block: block[:, order], values)
    model.schema.check(values)
    return replace(part, values=values)


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
