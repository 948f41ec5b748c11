"""How a text table is laid out: its encoding, comment lines and separator, and whether it names its columns.

Each is recognised from the beginning of the file, unless a person tells it (`Told`).
"""

import codecs
import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydantic import BaseModel, ConfigDict

from backstory.data.binary import open_binary
from backstory.data.rows import Spool
from backstory.data.tables.columns import EMPTY_CELLS
from backstory.errors import InputError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)
_ROWS, _SAMPLE = 200, 1 << 18  # rows and bytes that are looked at
_CONTROL = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
# The more usual ones first, which decides between encodings that read a file equally well
_ENCODINGS = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp932", "gb18030", "big5", "cp949"),
    *("cp1255", "cp1256"),
)
_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class Told(BaseModel):
    """What a person tells of tables; None leaves it to the table. A run keeps it for its later tables.

    Attributes:
        separator: between the cells of a row of a text table.
        decimal: the sign before decimals in numbers, `.` or `,`.
        encoding: of a text table, such as `cp1252`.
        header: whether the first row of a text table names the columns.
        index: name of a column that names the rows, which is left out.
        missing: texts of cells that are empty, besides the usual ones.
        keep_missing_as_level: columns in which empty cells, and texts such as NA, are a level.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    header: bool | None = None
    index: str | None = None
    missing: tuple[str, ...] = ()
    keep_missing_as_level: tuple[str, ...] = ()

    def over(self, earlier: "Told") -> "Told":
        """What is told now, and for the rest what was told earlier."""
        return earlier.model_copy(update=self.model_dump(exclude_defaults=True))


@dataclass(frozen=True)
class Layout:
    """How a text table is laid out.

    Attributes:
        separator, encoding, header: as in `Told`.
        comments: whether lines that begin with # are comments.
        first: the cells of the first row.
        notes: what is unusual, for people.
    """

    separator: str
    encoding: str
    header: bool
    comments: bool
    first: tuple[str, ...]
    notes: tuple[str, ...] = ()


@contextmanager
def open_laid_out(
    path: Path, usual: str, told: Told, limit: float = math.inf
) -> Iterator[tuple[BinaryIO, Layout]]:
    """A text table as UTF-8 without its comment lines, and its layout.

    Args:
        path: of the file, plain or `.gz`.
        usual: the separator that its name stands for.
        told: what a person tells.
        limit: bytes that may be kept in memory.

    Raises:
        InputError: the file is empty, no text, or is not in the encoding that was told.
    """
    with open_binary(path, limit) as handle:
        encoding = _known(told.encoding) if told.encoding else _encoding(handle, path)
        layout = _layout(_sample(handle, encoding, path), usual, told, encoding, path)
        if encoding in ("utf-8", "utf-8-sig") and not layout.comments:
            yield handle, layout
            return
        spool = transcoded(handle, encoding, layout.comments, limit)
    with spool.file() as plain:
        yield plain, layout


def sample_layout(path: Path, usual: str, told: Told) -> Layout:
    """The layout of a text table, see `open_laid_out`."""
    with open_laid_out(path, usual, told) as (_, layout):
        return layout


# -- encoding ---------------------------------------------------------------------------------------------


def _known(encoding: str) -> str:
    """The name of an encoding; InputError for one that Python does not know."""
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        raise InputError(
            f"expected the name of an encoding for `encoding`, got {encoding!r}; "
            "give utf-8 or cp1252, for example"
        ) from None


def _encoding(handle: BinaryIO, path: Path) -> str:
    """The encoding of a file: UTF-8 if all of it is, or else the one that reads its foreign bytes best."""
    handle.seek(0)
    head = handle.read(_SAMPLE)
    for bom, name in _BOMS.items():
        if head.startswith(bom):
            return name
    zeros = [head[k::2].count(0) > len(head) / 8 for k in (0, 1)]
    if any(zeros):
        return "utf-16-be" if zeros[0] else "utf-16-le"
    foreign = _first_foreign(handle)
    if foreign is None:
        return "utf-8"
    handle.seek(max(0, foreign - _SAMPLE // 2))
    return _guessed(head + handle.read(_SAMPLE), path)


def _first_foreign(handle: BinaryIO) -> int | None:
    """The position of a piece with bytes that are not UTF-8; None if all are."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    handle.seek(0)
    position = 0
    while content := handle.read(_SAMPLE):
        try:
            decoder.decode(content)
        except UnicodeDecodeError as error:
            return position + error.start
        position += len(content)
    return None


def _guessed(content: bytes, path: Path) -> str:
    from charset_normalizer import from_bytes  # slow to import

    text = content.decode("utf-8", errors="replace")
    damaged = text.count("\ufffd")
    if sum(sign > "\x7f" for sign in text) > 2 * damaged:  # UTF-8 with a few damaged signs
        content.decode("utf-8")
    lines = {line for line in content.splitlines() if not line.isascii()}
    foreign = b"\n".join(sorted(lines))
    # one by one, because it leaves out encodings that are like others
    matches = [match for name in _ENCODINGS if (match := from_bytes(foreign, cp_isolation=[name]).best())]
    if not matches or _CONTROL.search(text):
        raise InputError(
            f"expected a table in UTF-8 text, got {path}, which is in no known encoding; "
            "save it again as UTF-8, or give its `encoding`"
        )
    best = min(matches, key=lambda match: (match.chaos, -match.coherence))
    return str(best.encoding)


