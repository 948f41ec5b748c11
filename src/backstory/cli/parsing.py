"""Words of a command line that Typer does not understand: sizes, and names with values."""

import csv
import importlib
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from backstory.errors import InputError


def size(text: str | None) -> tuple[int, int] | None:
    """Height and width; one number stands for both.

    >>> size("32x24"), size("32"), size(None)
    ((32, 24), (32, 32), None)
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text.lower())
    if match is None:
        raise InputError(f"expected a size such as 32 or 32x24 for --resize, got {text!r}")
    return int(match[1]), int(match[2] or match[1])


def pair(text: str | None, option: str) -> tuple[float, float] | None:
    """Two numbers.

    >>> pair("-1,1", "range"), pair(None, "range")
    ((-1.0, 1.0), None)
    """
    if text is None:
        return None
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise InputError(f"expected two numbers such as 0,255 for --{option}, got {text!r}") from None
    return low, high


def numbers(text: str, option: str) -> float | tuple[float, ...]:
    """One number, or several with commas between them.

    >>> numbers("0.7", "temperature"), numbers("0.7,1", "temperature")
    (0.7, (0.7, 1.0))
    """
    try:
        found = tuple(map(float, text.split(",")))
        return found if len(found) > 1 else found[0]
    except ValueError:
        raise InputError(f"expected numbers such as 0.7 or 0.7,0.8 for --{option}, got {text!r}") from None


def sign(text: str | None) -> str | None:
    """A sign, which may be called tab.

    >>> sign("tab"), sign(";"), sign(None)
    ('\\t', ';', None)
    """
    return "\t" if text in ("tab", "\\t") else text


def columns(options: Iterable[str] | None, file: Path | None) -> dict[str, Any]:
    """What columns hold: the schema file, and the options NAME=KIND, which come first."""
    from backstory.data.tables.columns import asked
    from backstory.jobs.schema_files import read_schema

    kinds: dict[str, Any] = {} if file is None else read_schema(file)
    for option in options or ():
        # a name may hold the sign =, a kind does not
        name, kind = _pair(option, "--column takes NAME=KIND, such as age=count", last=_ends_in_kind(option))
        kinds[name] = kind
    asked(kinds)  # refuses unknown kinds before any data is read
    return kinds


def names(options: Iterable[str] | None) -> list[str] | None:
    """Names, several of them apart by commas; a name in double quotes stays whole. None without any.

    >>> names(["age,sex", '"a,b"'])
    ['age', 'sex', 'a,b']
    """
    lines = list(csv.reader(options or (), skipinitialspace=True))
    return [name.strip() for line in lines for name in line] or None


def cells(options: Iterable[str] | None, option_name: str = "where") -> dict[str, str]:
    """Cells of a table by the name of their column, or conditions by theirs.

    >>> cells(["age = 40", "member=yes"])
    {'age': '40', 'member': 'yes'}
    """
    given: dict[str, str] = {}
    for option in options or ():
        name, text = _pair(option, f"--{option_name} takes NAME=VALUE, such as age=40")
        if name in given:
            raise InputError(f"--{option_name} gives {name!r} twice; give it once")
        given[name] = text
    return given


def wanted(options: Iterable[str] | None) -> dict[str, Any]:
    """Cells of a table as in `cells`, of which LOW..HIGH is a range and A|B a set; quotes keep a value whole.

    >>> wanted(["age=30..40", "size=..5", 'plan="a|b"', "sex=F"])
    {'age': ('30', '40'), 'size': (None, '5'), 'plan': 'a|b', 'sex': 'F'}
    >>> wanted(["plan=basic|plus"]) == {"plan": {"basic", "plus"}}
    True
    """
    return {name: _wanted(text) for name, text in cells(options).items()}


def _wanted(text: str) -> Any:
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    if "|" in text:
        return {part.strip() for part in text.split("|")}
    low, dots, high = (part.strip() for part in text.partition(".."))
    return (low or None, high or None) if dots else text


def named_values(text: str, option: str) -> dict[str, str]:
    """The pairs of `name=value,…`.

    >>> named_values("alpha=0.5, gamma=2", "objective-args")
    {'alpha': '0.5', 'gamma': '2'}
    """
    expected = f"--{option} takes name=value pairs, such as alpha=0.5,gamma=2"
    try:
        return dict(_pair(part, expected) for part in text.split(","))
    except InputError:
        raise InputError(f"{expected}, got {text!r}") from None


def given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def refuse(purpose: str, **options: Any) -> None:
    """Raise InputError for an option that was given and belongs to something else."""
    for name in given(**options):
        raise InputError(f"--{name} belongs to {purpose}; leave it out")


def _ends_in_kind(option: str) -> bool:
    """Whether what follows the last = is a plain kind of column."""
    return re.fullmatch(r"[a-z]+", option.rpartition("=")[2].strip()) is not None


def _pair(option: str, expected: str, last: bool = False) -> tuple[str, str]:
    """Name and value around the first =, or the last one; a name in double quotes may hold the sign itself.

    >>> _pair('"a=b"=3', "NAME=VALUE")
    ('a=b', '3')
    """
    if quoted := re.fullmatch(r'\s*"([^"]+)"\s*=(.*)', option, re.DOTALL):
        name, value = quoted[1], quoted[2].strip()
    else:
        name, _, value = (
            part.strip() for part in (option.rpartition("=") if last else option.partition("="))
        )
    if not (name and value):
        raise InputError(f"{expected}, got {option!r}")
    return name, value


def import_module(name: str) -> None:
    """Import a module that registers choices; the working directory is searched, too."""
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"--import expects a Python module, got {name}, which fails: {error}") from None
