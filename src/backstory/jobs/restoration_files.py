"""Restorations in the kind of file that the data came in.

mean    one x for each observation; a text table keeps its text around the cells that are filled
draws   (M, N, *shape) in arrays, a folder for each draw of images, a line for each row and draw in tables
std     as the mean
sheet   one picture: each observation, its restoration, some draws and the standard deviation
"""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from backstory.data.decoding import suffixes
from backstory.data.rows import Rows
from backstory.data.schema import Schema
from backstory.data.tables.cells import Cells
from backstory.data.tables.refill import cell_texts, refilled
from backstory.data.tables.relation_set import Related
from backstory.data.tables.stated import beside_conditions
from backstory.data.write import check_format, write, write_table, write_text
from backstory.errors import InputError
from backstory.files import EXCEL, SEPARATORS, TABLES, format_of
from backstory.inference.restoration import Restoration
from backstory.jobs.inverse_problem import InverseProblem
from backstory.jobs.output import Output, in_stored_type, together
from backstory.jobs.source import ChosenRows, Source
from backstory.report import restorations

_WITH_CELLS = (*TABLES, *EXCEL)  # files of tables


def is_sheet(output: Output, source: Source) -> bool:
    """Whether the output is a picture of many images; one image file becomes an image file."""
    path = source.path
    one_image = path is not None and path.is_file() and format_of(path) in suffixes()
    return output.format == "png" and not one_image


def check_kind(output: Output, schema: Schema) -> None:
    """Raise InputError, before any work, for an output that cannot hold such data."""
    check_format(output.path)
    if output.format in ("", "png") and schema.kind != "images":
        raise InputError(
            f"expected an output for a table or arrays, got {output.path}; write .csv, .parquet or .npy"
        )


def write_sheet(
    output: Output, problem: InverseProblem, restoration: Restoration[np.ndarray], schema: Schema
) -> None:
    """Write the picture; `schema` is the model's."""
    values = {} if problem.truth is None else {"whole": problem.truth}
    values |= {"damaged": problem.y, "mean": restoration.mean}
    values |= {f"draw {m + 1}": x for m, x in enumerate(restoration.draws)}
    lines = {label: schema.fractions(x) for label, x in values.items()}
    std = restoration.std / (schema.maximum or 1.0)
    picture = restorations.restoration_sheet(lines, std, schema.shape)
    restorations.save(picture, output.path, output.force)


def write_restoration(
    files: Mapping[str, Output], problem: InverseProblem, restoration: Restoration[np.ndarray]
) -> None:
    """Write the `mean`, and the `draws` and the `std` if there are files for them: all, or none.

    The mean may replace the data, from which the cells around the draws are read.
    """
    form, units = files["mean"].format, problem.units
    with together(files) as own:
        if "draws" in own:
            _write_draws(own["draws"], form, units.from_model(restoration.draws), problem)
        if "std" in own:
            _write_std(own["std"], form, units.from_model_deviations(restoration.std), problem)
        _write_mean(own["mean"], form, units.from_model(restoration.mean), problem)


def _write_std(output: Output, form: str, std: np.ndarray, problem: InverseProblem) -> None:
    changes = {"dtype": "float32", "integer_columns": (), "kinds": (), "left_out": (), "related": Related()}
    schema = problem.units.schema.model_copy(update=changes)
    write(output.path, schema.stored(std), schema, problem.chosen.names, output.force, form)


def _write_mean(output: Output, form: str, x: np.ndarray, problem: InverseProblem) -> None:
    values = _finished(form, x, problem)
    if not _is_table_of_cells(form, problem):
        rows, schema = beside_conditions(values, problem.units.schema, problem.stated)
        write(output.path, rows, schema, problem.chosen.names, output.force, form)
        return
    text = _refilled(form, values, problem)
    if text is not None:
        write_text(output.path, text, output.force)
        return
    own = problem.chosen.data.schema
    write_table(output.path, dict(_completed(values, problem)), output.force, own.header, own.separator)


def _write_draws(output: Output, form: str, draws: np.ndarray, problem: InverseProblem) -> None:
    schema, values = problem.units.schema, _finished(form, draws, problem)
    m, n = values.shape[:2]
    if _is_table_of_cells(form, problem):
        separator = problem.chosen.data.schema.separator
        write_table(output.path, _completed_draws(values, problem), output.force, separator=separator)
    elif form in TABLES:
        rows, schema = beside_conditions(values, schema, problem.stated)
        write_table(output.path, _draws_table(rows, schema), output.force)
    elif form in ("", "png"):
        names = problem.chosen.names or tuple(f"{i:0{len(str(n - 1))}d}.png" for i in range(n))
        paths = tuple(f"{k}/{name}" for k, name in itertools.product(range(m), names))
        write(output.path, values.reshape(m * n, *values.shape[2:]), schema, paths, output.force, form)
    else:
        write(output.path, *beside_conditions(values, schema, problem.stated), None, output.force, form)


