"""Between the command line and restoration: what was found, into files and words."""

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from backstory.console import say
from backstory.data.images import SUFFIXES
from backstory.data.schema import Schema
from backstory.data.tables.refill import cell_texts, refilled
from backstory.data.write import check_format, write, write_table, write_text
from backstory.errors import InputError
from backstory.files import SEPARATORS, format_of
from backstory.inference.operators import Mask
from backstory.inference.recovery import Recovery
from backstory.inference.restore import Restoration
from backstory.jobs import rows as io
from backstory.jobs.damage import Case, Damage, read_case
from backstory.model import Model
from backstory.report import restorations as sheets

SHEET_ROWS, SHEET_DRAWS = 16, 3  # of a picture, unless it is asked for otherwise
TABLES = (*SEPARATORS, "parquet")

Found = Restoration[np.ndarray]
Where = tuple[str | None, bool | None, str, int | None]  # resize, stream, part and limit of `read_case`


def is_sheet(output: Path, source: str) -> bool:
    """Whether the output is a picture of many images; one image file becomes an image file."""
    return format_of(output) == "png" and not (Path(source).is_file() and format_of(Path(source)) in SUFFIXES)


def files_of(output: Path, sheet: bool, draws: int | None, std: bool) -> dict[str, Path]:
    """The files to write, by what they hold."""
    files = {"mean": output}
    if draws is not None and not sheet:
        files["draws"] = io.beside(output, "draws")
    if std and not sheet:
        files["std"] = io.beside(output, "std")
    return files


# -- files ----------------------------------------------------------------------------------------------


def write_sheet(path: Path, model: Model, case: Case, found: Found, force: bool) -> None:
    """A picture: each observation, its restoration, some draws and what is uncertain, one below the other."""
    top = model.schema.maximum or 1.0
    lines = {} if case.truth is None else {"whole": case.truth / top}
    lines |= {"damaged": case.y / top, "mean": found.mean / top}
    lines |= {f"draw {m + 1}": x / top for m, x in enumerate(found.draws)}
    sheets.save(sheets.restoration_sheet(lines, found.std / top, model.schema.shape), path, force)


def write_results(files: dict[str, Path], case: Case, found: Found, source: str, force: bool) -> None:
    """The mean, the draws and the deviation, in the kind of file that came in.

    The mean comes last: it may replace DATA, from which the cells around the draws are read.
    """
    form = format_of(files["mean"])
    if "draws" in files:
        _write_draws(files["draws"], form, case.units.from_model(found.draws), case, source, force)
    if "std" in files:
        schema = case.units.schema.model_copy(
            update={"dtype": "float32", "integer_columns": (), "kinds": (), "left_out": ()}
        )
        std = schema.stored(case.units.from_model(found.std))
        write(files["std"], std, schema, case.names, force, form)
    _write_one(files["mean"], form, case.units.from_model(found.mean), case, source, force)


def _write_one(path: Path, form: str, x: np.ndarray, case: Case, source: str, force: bool) -> None:
    schema = case.units.schema
    values = _finished(form, x, case)
    if form in TABLES and _is_table(source, case):
        if form == format_of(Path(source)) and form in SEPARATORS and len(case.index) == len(case.data):
            text = _refilled(Path(source), values, case)
            if text is not None:
                write_text(path, text, force)
                return
        write_table(path, dict(_completed(Path(source), values, case)), force, case.data.schema.header)
        return
    write(path, values, schema, case.names, force, form)


def _is_table(source: str, case: Case) -> bool:
    """Whether what came is a table, of which all other cells are written as they stand there."""
    return bool(case.data.schema.kinds) and format_of(Path(source)) in TABLES


def _refilled(source: Path, values: np.ndarray, case: Case) -> str | None:
    """The text of the table that came in with its gaps filled."""
    schema, fill = case.data.schema, case.fill
    texts = cell_texts(values, fill, schema.kinds)
    return refilled(source, schema.header, fill, texts, case.data.places or (), np.isnan(case.shown))


def _completed(source: Path, values: np.ndarray, case: Case) -> Any:
    """The rows of the table that came in, as a frame, with their gaps filled."""
    from backstory.data.tables.frames import completed  # with pandas, which is slow to import

    return completed(source, case.index, values, case.fill, np.isnan(case.shown), case.data)


def _finished(form: str, x: np.ndarray, case: Case) -> np.ndarray:
    """Numbers as they are written: in DATA's type, whole numbers whole; as they came where they were seen.

    x is (..., N, *shape) in DATA's units.
    """
    schema = case.units.schema
    values = np.asarray(io.in_stored_type(form, x, schema))
    if schema.kinds:
        values = values.astype(np.float64)
        for j, column in enumerate(schema.kinds):
            values[..., j] = column.settled(values[..., j])
    elif schema.columns is not None and schema.integer_columns:
        whole = [schema.columns.index(name) for name in schema.integer_columns]
        values = values.astype(np.float64)
        values[..., whole] = np.rint(values[..., whole])
    if case.kept is None:
        return values
    wide = np.result_type(values.dtype, case.shown.dtype)
    return np.where(case.kept, case.shown, values).astype(wide, copy=False)


