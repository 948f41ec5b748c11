"""Tables of numbers: CSV, TSV, Parquet and pandas frames to a Dataset, and columns back to files.

A table is stored as float64, so that an empty cell can be NaN; the schema remembers which columns hold whole
numbers and whether the file names its columns, so that what is written looks like what was read.
"""

import csv
import io
import math
import re
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from backstory import console
from backstory.data.arrays import only
from backstory.data.checks import extremes, listed, observed_mask, place
from backstory.data.dataset import Dataset
from backstory.data.files import SEPARATORS, open_binary, reading
from backstory.data.rows import Spool
from backstory.data.schema import Schema
from backstory.errors import InputError

_CELLS_AT_ONCE = 1 << 21

_NAMES = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)
_MISSING = {"", "na", "n/a", "nan", "null", "none"}


def load_csv(path: Path, separator: str = ",", limit: float = math.inf) -> Dataset:
    """The Dataset of a text table, plain or `.gz`, in UTF-8.

    The first row names the columns, unless all of it is numbers (other than 0, 1, 2, … in order): then it is
    data, and the columns are called column_1, column_2, …. An empty cell (or NA, NaN, null) is missing. More
    than `limit` bytes of numbers are kept in a temporary file.

    Raises:
        InputError: a cell that is no number (says where), no rows, another separator or encoding, columns
            that share a name or have none, or rows that are too long.
    """
    with reading(path, "a table"), open_binary(path, limit) as handle:
        first = _first_row(handle, path, separator)
        header = not _is_data(first)
        names = [c.strip() for c in first] if header else [f"column_{j + 1}" for j in range(len(first))]
        _check_names(names, str(path))
        handle.seek(0)
        with closing(_read_csv(handle, path, separator, names, header)) as frames:
            return _from_frames(frames, names, str(path), header, limit)


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
    cells = [cell.strip() for cell in row if cell.strip().lower() not in _MISSING]
    return bool(cells) and all(_NUMBER.fullmatch(cell) for cell in cells)


