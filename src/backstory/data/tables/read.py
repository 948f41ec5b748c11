"""A table to a Dataset.

A table is stored as float64 over its modelled columns, so that an empty cell can be NaN. A large table is
read twice: first to infer what its columns hold (`survey`, `infer`), then to store them (`encode`). The
schema keeps both, so that a written table looks like the one that was read. `sources` opens files and frames.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from backstory import console
from backstory.data.checks import check_finite, listed
from backstory.data.dataset import Dataset
from backstory.data.reading import PLAIN, Reading
from backstory.data.rows import Rows, Spool, mapped
from backstory.data.schema import Schema
from backstory.data.tables.columns import Asked, Column, LeftOut, asked
from backstory.data.tables.constants import ConstantCells
from backstory.data.tables.encode import Unknown, encoded
from backstory.data.tables.infer import judge
from backstory.data.tables.match import check_names, constants, determined, matched
from backstory.data.tables.parts import PartedTable
from backstory.data.tables.recognise import surveyed
from backstory.data.tables.related import (
    broken_cells,
    related_cells,
    related_table,
    stored_block,
)
from backstory.data.tables.related_cells import RelatedCells
from backstory.data.tables.survey import Survey
from backstory.data.tables.totals import Totals, with_atoms, with_lattices
from backstory.data.tables.watch import Watch
from backstory.errors import InputError, counted, meant, named


@dataclass(frozen=True)
class Table:
    """A table to be made a Dataset.

    Attributes:
        parted: the table.
        reading: how it is read.
        header: whether the file names its columns.
        notes: what is unusual in the file.
        separator: between its cells, if it is not that of its ending.
    """

    parted: PartedTable
    reading: Reading = PLAIN
    header: bool = True
    notes: Sequence[str] = ()
    separator: str | None = None

    @property
    def names(self) -> Sequence[str]:
        """The names of all columns."""
        return self.parted.names

    @property
    def source(self) -> str:
        """Where the table comes from, for messages."""
        return self.parted.source

    def dataset(self, schema: Schema | None = None) -> Dataset:
        """The Dataset of the modelled columns, read as one with this schema if it is given.

        InputError for no rows, or a cell that its column cannot hold; the message says where.
        """
        if schema is None and self.notes:
            console.say(f"{self.source}: {'; '.join(self.notes)}")
        dataset = self._dataset_of(schema)
        if schema is not None or self.separator is None:
            return dataset
        own = dataset.schema.model_copy(update={"separator": self.separator})
        return replace(dataset, schema=own)

    def _dataset_of(self, schema: Schema | None) -> Dataset:
        check_names(self.names, self.source)
        self._check_told()
        if schema is not None and schema.columns is not None:
            return self._by_schema(schema)
        told = self.reading.columns or {}
        descriptions = asked(told if schema is None else dict.fromkeys(self.names, "continuous"))
        self._check_described(descriptions)
        kinds, left_out = self._inferred(descriptions)
        place = {name: j for j, name in enumerate(self.names)}
        cells = [column.with_rare_texts() for column in kinds]
        stored = self._stored(cells, [place[column.name] for column in kinds])
        stored.settle(kinds)
        stored.unknown.warn([column for column in kinds if not column.rare], stored.totals.rows)
        return self._related(stored, kinds, stored.totals.schema(cells, left_out))

    def _related(self, stored: "_Stored", kinds: Sequence[Column], cells: Schema) -> Dataset:
        """The Dataset of cells with this schema, in which columns that belong together stay so."""
        incomplete = check_finite(stored.values, self.source, cells.columns)
        table = related_table(stored.values, kinds, cells, stored.places, self.reading.wishes, self.source)
        part = replace(stored, values=table.values, places=table.places, related=table.cells)
        schema = with_atoms(with_lattices(table.schema, table.values), table.values)
        if table.cells is not None:  # stored values that are not those of the cells
            incomplete = check_finite(table.values, self.source, schema.columns)
        return self._dataset(part, schema, incomplete)

    def _by_schema(self, schema: Schema) -> Dataset:
        """The Dataset of the columns of a known schema, with its conditions."""
        whole = schema.unconditioned
        self._check_conditions(schema)
        places = matched(whole, self.names, self.header, self.source)
        watched = [Watch(*known) for known in constants(whole, self.names, self.header)]
        given = {column.name: at for column, at in determined(whole, self.names, self.header)}
        columns = [c for c in whole.cell_kinds if c.name in given or c.name in (whole.columns or ())]
        stored = self._stored(columns, [*places, *given.values()], watched)
        stored.settle(columns)
        stored.unknown.refuse([c.column for c in schema.conditions if c.column is not None])
        stored.unknown.warn(columns, stored.totals.rows)
        stored = stored.by(whole, [column.name for column in columns])
        for cells in stored.constants:
            cells.warn(self.source)
        whole = whole.model_copy(update={"left_out": self._present(whole)})
        incomplete = check_finite(stored.values, self.source, whole.columns)
        return self._dataset(stored, whole, incomplete).conditioned_as(schema.conditions)

    def _check_conditions(self, schema: Schema) -> None:
        """Raise InputError if the table lacks the column of a condition."""
        names = [condition.name for condition in schema.conditions if condition.column is not None]
        absent = [name for name in names if name not in self.names]
        if absent and self.header and schema.header:
            raise InputError(
                f"expected the {named('condition', names)} among the columns of {self.source}, got none "
                f"called {listed(absent)}; add what is missing, or choose the values of all conditions with "
                "`given`"
            )

    def _present(self, schema: Schema) -> tuple[LeftOut, ...]:
        """The columns that are left out; of the conditions those that this table has, at their places."""
        others = [column for column in schema.left_out if column.reason != "condition"]
        conditions = [column for column in schema.left_out if column.reason == "condition"]
        if self.header and schema.header:
            places = {name: j for j, name in enumerate(self.names)}
            there = [c.model_copy(update={"place": places[c.name]}) for c in conditions if c.name in places]
        else:
            there = conditions if len(self.names) > len(schema.kinds) else []
        return (*others, *there)

    def _dataset(self, stored: "_Stored", schema: Schema, incomplete: bool) -> Dataset:
        schema = schema.model_copy(update={"header": self.header, "told": self.parted.told})
        return Dataset(
            stored.values,
            schema,
            incomplete,
            source=self.source,
            places=stored.places,
            constants=stored.constants,
            related=stored.related,
        )

    def _check_told(self) -> None:
        told = self.parted.told
        names = [*told.keep_missing_as_level, *([] if told.index is None else [told.index])]
        if self.header:
            self._check_described(names)

    def _check_described(self, descriptions: Collection[str]) -> None:
        known = set(self.names)
        for name in descriptions:
            if name not in known:
                advice = meant(name, self.names, f"its columns are {listed(self.names) or 'none'}")
                raise InputError(f"expected a column of {self.source}, got {name!r}; {advice}")

    def _inferred(self, descriptions: Mapping[str, Asked]) -> tuple[list[Column], list[LeftOut]]:
        """What the modelled columns hold, and the columns that are left out."""
        surveys = surveyed(self.parted, descriptions)
        if not (self.names and surveys[0].rows):
            raise self._no_rows(surveys[0].rows if surveys else 0)
        judged = [self._judged(s, j, descriptions.get(s.name)) for j, s in enumerate(surveys)]
        kinds = [column for column in judged if isinstance(column, Column)]
        left_out = [column for column in judged if isinstance(column, LeftOut)]
        if not kinds:
            got = ", ".join(f"{column.name!r} ({column.reason})" for column in left_out[:5])
            raise InputError(
                f"expected a column that varies in {self.source}, got {got}; give it columns to learn from"
            )
        return kinds, left_out

    def _judged(self, survey: Survey, place: int, asked: Asked | None) -> Column | LeftOut:
        """What a column holds, or why it is left out."""
        unnamed = place == 0 and survey.name.startswith("Unnamed: ") and survey.numbers_rows
        if survey.name == self.parted.told.index or (unnamed and asked is None):
            return LeftOut(name=survey.name, reason="index", place=place)
        return judge(survey, place, asked, self.parted.is_text)

    def _stored(
        self, kinds: Sequence[Column], places: Sequence[int], watched: Sequence[Watch] = ()
    ) -> "_Stored":
        """The stored values of the columns at these places of the file; constant columns are compared."""
        spool = Spool(self.reading.memory, expected=8 * self.parted.expected * len(kinds))
        unknown, totals = Unknown(self.source), Totals.empty(len(kinds))
        words = [*zip(places, (column.as_text for column in kinds), strict=True)]
        words += [(watch.place, watch.column.cells == "text") for watch in watched]
        as_texts = [self.names[j] for j, as_text in words if as_text]
        kept = {self.names[j]: c.kept for j, c in zip(places, kinds, strict=True) if c.kept}
        for first, frame in self.parted.frames(as_texts, kept):
            part = np.empty((len(frame), len(kinds)), np.float64)
            columns = [cells for _, cells in frame.items()]
            for k, (j, column) in enumerate(zip(places, kinds, strict=True)):
                part[:, k] = encoded(columns[j], column, unknown, first)
            for watch in watched:
                watch.add(columns[watch.place], first)
            totals.add(part)
            spool.write(part)
        if not totals.rows:
            raise self._no_rows(0)
        values = spool.array((totals.rows, len(kinds)), "float64")
        return _Stored(values, tuple(places), unknown, totals, tuple(watch.cells() for watch in watched))

    def _no_rows(self, count: int) -> InputError:
        return InputError(
            f"expected rows of cells in {self.source}, got "
            f"{counted(len(self.names), 'column')} and {counted(count, 'row')}; "
            "give it some rows"
        )


@dataclass(frozen=True)
class _Stored:
    """Stored values of columns, (N, C), their places in the file, their unknown levels and totals.

    `constants` are the cells of the columns that are not stored because they did not vary in training, and
    those that break relations; `related` are the cells of the columns of relations.
    """

    values: Rows
    places: tuple[int, ...]
    unknown: Unknown
    totals: Totals
    constants: tuple[ConstantCells, ...] = ()
    related: RelatedCells | None = None

    def by(self, schema: Schema, names: Sequence[str]) -> "_Stored":
        """The stored values of a schema with relations for these ones, which are cells of named columns."""
        if not schema.related:
            return self
        place = dict(zip(names, self.places, strict=True))
        cells = related_cells(self.values, names, place, schema.related)
        values = mapped(lambda block: stored_block(block, names, schema), self.values)
        constants = (*self.constants, *broken_cells(cells, schema, place))
        places = self.places[: len(schema.kinds)]
        return replace(self, values=values, places=places, constants=constants, related=cells)

    def settle(self, columns: Sequence[Column]) -> None:
        """Warns of a few cells that are not written as the others of their column; InputError for more."""
        for missing, column in zip(self.totals.missing, columns, strict=True):
            misfits, rows = self.unknown.misfits[column.name], self.totals.rows
            misfits.settle(column, self.unknown.source, rows - int(missing) + misfits.count, rows)