def _finished(form: str, x: np.ndarray, problem: InverseProblem) -> np.ndarray:
    """Numbers (…, N, *shape) as they are written: in the data's type, and as they came where x is known."""
    schema = problem.units.schema
    values = np.asarray(in_stored_type(form, x, schema))
    if schema.kinds:
        values = values.astype(np.float64)
        for j, column in enumerate(schema.kinds):
            values[..., j] = column.settled(values[..., j])
    elif schema.columns is not None and schema.integer_columns:
        whole = [schema.columns.index(name) for name in schema.integer_columns]
        values = values.astype(np.float64)
        values[..., whole] = np.rint(values[..., whole])
    if problem.kept is None:
        return values
    wide = np.result_type(values.dtype, problem.shown.dtype)
    return np.where(problem.kept, problem.shown, values).astype(wide, copy=False)


# -- tables whose other cells stay as they are ------------------------------------------------------------


def _is_table_of_cells(form: str, problem: InverseProblem) -> bool:
    """Whether a table is written of a table in a file or a frame, whose other cells stay as they are."""
    path = problem.source.path
    is_table = problem.source.frame is not None if path is None else format_of(path) in _WITH_CELLS
    return form in TABLES and is_table and bool(problem.chosen.data.schema.kinds)


def _cells(values: np.ndarray, problem: InverseProblem) -> Cells:
    """The cells of x, empty ones of constant columns, and conditions in place of the file's own."""
    data, told = problem.chosen.data, problem.told
    cells = Cells.of(values, problem.fill, np.isnan(problem.shown), data)
    cells = cells.with_relations(problem.related, data.schema).with_constants(problem.constants)
    if problem.stated is None or not told:
        return cells
    conditions = {c.name: (c.column, problem.stated[:, j]) for j, c in enumerate(data.schema.conditions)}
    kinds, stated = zip(*(conditions[column.name] for column in told), strict=True)
    every = np.ones((len(values), len(told)), bool)
    places = [column.place for column in told]
    return cells.beside(Cells(np.stack(stated, axis=1), every, ~every, kinds, places))


def _refilled(form: str, values: np.ndarray, problem: InverseProblem) -> str | None:
    """The text of the file with its gaps filled; None if a part of its rows or another format is written."""
    path, data = problem.source.path, problem.chosen.data
    if (
        path is None
        or form not in SEPARATORS
        or form != format_of(path)
        or len(problem.chosen.index) != len(data)
    ):
        return None
    cells = _cells(values, problem)
    texts = cell_texts(cells.values, cells.fill, cells.kinds)
    return refilled(path, data.schema.told, cells.fill, texts, cells.places, cells.empty)


def _completed(values: np.ndarray, problem: InverseProblem) -> Any:
    """The chosen rows of the table, as a frame, with their gaps filled."""
    from backstory.data.tables.frames import filled, whole_frame  # with pandas, which is slow to import

    frame, chosen = problem.source.frame, problem.chosen
    if frame is None:
        assert problem.source.path is not None
        frame = whole_frame(problem.source.path, chosen.data)
    return filled(frame.iloc[chosen.index], _cells(values, problem))


def _completed_draws(values: np.ndarray, problem: InverseProblem) -> dict[str, Any]:
    """The chosen rows of the file, each once for every draw, with the cells of the draw."""
    m, n = values.shape[:2]
    repeated = replace(
        problem,
        chosen=ChosenRows(problem.chosen.data, np.repeat(problem.chosen.index, m, axis=0)),
        shown=np.repeat(problem.shown, m, axis=0),
        kept=None if problem.kept is None else np.repeat(problem.kept, m, axis=0),
    )
    frame = _completed(values.swapaxes(0, 1).reshape(m * n, -1), repeated)
    return _numbered(m, n, dict(frame))


def _draws_table(values: Rows, schema: Schema) -> dict[str, np.ndarray]:
    m, n = values.shape[:2]
    flat = np.asarray(values).reshape(m, n, -1).swapaxes(0, 1).reshape(m * n, -1)
    stem = "pixel" if schema.kind == "images" else "x"
    names = schema.columns or tuple(f"{stem}_{j}" for j in range(flat.shape[1]))
    columns = {
        name: flat[:, j].astype(np.int64) if name in schema.integer_columns else flat[:, j]
        for j, name in enumerate(names)
    }
    return _numbered(m, n, columns)


def _numbered(m: int, n: int, columns: dict[str, Any]) -> dict[str, Any]:
    """The columns after two that number the row and the draw."""
    numbers = {"row": np.repeat(np.arange(n), m), "draw": np.tile(np.arange(m), n)}
    return {name if name not in columns else f"{name}_": v for name, v in numbers.items()} | columns
