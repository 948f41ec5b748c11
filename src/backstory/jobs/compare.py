"""How near synthetic rows come to real ones: shapes, pairs, two-sample test, transfer and privacy."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from backstory.comparing.comparison import Comparison, RealRows, compared
from backstory.comparing.shared import Names, Shared
from backstory.comparing.target import usual_target
from backstory.data.checks import listed
from backstory.data.conditions import by_name
from backstory.data.dataset import Dataset
from backstory.data.load import Source as Data
from backstory.data.load import column_names, load
from backstory.data.schema import Schema
from backstory.data.splits import Splits
from backstory.data.tables.columns import Column
from backstory.data.tables.relation_set import Related
from backstory.data.tables.stated import beside_conditions
from backstory.data.write import write_text
from backstory.errors import InputError, counted
from backstory.files import check_writable
from backstory.jobs.output import Output
from backstory.options import one_of
from backstory.trained import Trained

if TYPE_CHECKING:
    from backstory.data.tables.columns import Columns
    from backstory.jobs.compare_images import ImageComparison

FEWEST = 10  # rows of a table
SYNTHETIC, REAL, HELD_OUT = "the synthetic table", "the real table", "the held-out table"
ANOTHER = "(another)"  # the level of texts that the real table does not have


@dataclass(frozen=True)
class _Tables:
    """Stored rows of the tables to compare, in the same columns."""

    synthetic: np.ndarray
    real: RealRows
    columns: tuple[Column, ...]
    left_out: Mapping[str, str]
    notes: tuple[str, ...] = ()


def compare(
    synthetic: "Data | Trained",
    real: Data,
    held_out: "Data | None" = None,
    targets: Sequence[str] = (),
    columns: "Columns | None" = None,
    seed: int = 0,
) -> Comparison:
    """Compare the rows of a synthetic table, or draws of a model, with those of a real table.

    The columns that all tables have are compared, and the others are named. They are read as the real table
    has them, or as the model has them: a text that it does not have as a level is the level of rare ones, or
    the level "(another)". Numbers are read as they are. A model draws as many rows as the real table has; if
    it was trained on that table, the rows that it was not trained on are the held-out rows, unless others are
    given.

    Args:
        synthetic: a table, as `backstory.load` takes it, or a trained model.
        real: the table to compare with, such as the one that the synthetic rows were learned from.
        held_out: real rows from the same source that the synthetic rows were not learned from.
        targets: names of columns to predict; by default the one that the others predict best, see
            `comparing.target`.
        columns: what columns of the real table hold, see `backstory.load`.
        seed: of draws and of the choice of rows.

    Raises:
        InputError: a table cannot be read or has fewer than ten rows, the tables share no column, or the
            model is not of tables.

    >>> import pandas as pd
    >>> x = np.arange(60.0)
    >>> frame = pd.DataFrame({"x": x, "y": x % 7, "sign": np.where(x % 2, "+", "-")})
    >>> same = compare(frame, frame)
    >>> same.means, same.copies
    ({'shapes': 1.0, 'pairs': 1.0}, 60)
    """
    if isinstance(synthetic, Trained):
        tables = _drawn(synthetic, real, held_out, seed)
    else:
        tables = _read(synthetic, real, held_out, columns)
    _check_sizes(tables)
    names = [column.name for column in tables.columns]
    numbers = [_target(name, names, tables.left_out) for name in targets]
    notes = (*tables.notes, *_notes(tables.real))
    if len(names) == 1:
        numbers = []  # no other column predicts it
    elif not numbers:
        numbers = [usual_target(tables.real.training, tables.columns)]
        notes = (*notes, f"transfer predicts {names[numbers[0]]!r}; name other columns with `target`")
    comparison = compared(tables.synthetic, tables.real, tables.columns, numbers, seed)
    return replace(comparison, left_out=tables.left_out, notes=(*notes, *_without_figure(comparison)))


def check_report(output: Output) -> None:
    """Raise InputError, before any work, for a path that no JSON can be written to."""
    if output.format != "json":
        raise InputError(f"expected a file that ends in .json, got {output.path}; name it so")
    check_writable(output.path, output.force)


def write_report(output: Output, comparison: "Comparison | ImageComparison") -> None:
    """Write a comparison as JSON."""
    text = json.dumps(comparison.record(), indent=2, ensure_ascii=False)
    write_text(output.path, text + "\n", output.force)


# -- tables -----------------------------------------------------------------------------------------------


def _read(synthetic: Data, real: Data, held_out: "Data | None", columns: "Columns | None") -> _Tables:
    names = _names({SYNTHETIC: synthetic, REAL: real, HELD_OUT: held_out})
    known = load(real, columns=_of_real(columns or {}, names), relations=False)
    shared = Shared.of(_of_table(known.schema, known.source), names, REAL)
    drawn, whole = (_values(_load(data, shared.schema)) for data in (synthetic, real))
    others = None if held_out is None else _values(_load(held_out, shared.schema))
    return _Tables(drawn, RealRows(whole, others), _compared_columns(shared.schema), shared.left_out)


def _drawn(model: Trained, data: Data, held_out: "Data | None", seed: int) -> _Tables:
    schema = in_cells(_of_table(model.schema, "a run of other data"))
    shared = Shared.of(schema, _names({REAL: data, HELD_OUT: held_out}), "the run")
    real = _load(data, shared.schema)
    drawn = np.asarray(
        model.sample(len(real), seed=seed, given=by_name(schema.conditions, real.stated), frame=False),
        np.float64,
    )
    whole = shared.among(model.schema.cells(drawn))
    rows = RealRows(_values(real))
    notes = [f"{counted(len(drawn), 'row was', 'rows were')} drawn from the run"]
    if held_out is not None:
        rows = replace(rows, held_out=_values(_load(held_out, shared.schema)))
    elif shared.are_all and (parts := model.parts(_as_trained(data, real, model.schema, shared))):
        rows = _of_run(parts, rows.training)
        others = "" if rows.held_out is None else ", the held-out rows its others"
        notes.append(f"the real rows are those that the run was trained on{others}")
    if np.isnan(rows.training).any():
        notes.append("drawn rows have no empty cell, which is a level of the real ones")
    if model.provenance.total_weight is not None:
        notes.append("the run weighed its rows in training; here each real row counts once")
    whole = np.asarray(beside_conditions(whole, shared.schema, real.stated)[0])
    return _Tables(whole, rows, _compared_columns(shared.schema.unconditioned), shared.left_out, tuple(notes))


def _names(tables: Mapping[str, "Data | None"]) -> dict[str, Names]:
    return {table: column_names(data) for table, data in tables.items() if data is not None}


def _of_real(columns: "Columns", names: Mapping[str, Names]) -> "Columns":
    """The descriptions of columns without those that only the synthetic table has."""
    others = {*(names[SYNTHETIC] or ())} - {*(names[REAL] or ())}
    return {name: description for name, description in columns.items() if name not in others}


def _as_trained(data: Data, real: Dataset, schema: Schema, shared: Shared) -> Dataset:
    """The data as a run with this schema stores it; `real` has its cells."""
    if not schema.related:
        return real
    left_out = (*schema.left_out, *shared.unknown)
    return load(data, schema=schema.model_copy(update={"left_out": left_out}))


def in_cells(schema: Schema) -> Schema:
    """The schema of the cells of a table whose columns belong together."""
    if not schema.related:
        return schema
    names = schema.related.without_density
    kinds = tuple(column.model_copy(update={"rare_levels": ()}) for column in schema.cell_kinds)
    return schema.model_copy(
        update={
            "kinds": kinds,
            "columns": tuple(column.name for column in kinds),
            "shape": (len(kinds),),
            "left_out": tuple(column for column in schema.left_out if column.name not in names),
            "related": Related(),
        }
    )


def _of_run(parts: Splits, rows: np.ndarray) -> RealRows:
    """The rows of the data that a model was trained from in their parts."""
    others = parts.held_out
    return RealRows(rows[parts.train], rows[others] if len(others) >= FEWEST else None)


def _of_table(schema: Schema, source: str) -> Schema:
    """The schema; InputError unless it is of a table."""
    if not schema.kinds:
        raise InputError(f"expected tables to compare, got {source}, which has no columns; give tables")
    return schema


def _load(data: Data, schema: Schema) -> Dataset:
    """A table in the columns of a schema, also with numbers and levels that the schema does not have."""
    from backstory.data.tables.encode import level_numbers  # with pandas, which is slow to import

    kinds = tuple(map(_read_column, schema.kinds))
    wide = schema.model_copy(update={"kinds": kinds, "levels": None, "maximum": None})
    table = load(data, schema=wide)
    if table.schema.shape != schema.shape:  # data of another kind are not read by the schema
        _of_table(table.schema, table.source)
    values = np.array(table.values[:], np.float64)
    for j, column in enumerate(schema.kinds):
        if column.levels is not None and kinds[j].levels is None:
            values[:, j] = _numbered(values[:, j], level_numbers(column))
    return replace(table, values=values)


def _read_column(column: Column) -> Column:
    """The column as tables are read: any number, and a level of unknown texts."""
    if column.levels is not None and column.cells == "text":
        return _compared_column(column)
    kind = "date" if column.kind == "date" else "continuous"
    return column.model_copy(update={"kind": kind, "levels": None, "rare": False, "values": None})


def _numbered(x: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Numbers (N,) as indices of levels (L,), L for another number."""
    order = np.argsort(levels)
    place = np.clip(np.searchsorted(levels[order], x), 0, len(levels) - 1)
    return np.where(np.isnan(x), np.nan, np.where(levels[order][place] == x, order[place], len(levels)))


