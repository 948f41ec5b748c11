"""Tables of any source, opened: text and Parquet files, Excel files, databases, and frames."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from backstory import console
from backstory.data.binary import open_binary
from backstory.data.reading import PLAIN, Reading
from backstory.data.schema import Schema
from backstory.data.tables.foreign import as_pandas, parquet_engine, read_database, read_excel
from backstory.data.tables.parts import KEPT, Kept, PartedTable, Parts, TextMarks
from backstory.data.tables.read import Table
from backstory.data.tables.text import TextTable, rows_at_once
from backstory.files import EXCEL, SEPARATORS, decoder, format_of, is_database, reading


@contextmanager
def opened(source: Any, how: Reading = PLAIN, schema: Schema | None = None) -> Iterator[Table]:
    """The table of a source, which is open as long as its Dataset is made.

    Args:
        source: the path of a file, the address of a table in a database, or a frame.
        how: it is read.
        schema: that it is to be read by; what was told of its table holds.

    Raises:
        InputError: it cannot be read, or a package is missing.
    """
    how = how if schema is None else how.told_over(schema.told)
    if isinstance(source, Path) and format_of(source) == "parquet":
        with _parquet(source, how) as table:
            yield table
    elif isinstance(source, Path) and format_of(source) not in EXCEL:
        with _text(source, how) as table:
            yield table
    else:
        yield _frame(*_as_frame(source), how)


def _as_frame(source: Any) -> tuple[pd.DataFrame, str]:
    """The frame of a source that is read as a whole, and its name for messages."""
    if isinstance(source, Path):
        return read_excel(source), str(source)
    if is_database(source):
        return read_database(source)
    if isinstance(source, pd.DataFrame):
        return source, "data frame"
    return as_pandas(source), f"{type(source).__module__.partition('.')[0]} {type(source).__name__}"


def _frame(frame: pd.DataFrame, name: str, how: Reading) -> Table:
    """A frame of numbers, texts, booleans, categories and dates, without its index; it stays in memory."""

    def parts(_: Collection[str], kept: Kept) -> Parts:
        yield frame

    return Table(PartedTable(parts, _names_of(frame), name, how.told), replace(how, stream=False))


@contextmanager
def _text(path: Path, how: Reading) -> Iterator[Table]:
    """A text table, plain or `.gz`.

    Its encoding, separator and comment lines are recognised, and whether its first row names the columns;
    otherwise they are called column_1, column_2, …. An empty cell (or NA, NaN, null, ?) is missing.
    """
    usual = SEPARATORS[format_of(path)]
    with reading(path, "a table"), TextTable.open(path, usual, how.told, how.memory) as text:
        marks = TextMarks(text.has_padded(), text.has_any(KEPT))
        parted = PartedTable(text.parts, text.names(), str(path), how.told, marks)
        separator = None if text.layout.separator == usual else text.layout.separator
        yield Table(parted, how, text.layout.header, text.notes, separator)


@contextmanager
def _parquet(path: Path, how: Reading) -> Iterator[Table]:
    """A Parquet file, read by parts of its row groups; its index is not part of the data."""
    with reading(path, "a Parquet file"), open_binary(path, how.memory) as handle:
        with parquet_engine():
            from pyarrow.parquet import ParquetFile
        with decoder():
            file = ParquetFile(handle, pre_buffer=False)  # otherwise all that was read stays in memory
            names = _names_of(file.schema_arrow.empty_table().to_pandas())

        def parts(_: Collection[str], kept: Kept) -> Parts:
            with console.progress(f"read {path.name}", file.metadata.num_rows) as bar:
                batches = file.iter_batches(rows_at_once(len(names)))
                while (frame := _next_frame(batches)) is not None:
                    yield frame
                    bar.advance(len(frame))

        yield Table(PartedTable(parts, names, str(path), how.told, expected=file.metadata.num_rows), how)


def _next_frame(batches: Iterator[Any]) -> pd.DataFrame | None:
    """The next part of a Parquet file; None at its end."""
    with decoder():
        batch = next(batches, None)
        return None if batch is None else batch.to_pandas()


def _names_of(frame: pd.DataFrame) -> list[str]:
    return [str(name).strip() for name in frame.columns]
