"""NumPy's files, `.npy` and `.npz`, in both directions. Pickled objects are refused."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from backstory.data.arrays import from_array, from_parts
from backstory.data.binary import copy, open_binary, read_at
from backstory.data.checks import listed
from backstory.data.dataset import Dataset
from backstory.data.reading import PLAIN, Reading
from backstory.data.rows import Rows, Spool, blocks
from backstory.errors import InputError
from backstory.files import decoder
from backstory.files import reading as clear_errors

_MAGIC = np.lib.format.MAGIC_PREFIX
_DATA_NAMES = ("x", "data", "images", "values", "train", "x_train", "train_images")
_LABEL_NAMES = ("y", "labels", "label", "y_train", "train_labels")


def load_numpy(path: Path, reading: Reading = PLAIN) -> Dataset:
    """The Dataset of a `.npy` or `.npz` file.

    If an `.npz` has several arrays, the one called x, data, images, values or train is taken. An array `y` or
    `labels` of the same length becomes the labels. `x_train` and `x_test` (Keras) are the training part and
    the test part.

    Args:
        path: the file.
        reading: what a person says of it. Values that are to stay in a file stay in this one if they lie in
            it as they would in memory (`.npy` in C order and this machine's byte order), else in a temporary
            one.

    Raises:
        InputError: no numeric array, no single array to choose, pickled objects, or a damaged file.
    """
    limit = reading.memory
    with clear_errors(path, "a NumPy file"), open_binary(path, limit) as handle:
        zipped = handle.read(2) == b"PK"
        handle.seek(0)
        if not zipped:
            values = _read_npy(handle, path, limit)
        else:
            with decoder():
                archive = zipfile.ZipFile(handle)
            with archive:
                arrays = _read_npz(archive, path, limit)
    return _choose(arrays, path, reading) if zipped else from_array(values, str(path), reading=reading)


def _read_npy(handle: BinaryIO, path: Path, limit: float) -> Rows:
    start = handle.read(len(_MAGIC))
    if not start:
        raise EOFError("it is empty")
    handle.seek(-len(start), io.SEEK_CUR)
    if start == _MAGIC:
        with decoder():
            read_header = np.lib.format.read_array_header_2_0  # the same layout as 3.0
            if np.lib.format.read_magic(handle) == (1, 0):
                read_header = np.lib.format.read_array_header_1_0
            shape, fortran, dtype = read_header(handle)
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"its shape {shape} is none")
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
            with decoder(), archive.open(entry) as member:
                copy(cast(BinaryIO, member), spool)
            with spool.file() as content:
                arrays[entry.filename.removesuffix(".npy")] = _read_npy(content, path, limit)
    return arrays


def _choose(arrays: dict[str, Rows], path: Path, reading: Reading) -> Dataset:
    """The Dataset of the array of observations among the arrays of an `.npz`."""
    by_name = {name.lower(): array for name, array in arrays.items()}
    if "x_train" in by_name and "x_test" in by_name:
        labels = (by_name.get("y_train"), by_name.get("y_test"))
        return from_parts((by_name["x_train"], by_name["x_test"]), labels, str(path), reading)
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
    flat = None if label is None else np.asarray(label).reshape(-1)
    return from_array(values, str(path), labels=flat, reading=reading)


def write_npy(handle: BinaryIO, values: Rows) -> None:
    """Writes an array as numpy.save does, by blocks."""
    descr = np.lib.format.dtype_to_descr(values.dtype)
    header = {"descr": descr, "fortran_order": False, "shape": values.shape}
    np.lib.format.write_array_header_1_0(handle, header)
    for block in blocks(values):
        handle.write(np.ascontiguousarray(block).reshape(-1).view(np.uint8))


def write_npz(handle: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name, as numpy.savez does, but equal values give equal bytes."""
    buffer = io.BytesIO()  # because a zip file cannot be closed on a full disk
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            # ZipInfo has a fixed date
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(cast(BinaryIO, member), np.asarray(array), allow_pickle=False)
    handle.write(buffer.getbuffer())
