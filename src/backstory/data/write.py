"""Values back to files of the kind that they came from; every file is written whole or not at all."""

import errno
import gzip
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from backstory.data.files import SEPARATORS, format_of, write_idx, write_npz
from backstory.data.images import contact_sheet, pixels, write_image
from backstory.data.rows import Rows, blocks
from backstory.data.schema import Schema
from backstory.errors import InputError

_TABLES = (*SEPARATORS, "parquet")
_UNPACKED = ("npz", "parquet", "png")  # compressed already
_FORMS = (*_TABLES, "npy", "npz", "idx", "png", "")

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

    `.npy`, `.npz` (the array `x`), `.csv`, `.tsv`, `.parquet` (a table's own columns; otherwise flattened
    rows), IDX (`.idx`, `-idx3-ubyte`), with `.gz` after all but npz and parquet; `.png` for one image, or for
    a contact sheet of several; no ending for a folder of PNG files. Missing folders are made.

    Args:
        path: where to.
        values: (N, *schema.shape) in the stored type, see `Schema.restore`; what stays in a file is written
            to `.npy` and folders by blocks, and read into memory for the other formats.
        schema: what one observation is.
        names: of the N files of a folder, otherwise they are numbered from 0; their endings become `.png`.
        force: replace what is there. A folder that holds anything but PNG files is not replaced even so.
        form: the format, such as `npy`, or empty for a folder; by default what the ending means.

    Returns:
        The path.

    Raises:
        InputError: the path exists or cannot be written to, or the format cannot hold the values.
    """
    path = Path(path)
    form = format_of(path) if form is None else form
    check_format(path, form)
    if form in _TABLES:
        from backstory.data.tables.read import to_frame, write_frame  # with pandas, which is slow to import

        return _write_file(
            path, force, lambda h: write_frame(h, to_frame(np.asarray(values), schema), form, schema.header)
        )
    writers: dict[str, Writer] = {
        "npy": lambda handle: _write_npy(handle, values),
        "npz": lambda handle: write_npz(handle, {"x": np.asarray(values)}),
        "idx": lambda handle: write_idx(handle, np.asarray(values)),
        "png": lambda handle: _write_picture(handle, np.asarray(values), schema),
    }
    if form == "":
        return _write_folder(path, values, schema, names, force)
    return _write_file(path, force, writers[form])


def check_format(path: Path, form: str | None = None) -> None:
    """InputError for a format that `write` does not know, by default what the ending means."""
    if (format_of(path) if form is None else form) not in _FORMS:
        raise _unknown(
            path, "npy, .npz, .csv, .tsv, .parquet, .png, .idx, or no ending for a folder of images"
        )


def check_path(path: Path, force: bool = False) -> None:
    """InputError, before any work, for a path that would be refused whatever is written there."""
    _check_packed(path)
    _check_folder(path)
    with _writing(path):
        there = next(parent for parent in path.absolute().parents if parent.exists())
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "a part of the path is a file")
        _check_new(path, force)


def write_table(
    path: str | os.PathLike[str], columns: Mapping[str, Any], force: bool = False, header: bool = True
) -> Path:
    """Writes results by column to `.csv`, `.tsv`, `.parquet`, `.npy` (side by side) or `.npz` (by name).

    Args:
        path: where to.
        columns: arrays or series (N,) by name, such as z_0, z_1, ….
        force: replace what is there.
        header: whether a text table names the columns.

    Raises:
        InputError: the path exists, the format is another, or it cannot be written to.
    """
    path = Path(path)
    form = format_of(path)
    # texts as texts of fixed length: an array of objects could only be saved as a pickle
    arrays = {n: a.astype(str) if a.dtype == object else a for n, a in columns.items()}
    if form in _TABLES:
        import pandas as pd

        from backstory.data.tables.read import write_frame

        return _write_file(
            path, force, lambda handle: write_frame(handle, pd.DataFrame(dict(columns)), form, header)
        )
    if form == "npy":
        return _write_file(
            path, force, lambda handle: _write_npy(handle, np.column_stack([*arrays.values()]))
        )
    if form == "npz":
        return _write_file(path, force, lambda handle: write_npz(handle, arrays))
    raise _unknown(path, "csv, .tsv, .parquet, .npy or .npz")


def write_text(path: str | os.PathLike[str], text: str, force: bool = False) -> Path:
    """Writes text as it is, compressed where the ending is `.gz`."""
    return _write_file(Path(path), force, lambda handle: _write_bytes(handle, text.encode()))


def _write_bytes(handle: BinaryIO, content: bytes) -> None:
    handle.write(content)


@contextmanager
def atomic_path(path: str | os.PathLike[str], force: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`, of the same ending, that is renamed to it when the block ends.

    The block writes a file or makes a folder there. If it fails, nothing is left behind, and what was there
    before is still there. Missing parent folders are made.

    Raises:
        InputError: `path` exists and `force` is false, or it cannot be written to (full disk, no rights).
    """
    path = Path(path)
    whole = Path(os.path.abspath(path))  # "." and ".." have names, too
    temporary = whole.parent / f".{secrets.token_hex(4)}-{whole.name}"
    made: list[Path] = []
    try:
        with _writing(path):
            if whole == Path.cwd():  # the shell would be left in a folder that is no more
                raise InputError(
                    f"expected a new file or folder, got {path}, the current one; give it a name"
                )
            _check_new(path, force)
            made = [parent for parent in whole.parents if not parent.exists()]
            whole.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _replace(temporary, whole)
    except BaseException:
        _remove(temporary)
        with suppress(OSError):
            for parent in made:
                parent.rmdir()
        raise


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        if isinstance(error, FileExistsError | NotADirectoryError):
            reason = "a part of the path is a file, not a folder"
        advice = "free some space or choose" if error.errno == errno.ENOSPC else "choose"
        raise InputError(f"cannot write {path}: {reason}; {advice} another place") from error


