"""Between the command line and the API: rows out of DATA, results into files."""

import json
import math
import re
import tomllib
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from backstory import console
from backstory.console import say
from backstory.data.checks import listed, missing, place
from backstory.data.dataset import Dataset
from backstory.data.files import format_of, reading
from backstory.data.images import contact_sheet, pixels
from backstory.data.load import load
from backstory.data.rows import Rows, mapped, subset
from backstory.data.schema import Schema
from backstory.data.tables.columns import asked
from backstory.data.write import atomic_path, check_path, write, write_table, write_text
from backstory.distributions.base import CodeDistribution
from backstory.errors import InputError
from backstory.inference.scoring import Scores
from backstory.model import Model
from backstory.options import MixturePrior, one_of
from backstory.runs import checkpoint
from backstory.runs.folder import PICTURE, member_folder

if TYPE_CHECKING:
    from backstory.data.tables.read import Columns

# -- data in --------------------------------------------------------------------------------------------


def read(
    source: str,
    resize: str | None,
    stream: bool | None,
    columns: "Columns | None" = None,
    schema: Schema | None = None,
) -> Dataset:
    """DATA, with --resize as 32 or 32x24; a table as one with this schema."""
    return load(source, size(resize), stream, columns, schema)


def size(resize: str | None) -> tuple[int, int] | None:
    """Height and width of 32 or 32x24."""
    if resize is None:
        return None
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", resize.lower())
    if match is None:
        raise InputError(f"expected a size such as 32 or 32x24 for --resize, got {resize!r}")
    return int(match[1]), int(match[2] or match[1])


def record_of_data(data: Dataset) -> dict[str, Any]:
    """What data is, and what the columns of a table hold, as one object."""
    schema = data.schema
    record = {"source": data.source, "rows": len(data)}
    record |= schema.model_dump(mode="json", include={"kind", "shape", "dtype", "levels"})
    if schema.kinds:
        record["columns"] = [column.model_dump(mode="json") for column in schema.kinds]
        record["left_out"] = [column.model_dump(mode="json") for column in schema.left_out]
    return record


def said_of_columns(options: list[str] | None, file: Path | None) -> dict[str, Any]:
    """What is said of columns by a schema file, and by --column NAME=KIND, which comes first."""
    said = {} if file is None else read_schema(file)
    for option in options or ():
        name, _, kind = option.partition("=")
        if not (name.strip() and kind.strip()):
            raise InputError(f"--column takes NAME=KIND, such as age=count, got {option!r}")
        said[name.strip()] = kind.strip()
    asked(said)  # before anything is read
    return said


def read_schema(path: Path) -> dict[str, Any]:
    """The columns of a schema file, `.json` or `.toml`."""
    with reading(path, "a schema file"):
        text = path.read_text(encoding="utf-8")
        record = tomllib.loads(text) if format_of(path) == "toml" else json.loads(text)
    columns = record.get("columns") if isinstance(record, dict) else None
    if not isinstance(columns, dict):
        raise InputError(f'expected {{"columns": {{name: {{"kind": …}}}}}} in {path}; write it so')
    return columns


def given_cells(schema: Schema, options: list[str]) -> np.ndarray:
    """One row of stored values, (C,), with the cells of --where NAME=VALUE and NaN in all others."""
    from backstory.data.tables.encode import encoded_cell  # with pandas, which is slow to import

    row = np.full(schema.shape, math.nan)
    if not schema.kinds:
        raise InputError("expected a model of a table for --where, got one of other data; leave it out")
    kinds = {column.name: j for j, column in enumerate(schema.kinds)}
    for option in options:
        name, equals, text = (part.strip() for part in option.partition("="))
        if not (name and equals and text):
            raise InputError(f"--where takes NAME=VALUE, such as age=40, got {option!r}")
        if name not in kinds:
            near = get_close_matches(name, kinds, n=1, cutoff=0.0)
            raise InputError(f"the model has no column {name!r}; did you mean {near[0]!r}?")
        if not math.isnan(row[kinds[name]]):
            raise InputError(f"--where gives column {name!r} twice; give it once")
        row[kinds[name]] = encoded_cell(text, schema.kinds[kinds[name]])
    return row


def write_schema(path: Path, columns: dict[str, dict[str, Any]], force: bool) -> None:
    """A schema file, `.json` or `.toml`, that `read_schema` reads."""
    if format_of(path) not in ("json", "toml"):
        raise InputError(f"expected a schema file that ends in .json or .toml, got {path}; name it so")
    text = json.dumps({"columns": columns}, indent=2, ensure_ascii=False) + "\n"
    write_text(path, _toml(columns) if format_of(path) == "toml" else text, force)


