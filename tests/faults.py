"""A disk that becomes full, or a process that dies, at the nth step of what is written.

A step is the opening of a file for writing, a write to it, a rename, a link, the making or deletion of a file
or folder, or the wait for the disk. A write that fails has written its first half.
"""

import builtins
import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager

MODES = ("full", "killed")
NEED_SPACE = ("write", "open", "mkdir", "link", "fsync")  # what fails on a full disk
STEPS = ("rename", "replace", "link", "unlink", "remove", "rmdir", "mkdir", "fsync")


class Killed(BaseException):
    """The process is dead: nothing of it can write any more."""


class Faults:
    """Counts steps, and lets those from the nth on fail.

    Args:
        mode: of `MODES`.
        nth: the first step that fails, from 1; 0 for none.
    """

    def __init__(self, mode: str, nth: int):
        self.mode, self.nth, self.count = mode, nth, 0

    def step(self, name: str) -> None:
        if self.mode == "full" and name not in NEED_SPACE:
            return
        self.count += 1
        if self.nth and self.count >= self.nth:
            if self.mode == "killed":
                raise Killed
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def opened(self, file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, **other):
        if not set(mode) & set("wax+") or isinstance(file, int):
            return real_open(file, mode, buffering, encoding, errors, newline, **other)
        self.step("open")
        raw = FaultyFile(self, file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        buffer = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding, errors, newline)

    def opened_by_number(self, path, flags, *arguments, **other):
        if flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
            self.step("open")
        return real_os_open(path, flags, *arguments, **other)


class FaultyFile(io.FileIO):
    """A file whose writes are steps."""

    def __init__(self, faults: Faults, file, mode: str):
        super().__init__(file, mode)
        self.faults = faults

    def write(self, content):
        try:
            self.faults.step("write")
        except BaseException:
            super().write(memoryview(content).cast("B")[: len(content) // 2])
            raise
        return super().write(content)


real_open, real_os_open = builtins.open, os.open


@contextmanager
def faulty(monkeypatch, mode: str, nth: int) -> Iterator[Faults]:
    """A context in which writing fails from the nth step on."""
    faults = Faults(mode, nth)

    def counted(name):
        real = getattr(os, name)

        def step(*arguments, **named):
            faults.step(name)
            return real(*arguments, **named)

        return step

    with monkeypatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, counted(name))
        patch.setattr(os, "open", faults.opened_by_number)
        patch.setattr(builtins, "open", faults.opened)
        patch.setattr(io, "open", faults.opened)
        yield faults
