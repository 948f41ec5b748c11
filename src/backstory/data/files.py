"""Array files: which format a name means, and NumPy's and IDX files in both directions. Pickles are refused.

IDX is the format of the MNIST files: two zero bytes, the type, the number of dimensions, each dimension as a
big-endian 32-bit number, then the values, big-endian.
"""

import csv
import gzip
import io
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from backstory import console
from backstory.data.arrays import from_array
from backstory.data.checks import listed
from backstory.data.dataset import Dataset
from backstory.data.rows import FileRows, Rows, Spool, joined
from backstory.errors import InputError

# cells of a text table that mean that nothing is known: those that pandas takes for it, and ?
EMPTY_CELLS = (
    *(
        "",
        "NA",
        "N/A",
        "n/a",
        "#N/A",
        "#NA",
        "#N/A N/A",
        "<NA>",
        "NaN",
        "nan",
        "-NaN",
        "-nan",
        "NULL",
        "null",
    ),
    *("None", "1.#IND", "1.#QNAN", "-1.#IND", "-1.#QNAN", "?"),
)
SEPARATORS = {"csv": ",", "tsv": "\t"}
IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}

_NPY_MAGIC = np.lib.format.MAGIC_PREFIX
_COPIED_AT_ONCE = 1 << 24  # bytes

_IDX_NAME = re.compile(r"(\.idx|idx\d-\w+)$")
_IDX_PART = re.compile(r"(train|t10k|test)-(images|labels)[-.]idx\d-ubyte(\.gz)?")
_DATA_NAMES = ("x", "data", "images", "values", "train", "x_train", "train_images")
_LABEL_NAMES = ("y", "labels", "label", "y_train", "train_labels")


def format_of(path: Path) -> str:
    """The format that a name's ending means, without `.gz`: `npy`, `idx`, `csv`, …; empty for no ending.

    >>> format_of(Path("runs/samples.csv.gz")), format_of(Path("train-images-idx3-ubyte.gz"))
    ('csv', 'idx')
    """
    name = path.name.lower().removesuffix(".gz")
    if _IDX_NAME.search(name):
        return "idx"
    return Path(name).suffix.removeprefix(".")


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turns what damaged, truncated and foreign files raise into one sentence."""
    try:
        yield
    except InputError:
        raise
    except UnicodeDecodeError as error:
        raise InputError(
            f"expected {what} in UTF-8 text, got other bytes in line {_foreign_line(path)} of {path}; "
            "save it again as UTF-8"
        ) from error
    except (OSError, EOFError, ValueError, MemoryError, zlib.error, zipfile.BadZipFile, csv.Error) as error:
        if isinstance(error, OSError) and error.strerror:
            raise InputError(
                f"cannot read {path}: {error.strerror}; check the path and its rights"
            ) from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(
            f"cannot read {path} as {what} ({reason}); check that the file is complete and of this kind"
        ) from error


def _foreign_line(path: Path) -> int:
    """The number of the first line that is not UTF-8, from 1."""
    with open_binary(path) as handle:
        for number, line in enumerate(handle, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


@contextmanager
def open_binary(path: Path, limit: float = math.inf) -> Iterator[BinaryIO]:
    """The file's bytes, uncompressed and seekable; more than `limit` unpacked bytes in a temporary file."""
    if path.suffix.lower() != ".gz":
        with path.open("rb") as handle:
            yield handle
        return
    with path.open("rb") as packed, console.progress(f"unpack {path.name}", path.stat().st_size) as bar:
        spool = Spool(limit, expected=path.stat().st_size)
        _copy(cast(BinaryIO, gzip.GzipFile(fileobj=packed)), spool, packed.tell, bar)
    with spool.file() as handle:
        yield handle


def _copy(
    file: BinaryIO, spool: Spool, position: Callable[[], int] = int, bar: console.Bar | None = None
) -> None:
    """Copy a file that cannot be read at any place."""
    done = 0
    while content := file.read(_COPIED_AT_ONCE):
        spool.write(np.frombuffer(content, np.uint8))
        if bar is not None:
            bar.advance(position() - done)
            done = position()


def read_at(
    handle: BinaryIO,
    shape: Sequence[int],
    dtype: np.dtype,
    limit: float = math.inf,
    fortran: bool = False,
) -> Rows:
    """The array that an open file holds from its position on; more than `limit` bytes stay there.

    Raises:
        ValueError: the file is too short.
    """
    offset, size = handle.tell(), math.prod(shape) * dtype.itemsize
    there = handle.seek(0, io.SEEK_END) - offset
    if there < size:
        raise ValueError(f"it should hold {size} bytes of values and holds {there}")
    handle.seek(offset)
    if size <= limit or not shape:
        array = np.empty(math.prod(shape), dtype)
        cast(io.BufferedReader, handle).readinto(memoryview(array.view(np.uint8)))
        return array.reshape(shape, order="F" if fortran else "C")
    if fortran and len(shape) > 1:
        return _by_rows(FileRows(handle, offset, (math.prod(shape[1:]), shape[0]), dtype), shape)
    return FileRows(handle, offset, shape, dtype)


