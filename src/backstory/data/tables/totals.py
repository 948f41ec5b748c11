"""Totals of the stored values of a table's columns, from which its schema gets their ranges."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backstory.data.origins import floor_of, origin_of
from backstory.data.rows import Rows, blocks
from backstory.data.schema import Schema
from backstory.data.tables.columns import WITH_ATOMS, Column, LeftOut
from backstory.data.tables.kinds import atoms_of
from backstory.data.tables.lattice import lattice_of
from backstory.data.tables.thinned import MOST


@dataclass
class Totals:
    """Totals of the stored values of C columns, each array (C,).

    Attributes:
        low, high: the smallest and the largest number, NaN if there is none.
        missing: number of empty cells.
        whole: whether all numbers are whole.
        rows: number of rows.
    """

    low: np.ndarray
    high: np.ndarray
    missing: np.ndarray
    whole: np.ndarray
    rows: int = 0

    @classmethod
    def empty(cls, columns: int) -> "Totals":
        """The totals of no rows."""
        nan = np.full(columns, np.nan)
        return cls(nan, nan, np.zeros(columns), np.ones(columns, bool))

    @classmethod
    def of(cls, values: Rows) -> "Totals":
        """The totals of rows, (N, C)."""
        totals = cls.empty(values.shape[1])
        for block in blocks(values):
            totals.add(block)
        return totals

    def add(self, values: np.ndarray) -> None:
        """Adds rows, (M, C)."""
        if len(values):
            self.low = np.fmin(self.low, np.fmin.reduce(values))
            self.high = np.fmax(self.high, np.fmax.reduce(values))
            self.missing += np.isnan(values).sum(axis=0)
            self.whole &= (np.isnan(values) | (values == np.rint(values))).all(axis=0)
        self.rows += len(values)

    def schema(self, kinds: Sequence[Column], left_out: Sequence[LeftOut]) -> Schema:
        """The schema of a table with these totals."""
        columns = tuple(self._with_range(column, j) for j, column in enumerate(kinds))
        binary = bool(self.whole.all() and np.fmin.reduce(self.low) >= 0 and np.fmax.reduce(self.high) <= 1)
        return Schema(
            kind="table",
            shape=(len(columns),),
            dtype="float64",
            levels=2 if binary else None,
            maximum=1 if binary else None,
            columns=tuple(column.name for column in columns),
            integer_columns=tuple(column.name for column in columns if column.cells in ("whole", "bool")),
            kinds=columns,
            left_out=tuple(left_out),
        )

    def _with_range(self, column: Column, j: int) -> Column:
        low, high = float(self.low[j]), float(self.high[j])
        return column.model_copy(
            update={
                "low": None if math.isnan(low) else low,
                "high": None if math.isnan(high) else high,
                "origin": _origin(column, low, high),
                "missing": float(self.missing[j] / self.rows),
                "decimals": 0 if column.kind == "date" and self.whole[j] else column.decimals,
            }
        )


def _origin(column: Column, low: float, high: float) -> float:
    """The stored value that is zero to the model."""
    if column.levels is not None or column.kind == "count" or not math.isfinite(high - low):
        return 0.0
    return floor_of(low, high - low) if column.kind == "date" else origin_of(low, high)


def with_lattice(column: Column, values: Rows, j: int) -> Column:
    """The column with its lattice, if it has one, from all of its stored values, those of number j of C."""
    found = None if column.unit is None else lattice_of(values, j, column.unit)
    return column if found is None else column.model_copy(update={"lattice": found})


def with_lattices(schema: Schema, values: Rows) -> Schema:
    """The schema with the lattices of its columns of numbers and dates, from all stored values, (N, C)."""
    kinds = tuple(with_lattice(column, values, j) for j, column in enumerate(schema.kinds))
    return schema.model_copy(update={"kinds": kinds})


def with_atoms(schema: Schema, values: Rows) -> Schema:
    """The schema with the point masses of its columns, from evenly spaced rows of stored values, (N, C)."""
    rows = np.linspace(0, len(values) - 1, min(len(values), MOST)).astype(int)
    some = np.asarray(values[rows]).T
    kinds = tuple(
        column.model_copy(update={"atoms": atoms_of(cells[~np.isnan(cells)])})
        if column.kind in WITH_ATOMS
        else column
        for column, cells in zip(schema.kinds, some, strict=True)
    )
    return schema.model_copy(update={"kinds": kinds})
