"""The columns of a table: the kind of quantity in each, and how its cells are written.

A table is stored as float64 (N, C) over the modelled columns, NaN where a cell is empty:

    continuous, grid, count           the number itself
    date                              days since 1970-01-01, with the fraction of the day
    binary, categorical, ordinal      the index 0 … L − 1 of the cell's text among the column's levels
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from backstory.data.tables.lattice import SECOND, Lattice
from backstory.data.tables.writing import Writing
from backstory.errors import InputError

Kind = Literal["continuous", "grid", "count", "binary", "categorical", "ordinal", "date"]
ReadAs = Literal[Kind, "duration"]  # what cells may be read as
Cells = Literal["number", "whole", "bool", "text", "date"]
Reason = Literal["constant", "empty", "identifier", "index", "ignored", "condition", "determined", "weights"]

KINDS: tuple[Kind, ...] = ("continuous", "grid", "count", "binary", "categorical", "ordinal", "date")
LEVELLED = ("binary", "categorical", "ordinal")
NUMBERS = ("continuous", "grid", "date")  # kinds for which a likelihood of numbers is enough
IGNORE = "ignore"
DURATION: Literal["duration"] = "duration"
MOST_DRAWABLE = 10_000  # different numbers, of which one is drawn often enough
WITH_ATOMS = ("continuous", "count", "date")  # kinds that may have point masses
SINGLE = 1e-6  # error of single precision as a fraction of a column's range, counted from the origin
# Texts that stand for an empty cell: those of pandas, and ?
EMPTY_CELLS = (
    *("", "NA", "N/A", "n/a", "#N/A", "#NA", "#N/A N/A", "<NA>", "NaN", "nan", "-NaN", "-nan"),
    *("NULL", "null", "None", "1.#IND", "1.#QNAN", "-1.#IND", "-1.#QNAN", "?"),
)


class Column(BaseModel):
    """A modelled column of a table.

    Attributes:
        name: as in the file.
        kind: of quantity, which decides on the likelihood.
        levels: texts of the levels of a binary, categorical or ordinal column in order; the stored value is
            the index of a level. None for the other kinds.
        rare: whether the last level stands for all texts that were rare in training, and for unknown ones.
        rare_share: the share of cells in training that had one of these texts.
        rare_levels: the most frequent of these texts, each with its number of cells.
        values: the different numbers of a `grid` column in order, which are stored as they are; None for the
            other kinds.
        decimals: the largest number of decimals in a continuous column, 0 if all numbers are whole; None if
            they have more than nine.
        low, high: the smallest and the largest stored value in the data; None if all cells are empty.
        lattice: of the stored values in the data, such as multiples of 0.05; None if they have none.
        origin: the stored value that is zero to the model. It is near `low` if single precision would
            otherwise lose digits: for dates and for numbers that are large compared with their range.
        missing: fraction of the cells that are empty.
        cells: type of the file's cells, for levels too: numbers, whole numbers (written without a point),
            True and False, texts, or dates.
        format: strftime format of dates that are written as texts; None if the file holds dates.
        unpadded: letters of the directives of the format whose numbers have no zeros before them, such as dm.
        zone: the offset from UTC in which such texts are written, such as +02:00; None for UTC.
        dtype: pandas name of the type in a frame or a Parquet file, such as `category` or `float32`; None
            for text tables, and where `cells` is enough.
        unused: categories of a pandas type that no cell has.
        order: all categories of a pandas type in order, if this is not that of the levels, then `unused`.
        writing: how numbers are written in the file, such as `$1,234.50`; None if as plain numbers.
        kept: texts that are levels of this column, though they stand for an empty cell elsewhere; with
            an empty text, empty cells are the level NA.
        atoms: stored values of a column of numbers that are point masses, each with its share of the cells,
            the most frequent one first.
        close: other kinds that fit about as well, and `duration` for times of day that may be durations.
        note: a remark for people from the inference of the kind.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    levels: tuple[str, ...] | None = None
    rare: bool = False
    rare_share: float = 0.0
    rare_levels: tuple[tuple[str, int], ...] = ()
    values: tuple[float, ...] | None = None
    decimals: int | None = None
    low: float | None = None
    high: float | None = None
    lattice: Lattice | None = None
    origin: float = 0.0
    missing: float = 0.0
    cells: Cells = "number"
    format: str | None = None
    unpadded: str = ""
    zone: str | None = None
    dtype: str | None = None
    unused: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    writing: Writing | None = None
    kept: tuple[str, ...] = ()
    atoms: tuple[tuple[float, float], ...] = ()
    close: tuple[ReadAs, ...] = ()
    note: str = ""

    @property
    def as_text(self) -> bool:
        """Whether the cells of a text table have to be read as texts."""
        return self.cells == "text" or self.writing is not None

    def cell(self, number: float) -> str:
        """A number as people write it: as in the file, or with six digits."""
        return f"{number:.6g}" if self.writing is None else self.writing.text(number)

    def shown(self, value: float) -> str:
        """A stored number as people read it; of dates the day, in the time zone of the column."""
        if self.kind != "date":
            return self.cell(value)
        from backstory.data.tables.dates import local_day  # with pandas, which is slow to import

        return local_day(value, self.zone, self.dtype)

    @property
    def seconds(self) -> float | None:
        """Seconds for which 1 stands in a column of durations or times of day; None for other columns."""
        if str(self.dtype).startswith("timedelta"):
            return 1.0
        return None if self.writing is None else self.writing.seconds_of_one

    def in_steps(self, values: np.ndarray) -> np.ndarray:
        """Means of dates and times as whole steps of the column, such as minutes; other numbers as they are.

        >>> Column(name="wait", kind="count", decimals=0, dtype="timedelta64[ns]").in_steps(np.array([61.7]))
        array([62.])
        """
        if self.kind != "date" and self.seconds is None:
            return values
        if self.values is not None:
            return np.where(np.isnan(values), np.nan, self.nearest(values))
        if self.lattice is not None:
            return self.lattice.nearest(values)
        return values if self.kind == "date" or self.decimals is None else np.round(values, self.decimals)

    def with_rare_texts(self) -> "Column":
        """The column in which rare levels that are kept are levels of their own; see `Related.stored`.

        The number that stood for all of them is that of the most frequent one.
        """
        if not self.rare_levels or self.levels is None:
            return self
        texts = tuple(text for text, _ in self.rare_levels)
        levels = (*self.levels[:-1], *texts, self.levels[-1])
        return self.model_copy(update={"levels": levels, "rare_levels": ()})

    def settled(self, values: np.ndarray) -> np.ndarray:
        """Stored values rounded to what the column can hold and clipped to its range, of the same shape.

        >>> Column(name="size", kind="ordinal", levels=("S", "M", "L")).settled(np.array([-0.7, 1.4, 9]))
        array([0., 1., 2.])
        """
        if self.levels is not None:
            return np.clip(np.rint(values), 0, len(self.levels) - 1)
        if self.values is not None:
            values = self._exact(values)
        if self.lattice is not None:
            values = self.lattice.nearest(values)
        clipped = np.clip(values, self.low, self.high) if self.low is not None else values
        if self.kind == "count":
            return np.maximum(np.rint(clipped), 0)
        if self.decimals is not None:
            return np.round(clipped, self.decimals) + 0.0  # no -0.0
        return clipped

    def covers(self, values: np.ndarray) -> np.ndarray:
        """Whether values, once rounded as in `settled`, lie in the range of the data, of the same shape.

        >>> Column(name="age", kind="continuous", decimals=0, low=18, high=90).covers(np.array([17.6, 90.6]))
        array([ True, False])
        """
        if self.levels is not None or self.values is not None or self.low is None or self.high is None:
            return np.ones(values.shape, bool)
        error = SINGLE * (self.high - self.low)
        if self.lattice is not None:
            values = self.lattice.nearest(values)
        elif self.kind == "count" or self.decimals is not None:
            values = np.round(values, self.decimals or 0)
        return (values >= self.low - error) & (values <= self.high + error)

    @property
    def unit(self) -> float | None:
        """The step of which all stored values are multiples; None if there is none."""
        if self.levels is not None or self.values is not None:
            return None
        if self.kind == "date":
            return SECOND
        return None if self.decimals is None else 10.0**-self.decimals

    def is_drawable(self, values: np.ndarray) -> bool:
        """Whether one of some stored values, (n,), has a share of draws that is worth waiting for."""
        if self.levels is not None or self.values is not None or self.kind == "count":
            return True
        if self.low is None or self.high is None or np.isin(values, [value for value, _ in self.atoms]).any():
            return True
        if self.lattice is not None:
            possible = (self.high - self.low) * self.lattice.density
        else:
            possible = math.inf if self.decimals is None else (self.high - self.low) * 10.0**self.decimals
        return bool(possible <= MOST_DRAWABLE)

    def check_levels(self, values: np.ndarray) -> None:
        """Raise InputError for numbers, (N,), that are no levels: those of a table read as an array."""
        count = len(self.levels or ())
        wrong = ~np.isnan(values) & ~np.isin(values, np.arange(count))
        if wrong.any():
            raise InputError(
                f"expected the numbers of levels, 0 to {count - 1}, in column {self.name!r}, got "
                f"{values[wrong][0]:g}; give the table as a file or frame with the column's own cells"
            )

    def nearest(self, values: np.ndarray) -> np.ndarray:
        """The number of a `grid` column that is nearest to each value, of the same shape.

        >>> Column(name="hours", kind="grid", values=(0, 7.5, 8)).nearest(np.array([-1, 4, 7.6]))
        array([0. , 7.5, 7.5])
        """
        grid = np.array(self.values)
        right = np.searchsorted(grid[1:-1], values) + 1
        below, above = grid[right - 1], grid[right]
        return np.where(values - below <= above - values, below, above)

    def _exact(self, values: np.ndarray) -> np.ndarray:
        """The numbers of the grid for values within the error of single precision; other values stay."""
        assert self.values is not None
        near = self.nearest(values)
        close = np.abs(near - values) <= SINGLE * (self.values[-1] - self.values[0])
        return np.where(close, near, values)


