"""Values back to files of the kind that they came from; every file is written whole or not at all."""

import gzip
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from backstory.data.idx import write_idx
from backstory.data.npy import write_npy, write_npz
from backstory.data.pictures import contact_sheet, pixels, write_image
from backstory.data.rows import Rows, mapped
from backstory.data.schema import Schema
from backstory.errors import InputError
from backstory.files import TABLES, atomic_path, check_writable, format_of, is_gzipped

_COMPRESSED = ("npz", "parquet", "png")  # formats that .gz would not make smaller
_FORMATS = (*TABLES, "npy", "npz", "idx", "png", "")

Writer = Callable[[BinaryIO], None]


def write(
    path: str | os.PathLike[str],
    values: Rows,
    schema: Schema,
    names: Sequence[str] | None = None,
    force: bool = False,
    form: str | None = None,
) -> Path:
    """Writes observations in the format that the ending of `path` means.

    The formats are `.npy`, `.npz` (the array `x`), `.csv`, `.tsv`, `.parquet` (a table's own columns;
    otherwise flattened rows) and IDX (`.idx`, `-idx3-ubyte`), with `.gz` after all but npz and parquet;
    `.png` for one image, or for a contact sheet of several; no ending for a folder of PNG files. Missing
    folders are made.

    Args:
        path: where to write.
        values: (N, *schema.shape) in the stored type, see `Schema.restore`. Rows that stay in a file are
            written to `.npy` and folders by blocks, and read into memory for the other formats.
        schema: the description of one observation.
        names: of the N files of a folder, whose endings become `.png`; by default they are numbered from 0.
        force: replace an existing file or folder. A folder with any other file than PNG is never replaced.
        form: the format, such as `npy`, or empty for a folder; by default the one that the ending means.

    Returns:
        The path.

    Raises:
        InputError: the path exists or cannot be written to, or the format cannot hold the values.
    """
    path = Path(path)
    form = format_of(path) if form is None else form
    check_format(path, form)
    if form == "":
        return _write_folder(path, values, schema, names, force)
    if form in TABLES:
        from backstory.data.tables.frames import to_frame, write_frame  # with pandas, which is slow to import

        return _write_file(
            path,
            force,
            lambda h: write_frame(
                h, to_frame(np.asarray(values), schema), form, schema.header, schema.separator
            ),
        )
    writers: dict[str, Writer] = {
        "npy": lambda handle: write_npy(handle, _laid_out(values, schema)),
        "npz": lambda handle: write_npz(handle, {"x": np.asarray(_laid_out(values, schema))}),
        "idx": lambda handle: write_idx(handle, np.asarray(_laid_out(values, schema))),
        "png": lambda handle: _write_picture(handle, np.asarray(values), schema),
    }
    return _write_file(path, force, writers[form])


def _laid_out(values: Rows, schema: Schema) -> Rows:
    """Images as their arrays came: with their channels first where they were."""
    if schema.channels != "first" or len(schema.shape) < 3:
        return values
    return mapped(lambda block: np.moveaxis(block, -1, -3), values)


def check_format(path: Path, form: str | None = None) -> None:
    """Raise InputError for a format that `write` does not know, by default the one that the ending means."""
    if (format_of(path) if form is None else form) not in _FORMATS:
        raise _unknown(
            path, "npy, .npz, .csv, .tsv, .parquet, .png, .idx, or no ending for a folder of images"
        )


def check_path(path: Path, force: bool = False) -> None:
    """Raise InputError, before any work, for a path that `write` would refuse whatever the values are."""
    _check_compression(path)
    _check_folder(path)
    check_writable(path, force)


