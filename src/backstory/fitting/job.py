"""What `fit` was asked for, in records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from backstory import console
from backstory.data.dataset import Dataset
from backstory.data.load import is_table, read_source
from backstory.data.reading import NAMES, PLAIN, Reading
from backstory.data.schema import Schema
from backstory.data.stated_values import with_values
from backstory.data.tables.columns import IGNORE
from backstory.data.values import with_conditions
from backstory.data.weights import column_of
from backstory.errors import InputError, counted
from backstory.runs.checkpoint import Checkpoint
from backstory.runs.folder import member_folder
from backstory.training.devices import Alone


@dataclass(frozen=True)
class Source:
    """Where the data comes from and how it is read.

    Attributes:
        data: see `fit`.
        reading: how it is read.
        values: of conditions that do not come with the data.
        weights: of rows: the name of a column, or numbers, (N,); None without.
    """

    data: Any
    reading: Reading = PLAIN
    values: Mapping[str, Any] | None = None
    weights: Any = None

    def weighted_as(self, name: str | None) -> "Source":
        """The same source with the weights of a run to go on with, by `weights.name_of`.

        InputError for weights by value, which the run does not keep, unless they are given again.
        """
        if self.weights is not None or name is None:
            return self
        if (column := column_of(name)) is None:
            raise InputError(
                "expected the weights that the run was begun with, which are no column of its data, got "
                "none; give the same numbers as `weights`"
            )
        return replace(self, weights=column)

    def load(self, known: Schema | None, conditions: Sequence[str]) -> Dataset:
        """The data, with its conditions and weights.

        Args:
            known: the schema of a run to go on with; columns are read as there, unless `columns` are given.
            conditions: their names, where no schema is known.
        """
        if self.weights is None:
            return self._unweighted(known, conditions)
        if isinstance(self.weights, str):
            source, name = self._without_column(self.weights, known), self.weights
            if name in conditions:
                raise InputError(
                    f"expected one use of each column, got {name!r} for both `weights` and `given`; choose "
                    "another column for one of them"
                )
            data = source._unweighted(known, conditions)
            weights = source._numbers(name, data.schema)
            data = replace(data, schema=_weighed_by(data.schema, name))
        else:
            data, weights = self._unweighted(known, conditions), self.weights
        weighted = data.weighted(weights)
        if len(weighted) < len(data):
            console.say(f"weights     {counted(len(data) - len(weighted), 'row')} of weight 0 left out")
        return weighted

    def _without_column(self, name: str, known: Schema | None) -> "Source":
        """The table without the column of weights; InputError for other data."""
        data = self.data() if callable(self.data) else self.data
        if isinstance(data, Dataset) or not is_table(data):
            raise InputError(
                f"expected a table that is still to be read for weights from its column {name!r}, got other "
                "data; leave `weights` out, or give numbers in Python"
            )
        columns = {**(self.reading.columns or {}), name: IGNORE} if known is None else self.reading.columns
        return replace(self, data=data, reading=replace(self.reading, columns=columns))

    def _numbers(self, name: str, schema: Schema) -> np.ndarray:
        """The numbers of the column of weights, (N,), read without the others, which a schema names."""
        whole = schema.unconditioned
        others = {column.name for column in whole.cell_kinds} | {column.name for column in whole.left_out}
        columns: dict[str, Any] = {**dict.fromkeys(others, IGNORE), name: "continuous"}
        alone = replace(self.reading, relations=False, constraints=(), no_relation=(), columns=columns)
        try:
            weights = read_source(self.data, alone)
        except InputError:  # which the other columns are not the reason of, because they were read before
            raise InputError(
                f"expected a column of numbers for `weights`, got {name!r}, whose cells are no numbers; "
                "choose another column"
            ) from None
        return np.asarray(weights.values)[:, (weights.schema.columns or ()).index(name)]

    def _unweighted(self, known: Schema | None, conditions: Sequence[str]) -> Dataset:
        """The data with its conditions, see `load`.

        Args:
            known: the schema of a run to go on with; columns are read as there, unless `columns` are given.
            conditions: their names, where no schema is known.
        """
        data = self.data() if callable(self.data) else self.data
        if isinstance(data, Dataset):
            self._refuse_reading()
        else:
            reading = replace(self.reading, conditions=tuple(conditions))
            data = read_source(data, reading, None if self.reading.columns else known)
        if self.values is not None:
            return with_values(data, self.values, () if known is None else known.conditions)
        if known is not None:
            return with_conditions(data, known.conditions)
        already = [condition.name for condition in data.schema.conditions]
        new = [name for name in conditions if name not in already]
        return data.conditioned_on(*new) if new else data

    def _refuse_reading(self) -> None:
        """Raise InputError for a way of reading where the data was read already."""
        given = [name for name in self.reading.chosen(NAMES) if name != "columns" or self.reading.columns]
        if given:
            raise InputError(
                f"expected data that is still to be read for `{given[0]}`, got a data set; give it to "
                "`load`, or leave it out"
            )


def _weighed_by(schema: Schema, name: str) -> Schema:
    """The schema of the same table in which this column, which is left out, has the weights of the rows."""
    left_out = [
        column.model_copy(update={"reason": "weights"}) if column.name == name else column
        for column in schema.left_out
    ]
    return schema.model_copy(update={"left_out": tuple(left_out)})


@dataclass(frozen=True)
class Saving:
    """Where and how often a run is written.

    Attributes:
        folder: in which the run is written, see `runs.replacement.place_of`; None keeps it in memory.
        resume: as of `fit`.
        every: seconds between two checkpoints.
        board: the class that writes for TensorBoard, or None.
    """

    folder: Path | None
    resume: bool
    every: float
    board: Any

    def of_member(self, number: int) -> "Saving":
        """The same for a member of an ensemble."""
        return replace(self, folder=None if self.folder is None else self.folder / member_folder(number))


@dataclass(frozen=True)
class Job:
    """The training of a model, or of all members of an ensemble.

    Attributes:
        asked: the options that were given, as JSON values.
        saving: where and how often to write.
        group: the processes that train.
        progress: whether to show progress.
        earlier: the checkpoint to go on from, or None.
    """

    asked: dict[str, Any]
    saving: Saving
    group: Alone
    progress: bool
    earlier: Checkpoint | None = None

    @property
    def written(self) -> Path | None:
        """The folder that this process writes to; None for all processes but the first."""
        return self.saving.folder if self.group.rank == 0 else None
