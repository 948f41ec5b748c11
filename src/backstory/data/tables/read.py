"""Tables to a Dataset: CSV, TSV, Parquet, pandas frames and Arrow tables.

A table is stored as float64 over its modelled columns, so that an empty cell can be NaN. A large table is
read twice: first to infer what its columns hold (`survey`, `infer`), then to store them (`encode`). The
schema keeps both, so that a written table looks like the one that was read.
"""

import math
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backstory import console
from backstory.data.binary import open_binary
from backstory.data.checks import check_finite, listed
from backstory.data.dataset import Dataset
from backstory.data.origins import floor_of, origin_of
from backstory.data.rows import Rows, Spool
from backstory.data.schema import Schema
from backstory.data.tables.columns import LEVELLED, Asked, Column, Columns, LeftOut, asked
from backstory.data.tables.constants import ConstantCells
from backstory.data.tables.encode import Unknown, encoded
from backstory.data.tables.infer import judge
from backstory.data.tables.match import check_names, constants, matched
from backstory.data.tables.survey import Survey
from backstory.data.tables.text import TextTable, rows_at_once
from backstory.data.tables.watch import Watch
from backstory.errors import InputError
from backstory.files import decoder, reading

Parts = Generator[pd.DataFrame, None, None]


def load_csv(
    path: Path,
    separator: str = ",",
    limit: float = math.inf,
    columns: Columns | None = None,
    schema: Schema | None = None,
) -> Dataset:
    """The Dataset of a text table, plain or `.gz`, in UTF-8.

    The first row names the columns, unless all of it is numbers (other than 0, 1, 2, … in order): then it is
    data, and the columns are called column_1, column_2, …. An empty cell (or NA, NaN, null, ?) is missing.

    Args:
        path: of the file.
        separator: between the cells of a row.
        limit: bytes that the values may take in memory; more go to a temporary file.
        columns: what columns hold, by name, see `columns.asked`; the kinds of the others are inferred.
        schema: read the table as one with this schema.

    Raises:
        InputError: a cell that its column cannot hold (the message says where), no rows, another separator or
            encoding, columns that share a name or have none, or rows that are too long.
    """
    with reading(path, "a table"), open_binary(path, limit) as handle:
        text = TextTable.open(handle, path, separator)
        header = text.header
        names = text.names(header)
        table = _Table(
            lambda texts: text.parts(names, header, texts), names, str(path), header, limit, is_text=True
        )
        return table.dataset(columns, schema)


def load_parquet(
    path: Path, limit: float = math.inf, columns: Columns | None = None, schema: Schema | None = None
) -> Dataset:
    """The Dataset of a Parquet file, read by parts of its row groups; its index is not part of the data.

    The arguments are those of `load_csv`.

    Raises:
        InputError: pyarrow is not installed, or the same as for a text table.
    """
    with reading(path, "a Parquet file"), open_binary(path, limit) as handle:
        with parquet_engine():
            from pyarrow.parquet import ParquetFile
        with decoder():
            file = ParquetFile(handle, pre_buffer=False)  # otherwise all that was read stays in memory
            names = _names_of(file.schema_arrow.empty_table().to_pandas())

        def parts(_: Collection[str]) -> Parts:
            with console.progress(f"read {path.name}", file.metadata.num_rows) as bar:
                batches = file.iter_batches(rows_at_once(len(names)))
                while (frame := _next_frame(batches)) is not None:
                    yield frame
                    bar.advance(len(frame))

        table = _Table(parts, names, str(path), True, limit, expected=file.metadata.num_rows)
        return table.dataset(columns, schema)


def _next_frame(batches: Iterator[Any]) -> pd.DataFrame | None:
    """The next part of a Parquet file; None at its end."""
    with decoder():
        batch = next(batches, None)
        return None if batch is None else batch.to_pandas()


def from_arrow(source: Any, columns: Columns | None = None, schema: Schema | None = None) -> Dataset:
    """The Dataset of a table of any library with the Arrow interchange protocol, such as Polars.

    Raises:
        InputError: pyarrow is not installed, or the same as for a frame.
    """
    with parquet_engine():
        import pyarrow

    name = f"{type(source).__module__.partition('.')[0]} {type(source).__name__}"
    return from_frame(pyarrow.table(source).to_pandas(), name, columns=columns, schema=schema)


def from_frame(
    frame: pd.DataFrame,
    source: str = "data frame",
    header: bool = True,
    columns: Columns | None = None,
    schema: Schema | None = None,
) -> Dataset:
    """The Dataset of a frame of numbers, texts, booleans, categories and dates, without its index.

    >>> from_frame(pd.DataFrame({"age": [30, 41], "height": [1.7, 1.8]})).schema.integer_columns
    ('age',)
    """

    def parts(_: Collection[str]) -> Parts:
        yield frame

    return _Table(parts, _names_of(frame), source, header).dataset(columns, schema)


