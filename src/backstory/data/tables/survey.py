"""What the cells of a column are, counted part by part: numbers, texts and dates.

`infer.judge` decides from the counts of a whole column what kind of quantity it holds.
"""

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from numbers import Number

import numpy as np
import pandas as pd

from backstory.data.checks import place, shown
from backstory.data.tables.amounts import is_padded
from backstory.data.tables.dates import any_reads, days, reads
from backstory.data.tables.encode import (
    as_numbers,
    is_categorical,
    is_text,
    texts,
    to_numbers,
    unpacked,
)
from backstory.data.tables.misfits import Misfits
from backstory.data.tables.thinned import Thinned
from backstory.data.tables.writing import MOSTLY, Amount, Clock, Span
from backstory.errors import InputError

MOST_VALUES = 100  # different numbers that are kept, as many as a grid may have
MOST_DECIMALS = 9
MOST_TEXTS = 200_000  # different texts that are counted
SAMPLE = 1000  # different texts from which the way of writing is recognised

NAMES_ROWS = re.compile(
    r"unnamed.*|#|row([ _.-]?(number|num|names?))?|(.*[ _.-]|row)?(id|idx|index|key|no|nr|uuid|guid)",
    re.IGNORECASE,
)
NAMES_ROWS_CAMEL = re.compile(r".*[a-z](Id|ID|Key|Index)")

_DAYS = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y")
_TIMES = (" %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_SHORT = ("%d/%m/%y", "%m/%d/%y", "%d.%m.%y")
_ISO_TIMES = ("T%H:%M", "T%H:%M:%S", "T%H:%M:%S.%f", "T%H:%M:%SZ", "T%H:%M:%S.%fZ", "T%H:%M:%S%z")
_ZONED = ("T%H:%M:%S.%f%z", " %H:%M:%S%z", " %H:%M:%S %z", " %H:%M%z", " %H:%M:%S.%f%z")
_WORDED = (
    *("%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%d-%b-%y", "%b %d %Y", "%d. %B %Y"),
    *("%a, %d %b %Y", "%A, %d %B %Y", "%A, %B %d, %Y", "%d/%b/%Y"),
)
_MONTHS = ("%Y-%m", "%b %Y", "%B %Y", "%b-%Y", "%m/%Y")
DATE_FORMATS = (
    *_DAYS,
    *(day + time for day in (*_DAYS, *_SHORT, *_WORDED[:5]) for time in _TIMES),
    *("%Y-%m-%d" + time for time in (*_ISO_TIMES, *_ZONED)),
    *_SHORT,
    *_WORDED,
    *_MONTHS,
)
_LIKELY = 100  # different texts from which the formats to try are chosen
_CELLS = (str, Number, np.generic, date)
_ZONE, _MOST_ZONES = re.compile(r"[+-]\d\d:?\d\d$"), 100
_DATE_LIKE = re.compile(
    r"\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?\b.*|([A-Za-z]{3,9}, )?\d{1,2}[-/. ]+[A-Za-z]{3,9}[-/ ]\d{2,4}\b.*"
    r"|([A-Za-z]{3,9}, )?[A-Za-z]{3,9}[- ](\d{1,2},? )?\d{4}\b.*"
)


@dataclass
class Numbers:
    """The cells of a column that are numbers, or texts of numbers.

    Attributes:
        cells: their number.
        integer, boolean: whether all parts have this type.
        whole: whether all numbers are whole.
        low, high: the smallest and the largest one.
        few: the different numbers; None if they are more than `MOST_VALUES`.
        decimals: the fewest decimals with which all can be written; None if they are more than nine.
    """

    cells: int = 0
    integer: bool = True
    boolean: bool = True
    whole: bool = True
    low: float = math.inf
    high: float = -math.inf
    few: set[float] | None = field(default_factory=set)
    decimals: int | None = 0

    def add(self, count: int, different: np.ndarray, boolean: bool, integer: bool) -> None:
        """Counts `count` cells; `different` holds every different number of them at least once."""
        self.cells += count
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


@dataclass
class Texts:
    """The cells of a column as texts.

    Attributes:
        words: number of cells that are not numbers.
        first_word: row and text of the first of these.
        counts: number of cells with each text, numbers included; None if there are more than `MOST_TEXTS`.
        first: number of cells with each of the first different texts.
        padded: whether a text is a whole number with zeros before it.
    """

    words: int = 0
    first_word: tuple[int, str] | None = None
    counts: Counter[str] | None = field(default_factory=Counter)
    first: Counter[str] = field(default_factory=Counter)
    padded: bool = False

    def count(self, words: pd.Series, weights: np.ndarray) -> None:
        """Adds different texts, each with its number of cells."""
        if self.counts is not None:
            for word, count in zip(words, weights.tolist(), strict=True):
                self.counts[word] += count
            if len(self.counts) > MOST_TEXTS:
                self.counts = None

    def look_at(self, words: pd.Series, weights: np.ndarray) -> None:
        """Takes note of how different texts are written."""
        self.padded = self.padded or any(map(is_padded, words))
        for word, count in zip(words, weights.tolist(), strict=True):
            if word in self.first or len(self.first) < SAMPLE:
                self.first[word] += count


@dataclass
class Dates:
    """The cells of a column that are dates, or texts that a date format reads.

    Attributes:
        typed: whether a part has a type of dates.
        low, high: the first and the last of the dates of such a type, in days.
        formats: number of cells that each possible format reads; None before the first text.
        zones: the offsets from UTC in the texts, such as +02:00.
        failures: row and text of the first cell that a format does not read.
    """

    typed: bool = False
    low: float = math.inf
    high: float = -math.inf
    formats: dict[str, int] | None = None
    zones: set[str] = field(default_factory=set)
    failures: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, stored: np.ndarray) -> None:
        """Adds dates of a type, given in days."""
        self.typed = True
        if len(stored):
            self.low, self.high = min(self.low, float(stored.min())), max(self.high, float(stored.max()))

    def try_formats(self, cells: pd.Series, words: pd.Series, weights: np.ndarray, first: int) -> None:
        """Counts the cells that each possible format reads.

        Args:
            cells: all cells of a part, which begins at row `first`.
            words, weights: the different texts in it, and their numbers of cells.
        """
        assert self.formats is not None
        if any("%z" in form for form in self.formats) and len(self.zones) < _MOST_ZONES:
            self.zones |= {match[0] for word in words if (match := _ZONE.search(word))}
        for form in list(self.formats):
            good = reads(words, form)
            self.formats[form] += int(weights[good].sum())
            if not good.all() and form not in self.failures:
                row = _first_of(texts(cells), words[~good])
                self.failures[form] = first + row, str(cells.iloc[row])


