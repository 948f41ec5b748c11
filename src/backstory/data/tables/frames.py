"""Stored values of tables as pandas frames, to be written or to fill the frames that they came from."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_float_dtype, is_timedelta64_dtype

from backstory.data.binary import open_binary
from backstory.data.dataset import Dataset
from backstory.data.rows import Rows
from backstory.data.schema import Schema
from backstory.data.tables.cells import Cells
from backstory.data.tables.columns import Column, LeftOut
from backstory.data.tables.decode import decoded, typed
from backstory.data.tables.encode import is_categorical, is_text
from backstory.data.tables.foreign import parquet_engine, read_excel
from backstory.data.tables.stated import beside_conditions
from backstory.data.tables.text import TextTable
from backstory.files import EXCEL, SEPARATORS, format_of, reading


def to_frame(values: np.ndarray, schema: Schema) -> pd.DataFrame:
    """Stored values (N, …) as a frame: a table's own columns, or pixel_0, … or x_0, … of flattened rows.

    Levels become texts, numbers of days become dates, and constant columns and those that others give return
    to their places.
    """
    flat = values.reshape(len(values), -1)
    if not schema.kinds:
        stem = "pixel" if schema.kind == "images" else "x"
        names = schema.columns or [f"{stem}_{j}" for j in range(flat.shape[1])]
        return pd.DataFrame(flat, columns=list(names))
    cells = schema.cells(flat.astype(np.float64))
    series = {c.name: decoded(cells[:, j], c) for j, c in enumerate(schema.cell_kinds)}
    given = {name: series.pop(name) for name in schema.related.without_density}
    frame = pd.DataFrame(series)
    absent = 0
    for column in sorted(schema.left_out, key=lambda c: c.place):
        if column.reason == "constant":
            given[column.name] = _constant(column, len(frame))
        if column.name in given:
            frame.insert(min(column.place - absent, frame.shape[1]), column.name, given[column.name])
        else:
            absent += 1
    return frame


def of_training_types(values: Rows, schema: Schema) -> pd.DataFrame:
    """Stored values of a table as a frame of the types that pandas gives such columns when it reads them.

    Whole numbers without gaps are of int64, and texts of the type of texts, unless the columns have another
    type; see `to_frame`.
    """
    frame = to_frame(np.asarray(values), schema)
    columns: list[Column | LeftOut] = [*schema.cell_kinds, *schema.left_out]
    told = {column.name for column in columns if column.dtype is not None}
    return pd.DataFrame({name: cells if name in told else _read(cells) for name, cells in frame.items()})


def _read(cells: pd.Series) -> pd.Series:
    """Cells in the type that pandas gives them when it reads them."""
    if str(cells.dtype) == "Int64" and cells.notna().all():
        return cells.astype("int64")
    return cells.infer_objects()  # of one column: pandas 3 makes no texts of several columns of objects


def drawn_frame(
    values: np.ndarray, schema: Schema, seed: int, stated: np.ndarray | None = None
) -> pd.DataFrame:
    """Drawn stored values of a table, (N, C), as a frame of the training types, with real rare levels.

    So have the conditions: a draw at the level of rare ones is at one of these.

    Args:
        values: of the modelled columns.
        schema: of the table.
        seed: of the rare levels.
        stated: the stored numbers of the conditions, (N, K), which become columns; None without.
    """
    numbers = with_rare_numbers(np.asarray(values, np.float64), schema, seed)
    rows, whole = beside_conditions(numbers, schema, stated)
    return with_rare_levels(of_training_types(rows, whole), whole.kinds, seed)


def with_rare_numbers(values: np.ndarray, schema: Schema, seed: int) -> np.ndarray:
    """Stored values, (N, C), with numbers of rare texts by their frequency, where these decide on others.

    See `Related.stored`: the cells of such columns tell rare texts apart.
    """
    apart = {column.name for column in schema.related.columns}
    for j, column in enumerate(schema.kinds):
        if column.name in apart and column.rare_levels and column.levels is not None:
            first, counts = len(column.levels) - 1, np.array([count for _, count in column.rare_levels])
            rows = np.flatnonzero(values[:, j] == first)
            drawn = np.random.default_rng([seed, j]).choice(len(counts), len(rows), p=counts / counts.sum())
            values = values.copy()
            values[rows, j] = first + drawn
    return values


def with_rare_levels(frame: pd.DataFrame, kinds: Sequence[Column], seed: int) -> pd.DataFrame:
    """The frame with rare texts, drawn by their frequency in training, where a cell stands for them."""
    frame = frame.copy()
    for number, column in enumerate(kinds):
        if column.rare_levels and column.levels is not None:
            words, counts = zip(*column.rare_levels, strict=True)
            cells = frame[column.name].astype(object)
            rows = np.flatnonzero(cells == column.levels[-1])
            generator = np.random.default_rng([seed, number])
            drawn = generator.choice(np.array(words, object), len(rows), p=np.array(counts) / sum(counts))
            cells.iloc[rows] = drawn
            frame[column.name] = typed(cells, _without(frame[column.name], {column.levels[-1]} - {*words}))
    return frame


def _without(cells: pd.Series, levels: set[str]) -> Any:
    """The type of a column; of categories, those without some levels."""
    return cells.cat.remove_categories([*levels]).dtype if is_categorical(cells) else cells.dtype


def _constant(column: LeftOut, rows: int) -> pd.Series:
    """The cells of a constant column."""
    level, stored = column.as_level()
    cells = decoded(np.full(rows, stored), level)
    return cells.astype("int64") if column.cells == "whole" and column.dtype is None else cells


def write_frame(
    handle: BinaryIO, frame: pd.DataFrame, form: str, header: bool = True, separator: str | None = None
) -> None:
    """Writes a frame as `csv`, with a separator of its own, `tsv` or `parquet`; numbers stay exact."""
    if form == "parquet":
        buffer = io.BytesIO()
        with parquet_engine():
            frame.to_parquet(buffer, index=False)
        handle.write(buffer.getbuffer())
    else:
        separator = (separator if form == "csv" else None) or SEPARATORS[form]
        frame.to_csv(handle, sep=separator, header=header, index=False, lineterminator="\n")


def filled(frame: pd.DataFrame, changed: Cells) -> pd.DataFrame:
    """A frame with some cells filled, and an index from 0 on."""
    frame = frame.reset_index(drop=True)
    for j, (place, column) in enumerate(zip(changed.places, changed.kinds, strict=True)):
        cells = frame.iloc[:, place]
        chosen = changed.fill[:, j] & (~changed.empty[:, j] | cells.isna().to_numpy())
        if chosen.any():
            new = _decoded_for(cells, changed.values[:, j].astype(np.float64), column)
            if is_bool_dtype(new) and is_float_dtype(cells):  # truth values in a column of numbers
                new = pd.Series(new.to_numpy(np.float64, na_value=np.nan))
            mixed = cells.astype(object).where(~chosen, new.astype(object))
            whole = typed(mixed, _type_for(cells, mixed) or str(new.dtype))
            frame.isetitem(place, _of_one_type(whole).array)
    return frame


def _decoded_for(cells: pd.Series, values: np.ndarray, column: Column) -> pd.Series:
    """Stored values as cells; durations in the type of the column that they go to, whatever training had."""
    if column.seconds is None or not is_timedelta64_dtype(cells):
        return decoded(values, column)
    return typed(pd.Series(column.in_steps(values) * column.seconds), cells.dtype)


def _of_one_type(cells: pd.Series) -> pd.Series:
    """Cells of which some are texts and some are not, as texts; others as they are."""
    mixed = cells.dtype == object and pd.api.types.infer_dtype(cells, skipna=True).startswith("mixed")
    return cells.map(str, na_action="ignore") if mixed else cells


def _type_for(cells: pd.Series, mixed: pd.Series) -> Any:
    """The type of a column of texts or categories, if it can hold the new cells."""
    if is_categorical(cells):
        return cells.dtype if mixed.dropna().isin(cells.cat.categories).all() else None
    return cells.dtype if is_text(cells) else None


def whole_frame(path: Path, data: Dataset) -> pd.DataFrame:
    """All columns of a table's file, of which `data` is the content."""
    form = format_of(path)
    if form in EXCEL:
        return read_excel(path)
    if form == "parquet":
        with reading(path, "a table"), open_binary(path) as handle, parquet_engine():
            return pd.read_parquet(handle).reset_index(drop=True)
    with reading(path, "a table"), TextTable.open(path, SEPARATORS[form], data.schema.told) as table:
        places, names = data.places or (), table.names()
        columns = data.schema.cell_kinds[: len(places)]
        words = {place: column.as_text for place, column in zip(places, columns, strict=True)}
        words |= {cells.place: cells.column.cells == "text" for cells in data.constants}
        kept = {names[place]: c.kept for place, c in zip(places, data.schema.kinds, strict=True) if c.kept}
        parts = list(table.parts([name for place, name in enumerate(names) if words.get(place, True)], kept))
    return _with_numbers(pd.concat(parts), [j for j in range(len(names)) if j not in words])


def _with_numbers(frame: pd.DataFrame, places: Sequence[int]) -> pd.DataFrame:
    """A frame with columns of texts as numbers, if these are written in the same way: 007 stays a text."""
    for place in places:
        cells = frame.iloc[:, place]
        numbers = pd.to_numeric(cells, errors="coerce")
        if numbers.notna().all() and (numbers.astype(str) == cells).all():
            frame[frame.columns[place]] = numbers
    return frame
