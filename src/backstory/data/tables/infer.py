"""What the columns of a table hold, found out from their cells.

A column is looked at part by part (`Seen.look`), then judged as a whole (`judge`):

    nothing in any cell, one value in all          left out: empty, constant
    True and False, two texts, two numbers         binary
    dates, and texts of one unmistakable format    date
    other texts                                    categorical; left out if nearly all differ
    whole numbers, all from a to b, 3 to 10 levels ordinal
    few numbers, each in many rows, not the        grid
    whole lattice of their decimals
    whole numbers from 0 or 1 to at most 1,000     count
    numbers of rows, named id, index, …            left out: identifier
    other numbers                                  continuous

Fewer than ten rows say too little: nothing is left out then, and numbers stay numbers.
"""

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd

from backstory import console
from backstory.data.checks import place
from backstory.data.tables.columns import Asked, Column, Kind, LeftOut
from backstory.data.tables.encode import days, not_a_number, number_text, shown, texts
from backstory.errors import InputError

FEW_ROWS = 10  # below, a table says little about its columns
MOST_STEPS = 10  # levels of whole numbers that are taken for ordinal
ROWS_OF_STEP = 10  # rows for each of them, on average
HIGHEST_COUNT = 1000
MOST_VALUES = 100  # of a grid
ROWS_OF_VALUE = 20  # rows for each of them, on average
MOST_DECIMALS = 9
RAREST, RARE_SHARE = 10, 500  # a level is rare below 10 rows, in smaller tables below one row of 500
MOST_LEVELS = 1000  # of a categorical column; the others are rare
DISTINCT = 0.9  # of the texts, above which they name the rows
MOSTLY = 0.9  # of the cells, from which the rest is taken for mistakes
MOST_TEXTS = 200_000  # different texts that are counted

OTHER = "other"
USUAL = (
    "int64",
    "Int64",
    "float64",
    "bool",
    "boolean",
    "object",
    "str",
)  # told by the cells
NAMES_ROWS = re.compile(
    r"unnamed.*|#|row([ _.-]?(number|num|names?))?|(.*[ _.-]|row)?(id|idx|index|key|no|nr|uuid|guid)",
    re.IGNORECASE,
)
NAMES_ROWS_CAMEL = re.compile(r".*[a-z](Id|ID|Key|Index)")

_DAYS = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y")
_TIMES = (" %H:%M", " %H:%M:%S", " %H:%M:%S.%f")
_ISO_TIMES = ("T%H:%M", "T%H:%M:%S", "T%H:%M:%S.%f", "T%H:%M:%SZ", "T%H:%M:%S.%fZ", "T%H:%M:%S%z")
_WORDED = ("%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y")
DATE_FORMATS = (
    *_DAYS,
    *(day + time for day in _DAYS for time in _TIMES),
    *("%Y-%m-%d" + time for time in _ISO_TIMES),
    *_WORDED,
    "%Y-%m",
)
_CELLS = (str, Number, np.generic, date)
_DATE_LIKE = re.compile(
    r"\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?\b.*|\d{1,2}[ -][A-Za-z]{3,9}[ -]\d{4}|[A-Za-z]{3,9} \d{1,2}, \d{4}"
)