@dataclass
class Survey:
    """The cells of one column so far.

    Attributes:
        name: of the column.
        source: of the table, for messages.
        count_numbers: whether numbers are counted as texts too, because they may be levels.
        as_words: whether texts of numbers count as other texts, because 010 and 10 differ; so they do where
            all categories of a type are texts.
        kept: as in `Column`.
        writing: how texts of numbers are written; other texts are misfits.
        misfits: texts that are not written in this way, which count as empty cells.
        rows, empty: number of cells, and of empty cells.
        dtype: pandas name of the type of the first part.
        ordered: the categories of an ordered type.
        categories: those of any categorical type.
        parsed: whether a part had a type of numbers, not of texts.
        numbers, texts, dates: the counts.
        thinned: numbers of evenly spaced rows.
    """

    name: str
    source: str
    count_numbers: bool = False
    as_words: bool = False
    kept: tuple[str, ...] = ()
    writing: Amount | Clock | Span | None = None
    misfits: Misfits = field(default_factory=Misfits)
    rows: int = 0
    empty: int = 0
    dtype: str | None = None
    ordered: tuple[str, ...] | None = None
    categories: tuple[str, ...] = ()
    parsed: bool = False
    numbers: Numbers = field(default_factory=Numbers)
    texts: Texts = field(default_factory=Texts)
    dates: Dates = field(default_factory=Dates)
    thinned: Thinned = field(default_factory=Thinned)
    _ids: list[np.ndarray] = field(default_factory=list)  # numbers of a column whose name suits identifiers

    @property
    def present(self) -> int:
        """Number of cells that are not empty."""
        return self.rows - self.empty

    @property
    def low(self) -> float:
        """The smallest number or date."""
        return min(self.numbers.low, self.dates.low)

    @property
    def high(self) -> float:
        """The largest number or date."""
        return max(self.numbers.high, self.dates.high)

    @property
    def holds_integers(self) -> bool:
        """Whether the cells are whole numbers; frames make floats of them if others are empty."""
        numbers = self.numbers
        return numbers.cells > 0 and (numbers.integer or (numbers.whole and self.empty > 0))

    @property
    def numbers_rows(self) -> bool:
        """Whether all cells are different whole numbers and the name says that they number the rows."""
        if not (names_rows(self.name) and self.numbers.whole and self.numbers.cells == self.present):
            return False
        ids = np.concatenate(self._ids)
        return len(np.unique(ids)) == len(ids) == self.rows

    def date_formats(self) -> list[str]:
        """The formats that read the most texts, and nearly all of them."""
        if not self.dates.formats or self.numbers.cells:
            return []
        formats = self.dates.formats
        most = max(formats.values())
        best = [form for form, count in formats.items() if count == most and most >= MOSTLY * self.present]
        return [form for form in best if form.replace("%z", "Z") not in best or "%z" not in form]

    def add(self, cells: pd.Series) -> None:
        """Counts the next part.

        Raises:
            InputError: cells that are neither numbers, texts nor dates.
        """
        types = pd.api.types
        if self.dtype is None:
            self.dtype = str(cells.dtype)
        if isinstance(cells.dtype, np.dtype) and cells.dtype.kind in "biuf":  # quick for very many columns
            self._add_plain(cells)
            return
        cells = unpacked(cells)
        if self.writing is not None:
            cells = as_numbers(cells, self.writing, self.misfits, self.rows)
        present = cells.dropna()
        if is_categorical(cells):
            self.dtype = "category"
            self.categories = tuple(texts(pd.Series(cells.cat.categories)))
            self.as_words |= pd.api.types.infer_dtype(cells.cat.categories) == "string"  # '2019' is no 2019
            if cells.cat.ordered:
                self.ordered = self.categories
            present = present.astype(object)
        if types.is_datetime64_any_dtype(present):
            self.dates.add(days(present))
        elif types.is_numeric_dtype(present) and not types.is_complex_dtype(present):
            self._add_numbers(cells, present)
        elif types.is_object_dtype(present) or types.is_string_dtype(present):
            self._add_objects(cells, present)
        else:
            raise InputError(
                f"expected numbers, texts or dates in column {self.name!r} of {self.source}, got type "
                f"{cells.dtype}; convert or drop the column"
            )
        self.rows += len(cells)
        self.empty += len(cells) - len(present)

    def _add_plain(self, cells: pd.Series) -> None:
        """Counts a part that has a NumPy type of numbers."""
        array = cells.to_numpy()
        whole = array.dtype.kind != "f" or not np.isnan(array).any()
        count = len(array)
        if whole and not self.count_numbers:
            if count:
                self.parsed = True
                doubles, kind = array.astype(np.float64, copy=False), array.dtype.kind
                self._count_numbers(doubles, doubles, kind == "b", kind in "iu")
                self.thinned.add(self.rows, doubles)
        else:
            present = cells.dropna()
            self._add_numbers(cells, present)
            count = len(present)
        self.rows += len(cells)
        self.empty += len(cells) - count

    def _add_numbers(self, cells: pd.Series, present: pd.Series) -> None:
        if not len(present):
            return
        types = pd.api.types
        self.thinned.add(self.rows, cells.to_numpy(dtype=np.float64, na_value=np.nan))
        self.parsed = True
        array = present.to_numpy(dtype=np.float64)
        self._count_numbers(array, array, types.is_bool_dtype(present), types.is_integer_dtype(present))
        if self.count_numbers:
            counts = present.value_counts(sort=False)
            self.texts.count(texts(pd.Series(counts.index)), counts.to_numpy())

    def _count_numbers(self, cells: np.ndarray, different: np.ndarray, boolean: bool, integer: bool) -> None:
        self.numbers.add(len(cells), different, boolean, integer)
        if names_rows(self.name) and self.numbers.whole:
            self._ids.append(cells)

    def _add_objects(self, cells: pd.Series, present: pd.Series) -> None:
        self._refuse_strange(cells, present)
        counts = present.value_counts(sort=False)
        if not len(counts):
            return
        unique = pd.Series(counts.index.to_numpy(dtype=object), dtype=object)
        kind = pd.api.types.infer_dtype(unique)
        if kind in ("date", "datetime", "datetime64"):
            self.dtype = "date" if kind == "date" else "datetime64[us]"
            self.dates.add(days(present))
            return
        values = to_numbers(unique)
        known, weights = values.notna().to_numpy() & (not self.as_words), counts.to_numpy()
        if known.any():
            # whole numbers among objects and texts are whole, whatever the other cells of their part are
            different = values[known].to_numpy(np.float64)
            integers = _all_whole(unique[known])
            self._count_numbers(np.repeat(different, weights[known]), different, kind == "boolean", integers)
            chosen = cells.iloc[self.thinned.rows(self.rows)]
            self.thinned.keep(to_numbers(chosen).to_numpy(np.float64, na_value=np.nan))
        words = texts(unique)
        self.texts.count(words, weights)
        self.texts.look_at(words, weights)
        if not known.all():
            self._count_words(cells, unique[~known], int(weights[~known].sum()))
            self._try_formats(cells, words, weights)

    def _refuse_strange(self, cells: pd.Series, present: pd.Series) -> None:
        """Raise InputError for objects that are neither numbers, texts nor dates."""
        if is_text(present):
            return
        strange = [not isinstance(cell, _CELLS) for cell in present]
        if any(strange):
            row = int(np.flatnonzero(cells.notna().to_numpy())[strange.index(True)])
            raise InputError(
                f"expected numbers, texts or dates in {self.source}, got {shown(cells.iloc[row])} in "
                f"{place((self.rows + row, 0), (self.name,))}; convert or drop the column"
            )

    def _count_words(self, cells: pd.Series, different: pd.Series, count: int) -> None:
        self.texts.words += count
        if self.texts.first_word is None:
            row = _first_of(cells, different)
            self.texts.first_word = self.rows + row, str(cells.iloc[row])

    def _try_formats(self, cells: pd.Series, words: pd.Series, weights: np.ndarray) -> None:
        if self.dates.formats is None:
            only_words = self.texts.words == int(weights.sum())
            self.dates.formats = dict.fromkeys(_possible_formats(words) if only_words else (), 0)
        self.dates.try_formats(cells, words, weights, self.rows)


