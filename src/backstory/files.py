"""Files of every kind: the meaning of an ending, clear errors of reading, writing whole or not at all."""

import csv
import errno
import gzip
import os
import re
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from backstory.errors import InputError

SEPARATORS = {"csv": ",", "tsv": "\t"}  # between the cells of text tables

_REASON = 300  # characters of a decoder's reason in a message
_IDX_NAME = re.compile(r"(\.idx|idx\d-\w+)$")


def format_of(path: Path) -> str:
    """The format that a name's ending means, without `.gz`: `npy`, `idx`, `csv`, …; empty for no ending.

    >>> format_of(Path("runs/samples.csv.gz")), format_of(Path("train-images-idx3-ubyte.gz"))
    ('csv', 'idx')
    """
    name = path.name.lower().removesuffix(".gz")
    if _IDX_NAME.search(name):
        return "idx"
    return Path(name).suffix.removeprefix(".")


def is_gzipped(path: Path) -> bool:
    """Whether a name ends in `.gz`."""
    return path.suffix.lower() == ".gz"


# -- reading ----------------------------------------------------------------------------------------------


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turns the errors that damaged, truncated and foreign files cause into an InputError.

    Args:
        path: the file that the block reads.
        what: the kind of file that is expected, with its article, such as "a table".
    """
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
                f"cannot read {path}: {error.strerror}; check the path and its permissions"
            ) from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:_REASON].rstrip(".")
        raise InputError(
            f"cannot read {path} as {what} ({reason}); check that the file is complete and of this kind"
        ) from error


@contextmanager
def decoder() -> Iterator[None]:
    """Turns the errors of decoders, which may have any type, into those that `reading` explains."""
    try:
        yield
    except (OSError, InputError):
        raise
    except Exception as error:
        raise ValueError(str(error).strip() or type(error).__name__) from error


def _foreign_line(path: Path) -> int:
    """The number of the first line that is not UTF-8, from 1."""
    with gzip.open(path) if is_gzipped(path) else path.open("rb") as handle:
        for number, line in enumerate(handle, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


# -- writing ----------------------------------------------------------------------------------------------


@contextmanager
def atomic_path(path: str | os.PathLike[str], force: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`, of the same ending, that is renamed to `path` when the block ends.

    The block writes a file or makes a folder there. If it fails, it leaves nothing behind, and an earlier
    file or folder at `path` is unchanged. Missing parent folders are made.

    Raises:
        InputError: `path` exists and `force` is false, or it cannot be written to (full disk, no permission).
    """
    path = Path(path)
    whole = Path(os.path.abspath(path))  # "." and ".." have names, too
    temporary = whole.parent / f".{secrets.token_hex(4)}-{whole.name}"
    made: list[Path] = []
    try:
        with _writing(path):
            if whole == Path.cwd():  # replacing it would leave the shell in a deleted folder
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


def check_writable(path: Path, force: bool = False) -> None:
    """Raise the InputError that `atomic_path` would raise for this path, before any work is done.

    Without `force` an existing file and a folder with files in it are refused.
    """
    with _writing(path):
        nearest = next(parent for parent in path.absolute().parents if parent.exists())
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "a part of the path is a file")
        _check_new(path, force)


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
            f"expected a new file or folder, got {path}, which exists; use `force` to replace it"
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