def _check_new(path: Path, force: bool) -> None:
    if _occupied(path) and not force:
        raise InputError(
            f"expected a new file or folder, got {path}, which exists; use --force to replace it"
        )


def _occupied(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else os.path.lexists(path)


def _replace(temporary: Path, path: Path) -> None:
    if not (temporary.is_dir() and path.is_dir()):
        os.replace(temporary, path)
        return
    old = temporary.with_name(temporary.name + "-old")
    os.replace(path, old)
    try:
        os.replace(temporary, path)
    except OSError:
        os.replace(old, path)
        raise
    shutil.rmtree(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _write_file(path: Path, force: bool, writer: Writer) -> Path:
    _check_packed(path)
    with atomic_path(path, force) as temporary, temporary.open("wb") as handle:
        if _is_gzipped(path):
            # no name and no date inside: the same values give the same bytes
            with gzip.GzipFile("", "wb", 6, handle, mtime=0) as packed:
                writer(cast(BinaryIO, packed))
        else:
            writer(handle)
    return path


def _is_gzipped(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _check_packed(path: Path) -> None:
    if _is_gzipped(path) and format_of(path) in _UNPACKED:
        raise InputError(
            f"expected an ending without .gz for a compressed format, got {path.name!r}; leave .gz out"
        )


def _write_npy(handle: BinaryIO, values: Rows) -> None:
    descr = np.lib.format.dtype_to_descr(values.dtype)
    header = {"descr": descr, "fortran_order": False, "shape": values.shape}
    np.lib.format.write_array_header_1_0(handle, header)
    for block in blocks(values):
        handle.write(np.ascontiguousarray(block).reshape(-1).view(np.uint8))


def _write_picture(handle: BinaryIO, values: np.ndarray, schema: Schema) -> None:
    if len(values) == 1:
        write_image(handle, values[0], schema)
    else:
        contact_sheet(pixels(values, schema)).save(handle, format="PNG")


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