def write_table(
    path: str | os.PathLike[str],
    columns: Mapping[str, Any],
    force: bool = False,
    header: bool = True,
    separator: str | None = None,
) -> Path:
    """Writes results by column to `.csv`, `.tsv`, `.parquet`, `.npy` (side by side) or `.npz` (by name).

    Args:
        path: where to write.
        columns: arrays or series (N,) by name, such as z_0, z_1, ….
        force: replace an existing file.
        header: whether a text table names the columns.
        separator: between the cells of a row of `.csv`, by default a comma.

    Raises:
        InputError: the path exists, the format is another, or it cannot be written to.
    """
    path = Path(path)
    form = format_of(path)
    # texts get a fixed length, because an array of objects could only be saved as a pickle
    arrays = {n: a.astype(str) if a.dtype == object else a for n, a in columns.items()}
    if form in TABLES:
        import pandas as pd

        from backstory.data.tables.frames import write_frame

        return _write_file(
            path,
            force,
            lambda handle: write_frame(handle, pd.DataFrame(dict(columns)), form, header, separator),
        )
    if form == "npy":
        return _write_file(path, force, lambda handle: write_npy(handle, np.column_stack([*arrays.values()])))
    if form == "npz":
        return _write_file(path, force, lambda handle: write_npz(handle, arrays))
    raise _unknown(path, "csv, .tsv, .parquet, .npy or .npz")


def write_text(path: str | os.PathLike[str], text: str, force: bool = False) -> Path:
    """Writes text as it is, compressed where the ending is `.gz`."""

    def write_bytes(handle: BinaryIO) -> None:
        handle.write(text.encode())

    return _write_file(Path(path), force, write_bytes)


def _write_file(path: Path, force: bool, writer: Writer) -> Path:
    _check_compression(path)
    with atomic_path(path, force) as temporary, temporary.open("wb") as handle:
        if is_gzipped(path):
            # no name and no date inside: equal values give equal bytes
            with gzip.GzipFile("", "wb", 6, handle, mtime=0) as packed:
                writer(cast(BinaryIO, packed))
        else:
            writer(handle)
    return path


def _check_compression(path: Path) -> None:
    if is_gzipped(path) and format_of(path) in _COMPRESSED:
        raise InputError(
            f"expected an ending without .gz for a compressed format, got {path.name!r}; leave .gz out"
        )


def _write_picture(handle: BinaryIO, values: np.ndarray, schema: Schema) -> None:
    if len(values) == 1:
        write_image(handle, values[0], schema)
    else:
        contact_sheet(pixels(values, schema)).save(handle, format="PNG")


def write_sheet(
    path: str | os.PathLike[str],
    values: np.ndarray,
    schema: Schema,
    force: bool = False,
) -> Path:
    """Writes images (N, *schema.shape) as one picture, which is nearly square."""

    def save(handle: BinaryIO) -> None:
        contact_sheet(pixels(values, schema)).save(handle, format="PNG")

    return _write_file(Path(path), force, save)


def _write_folder(path: Path, values: Rows, schema: Schema, names: Sequence[str] | None, force: bool) -> Path:
    _check_folder(path)
    files = _file_names(names, len(values))
    with atomic_path(path, force) as folder:
        folder.mkdir()
        for name, value in zip(files, values, strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("wb") as handle:
                write_image(handle, value, schema)
    return path


def _check_folder(path: Path) -> None:
    if path.is_dir() and any(f.suffix.lower() != ".png" for f in path.rglob("*") if not f.is_dir()):
        raise InputError(
            f"expected a folder for images alone, got {path}, which holds other files; choose another folder"
        )


def _file_names(names: Sequence[str] | None, count: int) -> list[str]:
    if names is None:
        width = len(str(count - 1))
        return [f"{i:0{width}d}.png" for i in range(count)]
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in names):
        raise InputError("expected names of files inside the folder, got one that leads out of it; rename it")
    renamed = [Path(name).with_suffix(".png").as_posix() for name in names]
    # a.jpg and a.png would both become a.png
    return renamed if len(set(renamed)) == count else [f"{name}.png" for name in names]


def _unknown(path: Path, known: str) -> InputError:
    return InputError(
        f"expected a file name that ends in .{known}, got {path.name!r}; choose one of these endings"
    )
