"""The cells of a table that may change: those to fill, and the columns that they belong to."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backstory.data.dataset import Dataset
from backstory.data.schema import Schema
from backstory.data.tables.columns import Column
from backstory.data.tables.constants import ConstantCells, among
from backstory.data.tables.related_cells import RelatedCells


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
        """The cells of the modelled columns of a table; rare texts stand as the most frequent of them."""
        kinds = tuple(column.with_rare_texts() for column in data.schema.kinds)
        return cls(values, fill, empty, kinds, data.places or ())

    def beside(self, other: "Cells") -> "Cells":
        """These cells, and those of other columns of the same rows."""
        return Cells(
            np.concatenate([self.values, other.values], axis=1),
            np.concatenate([self.fill, other.fill], axis=1),
            np.concatenate([self.empty, other.empty], axis=1),
            (*self.kinds, *other.kinds),
            (*self.places, *other.places),
        )

    def with_relations(self, own: RelatedCells | None, schema: Schema) -> "Cells":
        """The cells of columns that belong together in place of their stored values, see `Related.cells`.

        Args:
            own: the cells of relations of the same rows, as the table has them.
            schema: of the table.
        """
        if own is None or not schema.related:
            return self
        names = [column.name for column in self.kinds]
        hidden = {name: self.fill[:, j] & ~self.empty[:, j] for j, name in enumerate(names)}
        for relation in schema.related.relations:
            parts = [hidden[name] for name in relation.names if name in hidden]
            hidden[relation.dependent] = np.any(parts, axis=0)
        raw = own.by_name()
        kept = {name: np.where(hidden[name], np.nan, part) for name, part in raw.items()}
        values, columns = schema.related.cells(self.values, tuple(self.kinds), kept), schema.cell_kinds
        places = dict(zip(names, self.places, strict=True)) | dict(own.places)
        chosen = [k for k, column in enumerate(columns) if column.name in places]
        fill, empty = np.zeros((2, *values.shape), bool)
        for k, column in enumerate(columns):
            if column.name in raw:
                fill[:, k] = np.isnan(kept[column.name]) & ~np.isnan(values[:, k])
                empty[:, k] = np.isnan(raw[column.name])
            else:
                fill[:, k], empty[:, k] = (
                    part[:, names.index(column.name)] for part in (self.fill, self.empty)
                )
        return Cells(
            values[:, chosen],
            fill[:, chosen],
            empty[:, chosen],
            [columns[k] for k in chosen],
            [places[columns[k].name] for k in chosen],
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