def _write_draws(path: Path, form: str, draws: np.ndarray, case: Case, source: str, force: bool) -> None:
    """(M, N, *shape) in arrays, a folder for each draw, a line for each row and draw in tables."""
    schema = case.units.schema
    values = _finished(form, draws, case)
    m, n = values.shape[:2]
    if form in TABLES and _is_table(source, case):
        write_table(path, _table_of_completed(Path(source), values, case), force)
    elif form in TABLES:
        write_table(path, _table_of_draws(values, schema), force)
    elif form in ("", "png"):
        names = case.names or tuple(f"{i:0{len(str(n - 1))}d}.png" for i in range(n))
        several = tuple(f"{k}/{name}" for k, name in itertools.product(range(m), names))
        write(path, values.reshape(m * n, *values.shape[2:]), schema, several, force, form)
    else:
        write(path, values, schema, None, force, form)


def _table_of_completed(source: Path, values: np.ndarray, case: Case) -> dict[str, Any]:
    """The rows of the table that came in, each once for every draw, with the cells of the draw."""
    m, n = values.shape[:2]
    index, shown = (np.repeat(part, m, axis=0) for part in (case.index, case.shown))
    kept = None if case.kept is None else np.repeat(case.kept, m, axis=0)
    repeated = replace(case, index=index, shown=shown, kept=kept)
    frame = _completed(source, values.swapaxes(0, 1).reshape(m * n, -1), repeated)
    return _numbered(m, n, dict(frame))


def _numbered(m: int, n: int, columns: dict[str, Any]) -> dict[str, Any]:
    """Columns after those that tell the row and the draw."""
    numbers = {"row": np.repeat(np.arange(n), m), "draw": np.tile(np.arange(m), n)}
    return {name if name not in columns else f"{name}_": v for name, v in numbers.items()} | columns


def _table_of_draws(values: np.ndarray, schema: Schema) -> dict[str, np.ndarray]:
    m, n = values.shape[:2]
    flat = values.reshape(m, n, -1).swapaxes(0, 1).reshape(m * n, -1)
    stem = "pixel" if schema.kind == "images" else "x"
    names = schema.columns or tuple(f"{stem}_{j}" for j in range(flat.shape[1]))
    columns = {
        name: flat[:, j].astype(np.int64) if name in schema.integer_columns else flat[:, j]
        for j, name in enumerate(names)
    }
    return _numbered(m, n, columns)


# -- evaluation -----------------------------------------------------------------------------------------


def evaluate(
    model: Model, source: str, damage: Damage, where: Where, seed: int, options: dict[str, Any]
) -> tuple[np.ndarray, Recovery]:
    """The chosen rows of DATA, and how near they come after damage and restoration."""
    case = read_case(model, source, replace(damage, missing=None), True, *where, seed)
    assert case.truth is not None
    operator = case.operator if damage.mask is None else Mask(~np.isnan(case.y)) @ case.operator
    hidden = damage.missing or 0.0
    return case.rows, model.evaluate_restoration(
        case.truth, operator, hidden, seed=seed, progress=True, **options
    )


# -- words ----------------------------------------------------------------------------------------------


def filled(case: Case) -> dict[str, int]:
    """How many cells were filled, for each column, or in all where they have no names."""
    gaps = ~case.kept if case.kept is not None else np.isnan(case.y)
    names = case.units.schema.columns
    if names is None or case.kept is None:
        return {"all": int(gaps.sum())}
    return {name: int(count) for name, count in zip(names, gaps.sum(axis=0), strict=True)}


def record_of(case: Case, found: Found, files: dict[str, Path]) -> dict[str, Any]:
    """What was done, as one object; averages are over observations for which there is the number."""
    numbers = {name: getattr(found, name).numpy() for name in ("ess", "pareto_k", "r_hat", "acceptance")}
    known = {name: v[np.isfinite(v)] for name, v in numbers.items()}
    return {
        "n": len(found.mean),
        "missing": int(np.isnan(case.y).sum()) if case.y.dtype.kind == "f" else 0,
        "methods": dict(Counter(found.methods)),
        **{name: float(v.mean()) if len(v) else None for name, v in known.items()},
        "files": [str(path) for path in files.values()],
    }


def say_untouched(found: Found) -> None:
    """What had no gaps is written as it came."""
    count, n = found.methods.count("observed"), len(found.methods)
    if count == n:
        say("nothing is missing: what is written is the data itself")
    elif count:
        say(f"nothing is missing in {count} of {n} observations: they are written as they came")


def say_written(found: Found, files: dict[str, Path]) -> None:
    """What was written, and how it was found."""
    counts = Counter(found.methods)
    how = ", ".join(f"{name} {count}" for name, count in counts.items())
    say(f"{len(found.mean)} restored observations ({how}), written to {', '.join(map(str, files.values()))}")


def check_output(output: Path, model: Model) -> None:
    """InputError before the work for an output that cannot hold what will come."""
    check_format(output)
    if format_of(output) in ("", "png") and model.schema.kind != "images":
        raise InputError(
            f"expected an output for a table or arrays, got {output}; write .csv, .parquet or .npy"
        )