@dataclass
class Seen:
    """What the parts of a column have shown so far."""

    name: str
    source: str
    count_numbers: bool = False  # they may be levels
    rows: int = 0
    empty: int = 0
    dtype: str | None = None
    ordered: tuple[str, ...] | None = None  # categories of an ordered type
    parsed: bool = False  # a part came as numbers already
    # numbers
    numeric: int = 0  # cells that are or read as numbers
    integer: bool = True  # the type in every part
    boolean: bool = True
    whole: bool = True
    low: float = math.inf
    high: float = -math.inf
    few: set[float] | None = field(default_factory=set)  # different numbers; None if there are too many
    decimals: int | None = 0
    _numbers: list[np.ndarray] = field(default_factory=list)  # of what may number the rows
    # texts
    words: int = 0  # cells that are no numbers
    word: tuple[int, str] | None = None  # the first one's row
    counts: Counter[str] | None = field(default_factory=Counter)  # None if there are too many
    # dates
    typed_dates: bool = False
    dates: dict[str, int] | None = None  # cells that a format reads
    bad_dates: dict[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def present(self) -> int:
        return self.rows - self.empty

    def look(self, cells: pd.Series) -> None:
        """Take note of the next part.

        Raises:
            InputError: cells that are neither numbers, texts nor dates.
        """
        types = pd.api.types
        there = cells.dropna()
        if self.dtype is None:
            self.dtype = str(cells.dtype)
        if isinstance(cells.dtype, pd.CategoricalDtype):
            self.dtype = "category"
            if cells.cat.ordered:
                self.ordered = tuple(texts(pd.Series(cells.cat.categories)))
            there = there.astype(object)
        if types.is_datetime64_any_dtype(there):
            self._look_at_dates(there)
        elif types.is_numeric_dtype(there) and not types.is_complex_dtype(there):
            if len(there):
                self.parsed = True
                array = there.to_numpy(dtype=np.float64)
                self._look_at_numbers(array, array, types.is_bool_dtype(there), types.is_integer_dtype(there))
                if self.count_numbers:
                    counts = there.value_counts(sort=False)
                    self._count(texts(pd.Series(counts.index)), counts.to_numpy())
        elif types.is_object_dtype(there) or types.is_string_dtype(there):
            self._look_at_objects(cells, there)
        else:
            raise InputError(
                f"expected numbers, texts or dates in column {self.name!r} of {self.source}, got type "
                f"{cells.dtype}; convert or drop the column"
            )
        self.rows += len(cells)
        self.empty += len(cells) - len(there)

    def _look_at_numbers(
        self, array: np.ndarray, different: np.ndarray, boolean: bool, integer: bool
    ) -> None:
        """Numbers of cells, and at least once every different one."""
        self.numeric += len(array)
        self.boolean &= boolean
        self.integer &= integer or boolean
        self.whole = self.whole and bool(
            (different == np.rint(different)).all() and np.isfinite(different).all()
        )
        self.low, self.high = min(self.low, float(different.min())), max(self.high, float(different.max()))
        if self.few is not None:
            self.few |= set(np.unique(different).tolist())
            if len(self.few) > MOST_VALUES:
                self.few = None
        if self.decimals is not None:
            self.decimals = _decimals(different, self.decimals)
        if names_rows(self.name) and self.whole:
            self._numbers.append(array)

    def _look_at_dates(self, there: pd.Series) -> None:
        self.typed_dates = True
        if len(there):
            stored = days(there, self.name, self.source, self.rows)
            self.low, self.high = min(self.low, float(stored.min())), max(self.high, float(stored.max()))

    def _look_at_objects(self, cells: pd.Series, there: pd.Series) -> None:
        counts = self._counted(cells, there)
        if not len(counts):
            return
        unique = pd.Series(counts.index.to_numpy(dtype=object), dtype=object)
        kind = pd.api.types.infer_dtype(unique)
        if kind in ("date", "datetime", "datetime64"):
            self.dtype = "date" if kind == "date" else "datetime64[us]"
            self._look_at_dates(there)
            return
        values = pd.to_numeric(unique, errors="coerce")
        known = values.notna().to_numpy()
        weights = counts.to_numpy()
        if known.any():
            # whole numbers among objects and texts are whole, whatever the other cells of their part are
            array = np.repeat(values[known].to_numpy(np.float64), weights[known])
            integers = self._all_whole(unique[known])
            self._look_at_numbers(array, values[known].to_numpy(np.float64), kind == "boolean", integers)
        if not known.all():
            self.words += int(weights[~known].sum())
            if self.word is None:
                row = _first_of(cells, unique[~known])
                self.word = self.rows + row, str(cells.iloc[row])
        words = texts(unique)
        self._count(words, weights)
        if not known.all():
            self._try_formats(cells, words, weights)

    def _count(self, words: pd.Series, weights: np.ndarray) -> None:
        if self.counts is not None:
            for word, count in zip(words, weights.tolist(), strict=True):
                self.counts[word] += count
            if len(self.counts) > MOST_TEXTS:
                self.counts = None

    def _all_whole(self, unique: pd.Series) -> bool:
        types = pd.api.types
        parsed = pd.to_numeric(unique)
        return bool(types.is_integer_dtype(parsed) or types.is_bool_dtype(parsed))

    def _counted(self, cells: pd.Series, there: pd.Series) -> pd.Series:
        """How often each different cell is there."""
        known = isinstance(there.dtype, pd.StringDtype)
        strange = [] if known else [not isinstance(cell, _CELLS) for cell in there]
        if any(strange):
            row = int(np.flatnonzero(cells.notna().to_numpy())[strange.index(True)])
            raise InputError(
                f"expected numbers, texts or dates in {self.source}, got {shown(cells.iloc[row])} in "
                f"{place((self.rows + row, 0), (self.name,))}; convert or drop the column"
            )
        return there.value_counts(sort=False)

    def _try_formats(self, cells: pd.Series, words: pd.Series, weights: np.ndarray) -> None:
        if self.dates is None:
            likely = words[:100][[bool(_DATE_LIKE.fullmatch(word)) for word in words[:100]]]
            formats = [
                form
                for form in (DATE_FORMATS if len(likely) else ())
                if pd.to_datetime(likely, format=form, errors="coerce", utc=True).notna().any()
            ]
            self.dates = dict.fromkeys(formats, 0) if self.words == int(weights.sum()) else {}
        for form in list(self.dates):
            good = pd.to_datetime(words, format=form, errors="coerce", utc=True).notna().to_numpy()
            self.dates[form] += int(weights[good].sum())
            if not good.all() and form not in self.bad_dates:
                row = _first_of(texts(cells), words[~good])
                self.bad_dates[form] = self.rows + row, str(cells.iloc[row])

    # -- as a whole -------------------------------------------------------------------------------------

    @property
    def holds_integers(self) -> bool:
        """Whether the cells are whole numbers; frames make floats of them where others are empty."""
        return self.numeric > 0 and (self.integer or (self.whole and self.empty > 0))

    @property
    def numbers_rows(self) -> bool:
        """Whether the column's numbers all differ and its name says that they number the rows."""
        if not (names_rows(self.name) and self.whole and self.numeric == self.present):
            return False
        found = np.concatenate(self._numbers)
        return len(np.unique(found)) == len(found) == self.rows

    def date_formats(self) -> list[str]:
        """Formats that read every text, or failing that nearly every one."""
        if not self.dates or self.numeric:
            return []
        every = [form for form, count in self.dates.items() if count == self.present]
        return every or [form for form, count in self.dates.items() if count >= MOSTLY * self.present]


def _first_of(cells: pd.Series, searched: pd.Series) -> int:
    """The row of the first cell that is one of those that are searched."""
    some = set(searched)
    return next(row for row, cell in enumerate(cells) if cell in some)


def names_rows(name: str) -> bool:
    """Whether a column's name says that it numbers or names the rows.

    >>> [names_rows(name) for name in ("id", "PassengerId", "row_id", "age", "Solid")]
    [True, True, True, False, False]
    """
    return bool(NAMES_ROWS.fullmatch(name) or NAMES_ROWS_CAMEL.fullmatch(name))


def _decimals(values: np.ndarray, least: int) -> int | None:
    """The fewest decimals, `least` or more, with which all the numbers are written; None for very many."""
    rest = values[np.isfinite(values)]
    for decimals in range(least, MOST_DECIMALS + 1):
        # most columns show by a few numbers that they need more
        if all((np.round(part, decimals) == part).all() for part in (rest[:1000], rest)):
            return decimals
    return None


# -- judgement --------------------------------------------------------------------------------------------


def judge(seen: Seen, place_in_file: int, said: Asked | None, text_table: bool) -> Column | LeftOut:
    """What a column is, or why it is left out.

    Args:
        seen: all of its cells.
        place_in_file: its number among the file's columns, from 0.
        said: what somebody says of it, which is taken as it is.
        text_table: whether the cells were read from text, and have no types of their own.

    Raises:
        InputError: numbers or dates with a few other texts among them, or cells that are not as was said.
    """
    if said is not None and said.kind == "ignore":
        return LeftOut(name=seen.name, reason="ignored", place=place_in_file)
    column = Column(
        name=seen.name,
        kind="continuous",
        decimals=seen.decimals if seen.numeric else None,
        cells=_cells(seen),
        dtype=None if text_table or seen.dtype in USUAL else seen.dtype,
    )
    if said is not None:
        return _as_said(column, seen, said, text_table)
    enough = seen.rows >= FEW_ROWS
    if seen.words and (seen.numeric >= MOSTLY * seen.present or (seen.numeric and not enough)):
        assert seen.word is not None
        raise not_a_number(seen.word[1], seen.word[0], seen.name, seen.source)
    if enough and (reason := _reason_to_leave_out(seen)):
        text = _one_text(seen) if reason == "constant" else None
        return LeftOut(name=seen.name, reason=reason, place=place_in_file, text=text, cells=column.cells)
    if seen.typed_dates:
        return column.model_copy(update={"kind": "date", "decimals": None})
    if seen.words:
        return _of_texts(column, seen)
    if seen.dtype == "category":
        return _with_levels(column, seen, "categorical" if seen.ordered is None else "ordinal")
    return _of_numbers(column, seen, enough)


def _cells(seen: Seen) -> Any:
    if seen.typed_dates:
        return "date"
    if seen.words:
        return "text"
    if seen.numeric and seen.boolean:
        return "bool"
    return "whole" if seen.holds_integers else "number"


def _reason_to_leave_out(seen: Seen) -> Any:
    if not seen.present:
        return "empty"
    if seen.numbers_rows:
        return "identifier"
    if seen.words:
        if seen.counts is not None and len(seen.counts) == 1:
            return "constant"
        different = math.inf if seen.counts is None else len(seen.counts)
        return "identifier" if different > DISTINCT * seen.present and not seen.date_formats() else None
    return "constant" if seen.low == seen.high else None


def _one_text(seen: Seen) -> str:
    if seen.words:
        return next(iter(seen.counts or ()))
    if seen.typed_dates:
        from backstory.data.tables.encode import decoded

        date = Column(name=seen.name, kind="date", cells="date")
        return str(decoded(np.array([seen.low]), date)[0])
    return str(bool(seen.low)) if seen.boolean else number_text(seen.low)


def _of_numbers(column: Column, seen: Seen, enough: bool) -> Column:
    few = sorted(seen.few) if seen.few is not None else None
    if column.cells == "bool":
        return column.model_copy(update={"kind": "binary", "levels": ("False", "True"), "decimals": None})
    if few is not None and (few == [0, 1] or (len(few) == 2 and enough)):
        return _levelled(column, "binary", few)
    if (
        few is not None
        and seen.whole
        and 3 <= len(few) <= MOST_STEPS
        and seen.present >= ROWS_OF_STEP * len(few)
    ):
        steps = list(range(int(few[0]), int(few[0]) + len(few)))
        if few == steps:
            return _levelled(column, "ordinal", few)
    if few is not None and seen.present >= ROWS_OF_VALUE * len(few) and _is_grid(few, seen):
        return column.model_copy(update={"kind": "grid", "values": tuple(few)})
    if enough and seen.whole and seen.low in (0, 1) and seen.high <= HIGHEST_COUNT:
        return column.model_copy(update={"kind": "count"})
    return column


def _is_grid(few: list[float], seen: Seen) -> bool:
    """Whether numbers leave out more than half of those with as many decimals, so that rounding is no help.

    Whole numbers from 0 or 1 leave out many where they are rare, and are a grid only if they have a step.
    """
    if len(few) < 3 or not np.isfinite(few).all():
        return False
    if seen.whole and seen.low in (0, 1):
        return bool(np.gcd.reduce(np.diff(few).astype(np.int64)) > 1)
    return seen.decimals is None or len(few) <= 0.5 * (few[-1] - few[0]) * 10.0**seen.decimals


def _levelled(column: Column, kind: Kind, levels: list[float]) -> Column:
    return column.model_copy(
        update={"kind": kind, "levels": tuple(map(number_text, levels)), "decimals": None}
    )


def _of_texts(column: Column, seen: Seen) -> Column:
    formats = seen.date_formats()
    if len(formats) == 1:
        if seen.dates is not None and seen.dates[formats[0]] < seen.present:
            row, text = seen.bad_dates[formats[0]]
            raise InputError(
                f"expected dates written as {formats[0]} in {seen.source}, as most are, got {shown(text)} "
                f"in {place((row, 0), (seen.name,))}; correct it, or say what the column is"
            )
        return column.model_copy(update={"kind": "date", "format": formats[0], "decimals": None})
    notes = ["numbers and texts"] if seen.numeric else []
    if formats:
        console.warn(
            f"the dates in column {seen.name!r} of {seen.source} may be read as {' or '.join(formats)}, so "
            f"that they are taken for texts; say --column {seen.name}=date:FORMAT"
        )
        notes.append("dates that can be read in several ways")
    kind: Kind = "categorical" if seen.ordered is None else "ordinal"
    if kind == "categorical" and len(seen.counts or ()) == 2:
        kind = "binary"
    column = _with_levels(column, seen, kind)
    return column.model_copy(update={"note": "; ".join(filter(None, (*notes, column.note)))})


def _with_levels(column: Column, seen: Seen, kind: Kind) -> Column:
    """A binary, categorical or ordinal column with the levels that were seen."""
    levels, rare, note = _levels(seen)
    if column.cells == "bool":
        levels, rare, note = ("False", "True"), False, ""
    elif seen.ordered is not None:
        levels, rare, note = seen.ordered, False, ""
    elif not seen.words and (kind != "categorical" or not rare):
        levels, rare, note = tuple(sorted(seen.counts or (), key=float)), False, ""
    changes: dict[str, Any] = {"kind": kind, "levels": levels, "rare": rare, "note": note, "decimals": None}
    if rare and not seen.words:  # the level of the rare ones is no number
        changes |= {"cells": "text", "dtype": None}
    return column.model_copy(update=changes)


def _levels(seen: Seen) -> tuple[tuple[str, ...], bool, str]:
    """Levels of a column of texts, whether the last one is of the rare ones, and what is to be said."""
    counts = seen.counts
    if counts is None:
        raise InputError(
            f"expected at most {MOST_TEXTS:,} different texts in column {seen.name!r} of {seen.source}, "
            "got more; leave it out"
        )
    least = max(2, min(RAREST, seen.present // RARE_SHARE))
    frequent = {text for text, count in counts.most_common(MOST_LEVELS) if count >= least}
    rare = [text for text in counts if text not in frequent]
    if len(rare) < 2 or seen.rows < FEW_ROWS:
        return tuple(sorted(counts)), False, ""
    other = OTHER
    while other in frequent:
        other = f"({other})"
    rows = sum(counts[text] for text in rare)
    return (*sorted(frequent), other), True, f"{len(rare)} rare levels, in {rows} rows, are {other!r}"


def _as_said(column: Column, seen: Seen, said: Asked, text_table: bool) -> Column:
    """A column of the kind that somebody says it is."""
    changes: dict[str, Any] = {"kind": said.kind}
    if said.kind == "grid":
        changes["values"] = _values_of_grid(seen)
    if said.kind in ("continuous", "grid", "count"):
        changes["decimals"] = column.decimals if said.decimals is None else said.decimals
        return column.model_copy(update=changes | {"cells": "whole" if seen.holds_integers else "number"})
    changes["decimals"] = None
    if said.kind == "date":
        return column.model_copy(update=changes | _date_as_said(seen, said))
    if text_table:  # 007 and 7 are two texts
        column = column.model_copy(update={"cells": "text"})
    if said.cells is not None:
        column = column.model_copy(update={"cells": said.cells})
    if said.levels is not None:
        return column.model_copy(update=changes | {"levels": said.levels, "rare": said.rare})
    if seen.words and said.kind == "ordinal" and seen.ordered is None:
        raise InputError(
            f"expected the order of the levels of column {seen.name!r}, which holds texts, got none; "
            f"say {seen.name}=ordinal:{','.join(sorted(seen.counts or ())[:3])} and so on"
        )
    column = _with_levels(column, seen, said.kind)  # type: ignore[arg-type]
    if said.kind == "binary" and len(column.levels or ()) != 2:
        raise InputError(
            f"expected two levels in column {seen.name!r} of {seen.source}, which was said to be binary, got "
            f"{len(column.levels or ())}; say that it is categorical"
        )
    return column


def _values_of_grid(seen: Seen) -> tuple[float, ...]:
    if seen.words or seen.few is None or len(seen.few) < 2 or not np.isfinite(list(seen.few)).all():
        got = (
            f"more than {MOST_VALUES}" if seen.few is None else "texts" if seen.words else str(len(seen.few))
        )
        raise InputError(
            f"expected 2 to {MOST_VALUES} different numbers in column {seen.name!r} of {seen.source}, which "
            f"was said to be a grid, got {got}; say that it is continuous"
        )
    return tuple(sorted(seen.few))


def _date_as_said(seen: Seen, said: Asked) -> dict[str, Any]:
    if seen.typed_dates:
        return {"cells": "date"}
    formats = [said.format] if said.format is not None else seen.date_formats()
    if len(formats) != 1:
        raise InputError(
            f"expected dates that can be read in one way in column {seen.name!r} of {seen.source}, got "
            f"{'several: ' + ' or '.join(formats) if formats else 'no known format'}; "
            f"say {seen.name}=date:FORMAT, such as date:%d/%m/%Y"
        )
    return {"cells": "text", "format": formats[0]}