def _sample(handle: BinaryIO, encoding: str, path: Path) -> str:
    """The text at the beginning of a file, in whole lines."""
    handle.seek(0)
    decoder, text, more = codecs.getincrementaldecoder(encoding)(), "", True
    try:
        while more and not (len(text) >= _SAMPLE // 4 and "\n" in text):
            content = handle.read(_SAMPLE)
            more = len(content) == _SAMPLE
            text += decoder.decode(content, final=not more)
    except UnicodeDecodeError as error:
        raise InputError(
            f"expected text in {encoding} in {path}, got other bytes ({error.reason}); give its `encoding`"
        ) from error
    end = max(text.rfind("\n"), text.rfind("\r")) + 1
    return text[:end] if more and end else text


def transcoded(handle: BinaryIO, encoding: str, comments: bool, limit: float) -> Spool:
    """The lines of a text that are no comments, in UTF-8."""
    handle.seek(0)
    spool, text = Spool(limit), io.TextIOWrapper(handle, encoding=encoding, newline="")
    while lines := text.readlines(_SAMPLE):
        kept = [line for line in lines if not (comments and line.startswith("#"))]
        spool.write(np.frombuffer("".join(kept).encode(), np.uint8))
    text.detach()
    return spool


# -- comments, separator and header -----------------------------------------------------------------------


def _layout(text: str, usual: str, told: Told, encoding: str, path: Path) -> Layout:
    lines = [line for line in io.StringIO(text, newline="") if line.strip()]
    begin = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    comments = 0 < begin < len(lines) and not _names_columns(lines[begin - 1], lines[begin], usual)
    rest = [line for line in lines if not line.startswith("#")] if comments else lines
    separator = told.separator or _separator(rest, usual)
    rows = list(_rows(rest, separator))
    if not rows:
        raise InputError(
            f"expected a table with a header in {path}, got an empty file; check that it is the right one"
        )
    header = _has_header(rows) if told.header is None else told.header
    notes = {
        f"cells are separated by {SEPARATORS.get(separator, repr(separator))}": separator != usual,
        f"the text is read as {encoding}": not encoding.startswith("utf-8"),
        "lines that begin with # are comments": comments,
        "the first row holds data, not names": not header,
    }
    return Layout(
        separator, encoding, header, comments, tuple(rows[0]), tuple(n for n, so in notes.items() if so)
    )


def _names_columns(comment: str, row: str, usual: str) -> bool:
    """Whether a line that begins with # is a header, with as many cells as the row after it."""
    separator = _separator([comment, row], usual)
    cells = [len(cells) for cells in _rows([comment, row], separator)]
    return cells[0] == cells[1] > 1


def _rows(lines: Sequence[str], separator: str) -> Iterator[list[str]]:
    """The first rows that are not empty, each as its cells without blanks around them."""
    found, reader = 0, csv.reader(lines, delimiter=separator, skipinitialspace=True)
    with suppress(csv.Error):  # a cell may be too long
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells) or len(cells) > 1:
                yield cells
                found += 1
            if found == _ROWS:
                return


def _separator(lines: Sequence[str], usual: str) -> str:
    """The sign by which most rows have as many cells as the first one; the usual one if none has several."""

    def agreement(separator: str) -> tuple[float, bool, int]:
        widths = [len(row) for row in _rows(lines, separator)]
        if not widths or widths[0] < 2:
            return 0.0, separator == usual, 0
        return sum(width == widths[0] for width in widths) / len(widths), separator == usual, widths[0]

    return max(SEPARATORS, key=agreement)


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns.

    It does not if all of it is numbers (but 0, 1, 2, … in order); if the columns of numbers begin with
    numbers (but years); or if most of the texts in it come again in their columns.
    """
    first, body = rows[0], rows[1:]
    if len(first) > 1 and list(first) == [str(j) for j in range(len(first))]:
        return True  # the names that pandas gives to columns without any
    filled = [cell for cell in first if cell not in EMPTY_CELLS]
    if filled and all(map(_NUMBER.fullmatch, filled)):
        return False
    columns = [
        [row[j] for row in body if j < len(row) and row[j] not in EMPTY_CELLS] for j in range(len(first))
    ]
    numbers = [cell for cell, column in zip(first, columns, strict=True) if _are_numbers(column)]
    if numbers:
        return not all(map(_NUMBER.fullmatch, numbers)) or _are_years(numbers)
    again = [cell in column for cell, column in zip(first, columns, strict=True)]
    return len(body) < 10 or 2 * sum(again) <= len(first)


def _are_numbers(cells: Sequence[str]) -> bool:
    return bool(cells) and sum(map(bool, map(_NUMBER.fullmatch, cells))) >= 0.9 * len(cells)


def _are_years(cells: Sequence[str]) -> bool:
    """Whether numbers are years in order, as the names of columns may be."""
    if not all(cell.isdecimal() and 1800 <= int(cell) <= 2200 for cell in cells):
        return False
    years = list(map(int, cells))
    return years == sorted(set(years))