@contextmanager
def parquet_engine() -> Iterator[None]:
    """Turns the error of a missing pyarrow into advice."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            "expected the package pyarrow for Parquet files, got an installation without it; "
            "run pip install 'backstory[parquet]', or use .csv"
        ) from error


def _names_of(frame: pd.DataFrame) -> list[str]:
    return [str(name).strip() for name in frame.columns]


@dataclass
class _Table:
    """A table that is read in parts, as often as needed.

    Attributes:
        parts: reads the table from its beginning; columns with the given names as texts if `is_text`.
        names: of all columns.
        source: where the table comes from, for messages.
        header: whether the file names its columns.
        limit: bytes of values that are kept in memory.
        is_text: whether the file is text, so that the types of cells have to be inferred.
        expected: number of rows, 0 if it is not known.
    """

    parts: Callable[[Collection[str]], Parts]
    names: Sequence[str]
    source: str
    header: bool
    limit: float = math.inf
    is_text: bool = False
    expected: int = 0
    _only: pd.DataFrame | None = None  # the only part, kept so that it is read once

    def dataset(self, columns: Columns | None, schema: Schema | None) -> Dataset:
        """The Dataset of the modelled columns."""
        check_names(self.names, self.source)
        if schema is not None and schema.columns is not None:
            return self._by_schema(schema)
        descriptions = asked(columns or {} if schema is None else dict.fromkeys(self.names, "continuous"))
        self._check_described(descriptions)
        kinds, left_out = self._inferred(descriptions)
        place = {name: j for j, name in enumerate(self.names)}
        stored = self._stored(kinds, [place[column.name] for column in kinds])
        stored.unknown.warn([column for column in kinds if not column.rare], stored.totals.rows)
        return self._dataset(stored, stored.totals.schema(kinds, left_out))

    def _by_schema(self, schema: Schema) -> Dataset:
        """The Dataset of the columns of a known schema, with its conditions."""
        whole = schema.unconditioned
        self._check_conditions(schema)
        places = matched(whole, self.names, self.header, self.source)
        watched = [Watch(*known) for known in constants(whole, self.names, self.header)]
        stored = self._stored(whole.kinds, places, watched)
        stored.unknown.refuse([c.column for c in schema.conditions if c.column is not None])
        stored.unknown.warn(whole.kinds, stored.totals.rows)
        for cells in stored.constants:
            cells.warn(self.source)
        whole = whole.model_copy(update={"left_out": self._present(whole)})
        return self._dataset(stored, whole).conditioned_as(schema.conditions)

    def _check_conditions(self, schema: Schema) -> None:
        """Raise InputError if the table lacks the column of a condition."""
        names = [condition.name for condition in schema.conditions if condition.column is not None]
        absent = [name for name in names if name not in self.names]
        if absent and self.header and schema.header:
            raise InputError(
                f"expected the conditions {', '.join(names)} as columns of {self.source}, got none called "
                f"{listed(absent)}; add what is missing, or choose the values of all conditions with `given`"
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

    def _dataset(self, stored: "_Stored", schema: Schema) -> Dataset:
        incomplete = check_finite(stored.values, self.source, schema.columns)
        schema = schema.model_copy(update={"header": self.header})
        return Dataset(
            stored.values,
            schema,
            incomplete,
            source=self.source,
            places=stored.places,
            constants=stored.constants,
        )

    def _check_described(self, descriptions: Collection[str]) -> None:
        known = set(self.names)
        for name in descriptions:
            if name not in known:
                near = get_close_matches(name, self.names, n=1, cutoff=0.0)
                raise InputError(
                    f"expected a column of {self.source}, got {name!r}; "
                    f"{f'did you mean {near[0]!r}?' if near else 'it has none'}"
                )

    def _inferred(self, descriptions: Mapping[str, Asked]) -> tuple[list[Column], list[LeftOut]]:
        """What the modelled columns hold, and the columns that are left out."""
        surveys = self._surveys(descriptions)
        if not (self.names and surveys[0].rows):
            raise self._no_rows(surveys[0].rows if surveys else 0)
        judged = [judge(s, j, descriptions.get(s.name), self.is_text) for j, s in enumerate(surveys)]
        kinds = [column for column in judged if isinstance(column, Column)]
        left_out = [column for column in judged if isinstance(column, LeftOut)]
        if not kinds:
            got = ", ".join(f"{column.name!r} ({column.reason})" for column in left_out[:5])
            raise InputError(
                f"expected a column that varies in {self.source}, got {got}; give it columns to learn from"
            )
        return kinds, left_out

    def _surveys(self, descriptions: Mapping[str, Asked]) -> list[Survey]:
        """What the cells of each column are."""
        as_texts = [
            name
            for name, description in descriptions.items()
            if description.kind in (*LEVELLED, "date") and description.cells in (None, "text")
        ]
        surveys = self._survey(descriptions, as_texts)
        # texts after parts that held only numbers: these have lost how they were written
        torn = [survey.name for survey in surveys if survey.parsed and survey.texts.words]
        return self._survey(descriptions, [*as_texts, *torn]) if self.is_text and torn else surveys

    def _survey(self, descriptions: Mapping[str, Asked], texts: Collection[str]) -> list[Survey]:
        levelled = {name for name, description in descriptions.items() if description.kind in LEVELLED}
        surveys = [Survey(name, self.source, count_numbers=name in levelled) for name in self.names]
        for _, frame in self._frames(texts):
            for survey, (_, cells) in zip(surveys, frame.items(), strict=True):
                survey.add(cells)
        return surveys

    def _frames(self, texts: Collection[str]) -> Iterator[tuple[int, pd.DataFrame]]:
        """The parts, each with the number of its first row."""
        if self._only is not None:
            yield 0, self._only
            return
        first, count, frame = 0, 0, None
        with closing(self.parts(texts)) as frames:
            for frame in frames:
                yield first, frame
                first, count = first + len(frame), count + 1
        self._only = frame if count == 1 else None

    def _stored(
        self, kinds: Sequence[Column], places: Sequence[int], watched: Sequence[Watch] = ()
    ) -> "_Stored":
        """The stored values of the columns at these places of the file; constant columns are compared."""
        spool = Spool(self.limit, expected=8 * self.expected * len(kinds))
        unknown, totals = Unknown(self.source), _Totals.empty(len(kinds))
        cells = [*zip(places, (column.cells for column in kinds), strict=True)]
        cells += [(watch.place, watch.column.cells) for watch in watched]
        as_texts = [self.names[j] for j, written in cells if written == "text"]
        for first, frame in self._frames(as_texts):
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
            f"expected rows of cells in {self.source}, got {len(self.names)} columns and {count} rows; "
            "give it some rows"
        )


@dataclass(frozen=True)
class _Stored:
    """Stored values of columns, (N, C), their places in the file, their unknown levels and totals.

    `constants` are the cells of the columns that are not stored because they did not vary in training.
    """

    values: Rows
    places: tuple[int, ...]
    unknown: Unknown
    totals: "_Totals"
    constants: tuple[ConstantCells, ...] = ()


@dataclass
class _Totals:
    """Totals of the stored values of C columns, each array (C,).

    Attributes:
        low, high: the smallest and the largest number, NaN if there is none.
        missing: number of empty cells.
        whole: whether all numbers are whole.
        rows: number of rows.
    """

    low: np.ndarray
    high: np.ndarray
    missing: np.ndarray
    whole: np.ndarray
    rows: int = 0

    @classmethod
    def empty(cls, columns: int) -> "_Totals":
        """The totals of no rows."""
        nan = np.full(columns, np.nan)
        return cls(nan, nan, np.zeros(columns), np.ones(columns, bool))

    def add(self, values: np.ndarray) -> None:
        """Adds rows, (M, C)."""
        if len(values):
            self.low = np.fmin(self.low, np.fmin.reduce(values))
            self.high = np.fmax(self.high, np.fmax.reduce(values))
            self.missing += np.isnan(values).sum(axis=0)
            self.whole &= (np.isnan(values) | (values == np.rint(values))).all(axis=0)
        self.rows += len(values)

    def schema(self, kinds: Sequence[Column], left_out: Sequence[LeftOut]) -> Schema:
        """The schema of a table with these totals."""
        columns = tuple(self._with_range(column, j) for j, column in enumerate(kinds))
        binary = bool(self.whole.all() and np.fmin.reduce(self.low) >= 0 and np.fmax.reduce(self.high) <= 1)
        return Schema(
            kind="table",
            shape=(len(columns),),
            dtype="float64",
            levels=2 if binary else None,
            maximum=1 if binary else None,
            columns=tuple(column.name for column in columns),
            integer_columns=tuple(column.name for column in columns if column.cells in ("whole", "bool")),
            kinds=columns,
            left_out=tuple(left_out),
        )

    def _with_range(self, column: Column, j: int) -> Column:
        low, high = float(self.low[j]), float(self.high[j])
        return column.model_copy(
            update={
                "low": None if math.isnan(low) else low,
                "high": None if math.isnan(high) else high,
                "origin": _origin(column, low, high),
                "missing": float(self.missing[j] / self.rows),
                "decimals": 0 if column.kind == "date" and self.whole[j] else column.decimals,
            }
        )


def _origin(column: Column, low: float, high: float) -> float:
    """The stored value that is zero to the model."""
    if column.levels is not None or column.kind == "count" or not math.isfinite(high - low):
        return 0.0
    return floor_of(low, high - low) if column.kind == "date" else origin_of(low, high)
