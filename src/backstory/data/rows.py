"""Rows that stay in a file: data larger than memory, read when a part of it is needed.

`FileRows` stands in for an array (N, ...) that lies in a file as it would lie in memory. Each access reads
the rows into a new array; the file is not mapped, because mapped pages would count as the process's memory.
Data that does not lie in a file in this way (image files, Parquet, compressed files) is decoded once, in
pieces, into a `Spool`.
"""

import copy
import io
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np
from typing_extensions import TypeIs

from backstory.errors import InputError

LIMIT = 1 << 30  # bytes that data may take in memory by default

_GAP = 1 << 14  # bytes between two rows; reading fewer along costs less than another call
_PIECE = 1 << 23  # bytes read at once
_BLOCK_ENTRIES = 1 << 21


class FileRows:
    """An array (N, ...) in a file; indexing its first axis reads those rows into memory.

    Slices, whole numbers, and arrays of row numbers or booleans select as they do in an array. Several
    threads may read at once. The file stays open; it may be deleted or replaced meanwhile, not overwritten.

    Args:
        file: an open file of the operating system, which the caller may close afterwards.
        offset: bytes before the first row.
        shape: (N, ...).
        dtype: of the entries, which lie in C order without gaps.
    """

    def __init__(
        self, file: "BinaryIO | _OpenFile", offset: int, shape: Sequence[int], dtype: np.dtype | str
    ):
        self._file = file if isinstance(file, _OpenFile) else _OpenFile(file)
        self._offset, self._rows = offset, int(shape[0])
        self._row_shape, self.dtype = tuple(int(n) for n in shape[1:]), np.dtype(dtype)
        self._row_size = math.prod(self._row_shape) * self.dtype.itemsize
        self._index: np.ndarray | None = None

    def __len__(self) -> int:
        return self._rows if self._index is None else len(self._index)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self._row_shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that the rows would take in memory."""
        return len(self) * self._row_size

    def take(self, index: np.ndarray) -> "FileRows":
        """The rows of these numbers, (M,) of integers; reads none."""
        taken = copy.copy(self)
        taken._index = self._numbers(index)
        return taken

    def columns(self, start: int, stop: int) -> np.ndarray:
        """Columns `start` to `stop` of all rows of a two-dimensional array, read row by row."""
        out = np.empty((self._rows, stop - start), self.dtype)
        for i, row in enumerate(out):
            self._file.read_into(row, self._offset + i * self._row_size + start * self.dtype.itemsize)
        return out

    def __getitem__(self, key: Any) -> np.ndarray:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if self._index is None and step == 1:
                return self._read(start, max(start, stop))
            return self._gather(self._numbers(np.arange(start, stop, step)))
        if isinstance(key, int | np.integer):
            return self._gather(self._numbers(np.array([key])))[0]
        return self._gather(self._numbers(np.asarray(key)))

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in blocks(self):
            yield from block

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype, copy=False)

    def _numbers(self, index: np.ndarray) -> np.ndarray:
        """The row numbers in the file for row numbers in this selection."""
        if index.dtype == bool and index.shape == (len(self),):
            index = np.flatnonzero(index)
        if index.ndim != 1 or index.dtype.kind not in "iu":
            if index.size:
                raise IndexError(f"rows are chosen by a list of numbers, got {index.dtype} of {index.shape}")
            index = np.zeros(0, np.int64)
        if len(index) and not (-len(self) <= index.min() and index.max() < len(self)):
            raise IndexError(f"row {index.min()} or {index.max()} is out of bounds for {len(self)} rows")
        index = np.where(index < 0, index + len(self), index) if (index < 0).any() else index
        return index if self._index is None else self._index[index]

    def _gather(self, index: np.ndarray) -> np.ndarray:
        """Rows of the file in any order; one call reads all that lie near each other."""
        out = np.empty((len(index), *self._row_shape), self.dtype)
        if not len(index):
            return out
        order = None if (index[1:] >= index[:-1]).all() else np.argsort(index, kind="stable")
        rising = index if order is None else index[order]
        size = max(1, self._row_size)
        apart = (np.diff(rising) > 1 + _GAP // size) | (np.diff(rising // max(1, _PIECE // size)) > 0)
        cuts = [0, *(np.flatnonzero(apart) + 1).tolist(), len(index)]
        for begin, end in pairwise(cuts):
            here = rising[begin:end]
            piece = self._read(int(here[0]), int(here[-1]) + 1)
            where = slice(begin, end) if order is None else order[begin:end]
            out[where] = piece if len(piece) == end - begin and _are_rising(here) else piece[here - here[0]]
        return out

    def _read(self, start: int, stop: int) -> np.ndarray:
        """Consecutive rows of the file."""
        out = np.empty((stop - start, *self._row_shape), self.dtype)
        self._file.read_into(out, self._offset + start * self._row_size)
        return out


def _are_rising(index: np.ndarray) -> bool:
    return bool((np.diff(index) == 1).all())


Rows = np.ndarray | FileRows


def is_in_file(rows: Any) -> TypeIs[FileRows]:
    """Whether rows stay in a file; all others are in memory."""
    return isinstance(rows, FileRows)


def subset(rows: Rows, index: np.ndarray) -> Rows:
    """The rows of these numbers: a copy of rows in memory, a selection without reading of rows in a file."""
    return rows.take(index) if is_in_file(rows) else rows[index]


def blocks(rows: Any, entries: int | None = None) -> Iterator[Any]:
    """Rows (N, ...) of an array, a file or a tensor in slices of about `entries` entries."""
    size = max(1, (entries or _BLOCK_ENTRIES) // max(1, math.prod(rows.shape[1:])))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def mapped(function: Callable[[np.ndarray], np.ndarray], rows: Rows) -> Rows:
    """The results of a function of rows; for rows in a file by blocks, and in a temporary file."""
    if not is_in_file(rows):
        return function(np.asarray(rows))
    spool, parts = Spool(0), blocks(rows)
    first = function(next(parts))
    spool.write(first)
    for part in parts:
        spool.write(function(part))
    return spool.array((len(rows), *first.shape[1:]), first.dtype)


def joined(parts: Sequence[Rows], limit: float) -> Rows:
    """The rows of all parts in one array; in a temporary file if they have more than `limit` bytes."""
    dtype = np.result_type(*(part.dtype for part in parts))
    spool = Spool(limit, expected=sum(part.size for part in parts) * dtype.itemsize)
    for part in parts:
        for block in blocks(part):
            spool.write(block.astype(dtype, copy=False))
    return spool.array((sum(map(len, parts)), *parts[0].shape[1:]), dtype)


class Spool:
    """Arrays written one after another: in memory up to `limit` bytes, in a temporary file beyond.

    The file has no name, lies in the folder that TMPDIR names, and is deleted when nothing refers to it.
    `tempfile.SpooledTemporaryFile` would copy the content to give an array of it; this shares its memory.

    Args:
        limit: bytes.
        expected: bytes that will be written, if known; if they exceed `limit`, none are kept in memory.
    """

    def __init__(self, limit: float = math.inf, expected: float = 0):
        self.limit, self.size = limit if expected <= limit else 0, 0
        self._memory = io.BytesIO()
        self._disk: _OpenFile | None = None

    def write(self, array: np.ndarray) -> None:
        """Append an array's entries, in C order.

        Raises:
            InputError: the temporary file cannot be made, or its disk is full.
        """
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self.size += content.size
        if self._disk is None and self.size <= self.limit:
            self._memory.write(content)
            return
        try:
            if self._disk is None:
                with tempfile.TemporaryFile(prefix="backstory-", buffering=0) as file:
                    self._disk = _OpenFile(file)
                self._disk.append(self._memory.getvalue())
                self._memory.close()
            self._disk.append(content)
        except OSError as error:
            raise InputError(
                f"cannot keep {self.size / 1e9:.2f} GB of decoded data in a temporary file in "
                f"{tempfile.tempdir or 'any folder'} ({error.strerror or error}); free some space there, "
                "or set TMPDIR to a folder on a larger disk"
            ) from error

    def array(self, shape: Sequence[int], dtype: np.dtype | str, offset: int = 0) -> Rows:
        """The content from `offset` bytes on as an array of this shape. Nothing may be written afterwards."""
        if self._disk is not None:
            return FileRows(self._disk, offset, shape, dtype)
        content = self._memory.getbuffer()
        return np.frombuffer(content, dtype, math.prod(shape), offset).reshape(shape)

    def file(self) -> BinaryIO:
        """The content as an open file, at its beginning. Nothing may be written afterwards."""
        file = self._memory if self._disk is None else os.fdopen(os.dup(self._disk.number), "rb")
        file.seek(0)
        return file


class _OpenFile:
    """A file that is closed when nothing refers to it."""

    def __init__(self, file: BinaryIO):
        name = getattr(file, "name", None)
        self.name = name if isinstance(name, str) else "the temporary file"
        self.number = os.dup(file.fileno())

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)

    def append(self, content: bytes | np.ndarray) -> None:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self.number, rest) :]

    def read_into(self, out: np.ndarray, offset: int) -> None:
        """Fill a contiguous array with the bytes from `offset` on.

        Raises:
            InputError: the file has become shorter.
        """
        rest = memoryview(out.reshape(-1).view(np.uint8))
        while rest:
            count = os.preadv(self.number, [rest], offset)
            if not count:
                raise InputError(
                    f"expected {len(rest)} more bytes in {self.name}, got its end: it was cut short while "
                    "it was read; leave a file alone while it is in use"
                )
            rest, offset = rest[count:], offset + count