class LeftOut(BaseModel):
    """A column of the file that the model leaves out.

    Attributes:
        name: as in the file.
        reason: why it is left out; `weights` for the weights of rows, `condition` where people give the
            conditions in place of the table, `determined` where other columns give its cells.
        place: its number among all columns of the file, from 0.
        text: the text in every cell of a constant column.
        cells, dtype, unused, order: of a constant column, as in `Column`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    reason: Reason
    place: int
    text: str | None = None
    cells: Cells = "text"
    dtype: str | None = None
    unused: tuple[str, ...] = ()
    order: tuple[str, ...] = ()

    def as_level(self) -> tuple[Column, float]:
        """A column that can hold the value of a constant column, and its stored number.

        >>> column, stored = LeftOut(name="v", reason="constant", place=0, text="3", cells="whole").as_level()
        >>> column.levels, stored
        (('3',), 0.0)
        """
        text = self.text or ""
        if self.cells == "date":
            day = (np.datetime64(text) - np.datetime64(0, "D")) / np.timedelta64(1, "D")
            return Column(name=self.name, kind="date", cells="date", dtype=self.dtype), float(day)
        levels = ("False", "True") if self.cells == "bool" else (text,)
        column = Column(
            name=self.name,
            kind="categorical",
            levels=levels,
            cells=self.cells,
            dtype=self.dtype,
            unused=self.unused,
            order=self.order,
        )
        return column, float(levels.index(text))


class Asked(BaseModel):
    """A person's description of a column; the data decide on what is None.

    Attributes:
        kind: as in `Column`; `duration` for times that are durations, whose kind of quantity is inferred; or
            `ignore` to leave the column out.
        levels, rare, format, decimals: as in `Column`.
        cells: as in `Column`, for columns with levels: `text` keeps 007 apart from 7, `number` and `whole`
            do not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal[ReadAs, "ignore"]
    levels: tuple[str, ...] | None = None
    rare: bool = False
    format: str | None = None
    decimals: int | None = None
    cells: Cells | None = None


