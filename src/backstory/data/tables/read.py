"""Tables: CSV, TSV, Parquet and frames to a Dataset, and columns back to files.

A table is stored as float64 over its modelled columns, so that an empty cell can be NaN. It is read twice
where it is large: first to find out what its columns hold (`kinds`), then to store them (`encoding`). The
schema remembers both, so that what is written looks like what was read.
"""

import csv
import io
import math
import re
import warnings
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from backstory import console
from backstory.data.checks import listed, observed_mask
from backstory.data.dataset import Dataset
from backstory.data.files import EMPTY_CELLS, SEPARATORS, format_of, open_binary, reading
from backstory.data.rows import Spool
from backstory.data.schema import Schema
from backstory.data.tables.columns import LEVELLED, Asked, Column, LeftOut, asked
from backstory.data.tables.encode import Unseen, decoded, encoded, typed
from backstory.data.tables.infer import Seen, judge
from backstory.errors import InputError

_CELLS_AT_ONCE = 1 << 21
FAR = 10  # ranges of a column from zero, from which single precision would lose too many digits

_NAMES = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)

Columns = Mapping[str, str | Mapping[str, Any] | Asked]


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
    More than `limit` bytes of numbers are kept in a temporary file.

    Args:
        columns: what columns are, by name, see `columns.asked`; the others are found out.
        schema: read the table as one with this schema.

    Raises:
        InputError: a cell that its column cannot hold (says where), no rows, another separator or encoding,
            columns that share a name or have none, or rows that are too long.
    """
    with reading(path, "a table"), open_binary(path, limit) as handle:
        first = _first_row(handle, path, separator)
        header = not _is_data(first)
        names = [c.strip() for c in first] if header else [f"column_{j + 1}" for j in range(len(first))]

        def parts(texts: Collection[str]) -> Generator[pd.DataFrame, None, None]:
            handle.seek(0)
            return _read_csv(handle, path, separator, names, header, texts)

        return _Table(parts, names, str(path), header, limit, True).dataset(columns, schema)


def _first_row(handle: BinaryIO, path: Path, separator: str) -> list[str]:
    text = io.TextIOWrapper(handle, encoding="utf-8-sig", newline="")
    row = next((r for r in csv.reader(text, delimiter=separator) if any(c.strip() for c in r)), None)
    text.detach()
    if row is None:
        raise InputError(
            f"expected a table with a header in {path}, got an empty file; check that it is the right one"
        )
    other = next((s for s in _NAMES if s != separator and s in row[0]), None)
    if len(row) == 1 and other is not None:
        raise InputError(
            f"expected cells separated by {_NAMES[separator]} in {path}, got a first row "
            f"with {_NAMES[other]}; save it with commas as .csv, or with tabs as .tsv"
        )
    return row


def _is_data(row: Sequence[str]) -> bool:
    if len(row) > 1 and [cell.strip() for cell in row] == [str(j) for j in range(len(row))]:
        return False  # the names that pandas gives to columns without any
    cells = [cell.strip() for cell in row if cell.strip() not in EMPTY_CELLS]
    return bool(cells) and all(_NUMBER.fullmatch(cell) for cell in cells)


def _read_csv(
    handle: BinaryIO, path: Path, separator: str, names: list[str], header: bool, texts: Collection[str]
) -> Generator[pd.DataFrame, None, None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            yield from pd.read_csv(
                handle,
                sep=separator,
                header=0 if header else None,
                names=names,
                dtype=dict.fromkeys(texts, str),
                na_values=EMPTY_CELLS,
                keep_default_na=False,
                index_col=False,
                encoding="utf-8-sig",
                skipinitialspace=True,
                low_memory=False,
                float_precision="round_trip",
                chunksize=_rows_at_once(len(names)),
            )
        except (pd.errors.ParserWarning, pd.errors.ParserError) as error:
            where = re.search(r"line (\d+)", str(error))
            raise InputError(
                f"expected {len(names)} cells in every row of {path}, got more "
                f"{f'in line {where[1]}' if where else 'in its first rows'}; "
                f"check for stray {_NAMES[separator]} or a missing column name"
            ) from error


def load_parquet(
    path: Path, limit: float = math.inf, columns: Columns | None = None, schema: Schema | None = None
) -> Dataset:
    """The Dataset of a Parquet file; its index is not part of the data.

    It is read by parts of its row groups; more than `limit` bytes of numbers are kept in a temporary file.

    Raises:
        InputError: pyarrow is not installed, or the same as for a text table.
    """
    with reading(path, "a Parquet file"), open_binary(path, limit) as handle, parquet_engine():
        from pyarrow.parquet import ParquetFile

        file = ParquetFile(handle, pre_buffer=False)  # otherwise all that was read stays in memory
        names = _names_of(file.schema_arrow.empty_table().to_pandas())

        def parts(_: Collection[str]) -> Generator[pd.DataFrame, None, None]:
            with console.progress(f"read {path.name}", file.metadata.num_rows) as bar:
                for batch in file.iter_batches(_rows_at_once(len(names))):
                    yield batch.to_pandas()
                    bar.advance(batch.num_rows)

        table = _Table(parts, names, str(path), True, limit, expected=file.metadata.num_rows)
        return table.dataset(columns, schema)


def from_arrow(source: Any, columns: Columns | None = None, schema: Schema | None = None) -> Dataset:
    """The Dataset of a table of any library that speaks the Arrow interchange protocol, such as Polars.

    Raises:
        InputError: pyarrow is not installed, or the same as for a frame.
    """
    with parquet_engine():
        import pyarrow

    name = f"{type(source).__module__.partition('.')[0]} {type(source).__name__}"
    return from_frame(pyarrow.table(source).to_pandas(), name, columns=columns, schema=schema)


def _rows_at_once(columns: int) -> int:
    return max(1, _CELLS_AT_ONCE // max(1, columns))


@contextmanager
def parquet_engine() -> Iterator[None]:
    """Turns a missing pyarrow into advice."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            "expected the package pyarrow for Parquet files, got an installation without it; "
            "run pip install 'backstory[parquet]', or use .csv"
        ) from error


