"""A Dataset from any source: a name, a path, an array, a tensor or a frame."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import torch

from backstory.data.arrays import from_array
from backstory.data.dataset import Dataset
from backstory.data.decoding import is_image, suffixes
from backstory.data.idx import idx_parts, load_idx, load_idx_folder
from backstory.data.images import load_images
from backstory.data.npy import load_numpy
from backstory.data.paths import ACCEPTED, path_of
from backstory.data.reading import OF_ARRAYS, OF_IMAGES, OF_RELATIONS, OF_TABLES, Reading
from backstory.data.tables.columns import Columns
from backstory.errors import InputError
from backstory.files import EXCEL, TABLES, format_of, is_database

if TYPE_CHECKING:
    import pandas as pd

    from backstory.data.schema import Schema


class ArrowStream(Protocol):
    """A table of a library that speaks the Arrow interchange protocol."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...


Source: TypeAlias = "str | os.PathLike[str] | np.ndarray | torch.Tensor | pd.DataFrame | ArrowStream"

_FORMATS = (*TABLES, *EXCEL, "npy", "npz", "idx")
_DIGITS_TEST_ROWS = 360


def load(
    source: Source,
    resize: int | tuple[int, int] | None = None,
    stream: bool | None = None,
    columns: Columns | None = None,
    schema: "Schema | None" = None,
    **reading: Any,
) -> Dataset:
    """The data of any source as one record.

    Args:
        source: the name of an embedded data set (`"digits"`); the path of a `.npy`, `.npz`, `.csv`, `.tsv`,
            `.parquet` or IDX file (each also `.gz`), of an image, of a folder of images or of MNIST-style IDX
            files; of an Excel file; the address of a table in a database, such as sqlite:///shop.db#customers,
            or of a query after the #; a NumPy array or torch tensor with observations along the first axis; a
            pandas frame, or a table of another library (Polars, DuckDB, pyarrow, …).
        resize: (height, width), or one number for both, that image files are brought to.
        stream: whether the values stay in a file and are read when they are needed; by default if they would
            take more than 1 GiB in memory. An uncompressed `.npy` or IDX file is read where it lies, others
            are decoded into a temporary file first, in the folder that TMPDIR names. Embedded sets, arrays
            and frames stay in memory.
        columns: for tables, what some columns hold, by name: `continuous`, `count`, `binary`, `categorical`,
            `ordinal:low,middle,high`, `date:%d/%m/%Y`, `duration` or `ignore`. The kinds of the others are
            inferred.
        schema: the schema to read by, such as a trained model's. A table is read with its columns in its
            order, its kinds and its levels, or as numbers alone if it describes an array. An unknown level
            becomes the level of rare ones, the nearest one if levels are numbers in order, or else an empty
            cell, with a warning. Image files get its channels and, if its images were resized, its size.
            Columns and labels that are conditions in this schema become `Dataset.given`.
        reading: for arrays `kind` (`images` or `array`), `channels` (`first` or `last`) and `range` (the
            numbers of black and of white); for tables `separator`, `decimal`, `encoding`, `header`, `index`,
            `missing` and `keep_missing_as_level`, see `backstory.data.tables.layout.Told`, and `relations`,
            `no_relation` and `constraints`, see `backstory.data.tables.wishes`; for image files
            `aspect`, `alpha`, `pages`, `skip_damaged` and `limit`. See `backstory.data.reading.Reading`.

    Raises:
        InputError: the data cannot be read; the message says what was expected, what came, and what to do.

    >>> data = load("digits")
    >>> len(data), data.schema.shape, data.schema.levels, len(data.test_rows)
    (1797, (8, 8), 17, 360)
    """
    asked = Reading.of(resize=resize, stream=stream, columns=columns, **reading)
    return read_source(source, asked, schema)


def read_source(source: Source, reading: Reading, schema: "Schema | None" = None) -> Dataset:
    """The data of any source as one record, see `load`."""
    dataset = _read(source, reading, schema)
    if schema is None or dataset.given is not None or dataset.labels is None:
        return dataset
    return dataset.conditioned_as([c for c in schema.conditions if dataset.tells(c)])


def _read(source: Source, reading: Reading, schema: "Schema | None") -> Dataset:
    path = path_of(source)
    if path is not None and holds_images(path):
        _refuse(
            reading, ["channels", "columns", *OF_TABLES, *OF_RELATIONS] + ["kind"] * (reading.kind == "array")
        )
        return load_images(path, reading, schema if schema is not None and schema.kind == "images" else None)
    _refuse(reading, OF_IMAGES)
    if _is_table(source, path):
        _refuse(reading, OF_ARRAYS)
        known = schema if schema is not None and schema.kind != "images" else None
        return _load_table(source, path, reading, known)
    _refuse(reading, ["columns", *OF_TABLES, *OF_RELATIONS])
    reading = _as_model(reading, schema)
    return _load_memory(source, reading) if path is None else _load_file(path, reading)


