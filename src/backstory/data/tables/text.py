"""Text tables, `.csv` and `.tsv`: their first row, and their cells part by part."""

import csv
import io
import re
import warnings
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from backstory.data.tables.columns import EMPTY_CELLS
from backstory.errors import InputError

CELLS_AT_ONCE = 1 << 21
_SCANNED_AT_ONCE = 1 << 22  # bytes

# Newer versions of pandas read numbers exactly, and warn where they are asked to
_EXACT: Any = {} if pd.__version__ >= "3.1" else {"float_precision": "round_trip"}

_NAMES = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)


@dataclass(frozen=True)
class TextTable:
    """An open text table, in UTF-8.

    Attributes:
        handle: the open file, which is seekable.
        path: of the file, for messages.
        separator: between the cells of a row.
        first: the cells of the first row.
    """

    handle: BinaryIO
    path: Path
    separator: str
    first: Sequence[str]

    @classmethod
    def open(cls, handle: BinaryIO, path: Path, separator: str) -> "TextTable":
        """Reads the first row of an open file.

        Raises:
            InputError: the file is empty, or its cells seem to be separated by another sign.
        """
        return cls(handle, path, separator, _first_row(handle, path, separator))

    @property
    def header(self) -> bool:
        """Whether the first row names the columns: unless all of it is numbers (but 0, 1, 2, … in order)."""
        cells = [cell.strip() for cell in self.first]
        if len(cells) > 1 and cells == [str(j) for j in range(len(cells))]:
            return True  # the names that pandas gives to columns without any
        filled = [cell for cell in cells if cell not in EMPTY_CELLS]
        return not (filled and all(_NUMBER.fullmatch(cell) for cell in filled))

    def names(self, header: bool) -> list[str]:
        """The names of the columns; column_1, column_2, … without a header."""
        if header:
            return [cell.strip() for cell in self.first]
        return [f"column_{j + 1}" for j in range(len(self.first))]

    def has_padded(self) -> bool:
        """Whether a cell may be a whole number with zeros before it: one begins with 0 and a digit."""
        before = np.zeros(256, bool)
        before[list(f'{self.separator}"\n\r '.encode())] = True
        self.handle.seek(0)
        rest = b""
        while content := self.handle.read(_SCANNED_AT_ONCE):
            signs = np.frombuffer(rest + content, np.uint8)
            zeros = np.flatnonzero(signs[1:-1] == ord("0"))
            digit = (signs[zeros + 2] >= ord("0")) & (signs[zeros + 2] <= ord("9"))
            if (digit & before[signs[zeros]]).any():
                return True
            rest = content[-2:]
        return False

    def parts(
        self, names: Sequence[str], header: bool, texts: Collection[str]
    ) -> Generator[pd.DataFrame, None, None]:
        """The rows of the table, part by part.

        Args:
            names: of the columns.
            header: whether the first row of the file names them.
            texts: names of columns that are read as texts, whatever they look like.

        Raises:
            InputError: a row has too many cells.
        """
        self.handle.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            try:
                yield from pd.read_csv(
                    self.handle,
                    sep=self.separator,
                    header=0 if header else None,
                    names=list(names),
                    dtype=dict.fromkeys(texts, str),
                    na_values=EMPTY_CELLS,
                    keep_default_na=False,
                    index_col=False,
                    encoding="utf-8-sig",
                    skipinitialspace=True,
                    low_memory=False,
                    chunksize=rows_at_once(len(names)),
                    **_EXACT,
                )
            except (pd.errors.ParserWarning, pd.errors.ParserError) as error:
                where = re.search(r"line (\d+)", str(error))
                raise InputError(
                    f"expected {len(names)} cells in every row of {self.path}, got more "
                    f"{f'in line {where[1]}' if where else 'in its first rows'}; "
                    f"check for stray {_NAMES[self.separator]} or a missing column name"
                ) from error


def rows_at_once(columns: int) -> int:
    """Number of rows in one part of a table with so many columns."""
    return max(1, CELLS_AT_ONCE // max(1, columns))


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