def from_frame(
    frame: pd.DataFrame,
    source: str = "data frame",
    header: bool = True,
    columns: Columns | None = None,
    schema: Schema | None = None,
) -> Dataset:
    """The Dataset of a frame of numbers, texts, booleans, categories and dates; its index is not part of it.

    >>> from_frame(pd.DataFrame({"age": [30, 41], "height": [1.7, 1.8]})).schema.integer_columns
    ('age',)
    """
    table = _Table(lambda _: _of_one(frame), _names_of(frame), source, header)
    return table.dataset(columns, schema)


def _of_one(frame: pd.DataFrame) -> Generator[pd.DataFrame, None, None]:
    yield frame


def _names_of(frame: pd.DataFrame) -> list[str]:
    return [str(name).strip() for name in frame.columns]


@dataclass
class _Table:
    """A table that is read in parts, as often as it is asked for.

    Attributes:
        parts: reads the table; some columns of a text table as texts, whatever they look like.
        names: of all columns.
        source: where it comes from, for messages.
        header: whether it names its columns.
        limit: bytes of numbers that are kept in memory.
        texts: whether it is text, so that types have to be guessed.
        expected: rows, if that is known.
    """

    parts: Callable[[Collection[str]], Generator[pd.DataFrame, None, None]]
    names: Sequence[str]
    source: str
    header: bool
    limit: float = math.inf
    texts: bool = False
    expected: int = 0
    _only: pd.DataFrame | None = None  # its one part, which need not be read again

    def dataset(self, columns: Columns | None, schema: Schema | None) -> Dataset:
        """The values of the columns that are modelled, with what they are."""
        _check_names(self.names, self.source)
        if schema is not None and schema.columns is not None:
            places = matched(schema, self.names, self.header, self.source)
            kinds = schema.kinds or [_of_earlier(schema, name) for name in schema.columns]
            return self._stored(kinds, schema.left_out, places, schema)
        said = asked(columns or {} if schema is None else dict.fromkeys(self.names, "continuous"))
        for name in said:
            if name not in self.names:
                near = get_close_matches(name, self.names, n=1, cutoff=0.0)
                raise InputError(
                    f"expected a column of {self.source}, got {name!r}; "
                    f"{f'did you mean {near[0]!r}?' if near else 'it has none'}"
                )
        kinds, left_out = self._judged(said)
        return self._stored(kinds, left_out, [self.names.index(column.name) for column in kinds])

    def _judged(self, said: Mapping[str, Asked]) -> tuple[list[Column], list[LeftOut]]:
        as_texts = [
            name
            for name, what in said.items()
            if what.kind in (*LEVELLED, "date") and what.cells in (None, "text")
        ]
        seen = self._survey(said, as_texts)
        torn = [s.name for s in seen if s.parsed and s.words]  # texts came after parts that were only numbers
        if self.texts and torn:
            seen = self._survey(said, [*as_texts, *torn])
        if not (self.names and seen[0].rows):
            raise InputError(
                f"expected rows of cells in {self.source}, got {len(self.names)} columns and "
                f"{seen[0].rows if seen else 0} rows; give it some rows"
            )
        judged = [judge(s, j, said.get(s.name), self.texts) for j, s in enumerate(seen)]
        kinds = [column for column in judged if isinstance(column, Column)]
        left_out = [column for column in judged if isinstance(column, LeftOut)]
        if not kinds:
            got = ", ".join(f"{column.name!r} ({column.reason})" for column in left_out[:5])
            raise InputError(
                f"expected a column that varies in {self.source}, got {got}; give it columns to learn from"
            )
        return kinds, left_out

    def _survey(self, said: Mapping[str, Asked], texts: Collection[str]) -> list[Seen]:
        seen = [
            Seen(name, self.source, count_numbers=name in said and said[name].kind in LEVELLED)
            for name in self.names
        ]
        for _, frame in self._frames(texts):
            for j, column in enumerate(seen):
                column.look(frame.iloc[:, j])
        return seen

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
        self,
        kinds: Sequence[Column],
        left_out: Sequence[LeftOut],
        places: Sequence[int],
        schema: Schema | None = None,
    ) -> Dataset:
        """The Dataset of the columns at these places of the file; with the schema if that is given."""
        spool = Spool(self.limit, expected=8 * self.expected * len(kinds))
        unseen, count = Unseen(self.source), 0
        low, high = np.full(len(kinds), np.nan), np.full(len(kinds), np.nan)
        missing, whole = np.zeros(len(kinds)), np.ones(len(kinds), bool)
        as_texts = [self.names[j] for j, column in zip(places, kinds, strict=True) if column.cells == "text"]
        for first, frame in self._frames(as_texts):
            values = np.empty((len(frame), len(kinds)), np.float64)
            for k, (j, column) in enumerate(zip(places, kinds, strict=True)):
                values[:, k] = encoded(frame.iloc[:, j], column, unseen, first)
            if len(values):
                low, high = (np.fmin(low, np.fmin.reduce(values)), np.fmax(high, np.fmax.reduce(values)))
                missing += np.isnan(values).sum(axis=0)
                whole &= (np.isnan(values) | (values == np.rint(values))).all(axis=0)
            spool.write(values)
            count += len(frame)
        if not count:
            raise InputError(
                f"expected rows of cells in {self.source}, got {len(self.names)} columns and 0 rows; "
                "give it some rows"
            )
        unseen.warn([column for column in kinds if schema is not None or not column.rare])
        table = spool.array((count, len(kinds)), "float64")
        observed = observed_mask(table, self.source, [column.name for column in kinds])
        if schema is None:
            schema = _schema_of(kinds, left_out, low, high, missing / count, whole)
        else:
            schema = schema.model_copy(update={"kinds": tuple(kinds)})
        schema = schema.model_copy(update={"header": self.header})
        return Dataset(table, schema, observed, source=self.source, places=tuple(places))