Columns = Mapping[str, str | Mapping[str, Any] | Asked]


def asked(columns: Columns) -> dict[str, Asked]:
    """The descriptions of columns by name, each given as a kind, the fields of `Asked`, or such a record.

    A kind may have a detail after a colon: the format in `date:%d/%m/%Y`, the levels in order in
    `ordinal:low,middle,high`, likewise for binary and categorical columns.

    Raises:
        InputError: an unknown kind, or a detail that does not belong to the kind.

    >>> asked({"size": "ordinal:S,M,L"})["size"].levels
    ('S', 'M', 'L')
    """
    return {name: _asked(name, description) for name, description in columns.items()}


def _asked(name: str, description: Any) -> Asked:
    fields = _fields(description) if isinstance(description, str) else description
    try:
        record = Asked.model_validate(fields)
    except ValidationError as error:
        got = fields.get("kind") if isinstance(fields, dict) else fields
        first = error.errors()[0]
        wrong = f"got {got!r}" if "kind" in first["loc"] else f"{first['msg'].lower()}: {first['loc']}"
        raise InputError(
            f"expected one of {', '.join((*KINDS, DURATION))} or {IGNORE} for column {name!r}, {wrong}; "
            "choose one of these"
        ) from None
    _check_details(name, record)
    return record


def _fields(description: str) -> dict[str, Any]:
    """The fields of `Asked` for a kind with or without a detail, such as `date:%d/%m/%Y`."""
    kind, _, detail = description.partition(":")
    if detail and kind in LEVELLED:
        return {"kind": kind.strip(), "levels": [level.strip() for level in detail.split(",")]}
    return {"kind": kind.strip()} | ({"format": detail} if detail else {})


def _check_details(name: str, record: Asked) -> None:
    levels = record.levels or ()
    if record.format is not None and record.kind != "date":
        raise InputError(
            f"expected a format for dates alone, got {record.format!r} for column {name!r}, which is "
            f"{record.kind}; leave it out"
        )
    if record.levels is not None and (record.kind not in LEVELLED or len(set(levels)) < max(2, len(levels))):
        raise InputError(
            f"expected two or more levels that differ, for a binary, categorical or ordinal column, got "
            f"{levels} for column {name!r}, which is {record.kind}; correct them"
        )
    if record.cells in ("number", "whole") and not all(map(is_number, levels)):
        raise InputError(
            f"expected numbers as levels of column {name!r} with cells of type {record.cells}, got "
            f"{levels}; give the cells the type text"
        )


def number_text(value: float) -> str:
    """A number as the text of a level, whole numbers without a point.

    >>> number_text(3.0), number_text(0.5)
    ('3', '0.5')
    """
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(float(value))


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
