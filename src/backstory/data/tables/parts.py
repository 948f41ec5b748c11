"""A table that is read part by part, as often as needed."""

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from backstory.data.tables.columns import EMPTY_CELLS
from backstory.data.tables.encode import is_categorical
from backstory.data.tables.layout import Told
from backstory.data.tables.survey import Survey

Parts = Generator[pd.DataFrame, None, None]
Kept = Mapping[str, Collection[str]]  # texts that are no empty cells, by the name of their column
NOTHING = Told()  # told of a table
LEVEL_OF_EMPTY = "NA"
KEPT = ("NA", "None")  # texts that may be levels, though they stand for empty cells elsewhere


@dataclass(frozen=True)
class TextMarks:
    """What a text table may hold.

    Attributes:
        padded: whole numbers with zeros before them.
        kept: texts that may be levels, such as NA.
    """

    padded: bool
    kept: bool


@dataclass
class PartedTable:
    """A table that is read in parts, as often as needed.

    Attributes:
        parts: reads the table from its beginning; of a text table, columns with the given names as texts,
            and with texts that are no empty cells.
        names: of all columns.
        source: where the table comes from, for messages.
        told: what a person tells of the table.
        marks: what a text table may hold; None for a table whose cells have types.
        expected: number of rows, 0 if it is not known.
    """

    parts: Callable[[Collection[str], Kept], Parts]
    names: Sequence[str]
    source: str
    told: Told = NOTHING
    marks: TextMarks | None = None
    expected: int = 0
    _only: pd.DataFrame | None = None  # the only part, kept so that it is read once
    _only_kept: Any = None  # the texts that were no empty cells when it was read

    @property
    def is_text(self) -> bool:
        """Whether the file is text, so that the types of cells have to be inferred."""
        return self.marks is not None

    def survey(self, surveys: dict[str, Survey], texts: Collection[str], kept: Kept) -> dict[str, Survey]:
        """The same surveys, by the names of their columns, after all cells of these."""
        for _, frame in self.frames(texts, kept) if surveys else ():
            for name, (_, cells) in zip(self.names, frame.items(), strict=True):
                if name in surveys:
                    surveys[name].add(cells)
        return surveys

    def frames(self, texts: Collection[str], kept: Kept) -> Iterator[tuple[int, pd.DataFrame]]:
        """The parts, each with the number of its first row; the arguments are those of `parts`."""
        kept = {name: tuple(words) for name, words in kept.items()}
        if self._only is not None and self._suits(self._only, texts, kept):
            yield 0, self._only
            return
        first, count, frame = 0, 0, None
        with closing(self.parts(texts, kept)) as frames:
            for frame in frames:
                frame = self._marked(frame, kept)
                yield first, frame
                first, count = first + len(frame), count + 1
        self._only, self._only_kept = (frame if count == 1 else None), kept

    def _suits(self, frame: pd.DataFrame, texts: Collection[str], kept: Kept) -> bool:
        """Whether a part was read with these texts and levels."""
        columns = zip(self.names, frame.items(), strict=True)
        numbers = {
            name
            for name, (_, cells) in columns
            if isinstance(cells.dtype, np.dtype) and cells.dtype.kind in "biuf"
        }
        return kept == self._only_kept and not (self.is_text and numbers & set(texts))

    def _marked(self, frame: pd.DataFrame, kept: Kept) -> pd.DataFrame:
        """A part with empty cells where a person says so, and with levels in the place of empty cells."""
        changed = {}
        for j, name in enumerate(self.names):
            cells = frame.iloc[:, j]
            if self.told.missing and not self.is_text:
                cells = _emptied(cells, self.told.missing)
            if "" in kept.get(name, ()):
                cells = cells.astype(object).where(cells.notna(), LEVEL_OF_EMPTY)
            if cells is not frame.iloc[:, j]:
                changed[j] = cells
        if not changed:
            return frame
        columns = [changed.get(j, frame.iloc[:, j]) for j in range(len(self.names))]
        return pd.concat(columns, axis=1)


def _emptied(cells: pd.Series, missing: Sequence[str]) -> pd.Series:
    """Cells of a frame that are empty where they are one of some texts, or such a number."""
    types = pd.api.types
    if types.is_numeric_dtype(cells) and not types.is_bool_dtype(cells):
        numbers = pd.to_numeric(pd.Series(list(missing)), errors="coerce").dropna()
        return cells.mask(cells.isin(numbers.tolist()))
    if types.is_object_dtype(cells) or types.is_string_dtype(cells) or is_categorical(cells):
        return cells.mask(cells.isin(list(missing)))
    return cells


def kept_of(told: Told, names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The texts that are levels of the columns in which a person keeps empty cells as a level."""
    return {name: (*KEPT, "") for name in told.keep_missing_as_level if name in names}


def usual_marks(told: Told) -> tuple[str, ...]:
    """The texts of empty cells."""
    return (*EMPTY_CELLS, *told.missing)
