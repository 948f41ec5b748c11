"""A Dataset from any source: a name, a path, an array, a tensor or a frame."""

import difflib
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import torch

from backstory.data.arrays import from_array
from backstory.data.dataset import Dataset
from backstory.data.idx import idx_parts, load_idx, load_idx_folder
from backstory.data.images import SUFFIXES, load_images
from backstory.data.npy import load_numpy
from backstory.data.rows import LIMIT
from backstory.data.tables.columns import Columns
from backstory.errors import InputError
from backstory.files import SEPARATORS, format_of, reading

if TYPE_CHECKING:
    import pandas as pd

    from backstory.data.schema import Schema


class ArrowStream(Protocol):
    """A table of a library that speaks the Arrow interchange protocol."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...


Source: TypeAlias = "str | os.PathLike[str] | np.ndarray | torch.Tensor | pd.DataFrame | ArrowStream"

_LIMITS = {None: LIMIT, True: 0, False: math.inf}  # bytes in memory
_DIGITS_TEST_ROWS = 360
_ACCEPTED = (
    ".npy, .npz, .csv, .tsv, .parquet or IDX (each also .gz), an image, or a folder of images or IDX files"
)


def load(
    source: Source,
    resize: int | tuple[int, int] | None = None,
    stream: bool | None = None,
    columns: Columns | None = None,
    schema: "Schema | None" = None,
) -> Dataset:
    """The data of any source as one record.

    Args:
        source: the name of an embedded data set (`"digits"`); the path of a `.npy`, `.npz`, `.csv`, `.tsv`,
            `.parquet` or IDX file (each also `.gz`), of an image, of a folder of images or of MNIST-style IDX
            files; a NumPy array or torch tensor with observations along the first axis; a pandas frame, or
            a table of another library with the Arrow interchange protocol (Polars, pyarrow, …).
        resize: (height, width), or one number for both, that image files are brought to.
        stream: whether the values stay in a file and are read when they are needed; by default if they would
            take more than 1 GiB in memory. An uncompressed `.npy` or IDX file is read where it lies, others
            are decoded into a temporary file first, in the folder that TMPDIR names. Embedded sets, arrays
            and frames stay in memory.
        columns: for tables, what some columns hold, by name: `continuous`, `count`, `binary`, `categorical`,
            `ordinal:low,middle,high`, `date:%d/%m/%Y` or `ignore`. The kinds of the others are inferred.
        schema: for tables, the schema to read by, such as a trained model's: with its columns in its order,
            its kinds and its levels, or as numbers alone if it describes an array. An unknown level becomes
            the level of rare ones, the nearest one if levels are numbers in order, or else an empty cell,
            with a warning. Columns and labels that are conditions in this schema become `Dataset.given`.

    Raises:
        InputError: the data cannot be read; the message says what was expected, what came, and what to do.

    >>> data = load("digits")
    >>> len(data), data.schema.shape, data.schema.levels, len(data.test_rows)
    (1797, (8, 8), 17, 360)
    """
    dataset = _load(source, _size(resize), stream, columns, schema)
    if schema is None or dataset.given is not None or dataset.labels is None:
        return dataset
    return dataset.conditioned_as([c for c in schema.conditions if c.column is None])


def _load(
    source: Source,
    size: tuple[int, int] | None,
    stream: bool | None,
    columns: Columns | None,
    schema: "Schema | None",
) -> Dataset:
    path = _path(source)
    if path is not None and _holds_images(path):
        return load_images(path, size, _LIMITS[stream])
    if size is not None:
        raise InputError(
            "expected a folder of images or an image for `resize`, got data of another kind; "
            "leave `resize` out"
        )
    known = schema if schema is not None and schema.kind != "images" else None
    if path is None:
        return _load_memory(source, columns, known)
    form = format_of(path)
    if form in (*SEPARATORS, "parquet") and not path.is_dir():
        return _load_table(path, form, _LIMITS[stream], columns, known)
    _check_table(columns)
    return _load_file(path, form, _LIMITS[stream])


def _check_table(columns: Columns | None) -> None:
    if columns:
        raise InputError(
            "expected a table for a description of columns, got data of another kind; leave it out"
        )


def _size(resize: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if resize is None:
        return None
    size = (resize, resize) if isinstance(resize, int) else tuple(resize)
    if len(size) != 2 or min(size) < 1:
        raise InputError(
            f"expected a size of one or two positive numbers for `resize`, got {resize}; give 64, for example"
        )
    return size[0], size[1]


def _path(source: Source) -> Path | None:
    """The path of a source; None if it is in memory or embedded."""
    if not isinstance(source, str | os.PathLike) or source in EMBEDDED:
        return None
    path = Path(source).expanduser()
    with reading(path, "a data set"):
        if path.exists():
            return path
    near = difflib.get_close_matches(str(path), EMBEDDED, n=1)
    advice = f"did you mean {near[0]!r}?" if near else f"give {_ACCEPTED}, or the embedded set 'digits'"
    raise InputError(f"expected a data set, got {str(path)!r}, which does not exist; {advice}")


def _holds_images(path: Path) -> bool:
    return not idx_parts(path) if path.is_dir() else format_of(path) in SUFFIXES


def _load_file(path: Path, form: str, limit: float) -> Dataset:
    if path.is_dir():
        return load_idx_folder(path, limit)
    if form in ("npy", "npz"):
        return load_numpy(path, limit)
    if form == "idx":
        return load_idx(path, limit)
    raise InputError(f"expected {_ACCEPTED}, got {str(path)!r}; convert it to one of these")


def _load_table(
    path: Path, form: str, limit: float, columns: Columns | None, schema: "Schema | None"
) -> Dataset:
    from backstory.data.tables.read import load_csv, load_parquet  # with pandas, which is slow to import

    if form == "parquet":
        return load_parquet(path, limit, columns, schema)
    return load_csv(path, SEPARATORS[form], limit, columns, schema)


def _load_memory(source: Any, columns: Columns | None, schema: "Schema | None") -> Dataset:
    if hasattr(source, "__arrow_c_stream__"):
        return _load_frame(source, columns, schema)
    _check_table(columns)
    if isinstance(source, str):
        return EMBEDDED[source]()
    if isinstance(source, torch.Tensor):
        tensor = source.detach().cpu()
        return from_array((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy(), "tensor")
    if isinstance(source, np.ndarray):
        return from_array(source)
    raise InputError(
        "expected the name of an embedded data set, a path, an array, a tensor or a data frame, "
        f"got {type(source).__name__}; convert it with numpy.asarray"
    )


def _load_frame(source: Any, columns: Columns | None, schema: "Schema | None") -> Dataset:
    import pandas as pd

    from backstory.data.tables.read import from_arrow, from_frame

    if isinstance(source, pd.DataFrame):
        return from_frame(source, columns=columns, schema=schema)
    return from_arrow(source, columns, schema)


def _digits() -> Dataset:
    from sklearn.datasets import load_digits  # slow to import, and rarely needed

    digits = load_digits()
    test = np.random.default_rng(0).permutation(len(digits.images))[:_DIGITS_TEST_ROWS]
    return from_array(
        digits.images.astype(np.uint8), "digits", labels=digits.target, test_rows=np.sort(test), maximum=16
    )


EMBEDDED: dict[str, Callable[[], Dataset]] = {"digits": _digits}
