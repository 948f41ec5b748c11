"""All relations of a table together: cells to stored values and back, with gaps and observed cells."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from backstory.data.tables.columns import Column
from backstory.data.tables.relations import Cells, Determined, Empty, Order, Product, Relation, Sum

Known = Annotated[Order | Determined | Sum | Product | Empty, Field(discriminator="kind")]


class Related(BaseModel):
    """The relations of a table, in an order in which each finds the cells that it needs.

    Attributes:
        relations: those that give a column by others.
        gaps: those that leave cells empty.
        columns: how the cells of columns are read and written, where the model's column is another one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    relations: tuple[Known, ...] = ()
    gaps: tuple[Empty, ...] = ()
    columns: tuple[Column, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.relations or self.gaps)

    @property
    def all(self) -> tuple[Relation, ...]:
        """All relations."""
        return (*self.relations, *self.gaps)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of all relations, each once."""
        return tuple(dict.fromkeys(name for relation in self.all for name in relation.names))

    @property
    def without_density(self) -> tuple[str, ...]:
        """The columns that have no stored value."""
        return tuple(relation.dependent for relation in self.relations if not relation.keeps_density)

    def as_numbers(self, tables: Mapping[str, np.ndarray]) -> "Related":
        """The same relations where the levels of some columns became numbers, given by level."""
        changed = {name: table for name, table in tables.items() if name in self.names}
        if not changed:
            return self
        return self.model_copy(
            update={
                "relations": tuple(relation.as_numbers(changed) for relation in self.relations),
                "gaps": tuple(gap.as_numbers(changed) for gap in self.gaps),
                "columns": tuple(c for c in self.columns if c.name not in changed),
            }
        )

    def cell_columns(self, kinds: tuple[Column, ...]) -> tuple[Column, ...]:
        """The columns of the cells: those of the model, then those without a stored value."""
        own = {column.name: column for column in self.columns}
        whole = [own.get(column.name, column) for column in kinds]
        return (*whole, *(own[name] for name in self.without_density))

    def stored(self, cells: Cells, kinds: tuple[Column, ...]) -> np.ndarray:
        """The stored values of the model's columns, (N, C), for cells by column."""
        cells = dict(cells)
        for relation in reversed(self.relations):
            cells |= relation.solved(cells)
        values = dict(cells) | {r.dependent: r.stored(cells) for r in self.relations if r.keeps_density}
        rare = {
            column.name: float(len(column.levels) - 1) for column in kinds if column.rare and column.levels
        }
        # rare levels are told apart in the cells alone
        kept = [np.minimum(values[c.name], rare.get(c.name, np.inf)) for c in kinds]
        return np.stack(kept, axis=-1)

    def cells(self, values: np.ndarray, kinds: tuple[Column, ...], own: Cells | None = None) -> np.ndarray:
        """The cells of `cell_columns`, (N, C + D), for stored values, (N, C), that are filled.

        Args:
            values: stored values.
            kinds: the model's columns.
            own: observed cells of all columns of relations, which stay; NaN elsewhere.
        """
        stored = {column.name: values[:, j] for j, column in enumerate(kinds)}
        columns = {column.name: column for column in self.cell_columns(kinds)}
        nothing = np.full(len(values), np.nan)
        own = dict.fromkeys(self.names, nothing) if own is None else dict(own)
        cells = {name: _over(own.get(name, nothing), stored.get(name, nothing)) for name in columns}
        present = [r for r in self.relations if all(name in cells for name in r.names)]
        gaps = [gap for gap in self.gaps if all(name in cells for name in gap.names)]
        cells |= _derived(present, cells, own, stored, columns)
        told = _told(present, own)
        for relation in reversed([*gaps, *present]):
            for name, changed in relation.given_way(cells, own, stored, told).items():
                own[name] = np.where(np.isnan(own[name]) & (changed != cells[name]), changed, own[name])
                cells[name] = changed
        cells |= _derived(present, cells, own, stored, columns)
        for gap in gaps:
            cells[gap.dependent] = _over(own[gap.dependent], gap.cell(cells, stored))
        return np.stack([cells[name] for name in columns], axis=-1)


def _over(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Observed cells, and others in the place of missing ones."""
    return np.where(np.isnan(own), others, own)


def _told(relations: Sequence[Relation], own: Cells) -> dict[str, np.ndarray]:
    """Whether each cell is observed or has a base that is, (N,) of bool by column."""
    told = {name: ~np.isnan(cells) for name, cells in own.items()}
    for relation in relations:
        told[relation.dependent] = told[relation.dependent] | np.all(
            [told[name] for name in relation.givers], axis=0
        )
    return told


def _derived(
    relations: Sequence[Relation], cells: Cells, own: Cells, stored: Cells, columns: Mapping[str, Column]
) -> dict[str, np.ndarray]:
    """The dependent cells, of which observed ones stay."""
    derived = dict(cells)
    for relation in relations:
        value = _settled(relation, derived, stored, columns[relation.dependent])
        derived[relation.dependent] = _over(own[relation.dependent], value)
    return derived


def _settled(relation: Relation, cells: Cells, stored: Cells, column: Column) -> np.ndarray:
    """The dependent cells as the column can hold them; the ends of its range do not break an order."""
    value = relation.cell(cells, stored)
    if not relation.keeps_density:
        return value
    nearest = relation.cell(cells, {relation.dependent: np.zeros(len(value))})
    settled = column.settled(value)
    return np.where(relation.broken({**cells, relation.dependent: settled}), nearest, settled)