def _toml(columns: dict[str, dict[str, Any]]) -> str:
    """Texts, numbers, truth values and lists of texts look in TOML as they do in JSON."""

    def word(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

    return "\n".join(
        f"[columns.{word(name)}]\n" + "".join(f"{key} = {word(value)}\n" for key, value in record.items())
        for name, record in columns.items()
    )


def rows(
    model: Model, source: str, resize: str | None, stream: bool | None, part: str, limit: int | None = None
) -> Dataset:
    """The chosen rows of DATA, of the model's shape, and complete unless the model is for incomplete data."""
    data, index = chosen(model, source, resize, stream, part, limit)
    count, first = missing(data.observed, index)
    if count and not model.vae.incomplete:
        where = place(first, data.schema.columns)
        raise InputError(
            f"expected a value in every cell, got none in {where} of {data.source}; fill it, or drop the row"
        )
    values = subset(data.values, index)
    order = columns_of(model.schema, data)
    values = values if order is None else mapped(lambda block: block[:, order], values)
    model.schema.check(values)
    return replace(
        data, values=values, observed=None, labels=None, test_rows=None, names=names_of(data, index)
    )


def chosen(
    model: Model, source: str, resize: str | None, stream: bool | None, part: str, limit: int | None = None
) -> tuple[Dataset, np.ndarray]:
    """DATA, and the numbers of its chosen rows."""
    at_least_one("limit", limit)
    data = read(source, resize, stream, schema=model.schema)
    return data, model.rows(data, part)[:limit]


def names_of(data: Dataset, index: np.ndarray) -> tuple[str, ...] | None:
    """The names of some rows."""
    return None if data.names is None else tuple(data.names[i] for i in index)


def columns_of(schema: Schema, data: Dataset) -> list[int] | None:
    """Where the model's columns stand in a table; None where they stand in order, or have no names."""
    there = data.schema.columns
    if schema.columns is None or there is None or not (schema.header and data.schema.header):
        return None
    absent = [name for name in schema.columns if name not in there]
    if absent:
        raise InputError(
            f"expected the columns that the model was trained on in {data.source}, got none called "
            f"{listed(absent)}; add what is missing, and leave cells empty where nothing is known"
        )
    unknown = [name for name in there if name not in schema.columns]
    if unknown:
        raise InputError(
            f"expected only the columns that the model was trained on in {data.source}, got "
            f"{listed(unknown)} as well; leave them out"
        )
    return None if there == schema.columns else [there.index(name) for name in schema.columns]


def named_values(text: str, option: str) -> dict[str, str]:
    """The pairs of `name=value,…`.

    >>> named_values("alpha=0.5, gamma=2", "objective-args")
    {'alpha': '0.5', 'gamma': '2'}
    """
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name.strip() and value.strip() for name, _, value in pairs):
        raise InputError(f"--{option} takes name=value pairs, such as alpha=0.5,gamma=2, got {text!r}")
    return {name.strip(): value.strip() for name, _, value in pairs}


def report_seen(model: Model, values: Rows, part: str) -> None:
    """Say how many of the rows were trained on: a warning, unless they were asked for."""
    seen = model.seen(values)
    if seen and part == "train":
        say("these are rows that the model was trained on")
    elif seen:
        console.warn(f"{seen} of {len(values)} rows are among those that the model was trained on")


def at_least_one(name: str, value: int | None) -> None:
    """InputError for an option below 1."""
    if value is not None and value < 1:
        raise InputError(f"--{name} has to be at least 1, got {value}")


def given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def refuse(purpose: str, **options: Any) -> None:
    """InputError for options that were given and belong to something else."""
    for name in given(**options):
        raise InputError(f"--{name} belongs to {purpose}; leave it out")


def fit_prior(model: Model, prior: str, components: int | None, source: str | None, seed: int) -> None:
    """Fit the prior to the codes of the run's training rows, or of DATA where that is other data."""
    one_of("prior", prior, ["mixture"])
    at_least_one("components", components)
    try:
        data = load(source or model.source, schema=model.schema)
    except InputError as error:
        if source is not None:
            raise
        raise InputError(f"the run's own data cannot be loaded, give it with --data ({error})") from None
    values = subset(data.values, model.splits.train) if model.trained_on(data) else data.values
    usual = model.options.prior.values.get("components", MixturePrior().components)
    model.fit_prior(values, usual if components is None else components, seed)


