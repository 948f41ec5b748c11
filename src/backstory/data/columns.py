"""The columns of a table: what kind of quantity each one holds, and how its cells are written.

A table is stored as float64 (N, C) over the columns that are modelled, NaN where a cell is empty:

    continuous, count                 the number itself
    date                              days since 1970-01-01, with the fraction of the day
    binary, categorical, ordinal      the index 0 … L − 1 of the cell's text among the column's levels
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from backstory.errors import InputError

Kind = Literal["continuous", "count", "binary", "categorical", "ordinal", "date"]
Cells = Literal["number", "whole", "bool", "text", "date"]
Reason = Literal["constant", "empty", "identifier", "ignored"]

KINDS: tuple[Kind, ...] = ("continuous", "count", "binary", "categorical", "ordinal", "date")
LEVELLED = ("binary", "categorical", "ordinal")
IGNORE = "ignore"


class Column(BaseModel):
    """A modelled column of a table.

    Attributes:
        name: as in the file.
        kind: of quantity, which decides on its likelihood.
        levels: texts of the levels of a binary, categorical or ordinal column in order, of which the stored
            value is the index; None for the other kinds.
        rare: whether the last level stands for all texts that were rare in training, and for new ones.
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
        seen = np.clip(values, self.low, self.high) if self.low is not None else values
        if self.kind == "count":
            return np.maximum(np.rint(seen), 0)
        if self.decimals is not None:
            return np.round(seen, self.decimals) + 0.0  # no -0.0
        return seen


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

    kind: Literal["continuous", "count", "binary", "categorical", "ordinal", "date", "ignore"]
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
