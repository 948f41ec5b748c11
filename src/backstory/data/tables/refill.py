"""A text table with some cells filled; every other character of the file stays."""

import csv
import gzip
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from backstory.data.tables.columns import EMPTY_CELLS, Column
from backstory.data.tables.layout import Told, sample_layout
from backstory.files import SEPARATORS, format_of, is_gzipped, reading

_BLANK = " \t\r\n"


def refilled(
    path: Path,
    told: Told,
    fill: np.ndarray,
    texts: Sequence[Sequence[str]],
    places: Sequence[int],
    empty: np.ndarray | None = None,
) -> str | None:
    """The text of a table with new texts in some cells.

    Args:
        path: of the table, `.csv` or `.tsv`, plain or `.gz`.
        told: what a person told of its layout and its empty cells.
        fill: (N, C) of bool, the cells to fill.
        texts: for each of the N rows, the new texts of the cells to fill from left to right.
        places: (C,), the number of each of these columns among those of the file.
        empty: (N, C) of bool, the cells that were read as empty, by default all. The text of such a cell
            stays if there is one (a level that the model does not know).

    Returns:
        The text; None if the file does not have N rows, so that it is not the one that was read.
    """
    with reading(path, "a table"):
        layout = sample_layout(path, SEPARATORS[format_of(path)], told)
        lines = _lines(path, layout.encoding)
    separator, mark = layout.separator, "#" if layout.comments else None
    first = _header_lines(lines, separator, mark) if layout.header else 0
    blank, empty_cells = _BLANK.replace(separator, ""), (*EMPTY_CELLS, *told.missing)
    records = [*lines[:first], *_records(lines[first:], separator, mark)]
    filled = [bool(record.strip(blank)) and not _is_comment(record, mark) for record in records]
    rows = [i for i, some in enumerate(filled) if i >= first and some]
    if len(rows) != len(fill):
        return None
    stays = fill if empty is None else fill & empty
    for n, (i, words) in enumerate(zip(rows, texts, strict=True)):
        chosen = np.flatnonzero(fill[n]).tolist()
        if chosen:
            new = [(places[j], word, bool(stays[n, j])) for j, word in zip(chosen, words, strict=True)]
            records[i] = _with_cells(records[i], separator, new, empty_cells)
    return "".join(records)


def _lines(path: Path, encoding: str) -> list[str]:
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    opened = gzip.open if is_gzipped(path) else open
    with opened(path, "rt", encoding=encoding, newline="") as text:
        return list(text)


def _is_comment(line: str, mark: str | None) -> bool:
    return mark is not None and line.startswith(mark)


def _records(lines: list[str], separator: str, mark: str | None) -> Iterator[str]:
    """The rows of a table: single lines, or several lines if a cell in quotes has line breaks."""
    record = ""
    for line in lines:
        if _is_comment(line, mark):
            yield line
            continue
        record += line
        if _raw_cells(record.rstrip("\r\n"), separator) is not None:
            yield record
            record = ""
    if record:
        yield record


def _raw_cells(content: str, separator: str) -> list[str] | None:
    """The texts between the separators outside quotes; None if a quote is open at the end."""
    if '"' not in content:
        return content.split(separator)
    cell = re.compile(rf' *"(?:[^"]|"")*"[^{separator}]*|(?! *")[^{separator}]*')
    cells, at = [], 0
    while match := cell.match(content, at):
        cells.append(match[0])
        at = match.end() + 1
        if at > len(content):
            return cells
    return None


def _header_lines(lines: list[str], separator: str, mark: str | None) -> int:
    """The number of lines of the header, with blank lines before it; a name in quotes may have several."""
    reader = csv.reader(lines, delimiter=separator)
    for row in reader:
        if any(cell.strip() for cell in row) and not _is_comment(row[0], mark):
            break
    return reader.line_num


def _with_cells(
    record: str, separator: str, new: list[tuple[int, str, bool]], empty_cells: Sequence[str]
) -> str:
    """A row with new texts, each given as (column, text, whether only an empty cell is filled)."""
    content = record.rstrip("\r\n")
    cells = _raw_cells(content, separator) or []
    cells += [""] * (max(new)[0] + 1 - len(cells))  # a short row: its last cells are empty
    for column, word, stays in new:
        if not stays or cells[column].strip(' "') in empty_cells:
            cells[column] = _quoted(word, separator)
    return separator.join(cells) + record[len(content) :]


def _quoted(word: str, separator: str) -> str:
    if any(sign in word for sign in (separator, '"', "\n", "\r")) or word != word.strip():
        return '"' + word.replace('"', '""') + '"'
    return word


def cell_texts(values: np.ndarray, fill: np.ndarray, kinds: Sequence[Column]) -> list[list[str]]:
    """The texts of the cells to fill, row by row, as in `refilled`."""
    from backstory.data.tables.decode import decoded  # with pandas, which is slow to import

    texts: list[list[str]] = [[] for _ in fill]
    for j, column in enumerate(kinds):
        rows = np.flatnonzero(fill[:, j])
        for row, cell in zip(rows, decoded(values[rows, j].astype(np.float64), column), strict=True):
            texts[row].append(str(cell))
    return texts
