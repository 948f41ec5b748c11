"""Tables whose columns belong together: relations found, cells to stored values, and what rows break them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backstory import console
from backstory.data.rows import Rows, blocks, mapped
from backstory.data.schema import Schema
from backstory.data.tables.columns import Column, LeftOut
from backstory.data.tables.constraints import given
from backstory.data.tables.decode import decoded
from backstory.data.tables.lattice import SECOND, lattice_of
from backstory.data.tables.related_cells import BrokenCells, RelatedCells
from backstory.data.tables.relation_search import Search
from backstory.data.tables.relation_set import Related
from backstory.data.tables.relations import Relation, Sum
from backstory.data.tables.totals import Totals, with_lattice
from backstory.data.tables.wishes import Wishes
from backstory.errors import counted

HIGHEST_COUNT = 1000
NOT_KEPT_SHOWN = 5  # relations


def related(relations: Iterable[Relation]) -> Related:
    """Relations in an order in which each finds its cells; the first one that gives a column does."""
    chosen: dict[str, Any] = {}
    gaps: list[Any] = []
    for relation in relations:
        if relation.leaves_gaps:
            gaps.append(relation)
        elif relation.dependent not in chosen and not _leads(relation.givers, relation.dependent, chosen):
            chosen[relation.dependent] = relation
    ordered: dict[str, Any] = {}
    while len(ordered) < len(chosen):
        waiting = chosen.keys() - ordered.keys()
        for name in [n for n in chosen if n in waiting and not waiting & set(chosen[n].givers)]:
            ordered[name] = chosen[name]
    without = {name for name, relation in chosen.items() if not relation.keeps_density}
    return Related(
        relations=tuple(ordered.values()), gaps=tuple(gap for gap in gaps if gap.dependent not in without)
    )


def _leads(givers: Iterable[str], name: str, chosen: Mapping[str, Relation]) -> bool:
    """Whether a column is among those that give these."""
    return any(g == name or (g in chosen and _leads(chosen[g].givers, name, chosen)) for g in givers)


def without_constant_distance(relation: Relation, cells: Rows, schema: Schema) -> Relation:
    """An order whose distance is always the same as a sum; other relations as they are."""
    if relation.leaves_gaps or not relation.keeps_density or len(relation.givers) > 1:
        return relation
    names = schema.columns or ()
    upper, lower = names.index(relation.dependent), names.index(relation.givers[0])
    distances = [_range(block[:, upper] - block[:, lower]) for block in blocks(cells)]
    low, high = min(low for low, _ in distances), max(high for _, high in distances)
    if high - low > 1e-9 * max(1.0, abs(high)):
        return relation
    return Sum(
        dependent=relation.dependent,
        rows=relation.rows,
        told=relation.told,
        parts=relation.givers,
        signs=(1,),
        ranges=((float(schema.kinds[lower].low or 0.0), float(schema.kinds[lower].high or 0.0)),),
        constant=low,
        tolerance=high - low,
    )


def _range(values: np.ndarray) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    return (float(known.min()), float(known.max())) if len(known) else (np.inf, -np.inf)


@dataclass(frozen=True)
class RelatedTable:
    """A table whose columns belong together, as it is stored.

    Attributes:
        values: stored values, (N, C).
        schema: with the relations.
        places: of the modelled columns in the table.
        cells: of the columns of relations; None without any.
    """

    values: Rows
    schema: Schema
    places: tuple[int, ...]
    cells: RelatedCells | None = None

    @classmethod
    def of(
        cls,
        stored: Rows,
        kinds: Sequence[Column],
        left_out: Sequence[LeftOut],
        places: Sequence[int],
        found: Related,
    ) -> "RelatedTable":
        """The table of these stored values, with their ranges."""
        schema = Totals.of(stored).schema(kinds, left_out).model_copy(update={"related": found})
        return cls(stored, schema, tuple(places))


def related_table(
    values: Rows,
    kinds: Sequence[Column],
    schema: Schema,
    places: Sequence[int],
    wishes: Wishes,
    source: str,
) -> RelatedTable:
    """The table with its relations built in.

    Args:
        values: numbers of the cells, (N, C).
        kinds: the columns as a model has them without relations.
        schema: of the cells, with their ranges; rare levels that are kept are levels of their own.
        places: of the columns in the table.
        wishes: what a person says of relations.
        source: where the table comes from, for messages.
    """
    found = _found(values, schema, wishes, source)
    if not found:
        return _unrelated(values, kinds, schema, places)
    names, own = schema.columns or (), {column.name: column for column in schema.kinds}
    orders = {relation.dependent: relation for relation in found.relations if relation.keeps_density}
    distances = {name: _distance_column(order, own, values) for name, order in orders.items()}
    model = [distances.get(c.name, c) for c in kinds if c.name not in found.without_density]
    before = {column.name: column.levels for column in kinds}
    told_apart = [c.name for c in schema.kinds if c.name in found.names and c.levels != before[c.name]]
    different = dict.fromkeys([*told_apart, *(relation.dependent for relation in found.relations)])
    found = found.model_copy(update={"columns": _in_steps([own[name] for name in different], names, values)})
    place = dict(zip(names, places, strict=True))
    determined = [
        LeftOut(name=name, reason="determined", place=place[name]) for name in found.without_density
    ]
    whole = schema.model_copy(update={"related": found, "kinds": tuple(model)})
    stored = mapped(lambda block: stored_block(block, names, whole), values)
    left_out = sorted((*schema.left_out, *determined), key=lambda column: column.place)
    own_places, cells = [place[column.name] for column in model], related_cells(values, names, place, found)
    return replace(RelatedTable.of(stored, model, left_out, own_places, found), cells=cells)


def _in_steps(columns: Sequence[Column], names: Sequence[str], values: Rows) -> tuple[Column, ...]:
    """The columns of cells with the lattices of numbers, (N, C), in columns of these names."""
    return tuple(with_lattice(column, values, names.index(column.name)) for column in columns)


def _unrelated(values: Rows, kinds: Sequence[Column], schema: Schema, places: Sequence[int]) -> RelatedTable:
    """The table without relations, in which rare levels are one."""
    rare = {j: len(column.levels or ()) - 1 for j, column in enumerate(kinds) if column.rare}
    if not rare:
        return RelatedTable(values, schema, tuple(places))

    def together(block: np.ndarray) -> np.ndarray:
        for j, last in rare.items():
            np.minimum(block[:, j], last, out=block[:, j])
        return block

    stored = mapped(together, values)
    return RelatedTable.of(stored, kinds, schema.left_out, places, Related())


def _found(values: Rows, schema: Schema, wishes: Wishes, source: str) -> Related:
    """The relations of the cells of a table, as a person wishes."""
    chosen = [j for j, column in enumerate(schema.kinds) if column.name not in wishes.without]
    search = Search(values, tuple(schema.kinds[j] for j in chosen), tuple(chosen))
    told = given(wishes.constraints, search, source)
    found = (
        [relation for relation in search.found() if not wishes.refuses(relation)] if wishes.searched else []
    )
    _say_not_kept(search, told, wishes)
    return related([without_constant_distance(relation, values, schema) for relation in (*told, *found)])


def _say_not_kept(search: Search, told: Sequence[Relation], wishes: Wishes) -> None:
    """Names the relations that gaps forbid, unless a person has given or refused them."""
    known = {name for relation in told for name in relation.text.split(" and ")}
    others = [
        left
        for text, left in search.not_kept.items()
        if text not in known and not wishes.refuses(left.relation)
    ]
    for left in others[:NOT_KEPT_SHOWN]:
        console.warn(str(left))
    if len(others) > NOT_KEPT_SHOWN:
        console.warn(f"not kept: {counted(len(others) - NOT_KEPT_SHOWN, 'more relation')} with as many gaps")


def stored_block(block: np.ndarray, names: Sequence[str], schema: Schema) -> np.ndarray:
    """The stored values of a schema for cells of columns, (N, K); columns that the table lacks are empty."""
    nothing = np.full(len(block), np.nan)
    absent = dict.fromkeys(schema.related.without_density, nothing)
    return schema.related.stored(absent | dict(zip(names, block.T, strict=True)), schema.kinds)


def _distance_column(order: Relation, own: Mapping[str, Column], values: Rows) -> Column:
    """The column of the stored values of an order: counts, or numbers with the decimals of the cells."""
    names, column = list(own), own[order.dependent]
    parts = [order.stored(dict(zip(names, block.T, strict=True))) for block in blocks(values)]
    known = np.concatenate(parts)
    known = known[~np.isnan(known)]
    whole = bool((known == np.rint(known)).all())
    decimals = [own[name].decimals for name in order.names]
    most = None if column.kind == "date" or None in decimals else max(d for d in decimals if d is not None)
    return Column(
        name=column.name,
        kind="count" if whole and known.max() <= HIGHEST_COUNT else "continuous",
        decimals=0 if whole else most,
        cells="whole" if whole else "number",
        lattice=lattice_of(known[:, None], 0, SECOND) if column.kind == "date" and not whole else None,
        note=f"as its distance from {' and '.join(order.givers)}",
    )


def related_cells(
    values: Rows, names: Sequence[str], place: Mapping[str, int], found: Related
) -> RelatedCells:
    """The cells of the columns of relations, of a table with these columns at these places."""

    def chosen(block: np.ndarray) -> np.ndarray:
        nothing = np.full(len(block), np.nan)
        return np.stack([block[:, names.index(n)] if n in names else nothing for n in found.names], axis=1)

    places = {name: place[name] for name in found.without_density if name in place}
    return RelatedCells(found.names, mapped(chosen, values), places)


def broken_cells(own: RelatedCells, schema: Schema, place: Mapping[str, int]) -> list[BrokenCells]:
    """The dependent cells of the rows that break relations, of a table with its columns at these places."""
    columns, cells = {column.name: column for column in schema.cell_kinds}, own.by_name()
    found = []
    for relation in schema.related.all:
        rows, name = np.flatnonzero(relation.broken(cells)), relation.dependent
        if len(rows):
            texts = decoded(cells[name][rows], columns[name]).astype(str)
            left_out = LeftOut(name=name, reason="determined", place=place[name])
            none = np.zeros(0, np.int64)
            against = tuple(f"{text} ({relation.text})" for text in texts)
            found.append(BrokenCells(left_out, place[name], none, rows, against, relation.text))
    return found