def _read_csv(
    handle: BinaryIO, path: Path, separator: str, names: list[str], header: bool
) -> Generator[pd.DataFrame, None, None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            yield from pd.read_csv(
                handle,
                sep=separator,
                header=0 if header else None,
                names=names,
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


def load_parquet(path: Path, limit: float = math.inf) -> Dataset:
    """The Dataset of a Parquet file; its index is not part of the data.

    It is read by parts of its row groups; more than `limit` bytes of numbers are kept in a temporary file.

    Raises:
        InputError: pyarrow is not installed, or the same as for a text table.
    """
    with reading(path, "a Parquet file"), open_binary(path, limit) as handle, parquet_engine():
        from pyarrow.parquet import ParquetFile

        file = ParquetFile(handle, pre_buffer=False)  # otherwise all that was read stays in memory
        names = _names_of(file.schema_arrow.empty_table().to_pandas())
        _check_names(names, str(path))
        with console.progress(f"read {path.name}", file.metadata.num_rows) as bar:
            frames = _read_parquet(file, len(names), bar)
            return _from_frames(frames, names, str(path), True, limit, file.metadata.num_rows)


def _read_parquet(file: Any, columns: int, bar: console.Bar) -> Iterator[pd.DataFrame]:
    for batch in file.iter_batches(_rows_at_once(columns)):
        yield batch.to_pandas()
        bar.advance(batch.num_rows)


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


def from_frame(frame: pd.DataFrame, source: str = "data frame", header: bool = True) -> Dataset:
    """The Dataset of a frame of numeric or boolean columns; its index is not part of the data.

    >>> from_frame(pd.DataFrame({"age": [30, 41], "height": [1.7, 1.8]})).schema.integer_columns
    ('age',)
    """
    names = _names_of(frame)
    _check_names(names, source)
    return _from_frames([frame], names, source, header, math.inf)


def _names_of(frame: pd.DataFrame) -> list[str]:
    return [str(name).strip() for name in frame.columns]


@dataclass
class _Column:
    """What the parts of a column have shown so far."""

    integer: bool = True  # its type in every part
    whole: bool = True  # its values
    some: bool = False
    missing: bool = False

    def look(self, array: np.ndarray, integer: bool) -> None:
        there = array[~np.isnan(array)]
        self.integer &= integer
        self.some |= len(there) > 0
        self.missing |= len(there) < len(array)
        self.whole = self.whole and bool((there == np.rint(there)).all() and np.isfinite(there).all())

    @property
    def holds_integers(self) -> bool:
        # pandas makes floats of whole numbers where cells are empty
        return self.integer or (self.whole and self.some and self.missing)


def _from_frames(
    frames: Iterable[pd.DataFrame],
    names: Sequence[str],
    source: str,
    header: bool,
    limit: float,
    expected: int = 0,
) -> Dataset:
    """The Dataset of a table that comes in parts, of `expected` rows if that is known."""
    spool = Spool(limit, expected=8 * expected * len(names))
    columns, count = [_Column() for _ in names], 0
    for frame in frames:
        values = np.empty(frame.shape, np.float64)
        for j, name in enumerate(names if len(frame) else ()):
            values[:, j], integer = _numbers(frame.iloc[:, j], name, source, count)
            columns[j].look(values[:, j], integer)
        spool.write(values)
        count += len(frame)
    if not (names and count):
        raise InputError(
            f"expected rows of numbers in {source}, got {len(names)} columns and {count} rows; "
            "give it some rows"
        )
    table = spool.array((count, len(names)), "float64")
    observed = observed_mask(table, source, names)
    low, high = extremes(table)
    binary = low >= 0 and high <= 1 and only(table, 0, 1)
    schema = Schema(
        kind="table",
        shape=(len(names),),
        dtype="float64",
        levels=2 if binary else None,
        maximum=1 if binary else None,
        columns=tuple(names),
        header=header,
        integer_columns=tuple(n for n, column in zip(names, columns, strict=True) if column.holds_integers),
    )
    return Dataset(table, schema, observed, source=source)


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


def _numbers(column: pd.Series, name: str, source: str, first: int) -> tuple[np.ndarray, bool]:
    """A part of a column, from row `first` on, as float64 with NaN where it is empty; whether of integers."""
    types = pd.api.types
    if types.is_object_dtype(column) or types.is_string_dtype(column):
        column = _parsed(column, name, source, first)
    if not types.is_numeric_dtype(column) or types.is_complex_dtype(column):
        raise InputError(
            f"expected numbers in column {name!r} of {source}, got type {column.dtype}; "
            "convert or drop the column"
        )
    array = column.to_numpy(dtype=np.float64, na_value=np.nan)
    return array, types.is_integer_dtype(column) or types.is_bool_dtype(column)


def _parsed(column: pd.Series, name: str, source: str, first: int) -> pd.Series:
    texts = column.astype(object)
    parsed = pd.to_numeric(texts, errors="coerce")
    bad = np.flatnonzero((parsed.isna() & texts.notna()).to_numpy())
    if len(bad):
        text = str(texts.iloc[bad[0]])
        shown = text if len(text) <= 40 else text[:40] + "…"
        where = place((first + int(bad[0]), 0), columns=(name,))
        raise InputError(
            f"expected numbers in {source}, got {shown!r} in {where}; "
            "write it as a number, leave the cell empty, or drop the column"
        )
    return parsed


def write_frame(handle: BinaryIO, frame: pd.DataFrame, form: str, header: bool = True) -> None:
    """Writes a frame as `csv`, `tsv` or `parquet`; numbers read back are the same."""
    if form == "parquet":
        buffer = io.BytesIO()
        with parquet_engine():
            frame.to_parquet(buffer, index=False)
        handle.write(buffer.getbuffer())
    else:
        frame.to_csv(handle, sep=SEPARATORS[form], header=header, index=False, lineterminator="\n")


def to_frame(values: np.ndarray, schema: Schema) -> pd.DataFrame:
    """Stored values (N, …) as a frame: a table's own columns, or pixel_0, … or x_0, … of flattened rows."""
    flat = values.reshape(len(values), -1)
    if schema.columns is None:
        stem = "pixel" if schema.kind == "images" else "x"
        return pd.DataFrame(flat, columns=[f"{stem}_{j}" for j in range(flat.shape[1])])
    frame = pd.DataFrame(flat, columns=list(schema.columns))
    # A standard deviation of whole numbers is not whole, so look; Int64 has room for empty cells.
    whole = [n for n in schema.integer_columns if (frame[n].isna() | (frame[n] == frame[n].round())).all()]
    return frame.astype(dict.fromkeys(whole, "Int64"))
