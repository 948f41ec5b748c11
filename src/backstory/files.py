"""Files of every kind: the meaning of an ending, clear errors of reading, writing whole or not at all."""

import csv
import errno
import gzip
import json
import os
import re
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from backstory.errors import InputError

SEPARATORS = {"csv": ",", "tsv": "\t"}  # between the cells of text tables
EXCEL = ("xlsx", "xlsm")
TABLES = (*SEPARATORS, "parquet")  # formats of tables

_REASON = 300  # characters of a decoder's reason in a message
_IDX_NAME = re.compile(r"(\.idx|idx\d-\w+)$")
_TEMPORARY = re.compile(r"^(\.[0-9a-f]{8}-)+")  # before the name of a file that is being written


def format_of(path: Path) -> str:
    """The format that a name's ending means, without `.gz`: `npy`, `idx`, `csv`, …; empty for no ending.

    >>> format_of(Path("runs/samples.csv.gz")), format_of(Path("train-images-idx3-ubyte.gz"))
    ('csv', 'idx')
    """
    name = path.name.lower().removesuffix(".gz")
    if _IDX_NAME.search(name):
        return "idx"
    return Path(name).suffix.removeprefix(".")


def is_database(source: Any) -> bool:
    """Whether this is the address of a database, such as sqlite:///shop.db#customers."""
    return isinstance(source, str) and "://" in source


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


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; ValueError for any other text, also one that is nested too deeply.

    >>> parse_json('{"a": [1]}')
    {'a': [1]}
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


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


class CannotWrite(InputError):
    """The error for a file that cannot be written: a full disk, no permission.

    Attributes:
        path: of the file.
        reason: the system's, such as "No space left on device".
    """

    def __init__(self, path: Path, reason: str, advice: str):
        super().__init__(f"cannot write {path}: {reason}; {advice}")
        self.path, self.reason = path, reason


@contextmanager
def atomic_path(path: str | os.PathLike[str], force: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`, of the same ending, that is renamed to `path` when the block ends.

    The block writes a file or makes a folder there. If it fails, it leaves nothing behind, and an earlier
    file or folder at `path` is unchanged. Missing parent folders are made.

    Raises:
        InputError: `path` exists and `force` is false, or it cannot be written to (full disk, no permission).
    """
    with atomic_paths([path], force) as (temporary,):
        yield temporary


@contextmanager
def atomic_paths(paths: Sequence[str | os.PathLike[str]], force: bool = False) -> Iterator[list[Path]]:
    """Temporary paths as of `atomic_path`: when the block ends, all are renamed, or none.

    The block writes all of them.
    """
    wholes = [Path(os.path.abspath(path)) for path in paths]  # "." and ".." have names, too
    temporaries = [whole.parent / f".{secrets.token_hex(4)}-{whole.name}" for whole in wholes]
    made: list[Path] = []
    try:
        for path, whole in zip(map(Path, paths), wholes, strict=True):
            with writing(path):
                _check_new(path, force)
                made += [parent for parent in whole.parents if not parent.exists()]
                whole.parent.mkdir(parents=True, exist_ok=True)
        with writing(Path(paths[0])):
            yield temporaries
            for temporary in temporaries:
                flush(temporary)
            _replace_all(list(zip(temporaries, wholes, strict=True)))
    except BaseException:
        for temporary in temporaries:
            _remove(temporary)
        with suppress(OSError):
            for parent in made:
                parent.rmdir()
        raise


def check_writable(path: Path, force: bool = False) -> None:
    """Raise the InputError that `atomic_path` would raise for this path, before any work is done.

    Without `force` an existing file and a folder with files in it are refused.
    """
    with writing(path):
        nearest = next(parent for parent in path.absolute().parents if parent.exists())
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "a part of the path is a file")
        _check_new(path, force)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns the errors of the system into a `CannotWrite` that names the path."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        if isinstance(error, FileExistsError | NotADirectoryError):
            reason = "a part of the path is a file, not a folder"
        advice = "free some space or choose" if error.errno == errno.ENOSPC else "choose"
        shown = path.with_name(_TEMPORARY.sub("", path.name)) if path.name else path
        raise CannotWrite(shown, reason, f"{advice} another place") from error


def flush(path: Path) -> None:
    """Wait until a file is on the disk, so that a loss of power after a rename leaves the old or the new."""
    if path.is_file():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _check_new(path: Path, force: bool) -> None:
    if Path(os.path.abspath(path)) == Path.cwd():  # replacing it would leave the shell in a deleted folder
        raise InputError(f"expected a new file or folder, got {path}, the current one; give it a name")
    if _occupied(path) and not force:
        raise InputError(
            f"expected a new file or folder, got {path}, which exists; use `force` to replace it"
        )


def _occupied(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else os.path.lexists(path)


def _replace_all(pairs: Sequence[tuple[Path, Path]]) -> None:
    """Rename each temporary path to its target; if one cannot be, all targets are as they were."""
    if len(pairs) == 1:
        _replace(*pairs[0])
        return
    done: list[tuple[Path, Path | None]] = []  # targets, and the earlier file or folder under another name
    try:
        for temporary, target in pairs:
            done.append((target, _set_aside(target, temporary)))
            _replace(temporary, target)
    except BaseException:
        for target, earlier in done:
            _put_back(earlier, target)
        raise
    for _, earlier in done:
        if earlier is not None:
            _remove(earlier)


def _set_aside(path: Path, temporary: Path) -> Path | None:
    """Another name of the file or folder at `path`, which a file keeps as well; None without one."""
    if not os.path.lexists(path):
        return None
    aside = _aside(temporary)
    if path.is_dir() and not path.is_symlink():
        os.replace(path, aside)
        return aside
    try:
        os.link(path, aside, follow_symlinks=False)
    except (OSError, NotImplementedError):  # a file system without hard links
        shutil.copy2(path, aside, follow_symlinks=False)
    return aside


def _put_back(earlier: Path | None, path: Path) -> None:
    if earlier is None or path.is_dir():
        _remove(path)
    if earlier is not None:
        os.replace(earlier, path)
        _remove(earlier)  # which is left where both were names of one file


def _replace(temporary: Path, path: Path) -> None:
    if not (temporary.is_dir() and path.is_dir()):
        os.replace(temporary, path)
        return
    old = _aside(temporary)
    os.replace(path, old)
    try:
        os.replace(temporary, path)
    except BaseException:
        os.replace(old, path)
        raise
    _remove(old)


def _aside(temporary: Path) -> Path:
    return temporary.with_name(temporary.name + "-old")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