def names_rows(name: str) -> bool:
    """Whether a column's name says that it numbers or names the rows.

    >>> [names_rows(name) for name in ("id", "PassengerId", "row_id", "age", "Solid")]
    [True, True, True, False, False]
    """
    return bool(NAMES_ROWS.fullmatch(name) or NAMES_ROWS_CAMEL.fullmatch(name))


def _possible_formats(words: pd.Series) -> list[str]:
    """The formats that read at least one of the first texts."""
    likely = words[:_LIKELY][[bool(_DATE_LIKE.fullmatch(word)) for word in words[:_LIKELY]]]
    if not len(likely):
        return []
    return [form for form in DATE_FORMATS if any_reads(likely, form)]


def _all_whole(unique: pd.Series) -> bool:
    types = pd.api.types
    parsed = to_numbers(unique)
    return bool(types.is_integer_dtype(parsed) or types.is_bool_dtype(parsed))


def _first_of(cells: pd.Series, searched: pd.Series) -> int:
    """The row of the first cell that is one of those that are searched."""
    some = set(searched)
    return next(row for row, cell in enumerate(cells) if cell in some)


def _decimals(values: np.ndarray, least: int) -> int | None:
    """The fewest decimals, `least` or more, with which all numbers can be written; None above nine."""
    rest = values[np.isfinite(values)]
    parts = (rest[:1000], rest) if len(rest) > 1000 else (rest,)
    for decimals in range(least, MOST_DECIMALS + 1):
        # the first thousand numbers mostly show that more decimals are needed
        with np.errstate(over="ignore"):  # the largest numbers have no decimals
            if all((np.round(part, decimals) == part).all() for part in parts):
                return decimals
    return None