def _compared_columns(schema: Schema) -> tuple[Column, ...]:
    return tuple(map(_compared_column, schema.kinds))


def _compared_column(column: Column) -> Column:
    """The column with a level for all others, where it has levels but none of rare ones."""
    if column.levels is None or column.rare:
        return column
    return column.model_copy(update={"levels": (*column.levels, ANOTHER), "rare": True})


def _values(data: Dataset) -> np.ndarray:
    """The stored values with the columns of conditions, (N, C) of float64."""
    return np.asarray(beside_conditions(np.asarray(data.values[:], np.float64), data.schema, data.stated)[0])


# -- checks and notes -------------------------------------------------------------------------------------


def _check_sizes(tables: _Tables) -> None:
    counts = {"synthetic": tables.synthetic, "real": tables.real.training, "held-out": tables.real.held_out}
    few = [f"{len(rows)} {name}" for name, rows in counts.items() if rows is not None and len(rows) < FEWEST]
    if few:
        raise InputError(f"expected at least {FEWEST} rows of each table, got {listed(few)}; give more rows")


def _target(name: str, names: Sequence[str], left_out: Mapping[str, str]) -> int:
    """The number of a column to predict; InputError unless it is compared."""
    if name in left_out:
        raise InputError(
            f"expected a column that is compared for `target`, got {name!r}, which is "
            f"{_left(left_out[name])}; choose one of {listed(names)}"
        )
    return names.index(one_of("target", name, names))


def _left(reason: str) -> str:
    return reason if reason.startswith(("not in", "constant", "empty")) else f"left out ({reason})"


def _without_figure(done: Comparison) -> tuple[str, ...]:
    """Which figures do not exist, and why."""
    if len(done.shapes) == 1:
        return ("pairs and transfer have no figures, because they need two columns",)
    reasons = {
        "shapes": "each column is empty in a table",
        "pairs": "a column of each pair is constant or empty in a table",
    }
    reasons = {name: why for name, why in reasons.items() if math.isnan(done.means[name])}
    reasons |= {
        f"transfer {one.target}": "it is empty in the rows to learn from, or has one value in the others"
        for one in done.transfer
        if math.isnan(one.synthetic) or math.isnan(one.real)
    }
    return tuple(f"{name}: no figure, because {why}" for name, why in reasons.items())


def _notes(real: RealRows) -> tuple[str, ...]:
    if real.held_out is not None:
        return ()
    return (
        "no rows are held out: a random half of the real rows stands for them; the synthetic rows may have "
        "been learned from it too, so the share nearer to training and membership cannot show rows learned "
        "by heart; give rows that were held out of training as the last argument",
    )
