"""The cells of a table that may change: those to fill, and the columns that they belong to."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backstory.data.dataset import Dataset
from backstory.data.tables.columns import Column
from backstory.data.tables.constants import ConstantCells, among


@dataclass(frozen=True)
class Cells:
    """The cells of some rows of a table that may change.

    Attributes:
        values: stored numbers, (N, C).
        fill, empty: (N, C) of bool, see `refill.refilled`.
        kinds, places: of these C columns, what they hold and their numbers in the table.
    """

    values: np.ndarray
    fill: np.ndarray
    empty: np.ndarray
    kinds: Sequence[Column]
    places: Sequence[int]

    @classmethod
    def of(cls, values: np.ndarray, fill: np.ndarray, empty: np.ndarray, data: Dataset) -> "Cells":
        """The cells of the modelled columns of a table."""
        return cls(values, fill, empty, data.schema.kinds, data.places or ())

    def beside(self, other: "Cells") -> "Cells":
        """These cells, and those of other columns of the same rows."""
        return Cells(
            np.concatenate([self.values, other.values], axis=1),
            np.concatenate([self.fill, other.fill], axis=1),
            np.concatenate([self.empty, other.empty], axis=1),
            (*self.kinds, *other.kinds),
            (*self.places, *other.places),
        )

    def with_constants(self, constants: Sequence[ConstantCells]) -> "Cells":
        """These cells, and the empty ones of constant columns of the same rows, which get the constant."""
        gaps = [cells for cells in constants if len(cells.empty)]
        stored = [cells.column.as_level() for cells in gaps]
        empty = np.zeros((len(self.values), len(gaps)), bool)
        for j, cells in enumerate(gaps):
            empty[:, j] = among(cells.empty, len(empty))
        values = np.broadcast_to([value for _, value in stored], empty.shape)
        return self.beside(
            Cells(values, empty, empty, [column for column, _ in stored], [c.place for c in gaps])
        )
