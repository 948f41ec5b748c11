"""IDX files, the format of MNIST, in both directions, and folders of them.

An IDX file has two zero bytes, the type, the number of dimensions, each dimension as a big-endian 32-bit
number, then the values, big-endian.
"""

import io
import math
import re
from pathlib import Path
from typing import BinaryIO

import numpy as np

from backstory.data.arrays import checked_labels, from_array, from_parts
from backstory.data.binary import open_binary, read_at
from backstory.data.checks import listed
from backstory.data.dataset import Dataset
from backstory.data.reading import PLAIN, Reading
from backstory.data.rows import Rows, is_in_file
from backstory.errors import InputError
from backstory.files import reading as clear_errors

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}

_PART = re.compile(r"(train|t10k|test)-(images|labels)[-.]idx\d-ubyte(\.gz)?")


def load_idx(path: Path, reading: Reading = PLAIN) -> Dataset:
    """The Dataset of one IDX file, which has no test part.

    Raises:
        InputError: see `read_idx`; or the file holds labels, not observations.
    """
    return from_array(read_idx(path, reading.memory), str(path), reading=reading)


def load_idx_folder(folder: Path, reading: Reading = PLAIN) -> Dataset:
    """The Dataset of a folder of MNIST-style files: the training rows, then the test rows.

    Raises:
        InputError: no training images, parts of different shape, a wrong number of labels, damaged files.
    """
    parts = idx_parts(folder)
    if ("train", "images") not in parts:
        raise InputError(
            f"expected train-images-idx3-ubyte in {folder}, got only "
            f"{listed([p.name for p in parts.values()])}; add the training images, or give one file instead"
        )
    read = {key: read_idx(path, reading.memory) for key, path in parts.items()}
    train, test = read["train", "images"], read.get(("test", "images"))
    labels, source = (read.get(("train", "labels")), read.get(("test", "labels"))), str(folder)
    if test is None:
        return from_array(train, source, labels=checked_labels(train, labels[0], source), reading=reading)
    return from_parts((train, test), labels, source, reading)


def idx_parts(folder: Path) -> dict[tuple[str, str], Path]:
    """The MNIST-style files of a folder by part (train, test) and content (images, labels)."""
    parts: dict[tuple[str, str], Path] = {}
    with clear_errors(folder, "a folder"):
        paths = sorted(folder.iterdir())
    for path in paths:
        if match := _PART.fullmatch(path.name):
            part = "train" if match[1] == "train" else "test"
            parts.setdefault((part, match[2]), path)  # sorted: an unpacked file comes before its .gz
    return parts


def read_idx(path: Path, limit: float = math.inf) -> Rows:
    """The array of an IDX file, plain or `.gz`; it stays in a file if it has more than `limit` bytes.

    Raises:
        InputError: another magic number, or fewer or more bytes than the header says.
    """
    with clear_errors(path, "an IDX file"), open_binary(path, limit) as handle:
        magic = handle.read(4)
        start = 4 + 4 * magic[3] if len(magic) > 3 else 4
        size = handle.seek(0, io.SEEK_END)
        if magic[:2] != b"\0\0" or size < start or magic[2] not in TYPES:
            raise InputError(
                f"expected an IDX file (beginning with 00 00, a type and a number of dimensions) in {path}, "
                f"got {magic.hex(' ') or 'an empty file'}; check that it is the right file"
            )
        handle.seek(4)
        shape = tuple(np.frombuffer(handle.read(start - 4), ">u4").tolist())
        dtype = np.dtype(TYPES[magic[2]]).newbyteorder(">")
        expected = start + math.prod(shape) * dtype.itemsize
        if size != expected:
            raise InputError(
                f"expected {expected} bytes for the shape {shape} in {path}, got {size}; "
                "the file is truncated or damaged, get it again"
            )
        values = read_at(handle, shape, dtype, limit)
    return values if is_in_file(values) else values.astype(dtype.newbyteorder("="))


def write_idx(handle: BinaryIO, values: np.ndarray) -> None:
    """Writes an array in the IDX format; booleans as bytes.

    Raises:
        InputError: IDX has no such type.
    """
    dtype = np.dtype(np.uint8) if values.dtype == bool else values.dtype
    code = next((c for c, name in TYPES.items() if np.dtype(name) == dtype), None)
    if code is None:
        raise InputError(
            f"expected values of type uint8, int8, int16, int32, float32 or float64 for an IDX file, "
            f"got {dtype}; write .npy"
        )
    handle.write(bytes([0, 0, code, values.ndim]))
    handle.write(np.asarray(values.shape, ">u4").tobytes())
    handle.write(np.ascontiguousarray(values, dtype.newbyteorder(">")).tobytes())
