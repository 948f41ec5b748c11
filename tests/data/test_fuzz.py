"""Damaged files end as data or as one sentence, in seconds and in little memory.

`pytest tests/data/test_fuzz.py --fuzz 10000` tries more of them. A file is a function of its number, so that
`write_damaged(folder, number, files())` makes one again.
"""

import logging
import resource
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from damaged import files, write_damaged

from backstory.data.load import load
from backstory.errors import InputError

SECONDS, BYTES = 10, 1 << 30


class TooLong(BaseException):
    """A case took more than its time."""


@contextmanager
def deadline(seconds: int) -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def outcome(path: Path) -> str:
    """How reading a file ends; a sentence has to be one line, without control characters."""
    try:
        with deadline(SECONDS):
            data = load(path)
            data.schema.prepare(np.asarray(data.values[:5]))
        return "data"
    except InputError as error:
        sentence = str(error)
        assert sentence.isprintable(), ascii(sentence)
        assert len(sentence) < 2000
        return "sentence"


def test_damaged_files(tmp_path, fuzz: int, monkeypatch) -> None:
    monkeypatch.setattr(logging.getLogger("backstory"), "disabled", True)  # no bars and no warnings
    contents, counts, slowest, failures = files(), Counter[str](), 0.0, []
    before = peak()
    for number in range(fuzz):
        path = write_damaged(tmp_path, number, contents)
        start = time.perf_counter()
        try:
            counts[outcome(path)] += 1
        except (Exception, TooLong) as error:
            failures.append(f"{number} {path.name}: {type(error).__name__}: {str(error)[:200]}")
        slowest = max(slowest, time.perf_counter() - start)
        path.unlink()
    print(f"{fuzz} damaged files: {dict(counts)}, slowest {slowest:.1f} s, {(peak() - before) >> 20} MB")
    assert not failures, f"{len(failures)} of {fuzz}:\n" + "\n".join(failures[:40])
    assert peak() - before < BYTES