def _schema_of(
    kinds: Sequence[Column],
    left_out: Sequence[LeftOut],
    low: np.ndarray,
    high: np.ndarray,
    missing: np.ndarray,
    whole: np.ndarray,
) -> Schema:
    """The schema of a table for what its columns hold, and the numbers that were stored, each (C,)."""
    columns = [
        column.model_copy(
            update={
                "low": None if np.isnan(low[j]) else float(low[j]),
                "high": None if np.isnan(high[j]) else float(high[j]),
                "origin": _origin(column, float(low[j]), float(high[j])),
                "missing": float(missing[j]),
                "decimals": 0 if column.kind == "date" and whole[j] else column.decimals,
            }
        )
        for j, column in enumerate(kinds)
    ]
    binary = bool(whole.all() and np.fmin.reduce(low) >= 0 and np.fmax.reduce(high) <= 1)
    return Schema(
        kind="table",
        shape=(len(columns),),
        dtype="float64",
        levels=2 if binary else None,
        maximum=1 if binary else None,
        columns=tuple(column.name for column in columns),
        integer_columns=tuple(column.name for column in columns if column.cells in ("whole", "bool")),
        kinds=tuple(columns),
        left_out=tuple(left_out),
    )


def _origin(column: Column, low: float, high: float) -> float:
    """A round number below all values, from which they are counted; 0 where they are not far from it."""
    spread = high - low
    far = column.kind == "date" or max(abs(low), abs(high)) > FAR * spread
    if column.levels is not None or column.kind == "count" or not far or not math.isfinite(spread):
        return 0.0
    step = 10.0 ** math.floor(math.log10(spread)) if spread else 1.0
    return math.floor(low / step) * step


