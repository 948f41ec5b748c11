"""What the scripts of this folder share: timing, where a result came from, and its place on a page."""

import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

import backstory

T = TypeVar("T")


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """What a call gives, and the seconds that it took."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def environment() -> dict[str, Any]:
    """The command, versions and machine of a measurement.

    Absolute paths of the command are shortened to their last part: nobody else has these folders.
    """
    arguments = [Path(part).name if Path(part).is_absolute() else part for part in sys.argv[1:]]
    return {
        "command": shlex.join(["python", f"bench/{Path(sys.argv[0]).name}", *arguments]),
        "backstory": backstory.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def write(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def markers(name: str) -> tuple[str, str]:
    """What stands before and after the lines of this name on a page."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def has_place(page: Path, name: str) -> bool:
    return markers(name)[0] in page.read_text(encoding="utf-8")


def place(page: Path, name: str, lines: Sequence[str]) -> None:
    """Put lines between the markers of this name on a page, in the place of what is there."""
    begin, end = markers(name)
    text = page.read_text(encoding="utf-8")
    before, after = text.split(begin)[0], text.split(end)[1]
    page.write_text("\n".join([f"{before}{begin}", *lines, f"{end}{after}"]), encoding="utf-8")
