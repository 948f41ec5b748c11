"""One writer of a run at a time: a lock that the system releases when its process ends, in whatever way."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from backstory import console
from backstory.errors import InputError
from backstory.files import CannotWrite, writing
from backstory.runs.folder import LOCK


@contextmanager
def only_writer(run: Path, patience: float = 0.0) -> Iterator[None]:
    """A context in which no other process writes to a run; the folder is made, and removed if it stays empty.

    Args:
        run: the folder.
        patience: seconds to wait for another process.

    Raises:
        InputError: another process writes to the run, or the folder cannot be written to.
    """
    made = _make(run)
    try:
        with _locked(run, patience):
            yield
    finally:
        with suppress(OSError):  # a folder that is not empty stays
            for folder in made:
                folder.rmdir()


def _make(run: Path) -> list[Path]:
    """Make a folder; the folders that did not exist, from the innermost."""
    if run.exists() and not run.is_dir():
        raise InputError(f"{run} is a file; give a folder for the run")
    made = [folder for folder in (run, *run.parents) if not folder.exists()]
    with _writing(run):
        run.mkdir(parents=True, exist_ok=True)
    return made


@contextmanager
def _locked(run: Path, patience: float) -> Iterator[None]:
    path = run / LOCK
    lock = FileLock(path, timeout=patience)
    try:
        with _writing(run):
            _acquire(lock, run)
    except NotImplementedError:  # by some network file systems
        console.warn(f"{run} cannot be locked: do not let two processes write to it")
        yield
        return
    try:
        with suppress(OSError):
            path.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
        yield
    finally:
        try:
            with suppress(OSError):
                path.unlink()  # before it is released: who waits sees that it is gone, and makes another
        finally:
            lock.release()


def _acquire(lock: FileLock, run: Path) -> None:
    try:
        lock.acquire()
    except Timeout:
        who = _writer(run / LOCK)
        raise InputError(
            f"{run} is being written by {who}; wait until it has ended, or choose another folder"
        ) from None


def _writer(path: Path) -> str:
    """The process that holds the lock, in words."""
    with suppress(OSError, UnicodeDecodeError):
        if text := path.read_text(encoding="utf-8").strip():
            return text
    return "another process"


@contextmanager
def _writing(run: Path) -> Iterator[None]:
    try:
        with writing(run):
            yield
    except CannotWrite as error:
        raise InputError(f"cannot write to {run}: {error.reason}; choose another folder") from None
