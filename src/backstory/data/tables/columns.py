"""The columns of a table: what kind of quantity each one holds, and how its cells are written.

A table is stored as float64 (N, C) over the columns that are modelled, NaN where a cell is empty:

    continuous, grid, count           the number itself
    date                              days since 1970-01-01, with the fraction of the day
    binary, categorical, ordinal      the index 0 … L − 1 of the cell's text among the column's levels
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from backstory.errors import InputError

Kind = Literal["continuous", "grid", "count", "binary", "categorical", "ordinal", "date"]
Cells = Literal["number", "whole", "bool", "text", "date"]
Reason = Literal["constant", "empty", "identifier", "ignored"]

KINDS: tuple[Kind, ...] = ("continuous", "grid", "count", "binary", "categorical", "ordinal", "date")
LEVELLED = ("binary", "categorical", "ordinal")
NUMBERS = ("continuous", "grid", "date")  # kinds that a likelihood of numbers alone does for
IGNORE = "ignore"
SINGLE = 1e-6  # of a range: what single precision, counted from the origin, may be off


class Column(BaseModel):
    """A modelled column of a table.

    Attributes:
        name: as in the file.
        kind: of quantity, which decides on its likelihood.
        levels: texts of the levels of a binary, categorical or ordinal column in order, of which the stored
            value is the index; None for the other kinds.
        rare: whether the last level stands for all texts that were rare in training, and for new ones.
        values: the different numbers of a `grid` column in order, each of them stored as it is; None for the
            other kinds.
        decimals: the most decimals of a continuous column's numbers, 0 if all are whole; None if they have
            too many to count.
        low, high: the smallest and the largest stored value that was seen; None if none was.
        origin: the stored value that is zero to the model: near `low` where single precision would otherwise
            lose digits, as of dates and of numbers that are large beside their range.
        missing: fraction of the cells that were empty.
        cells: what stands in the file's cells, of levels too: numbers, whole numbers (written without a
            point), True and False, texts, or dates.
        format: of dates that are written as texts, as strftime has it; None where the file holds dates.
        dtype: pandas name of the type in a frame or a Parquet file, such as `category` or `float32`; None
            for text tables, and where `cells` says all.
        note: what was noticed when the column's kind was found out, for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    levels: tuple[str, ...] | None = None
    rare: bool = False
    values: tuple[float, ...] | None = None
    decimals: int | None = None
    low: float | None = None
    high: float | None = None
    origin: float = 0.0
    missing: float = 0.0
    cells: Cells = "number"
    format: str | None = None
    dtype: str | None = None
    note: str = ""

    def settled(self, values: np.ndarray) -> np.ndarray:
        """Stored values rounded and clipped to what the column can hold and was seen to, of the same shape.

        >>> Column(name="size", kind="ordinal", levels=("S", "M", "L")).settled(np.array([-0.7, 1.4, 9]))
        array([0., 1., 2.])
        """
        if self.levels is not None:
            return np.clip(np.rint(values), 0, len(self.levels) - 1)
        if self.values is not None:
            values = self._exact(values)
        seen = np.clip(values, self.low, self.high) if self.low is not None else values
        if self.kind == "count":
            return np.maximum(np.rint(seen), 0)
        if self.decimals is not None:
            return np.round(seen, self.decimals) + 0.0  # no -0.0
        return seen

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
        """Values of the grid in place of what single precision made of them; means between them stay."""
        assert self.values is not None
        near = self.nearest(values)
        close = np.abs(near - values) <= SINGLE * (self.values[-1] - self.values[0])
        return np.where(close, near, values)


class LeftOut(BaseModel):
    """A column that is in the file and not in the model.

    Attributes:
        name: as in the file.
        reason: why.
        place: its number among all columns of the file, from 0.
        text: what stands in every cell of a constant column.
        cells: as in `Column`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    reason: Reason
    place: int
    text: str | None = None
    cells: Cells = "text"


class Asked(BaseModel):
    """What somebody says of a column; None leaves it to the data.

    Attributes:
        kind: as in `Column`, or `ignore` to leave the column out.
        levels, rare, format, decimals: as in `Column`.
        cells: as in `Column`, of columns with levels: `text` keeps 007 apart from 7, `number` and `whole` do
            not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["continuous", "grid", "count", "binary", "categorical", "ordinal", "date", "ignore"]
    levels: tuple[str, ...] | None = None
    rare: bool = False
    format: str | None = None
    decimals: int | None = None
    cells: Cells | None = None


def asked(columns: Mapping[str, Any]) -> dict[str, Asked]:
    """What is said of columns by name: a kind, the fields of `Asked`, or one such record.

    A kind may say more after a colon: `date:%d/%m/%Y` the format, `ordinal:low,middle,high` the levels in
    order; likewise for binary and categorical columns.

    Raises:
        InputError: no such kind, or something that the kind has not.

    >>> asked({"size": "ordinal:S,M,L"})["size"].levels
    ('S', 'M', 'L')
    """
    return {name: _asked(name, said) for name, said in columns.items()}


def _asked(name: str, said: Any) -> Asked:
    if isinstance(said, Asked):
        return said
    if isinstance(said, str):
        kind, _, more = said.partition(":")
        said = {"kind": kind.strip()}
        if more and kind in LEVELLED:
            said["levels"] = [level.strip() for level in more.split(",")]
        elif more:
            said["format"] = more
    try:
        found = Asked.model_validate(said)
    except ValidationError as error:
        got = said.get("kind") if isinstance(said, dict) else said
        first = error.errors()[0]
        wrong = f"got {got!r}" if "kind" in first["loc"] else f"{first['msg'].lower()}: {first['loc']}"
        raise InputError(
            f"expected one of {', '.join(KINDS)} or {IGNORE} for column {name!r}, {wrong}; "
            "choose one of these"
        ) from None
    levels = found.levels or ()
    if found.format is not None and found.kind != "date":
        raise InputError(
            f"expected a format for dates alone, got {found.format!r} for column {name!r}, which is "
            f"{found.kind}; leave it out"
        )
    if found.levels is not None and (found.kind not in LEVELLED or len(set(levels)) < max(2, len(levels))):
        raise InputError(
            f"expected two or more levels that differ, for a binary, categorical or ordinal column, got "
            f"{levels} for column {name!r}, which is {found.kind}; correct them"
        )
    if found.cells in ("number", "whole") and not all(map(is_number, levels)):
        raise InputError(
            f"expected numbers as levels of column {name!r}, whose cells are said to be {found.cells}, got "
            f"{levels}; say that they are text"
        )
    return found


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