# -- results out ----------------------------------------------------------------------------------------


def check_paths(paths: list[Path], force: bool) -> None:
    """Before anything is computed; the writers check again."""
    for path in paths:
        check_path(path, force)


def beside(path: Path, kind: str) -> Path:
    """FILE with `kind` before its ending.

    >>> beside(Path("a/z.csv.gz"), "std").as_posix()
    'a/z.std.csv.gz'
    """
    packed = path.suffix if path.suffix.lower() == ".gz" else ""
    inner = Path(path.name.removesuffix(packed))
    return path.with_name(f"{inner.stem}.{kind}{inner.suffix}{packed}")


def write_codes(path: Path, codes: torch.Tensor, force: bool) -> None:
    """Codes (N, D) as a table."""
    write_table(path, _columns(codes.cpu().numpy()), force)


def _columns(codes: np.ndarray) -> dict[str, np.ndarray]:
    return {f"z_{j}": codes[:, j] for j in range(codes.shape[1])}


def write_scores(path: Path, scores: Scores, schema: Schema, force: bool) -> None:
    """A row for each observation: its log-evidence, its p-value and the columns that make it strange."""
    columns: dict[str, Any] = {"log_evidence": scores.log_evidence, "p_value": scores.p_value}
    if scores.surprise.size:
        names = schema.columns or [f"column {j + 1}" for j in range(schema.numel)]
        strange = ["; ".join(names[j] for j in row) for row in scores.strange()]
        columns["strange"] = np.array(strange, dtype=object)
    write_table(path, columns, force)


def write_code_draws(path: Path, q: CodeDistribution, draws: int, seed: int, force: bool) -> None:
    """Arrays are (M, N, D); tables have a line for each row and draw."""
    z = q.sample(draws, torch.Generator(q.mean.device).manual_seed(seed)).cpu().numpy()
    if format_of(path) in ("npy", "npz"):
        write(path, z, Schema(kind="array", shape=z.shape[1:], dtype="float32"), force=force)
        return
    index = {"row": np.repeat(np.arange(z.shape[1]), draws), "draw": np.tile(np.arange(draws), z.shape[1])}
    write_table(path, {**index, **_columns(z.swapaxes(0, 1).reshape(-1, z.shape[2]))}, force)


def write_observations(
    path: Path, x: Rows, schema: Schema, names: tuple[str, ...] | None, force: bool
) -> None:
    """Observations in the data's own type; pictures round by themselves, to finer shades than the data's.

    The mean of binary data is a probability, and rounding it would leave nothing.
    """
    write(path, in_stored_type(format_of(path), x, schema), schema, names, force)


def in_stored_type(form: str, x: Rows, schema: Schema) -> Rows:
    """The same observations as they are written in a format."""
    probabilities = x.dtype.kind == "f" and schema.levels == 2 and schema.maximum == 1
    if form in ("", "png") or x.dtype == np.dtype(schema.dtype) or probabilities:
        return x
    return mapped(schema.stored, x)


def write_pairs(path: Path, originals: Rows, x: Rows, schema: Schema, force: bool) -> None:
    """A picture with lines of originals, each above the line of their reconstructions."""
    above, below = pixels(np.asarray(originals), schema), pixels(np.asarray(x), schema)
    columns = min(len(above), max(10, math.isqrt(2 * len(above))))
    lines = []
    for start in range(0, len(above), columns):
        for images in (above, below):
            line = images[start : start + columns]
            blank = np.zeros((columns - len(line), *line.shape[1:]), np.uint8)
            lines.append(np.concatenate([line, blank]))
    with atomic_path(path, force) as temporary:
        contact_sheet(np.concatenate(lines), columns).save(temporary, format="PNG")


def _trained_in(run: Path, model: Model) -> list[Path]:
    """The folders of single models: of an ensemble those of its members."""
    count = len(model.members)
    return [run] if count == 1 else [run / member_folder(number) for number in range(count)]


def picture_of(run: Path, model: Model) -> Path:
    """Where the picture of the training is, of an ensemble that of the first member."""
    return _trained_in(run, model)[0] / PICTURE


def write_training_pictures(run: Path, model: Model) -> None:
    """RUN/training.png, of an ensemble one for each member."""
    from backstory.report import (
        training as plots,
    )  # matplotlib takes half a second to import, and only fit needs it

    for folder, member in zip(_trained_in(run, model), model.members, strict=True):
        if metrics := checkpoint.read_metrics(folder):
            plots.save(plots.training_figure(metrics, member.summary["best_epoch"]), folder / PICTURE)
