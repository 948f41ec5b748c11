"""A text table written again with some cells filled; everything else stays as it stands in the file."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from backstory.data.files import SEPARATORS, format_of, open_binary, reading

_BLANK = " \t\r\n"


def refilled(path: Path, header: bool, fill: np.ndarray, texts: Sequence[Sequence[str]]) -> str | None:
    """The text of a table of numbers with other words in some cells.

    Numbers hold no separators, in quotes or not, so that the cells of a row are what lies between them.

    Args:
        path: of the table, `.csv` or `.tsv`, plain or `.gz`.
        header: whether its first row has names.
        fill: (N, C) of bool, the cells to write anew.
        texts: what to write into the cells of each of the N rows that are written anew, from left to right.

    Returns:
        None if the file has not N rows: it is not the one that was read.
    """
    separator = SEPARATORS[format_of(path)]
    with reading(path, "a table"), open_binary(path) as handle:
        text = io.TextIOWrapper(handle, encoding="utf-8-sig", newline="")
        lines = list(text)
        text.detach()
    first = _header_lines(lines, separator) if header else 0
    blank = _BLANK.replace(separator, "")
    rows = [i for i, line in enumerate(lines) if i >= first and line.strip(blank)]
    if len(rows) != len(fill):
        return None
    for i, columns, words in zip(rows, map(np.flatnonzero, fill), texts, strict=True):
        if len(columns):
            lines[i] = _with_cells(lines[i], separator, columns.tolist(), words)
    return "".join(lines)


def _header_lines(lines: list[str], separator: str) -> int:
    """How many lines the names take, with blank lines before them; a name in quotes may have several."""
    reader = csv.reader(lines, delimiter=separator)
    for row in reader:
        if any(cell.strip() for cell in row):
            break
    return reader.line_num


def _with_cells(line: str, separator: str, columns: list[int], words: Sequence[str]) -> str:
    content = line.rstrip("\r\n")
    cells = content.split(separator)
    cells += [""] * (max(columns) + 1 - len(cells))  # a short row: its last cells are empty
    for column, word in zip(columns, words, strict=True):
        cells[column] = word
    return separator.join(cells) + line[len(content) :]


def numbers_as_text(values: np.ndarray, fill: np.ndarray, whole: Sequence[bool]) -> Iterator[list[str]]:
    """The numbers of the cells to fill, row by row, as `refilled` takes them; `whole` for each column."""
    for row, cells in zip(values, fill, strict=True):
        chosen = np.flatnonzero(cells).tolist()
        yield [str(int(row[j])) if whole[j] else repr(float(row[j])) for j in chosen]