def _of_earlier(schema: Schema, name: str) -> Column:
    """A column of numbers of a run that does not tell its kinds."""
    return Column(name=name, kind="continuous", cells="whole" if name in schema.integer_columns else "number")


def matched(schema: Schema, names: Sequence[str], header: bool, source: str) -> list[int]:
    """The number, among those of a file, of each column of a schema.

    Columns without names are taken in their order, with or without those that the model leaves out.

    Raises:
        InputError: a column is missing, or one is there that the schema does not know.
    """
    mine = list(schema.columns or ())
    left_out = {column.name: column.place for column in schema.left_out}
    if not (header and schema.header):
        if len(names) == len(mine):
            return list(range(len(mine)))
        if len(names) == len(mine) + len(left_out):
            return [j for j in range(len(names)) if j not in left_out.values()]
        raise InputError(
            f"expected {len(mine)} columns in {source}, as the model was trained on, got {len(names)}; "
            "give the same columns"
        )
    absent = [name for name in mine if name not in names]
    if absent:
        raise InputError(
            f"expected the columns that the model was trained on in {source}, got none called "
            f"{listed(absent)}; add what is missing, and leave cells empty where nothing is known"
        )
    unknown = [name for name in names if name not in mine and name not in left_out]
    if unknown:
        raise InputError(
            f"expected only the columns that the model was trained on in {source}, got "
            f"{listed(unknown)} as well; leave them out"
        )
    return [list(names).index(name) for name in mine]


def _check_names(names: Sequence[str], source: str) -> None:
    empty = [j for j, name in enumerate(names) if not name]
    if empty:
        raise InputError(
            f"expected a name for every column of {source}, got none for column {empty[0] + 1}; "
            "name it, or leave it out if it only numbers the rows (pandas: to_csv(index=False))"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"expected column names that differ in {source}, got {listed(twice)} more than once; "
            "rename the columns"
        )


def write_frame(handle: BinaryIO, frame: pd.DataFrame, form: str, header: bool = True) -> None:
    """Writes a frame as `csv`, `tsv` or `parquet`; numbers read back are the same."""
    if form == "parquet":
        buffer = io.BytesIO()
        with parquet_engine():
            frame.to_parquet(buffer, index=False)
        handle.write(buffer.getbuffer())
    else:
        frame.to_csv(handle, sep=SEPARATORS[form], header=header, index=False, lineterminator="\n")


def completed(
    path: Path, index: np.ndarray, values: np.ndarray, fill: np.ndarray, empty: np.ndarray, data: Dataset
) -> pd.DataFrame:
    """Rows of a table's file with some cells filled; all other cells and columns are the file's own.

    Args:
        path: where `data` came from.
        index: (N,), the numbers of the rows.
        values: (N, C), stored numbers.
        fill, empty: (N, C) of bool, see `cells.refilled`.
        data: what was read from the file.
    """
    return filled(_whole_frame(path, data).iloc[index], values, fill, empty, data)