_BELONGS = {
    **dict.fromkeys(OF_IMAGES, "a folder of images or an image"),
    **dict.fromkeys(OF_ARRAYS, "an array"),
    **dict.fromkeys(("columns", *OF_TABLES, *OF_RELATIONS), "a table"),
}


def column_names(source: Source) -> list[str] | None:
    """The names of a table's columns; None for other data, and for a table that does not name them."""
    path = path_of(source)
    if not _is_table(source, path):
        return None
    from backstory.data.tables.sources import opened

    with opened(source if path is None else path) as table:
        return list(table.names) if table.header else None


def is_table(source: Source) -> bool:
    """Whether a source is a table with named columns."""
    return _is_table(source, path_of(source))


def _refuse(reading: Reading, names: Sequence[str]) -> None:
    """Raise InputError for an option that belongs to data of another kind."""
    for name in reading.chosen(names):
        if name != "columns" or reading.columns:
            raise InputError(
                f"expected {_BELONGS[name]} for `{name}`, got data of another kind; leave it out"
            )


def _as_model(reading: Reading, schema: "Schema | None") -> Reading:
    """The reading of arrays that a model's own had, where a person says nothing."""
    if schema is None or reading.chosen(OF_ARRAYS):
        return reading
    if schema.kind == "images":
        return replace(reading, kind="images", channels=schema.channels, by_model=True)
    return replace(reading, kind="array", by_model=True)


def _is_table(source: Source, path: Path | None) -> bool:
    if path is None:
        return is_database(source) or _is_frame(source)
    return format_of(path) in (*TABLES, *EXCEL) and not path.is_dir()


def _is_frame(source: Source) -> bool:
    if isinstance(source, str | os.PathLike | np.ndarray | torch.Tensor):
        return False
    from backstory.data.tables.foreign import is_foreign_frame

    return is_foreign_frame(source)


def holds_images(path: Path) -> bool:
    """Whether a path is an image or a folder of images."""
    if path.is_dir():
        return not idx_parts(path)
    form = format_of(path)
    return form in suffixes() or (form not in _FORMATS and is_image(path))


def _load_file(path: Path, reading: Reading) -> Dataset:
    if path.is_dir():
        return load_idx_folder(path, reading)
    form = format_of(path)
    if form in ("npy", "npz"):
        return load_numpy(path, reading)
    if form == "idx":
        return load_idx(path, reading)
    raise InputError(f"expected {ACCEPTED}, got {str(path)!r}; convert it to one of these")


def _load_table(source: Any, path: Path | None, reading: Reading, schema: "Schema | None") -> Dataset:
    from backstory.data.tables.sources import opened  # with pandas, which is slow to import

    if hasattr(source, "to_frame"):  # one column, of pandas or Polars
        raise InputError(f"expected a table, got {type(source).__name__}; {_advice(source)}")
    with opened(source if path is None else path, reading, schema) as table:
        return table.dataset(schema)


def _load_memory(source: Any, reading: Reading) -> Dataset:
    if isinstance(source, str):
        return _MAKERS[source]()
    if isinstance(source, torch.Tensor):
        tensor = source.detach().cpu()
        array = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        return from_array(array, "tensor", reading=reading)
    if isinstance(source, np.ndarray):
        return from_array(source, reading=reading)
    raise InputError(
        "expected the name of an embedded data set, a path, an array, a tensor or a data frame, "
        f"got {type(source).__name__}; {_advice(source)}"
    )


def _advice(source: Any) -> str:
    """How to make one of the sources of something else."""
    if hasattr(source, "toarray"):
        return "make an array of it with .toarray()"
    if hasattr(source, "to_frame"):
        return "make a frame of it with .to_frame()"
    if hasattr(source, "dataset") and hasattr(source, "batch_size"):
        return "give its observations as one tensor, such as torch.cat([batch for batch in loader])"
    if (
        hasattr(source, "__getitem__")
        and hasattr(source, "__len__")
        and not isinstance(source, list | tuple | dict)
    ):
        return "give its observations as one tensor, such as torch.stack([item for item in dataset])"
    return "convert it with numpy.asarray"


def _digits() -> Dataset:
    from sklearn.datasets import load_digits  # slow to import, and rarely needed

    digits = load_digits()
    test = np.random.default_rng(0).permutation(len(digits.images))[:_DIGITS_TEST_ROWS]
    return from_array(
        digits.images.astype(np.uint8), "digits", labels=digits.target, test_rows=np.sort(test), maximum=16
    )


_MAKERS: dict[str, Callable[[], Dataset]] = {"digits": _digits}  # of each in EMBEDDED
