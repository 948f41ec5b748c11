"""Binary files opened for reading: unpacked where they are `.gz`, and arrays at a place in them."""

import gzip
import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from backstory import console
from backstory.data.rows import FileRows, Rows, Spool
from backstory.files import is_gzipped

_COPIED_AT_ONCE = 1 << 24  # bytes


@contextmanager
def open_binary(path: Path, limit: float = math.inf) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked and seekable; more than `limit` unpacked bytes go to a temporary file."""
    if not is_gzipped(path):
        with path.open("rb") as handle:
            yield handle
        return
    with path.open("rb") as packed, console.progress(f"unpack {path.name}", path.stat().st_size) as bar:
        spool = Spool(limit, expected=path.stat().st_size)
        copy(cast(BinaryIO, gzip.GzipFile(fileobj=packed)), spool, packed.tell, bar)
    with spool.file() as handle:
        yield handle


def copy(
    file: BinaryIO, spool: Spool, position: Callable[[], int] = int, bar: console.Bar | None = None
) -> None:
    """Copies a file that is not seekable, by pieces.

    Args:
        file: where to read.
        spool: where to write.
        position: the progress so far, in the units of `bar`.
        bar: shows the progress.
    """
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
    """The array that begins at the current position of an open file; more than `limit` bytes stay there.

    Raises:
        ValueError: the file is too short.
    """
    offset, size = handle.tell(), math.prod(shape) * dtype.itemsize
    available = handle.seek(0, io.SEEK_END) - offset
    if available < size:
        raise ValueError(f"it should hold {size} bytes of values and holds {available}")
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