def filled(
    frame: pd.DataFrame, values: np.ndarray, fill: np.ndarray, empty: np.ndarray, data: Dataset
) -> pd.DataFrame:
    """A frame with some cells filled, as `completed`, and the index from 0 on."""
    frame = frame.reset_index(drop=True)
    for j, (place, column) in enumerate(zip(data.places or (), data.schema.kinds, strict=True)):
        cells = frame.iloc[:, place]
        chosen = fill[:, j] & (~empty[:, j] | cells.isna().to_numpy())
        if chosen.any():
            new = decoded(values[:, j].astype(np.float64), column)
            mixed = cells.astype(object).where(~chosen, new.astype(object))
            frame[frame.columns[place]] = typed(mixed, _type_for(cells, mixed) or str(new.dtype))
    return frame


def _type_for(cells: pd.Series, mixed: pd.Series) -> Any:
    """The type of a column of texts or categories, if it can hold what is in it now."""
    if isinstance(cells.dtype, pd.CategoricalDtype):
        return cells.dtype if mixed.dropna().isin(cells.cat.categories).all() else None
    return cells.dtype if isinstance(cells.dtype, pd.StringDtype) else None


def _whole_frame(path: Path, data: Dataset) -> pd.DataFrame:
    form = format_of(path)
    with reading(path, "a table"), open_binary(path) as handle:
        if form == "parquet":
            with parquet_engine():
                return pd.read_parquet(handle).reset_index(drop=True)
        first = _first_row(handle, path, SEPARATORS[form])
        names = [c.strip() for c in first] if data.schema.header else [str(j) for j in range(len(first))]
        places = data.places or ()
        columns = zip(places, data.schema.kinds, strict=True)
        numbers = {names[place] for place, column in columns if column.cells != "text"}
        texts = [name for name in names if name not in numbers]
        handle.seek(0)
        parts = list(_read_csv(handle, path, SEPARATORS[form], names, data.schema.header, texts))
    return _typed_where_the_same(pd.concat(parts), [j for j in range(len(names)) if j not in places])


def _typed_where_the_same(frame: pd.DataFrame, places: Sequence[int]) -> pd.DataFrame:
    """Columns of texts as numbers, where these are written in the same way: 007 stays a text."""
    for place in places:
        cells = frame.iloc[:, place]
        numbers = pd.to_numeric(cells, errors="coerce")
        if numbers.notna().all() and (numbers.astype(str) == cells).all():
            frame[frame.columns[place]] = numbers
    return frame


def to_frame(values: np.ndarray, schema: Schema) -> pd.DataFrame:
    """Stored values (N, …) as a frame: a table's own columns, or pixel_0, … or x_0, … of flattened rows.

    Levels are texts again, dates are dates, and columns that are constant stand where they stood.
    """
    flat = values.reshape(len(values), -1)
    if schema.columns is None:
        stem = "pixel" if schema.kind == "images" else "x"
        return pd.DataFrame(flat, columns=[f"{stem}_{j}" for j in range(flat.shape[1])])
    if schema.kinds:
        cells = {c.name: decoded(flat[:, j].astype(np.float64), c) for j, c in enumerate(schema.kinds)}
        frame = pd.DataFrame(cells)
        for column in sorted(schema.left_out, key=lambda c: c.place):
            if column.reason == "constant":
                at = min(column.place, frame.shape[1])
                frame.insert(at, column.name, pd.Series(constant(column), frame.index))
        return frame
    frame = pd.DataFrame(flat, columns=list(schema.columns))
    # A standard deviation of whole numbers is not whole, so look; Int64 has room for empty cells.
    whole = [n for n in schema.integer_columns if (frame[n].isna() | (frame[n] == frame[n].round())).all()]
    return frame.astype(dict.fromkeys(whole, "Int64"))


def constant(column: LeftOut) -> Any:
    """What stands in each cell of a constant column."""
    text = column.text or ""
    match column.cells:
        case "whole":
            return int(text)
        case "number":
            return float(text)
        case "bool":
            return text == "True"
        case "date":
            return pd.Timestamp(text)
    return text
