"""Text tables, `.csv` and `.tsv`: their names of columns, and their cells part by part."""

import re
import warnings
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from backstory.data.tables.columns import EMPTY_CELLS
from backstory.data.tables.layout import SEPARATORS, Layout, Told, open_laid_out
from backstory.errors import InputError, counted

CELLS_AT_ONCE = 1 << 21
_SCANNED_AT_ONCE = 1 << 22  # bytes

# Newer versions of pandas read numbers exactly, and warn where they are asked to
_EXACT: Any = {} if pd.__version__ >= "3.1" else {"float_precision": "round_trip"}


@dataclass(frozen=True)
class TextTable:
    """An open text table.

    Attributes:
        handle: the open file in UTF-8, which is seekable.
        path: of the file, for messages.
        layout: how it is laid out.
        missing: texts of empty cells, besides the usual ones.
    """

    handle: BinaryIO
    path: Path
    layout: Layout
    missing: Collection[str] = ()

    @classmethod
    @contextmanager
    def open(cls, path: Path, usual: str, told: Told, limit: float = float("inf")) -> Iterator["TextTable"]:
        """Recognises the layout of a file, see `open_laid_out`."""
        with open_laid_out(path, usual, told, limit) as (handle, layout):
            yield cls(handle, path, layout, told.missing)

    @property
    def notes(self) -> list[str]:
        """What is unusual in the table."""
        first, names = [cell.strip() for cell in self.layout.first], self.names()
        changed = [f"{old!r} is {new!r}" for old, new in zip(first, names, strict=True) if old != new]
        if not (self.layout.header and changed):
            return list(self.layout.notes)
        return [*self.layout.notes, f"column {', '.join(changed)}"]

    def names(self) -> list[str]:
        """The names of the columns, which differ; column_1, column_2, … without a header."""
        if not self.layout.header:
            return [f"column_{j + 1}" for j in range(len(self.layout.first))]
        cells = [cell.strip() or f"Unnamed: {j}" for j, cell in enumerate(self.layout.first)]
        taken, copies = set(cells), Counter[str]()
        names: dict[str, None] = {}
        for cell in cells:
            name = cell
            while name in names or (name != cell and name in taken):
                copies[cell] += 1
                name = f"{cell}.{copies[cell]}"
            names[name] = None
        return list(names)

    def has_padded(self) -> bool:
        """Whether a cell may be a whole number with zeros before it: one begins with 0 and a digit."""
        before = np.zeros(256, bool)
        separator = self.layout.separator.encode()[0]
        before[[separator, *b'"\n\r']] = True
        for content in self._pieces(2):
            signs = np.frombuffer(content, np.uint8)
            zeros = np.flatnonzero(signs[1:-1] == ord("0"))
            digit = (signs[zeros + 2] >= ord("0")) & (signs[zeros + 2] <= ord("9"))
            blank = (signs[zeros] == ord(" ")) & (signs[zeros - 1] == separator)
            if (digit & (before[signs[zeros]] | blank)).any():
                return True
        return False

    def has_any(self, words: Collection[str]) -> bool:
        """Whether the text has one of these words somewhere."""
        sought = [word.encode() for word in words]
        return any(word in content for content in self._pieces(16) for word in sought)

    def _pieces(self, overlap: int) -> Iterator[bytes]:
        """The bytes of the file, piece by piece, each with the last ones of the piece before it."""
        self.handle.seek(0)
        rest = b""
        while content := self.handle.read(_SCANNED_AT_ONCE):
            yield rest + content
            rest = content[-overlap:]

    def parts(
        self, texts: Collection[str], kept: Mapping[str, Collection[str]]
    ) -> Generator[pd.DataFrame, None, None]:
        """The rows of the table, part by part.

        Args:
            texts: names of columns that are read as texts, whatever they look like.
            kept: for some columns, texts that are no empty cells there, such as NA.

        Raises:
            InputError: a row has too many cells.
        """
        names, empty = self.names(), [*EMPTY_CELLS, *self.missing]
        levels = {name: set(words) - {""} for name, words in kept.items()}
        of_columns = {name: [mark for mark in empty if mark not in levels.get(name, ())] for name in names}
        self.handle.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            try:
                yield from pd.read_csv(
                    self.handle,
                    sep=self.layout.separator,
                    header=0 if self.layout.header else None,
                    names=names,
                    dtype=dict.fromkeys(texts, str),
                    na_values=of_columns if kept else empty,
                    keep_default_na=False,
                    index_col=False,
                    encoding="utf-8-sig",
                    skipinitialspace=True,
                    low_memory=False,
                    chunksize=rows_at_once(len(names)),
                    **_EXACT,
                )
            except (pd.errors.ParserWarning, pd.errors.ParserError) as error:
                where, separator = re.search(r"line (\d+)", str(error)), self.layout.separator
                raise InputError(
                    f"expected {counted(len(names), 'cell')} in every row of {self.path}, got more "
                    f"{f'in line {where[1]}' if where else 'in its first rows'}; "
                    f"check for stray {SEPARATORS.get(separator, repr(separator))} or a missing column name"
                ) from error


def rows_at_once(columns: int) -> int:
    """Number of rows in one part of a table with so many columns."""
    return max(1, CELLS_AT_ONCE // max(1, columns))
