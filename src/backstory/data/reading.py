"""How data is read where it does not tell by itself."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self, TypeVar, get_args

from backstory.data.rows import LIMIT
from backstory.data.schema import Aspect, Channels
from backstory.data.tables.columns import Columns
from backstory.data.tables.layout import Told
from backstory.data.tables.wishes import ALL, Wishes
from backstory.errors import InputError

Kind = Literal["images", "array"]
Alpha = Literal["white", "keep"]
Pages = Literal["first", "all"]
T = TypeVar("T")

_LIMITS = {None: LIMIT, True: 0, False: math.inf}  # bytes in memory


@dataclass(frozen=True)
class Reading:
    """How data is read; None leaves a choice to the data, or to the model that reads it.

    Attributes:
        kind: what an array holds: `images`, or an `array` of other numbers.
        channels: whether the channels of images come `first` or `last` in an array.
        range: the values of black and white in an array of images.
        resize: (height, width) that image files are brought to.
        aspect: what happens to image files of another shape: `stretch` (by default), `crop` or `pad`.
        alpha: whether transparent pixels are laid on `white` (by default), or the channel is to `keep`.
        pages: whether image files with several pages give the `first` (by default) or `all` of them.
        skip_damaged: whether damaged image files are left out.
        stream: whether the values stay in a file; by default above 1 GiB.
        columns: what columns of a table hold, by name.
        separator, decimal, encoding, header, index, missing, keep_missing_as_level: of a table, see `Told`.
        relations: whether exact relations between columns of a table are looked for, by default they are.
        no_relation: relations that are not to be taken, as printed, or columns that take part in none.
        constraints: relations that hold, such as end >= start, see `data.tables.constraints`.
        limit: the number of images to read at most.
        by_model: whether a model's schema says what an array holds, so that nothing is in doubt.
        conditions: columns of a table that are to be conditions, and take part in no relation.
    """

    kind: Kind | None = None
    channels: Channels | None = None
    range: tuple[float, float] | None = None
    resize: tuple[int, int] | None = None
    aspect: Aspect | None = None
    alpha: Alpha | None = None
    pages: Pages | None = None
    skip_damaged: bool = False
    stream: bool | None = None
    columns: Columns | None = None
    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    header: bool | None = None
    index: str | None = None
    missing: tuple[str, ...] = ()
    keep_missing_as_level: tuple[str, ...] = ()
    relations: bool | None = None
    no_relation: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    limit: int | None = None
    by_model: bool = False
    conditions: tuple[str, ...] = ()

    @classmethod
    def of(cls, **given: Any) -> Self:
        """The record for options as people give them.

        InputError for an unknown option, or a value that it cannot have.
        """
        unknown = [name for name in given if name not in NAMES]
        if unknown:
            raise InputError(
                f"expected options of reading, {', '.join(NAMES)}, got {unknown[0]!r}; choose one of these"
            )
        choices = {"kind": Kind, "channels": Channels, "aspect": Aspect, "alpha": Alpha, "pages": Pages}
        for name, choice in choices.items():
            if given.get(name) not in (None, *get_args(choice)):
                raise InputError(
                    f"expected {' or '.join(get_args(choice))} for `{name}`, got {given[name]!r}; choose one"
                )
        lists = (*OF_TEXTS, "no_relation", "constraints")
        parsed = {name: _texts(name, given[name]) for name in lists if given.get(name) is not None}
        _check_signs(given)
        sizes = parsed | {"resize": _size(given.get("resize")), "range": _range(given.get("range"))}
        return cls(**given | sizes)

    @property
    def memory(self) -> float:
        """Bytes that the values may take in memory."""
        return _LIMITS[self.stream]

    @property
    def told(self) -> Told:
        """What is told of a table."""
        return Told(**{name: getattr(self, name) for name in OF_TABLES})

    @property
    def wishes(self) -> Wishes:
        """What is said of the relations of a table."""
        refused = (*self.no_relation, *self.conditions, *([ALL] if self.relations is False else []))
        return Wishes(self.constraints, refused)

    def told_over(self, earlier: Told) -> Self:
        """The same, with what was told of an earlier table where nothing is told of this one."""
        told = self.told.over(earlier)
        return replace(self, **{name: getattr(told, name) for name in OF_TABLES})

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Those of these options that were given."""
        return [name for name in names if getattr(self, name) not in (None, False, ())]


PLAIN = Reading()
NAMES = tuple(field.name for field in fields(Reading) if field.name != "conditions")
OF_ARRAYS = ("kind", "channels", "range")
OF_TEXTS = ("missing", "keep_missing_as_level")
OF_TABLES = ("separator", "decimal", "encoding", "header", "index", *OF_TEXTS)
OF_RELATIONS = ("relations", "no_relation", "constraints")
OF_IMAGES = ("resize", "aspect", "alpha", "pages", "skip_damaged")


def _texts(name: str, given: Any) -> tuple[str, ...]:
    texts = (given,) if isinstance(given, str | int | float) else tuple(given)
    if name == "missing":
        return tuple(str(text).strip() for text in texts)
    return tuple(map(str, texts))


def _check_signs(given: dict[str, Any]) -> None:
    separator, decimal = given.get("separator"), given.get("decimal")
    if separator is not None and (len(str(separator)) != 1 or str(separator) in '"\n\r'):
        raise InputError(
            f"expected one sign between cells for `separator`, got {separator!r}; give ; for example"
        )
    if decimal not in (None, ".", ","):
        raise InputError(f"expected . or , for `decimal`, got {decimal!r}; choose one")


def _size(resize: Any) -> tuple[int, int] | None:
    if resize is None:
        return None
    size = (resize, resize) if isinstance(resize, int) else tuple(resize)
    if len(size) != 2 or min(size) < 1:
        raise InputError(
            f"expected a size of one or two positive numbers for `resize`, got {resize}; give 64, for example"
        )
    return size[0], size[1]


def _range(range: Any) -> tuple[float, float] | None:
    if range is None:
        return None
    try:
        low, high = map(float, range)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(
            f"expected two numbers for `range`, those of black and of white, got {range!r}; "
            "give 0,255, for example"
        )
    return low, high
