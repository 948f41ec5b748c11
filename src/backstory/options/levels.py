"""Groups of z as people give them: 32,32 or 2x14x14,4x7x7,16, from x upwards."""

import math
import re
from collections.abc import Sequence
from typing import Any, TypeAlias

from backstory.options.choices import OptionError

Group: TypeAlias = int | tuple[int, int, int]  # units, or channels, height and width


def size(group: Group) -> int:
    """The number of units.

    >>> size(16), size((2, 14, 14))
    (16, 392)
    """
    return group if isinstance(group, int) else math.prod(group)


def written(groups: Sequence[Group]) -> str:
    """The groups as a command line has them.

    >>> written([(2, 14, 14), 16])
    '2x14x14,16'
    """
    return ",".join(str(g) if isinstance(g, int) else "x".join(map(str, g)) for g in groups)


def as_groups(value: Any, option: str = "hierarchy") -> tuple[Group, ...] | None:
    """The groups of an option; OptionError for anything else than groups.

    >>> as_groups("2x14x14,16"), as_groups([(2, 14, 14), "16"]), as_groups(16)
    (((2, 14, 14), 16), ((2, 14, 14), 16), (16,))
    """
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        parts = (parts,)
    groups = tuple(map(_group, parts))
    if None in groups:
        wrong = parts[groups.index(None)]
        raise OptionError(
            f"{option} has to be whole numbers, such as 64,32, or shapes of images, such as "
            f"2x14x14,4x7x7,16, got {wrong!r}",
            option,
        )
    return groups  # type: ignore[return-value]


def _group(part: Any) -> Group | None:
    if isinstance(part, str):
        numbers = [int(n) for n in part.split("x")] if re.fullmatch(r"\s*-?\d+(x\d+)*\s*", part) else []
        part = numbers[0] if len(numbers) == 1 else numbers
    if isinstance(part, int):
        return part
    if isinstance(part, list | tuple) and len(part) == 3 and all(isinstance(n, int) for n in part):
        return part[0], part[1], part[2]
    return None