def _by_rows(columns: FileRows, shape: Sequence[int]) -> Rows:
    """The rows of an array that lies in its file column by column, in Fortran's order."""
    spool, step = Spool(0), max(1, _COPIED_AT_ONCE // len(columns))
    for start in range(0, shape[0], step):
        part = columns.columns(start, min(start + step, shape[0])).T
        spool.write(part.reshape((len(part), *shape[1:]), order="F"))
    return spool.array(shape, columns.dtype)


def load_numpy(path: Path, limit: float = math.inf) -> Dataset:
    """The Dataset of a `.npy` or `.npz` file.

    Of several arrays in an `.npz` the one called x, data, images, values or train is taken; `y` or `labels`
    of the same length are kept as labels; `x_train` with `x_test` (Keras) are the training and test part.

    Args:
        path: the file.
        limit: bytes that the values may take in memory; otherwise they stay in a file, this one if they lie
            in it as they would in memory (`.npy` in C order and this machine's byte order).

    Raises:
        InputError: no numeric array, a choice that cannot be made, pickled objects, or a damaged file.
    """
    with reading(path, "a NumPy file"), open_binary(path, limit) as handle:
        zipped = handle.read(2) == b"PK"
        handle.seek(0)
        if not zipped:
            values = _read_npy(handle, path, limit)
        else:
            with zipfile.ZipFile(handle) as archive:
                arrays = _read_npz(archive, path, limit)
    return _choose(arrays, path, limit) if zipped else from_array(values, str(path))


def _read_npy(handle: BinaryIO, path: Path, limit: float) -> Rows:
    start = handle.read(len(_NPY_MAGIC))
    if not start:
        raise EOFError("it is empty")
    handle.seek(-len(start), io.SEEK_CUR)
    if start == _NPY_MAGIC:
        read_header = np.lib.format.read_array_header_2_0  # the same layout as 3.0
        if np.lib.format.read_magic(handle) == (1, 0):
            read_header = np.lib.format.read_array_header_1_0
        shape, fortran, dtype = read_header(handle)
        if not dtype.hasobject:
            return read_at(handle, shape, dtype, limit, fortran)
    raise InputError(
        f"expected an array of numbers in {path}, got pickled Python objects or another kind "
        "of file, which are never opened; save a numeric array with numpy.save"
    )


def _read_npz(archive: zipfile.ZipFile, path: Path, limit: float) -> dict[str, Rows]:
    arrays = {}
    for entry in archive.infolist():
        if entry.filename.endswith(".npy"):
            spool = Spool(limit, expected=entry.file_size)
            with archive.open(entry) as member:
                _copy(cast(BinaryIO, member), spool)
            with spool.file() as content:
                arrays[entry.filename.removesuffix(".npy")] = _read_npy(content, path, limit)
    return arrays


def _choose(arrays: dict[str, Rows], path: Path, limit: float) -> Dataset:
    by_name = {name.lower(): array for name, array in arrays.items()}
    if "x_train" in by_name and "x_test" in by_name:
        labels = (by_name.get("y_train"), by_name.get("y_test"))
        return _two_parts((by_name["x_train"], by_name["x_test"]), labels, str(path), limit)
    candidates = [name for name in arrays if name.lower() not in _LABEL_NAMES] or list(arrays)
    if len(candidates) > 1:
        candidates = [name for name in candidates if name.lower() in _DATA_NAMES]
    if len(candidates) != 1:
        raise InputError(
            f"expected one array in {path}, or one of several called 'x', got "
            f"{listed(list(arrays)) or 'none'}; save the observations as 'x'"
        )
    values = arrays[candidates[0]]
    others = [array for name, array in arrays.items() if name.lower() in _LABEL_NAMES]
    matching = (
        array for array in others if values.ndim and array.shape in ((len(values),), (len(values), 1))
    )
    label = next(matching, None)
    return from_array(values, str(path), labels=None if label is None else np.asarray(label).reshape(-1))


def load_idx(path: Path, limit: float = math.inf) -> Dataset:
    """The Dataset of one IDX file, which has no test part.

    Raises:
        InputError: see `read_idx`; or the file holds labels, not observations.
    """
    return from_array(read_idx(path, limit), str(path))


def read_idx(path: Path, limit: float = math.inf) -> Rows:
    """The array of an IDX file, plain or `.gz`; it stays in a file if it has more than `limit` bytes.

    Raises:
        InputError: another magic number, or fewer or more bytes than the header says.
    """
    with reading(path, "an IDX file"), open_binary(path, limit) as handle:
        magic = handle.read(4)
        start = 4 + 4 * magic[3] if len(magic) > 3 else 4
        size = handle.seek(0, io.SEEK_END)
        if magic[:2] != b"\0\0" or size < start or magic[2] not in IDX_TYPES:
            raise InputError(
                f"expected an IDX file (beginning with 00 00, a type and a number of dimensions) in {path}, "
                f"got {magic.hex(' ') or 'an empty file'}; check that it is the right file"
            )
        handle.seek(4)
        shape = tuple(np.frombuffer(handle.read(start - 4), ">u4").tolist())
        dtype = np.dtype(IDX_TYPES[magic[2]]).newbyteorder(">")
        expected = start + math.prod(shape) * dtype.itemsize
        if size != expected:
            raise InputError(
                f"expected {expected} bytes for the shape {shape} in {path}, got {size}; "
                "the file is truncated or damaged, get it again"
            )
        values = read_at(handle, shape, dtype, limit)
    return values if isinstance(values, FileRows) else values.astype(dtype.newbyteorder("="))


def write_idx(handle: BinaryIO, values: np.ndarray) -> None:
    """Writes an array in the IDX format; booleans as bytes.

    Raises:
        InputError: IDX has no such type.
    """
    dtype = np.dtype(np.uint8) if values.dtype == bool else values.dtype
    code = next((c for c, name in IDX_TYPES.items() if np.dtype(name) == dtype), None)
    if code is None:
        raise InputError(
            f"expected values of type uint8, int8, int16, int32, float32 or float64 for an IDX file, "
            f"got {dtype}; write .npy"
        )
    handle.write(bytes([0, 0, code, values.ndim]))
    handle.write(np.asarray(values.shape, ">u4").tobytes())
    handle.write(np.ascontiguousarray(values, dtype.newbyteorder(">")).tobytes())


def write_npz(handle: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name, as numpy.savez; in memory first, as a zip cannot be closed on a full disk."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            # A fixed date: the same values give the same bytes.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(cast(BinaryIO, member), np.asarray(array), allow_pickle=False)
    handle.write(buffer.getbuffer())


def idx_parts(folder: Path) -> dict[tuple[str, str], Path]:
    """The MNIST-style files of a folder by part (train, test) and content (images, labels)."""
    parts: dict[tuple[str, str], Path] = {}
    with reading(folder, "a folder"):
        paths = sorted(folder.iterdir())
    for path in paths:
        if match := _IDX_PART.fullmatch(path.name):
            part = "train" if match[1] == "train" else "test"
            parts.setdefault((part, match[2]), path)  # sorted: plain before .gz
    return parts


def load_idx_folder(folder: Path, limit: float = math.inf) -> Dataset:
    """The Dataset of a folder of MNIST-style files: training rows, then test rows; labels if there.

    Raises:
        InputError: no training images, parts of different shape, labels of another number, damaged files.
    """
    parts = idx_parts(folder)
    if ("train", "images") not in parts:
        raise InputError(
            f"expected train-images-idx3-ubyte in {folder}, got only "
            f"{listed([p.name for p in parts.values()])}; add the training images, or give one file instead"
        )
    read = {key: read_idx(path, limit) for key, path in parts.items()}
    train, test = read["train", "images"], read.get(("test", "images"))
    if test is None:
        return from_array(
            train, str(folder), labels=_labels(train, read.get(("train", "labels")), str(folder))
        )
    labels = (read.get(("train", "labels")), read.get(("test", "labels")))
    return _two_parts((train, test), labels, str(folder), limit)


def _two_parts(
    images: tuple[Rows, Rows], labels: tuple[Rows | None, Rows | None], source: str, limit: float
) -> Dataset:
    train, test = images
    if train.shape[1:] != test.shape[1:]:
        raise InputError(
            f"expected training and test observations of one shape in {source}, "
            f"got {train.shape[1:]} and {test.shape[1:]}; use one of the two files"
        )
    checked = [_labels(part, label, source) for part, label in zip(images, labels, strict=True)]
    complete = [label for label in checked if label is not None]
    return from_array(
        joined(images, limit),
        source,
        labels=np.concatenate(complete) if len(complete) == 2 else None,
        test_rows=np.arange(len(train), len(train) + len(test)),
    )


def _labels(images: Rows, labels: Rows | None, source: str) -> np.ndarray | None:
    if labels is not None and labels.size != len(images):
        raise InputError(
            f"expected as many labels as images in {source}, got {labels.size} labels "
            f"for {len(images)} images; check that the files belong together"
        )
    return None if labels is None else np.asarray(labels).reshape(-1)
