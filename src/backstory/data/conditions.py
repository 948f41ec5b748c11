"""Conditions c of p(x | c): what is known of each observation besides x, as numbers for the model.

A condition is a level (a label, a cell of a categorical column) or a number. A level becomes a one-hot code
with as many numbers as there are levels; a number y becomes (y − location) / scale. The level of one
condition may be missing in some rows, see `data.missing_levels`; all other conditions are observed.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from backstory import console
from backstory.data.tables.columns import Column, number_text
from backstory.errors import InputError, counted, named

LABELS = ("class", "label")  # names of the condition that the labels of images or arrays become
_LEVELS_SHOWN = 10
_MISSING = ("", "nan", "NaN", "<NA>", "NaT", "None")
_UNLABELLED = ("unlabelled", "unlabeled")  # folders of images without a class


@dataclass(frozen=True)
class Stored:
    """The values of a condition as stored numbers, (N,), see `Condition.stored`, in the place of texts."""

    numbers: np.ndarray


class Condition(BaseModel):
    """The description of one condition.

    Attributes:
        name: such as `label`, or the name of a column.
        levels: texts of the levels in the order of their code; None for a number.
        location, scale: of a number, in its own units.
        low, high: the smallest and the largest number in training; None for levels.
        column: the column of the table that became this condition; None for labels.
        place: index of that column among the columns of the table, conditions included; None for labels.
        shares: p(c), the shares of the levels in training, with one more row for each level, so that none is
            zero; None for numbers, and for even shares.
        known: the share of training rows in which the condition is observed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    levels: tuple[str, ...] | None = None
    location: float = 0.0
    scale: float = 1.0
    low: float | None = None
    high: float | None = None
    column: Column | None = None
    place: int | None = None
    shares: tuple[float, ...] | None = None
    known: float = 1.0

    @property
    def inferred(self) -> bool:
        """Whether the model infers the level where it is missing."""
        return self.known < 1 and self.levels is not None

    @property
    def log_shares(self) -> np.ndarray:
        """log p(c) of the levels, (L,)."""
        count = len(self.levels or ())
        return np.log(self.shares) if self.shares is not None else np.full(count, -math.log(count))

    @property
    def width(self) -> int:
        """How many numbers encode one value."""
        return 1 if self.levels is None else len(self.levels)

    def __str__(self) -> str:
        if self.levels is None:
            return self.name
        gaps = f", observed in {100 * self.known:.3g} % of the rows" if self.inferred else ""
        return f"{self.name} ({counted(len(self.levels), 'level')}{gaps})"

    def encode(self, values: Iterable[Any], source: str = "the conditions") -> np.ndarray:
        """Labels or cells as numbers, (N, width) of float32.

        Args:
            values: N labels or cells, as texts or numbers.
            source: where they come from, for messages.

        Raises:
            InputError: an unknown level, a text that is no number, or a missing value that is not inferred.

        >>> Condition(name="sex", levels=("f", "m")).encode(["m"])
        array([[0., 1.]], dtype=float32)
        """
        return self.encode_stored(self.stored(values, source), source)

    def stored(self, values: Iterable[Any] | Stored, source: str = "the conditions") -> np.ndarray:
        """Indices of levels or numbers, (N,) of float64 as a table stores them; NaN for a missing value."""
        if isinstance(values, Stored):
            return values.numbers
        return np.array([self._stored(value, source) for value in values], np.float64)

    def encode_stored(self, stored: np.ndarray, source: str = "the conditions") -> np.ndarray:
        """Indices of levels or numbers, (N,) as a table stores them, as in `encode`."""
        if (infinite := np.isinf(stored)).any():
            raise InputError(
                f"expected a finite number for the condition {self.name!r} in {source}, got "
                f"{stored[infinite][0]:g}; give another"
            )
        missing = np.flatnonzero(np.isnan(stored))
        if len(missing) and not self.inferred:
            raise InputError(
                f"expected a value of the condition {self.name!r} in every row of {source}, because "
                f"conditions must be observed, got none in row {missing[0] + 1}; fill it, or drop the row"
            )
        if self.levels is None:
            self._warn_of_far(stored, source)
            return ((stored - self.location) / self.scale)[:, None].astype(np.float32)
        codes = np.eye(len(self.levels), dtype=np.float32)[np.nan_to_num(stored).astype(np.int64)]
        codes[missing] = np.nan
        return codes

    def _warn_of_far(self, stored: np.ndarray, source: str) -> None:
        """Warn of a number that is farther than one standard deviation outside the range of training."""
        if self.low is None or self.high is None:
            return
        beyond = np.maximum(self.low - stored, stored - self.high)
        if (far := beyond > self.scale).any():
            others = len(np.unique(stored[far])) - 1
            too = counted(others, "other value is", "other values are")
            also = f" ({too} far outside, too)" if others else ""
            low, high, worst = self._shown([self.low, self.high, stored[beyond.argmax()]])
            console.warn(
                f"the condition {self.name!r} was from {low} to {high} in training, and is {worst} in "
                f"{source}{also}; the model "
                "extrapolates there"
            )

    def _shown(self, stored: Sequence[float]) -> list[str]:
        """Numbers as texts, as the column writes them."""
        show = "{:.6g}".format if self.column is None else self.column.shown
        return [show(value) for value in stored]

    def decode(self, encoded: np.ndarray) -> np.ndarray:
        """The values for codes (N, width): (N,) of texts, or of numbers (days since 1970-01-01 for dates).

        None for a level that is not known.

        >>> Condition(name="age", location=40, scale=10).decode(np.array([[-0.5]]))
        array([35.])
        """
        if self.levels is None:
            return encoded[:, 0].astype(np.float64) * self.scale + self.location
        texts = np.array(self.levels, dtype=object)[encoded.argmax(axis=1)]
        texts[np.isnan(encoded).any(axis=1)] = None
        return texts

    def _stored(self, value: Any, source: str) -> float:
        """The index of a level, or a number; NaN for a missing value."""
        text, known = str(value).strip(), self.levels or ()
        for level in (text, text.removesuffix(".0")):  # 3.0 is the level 3
            if level in known:
                return float(known.index(level))
        if text in _MISSING or (self.column is None and text in _UNLABELLED):
            return np.nan
        if self.column is not None:
            from backstory.data.tables.encode import encoded_cell  # with pandas, which is slow to import

            return encoded_cell(text, self.column)
        if self.levels is not None:
            shown = ", ".join(known[:_LEVELS_SHOWN]) + (", …" if len(known) > _LEVELS_SHOWN else "")
            raise InputError(
                f"expected one of the levels {shown} of the condition {self.name!r} in {source}, got "
                f"{text!r}; choose one"
            )
        try:
            return float(text)
        except ValueError:
            raise InputError(
                f"expected a number for the condition {self.name!r} in {source}, got {text!r}; "
                "write it as a number"
            ) from None


def of_labels(name: str, labels: np.ndarray, rows: np.ndarray) -> Condition:
    """The condition of labels (N,): a number if they have fractions, else a level for each different label.

    Args:
        name: of the condition.
        labels: of all observations, so that no level is unknown.
        rows: the rows that location, scale and shares are computed from.
    """
    if labels.dtype.kind == "f" and (np.isfinite(labels) & (labels != np.rint(labels))).any():
        return _of_number(Condition(name=name), labels[rows])
    if labels.dtype.kind in "fiu":
        numbers = np.unique(labels[np.isfinite(labels)])
        levels = tuple(number_text(value) for value in numbers.tolist())
    else:
        texts = {str(label).strip() for label in labels.tolist()}
        levels = tuple(sorted(texts - {*_MISSING, *_UNLABELLED}))
    if not levels:
        raise InputError(
            f"expected a value of the condition {name!r} in some of the rows, got none in all {len(labels)}; "
            "give labels of some, or train without `given`"
        )
    condition = Condition(name=name, levels=levels)
    return of_shares(condition, condition.stored(labels[rows].tolist()))


def of_column(column: Column, place: int, stored: np.ndarray) -> Condition:
    """The condition of a table's column, whose location and scale are computed from stored numbers (N,)."""
    condition = Condition(name=column.name, levels=column.levels, column=column, place=place)
    return _of_number(condition, stored) if column.levels is None else of_shares(condition, stored)


def settled(conditions: Sequence[Condition]) -> list[Condition]:
    """The conditions; InputError if more than one of them has levels that are missing in some rows."""
    gaps = [condition.name for condition in conditions if condition.inferred]
    if len(gaps) > 1:
        raise InputError(
            f"expected one condition with missing values at most, got {', '.join(gaps)}; fill the others, "
            "drop their rows, or leave them out of `given`"
        )
    return list(conditions)


def of_shares(condition: Condition, stored: np.ndarray) -> Condition:
    """The condition with the shares of its levels among stored indices, (N,), NaN where it is missing."""
    there, count = stored[np.isfinite(stored)].astype(np.int64), len(condition.levels or ())
    shares = (np.bincount(there, minlength=count) + 1) / (len(there) + count)
    known = len(there) / len(stored) if len(stored) else 1.0
    return condition.model_copy(update={"shares": tuple(shares.tolist()), "known": known})


def _of_number(condition: Condition, values: np.ndarray) -> Condition:
    finite = values[np.isfinite(values)].astype(np.float64)
    location, scale = (float(finite.mean()), float(finite.std())) if len(finite) else (0.0, 1.0)
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (None, None)
    update = {"location": location, "scale": scale or 1.0, "low": low, "high": high}
    return condition.model_copy(update=update)


def encode_conditions(conditions: Sequence[Condition], values: Mapping[str, Iterable[Any]]) -> np.ndarray:
    """The codes of all conditions side by side, (N, C) of float32.

    Args:
        conditions: of a schema, in order.
        values: N labels or cells of each condition, by its name.

    Raises:
        InputError: a condition without values or values without a condition, or see `Condition.encode`.

    >>> sex = Condition(name="sex", levels=("f", "m"))
    >>> encode_conditions([sex, Condition(name="age", location=40, scale=10)], {"sex": ["f"], "age": [50]})
    array([[1., 0., 1.]], dtype=float32)
    """
    return encode_stated(conditions, stated_conditions(conditions, values))


def encode_stated(
    conditions: Sequence[Condition], stated: np.ndarray, source: str = "the conditions"
) -> np.ndarray:
    """The codes of all conditions side by side, (N, C) of float32, for their stored numbers, (N, K)."""
    codes = [c.encode_stored(stated[:, j], source) for j, c in enumerate(conditions)]
    return np.concatenate(codes, axis=1)


def stated_conditions(
    conditions: Sequence[Condition],
    values: Mapping[str, Iterable[Any] | Stored],
    source: str = "the conditions",
) -> np.ndarray:
    """The stored numbers of all conditions, (N, K) of float64; arguments are those of `encode_conditions`."""
    names = [condition.name for condition in conditions]
    values = {_own_name(conditions, name): column for name, column in values.items()}
    wrong = [name for name in values if name not in names] or [name for name in names if name not in values]
    if wrong:
        raise InputError(
            f"expected values of the {named('condition', names)}, got "
            f"{', '.join(values) or 'none'}; {'leave out' if wrong[0] in values else 'add'} {wrong[0]}"
        )
    return np.stack([condition.stored(values[condition.name], source) for condition in conditions], axis=1)


def _own_name(conditions: Sequence[Condition], name: str) -> str:
    """The name that a model has for its labels, where they are called `class` or `label`."""
    own = [c.name for c in conditions if c.column is None and c.name in LABELS]
    return own[0] if own and name in LABELS else name


def chosen_conditions(conditions: Sequence[Condition], given: Any, rows: int) -> np.ndarray | None:
    """The codes of conditions that a person chose, (rows, C) of float32; None for a model of p(x).

    Args:
        conditions: of a model's schema.
        given: by name, one value for all rows, or one for each in a sequence or as `Stored`; None if nothing
            was chosen.
        rows: the number of observations.

    Raises:
        InputError: conditions for a model of p(x), none for a model of p(x|c), another number of values, or
            see `encode_conditions`.

    >>> sex = Condition(name="sex", levels=("f", "m"))
    >>> chosen_conditions([sex], {"sex": "m"}, 2)
    array([[0., 1.],
           [0., 1.]], dtype=float32)
    """
    stated = chosen_stated(conditions, given, rows)
    return None if stated is None else encode_stated(conditions, stated)


def chosen_stated(conditions: Sequence[Condition], given: Any, rows: int) -> np.ndarray | None:
    """The stored numbers of conditions that a person chose, (rows, K); see `chosen_conditions`."""
    if given is None:
        if conditions:
            raise no_conditions(conditions)
        return None
    if not isinstance(given, Mapping):
        raise InputError(
            "expected conditions by name for `given`, such as {'class': 3}, got "
            f"{type(given).__name__}; give a value, or one for each observation, for each condition"
        )
    if not conditions:
        raise unexpected_conditions(tuple(given))
    return stated_conditions(conditions, {name: _for_each(name, v, rows) for name, v in given.items()})


def _for_each(name: str, value: Any, rows: int) -> Sequence[Any] | Stored:
    if isinstance(value, Stored):
        return value
    if isinstance(value, str) or np.ndim(value) == 0:
        return [value] * rows
    values = list(np.asarray(value).tolist() if hasattr(value, "__array__") else value)
    if len(values) != rows:
        raise InputError(
            f"expected one value of the condition {name!r}, or one for each of "
            f"{counted(rows, 'observation')}, got {len(values)}; give as many"
        )
    return values


def no_conditions(conditions: Sequence[Condition], source: str = "") -> InputError:
    """The error of observations without the conditions that a model was trained with."""
    names = [condition.name for condition in conditions]
    them = "it" if len(names) == 1 else "them"
    return InputError(
        f"expected the {named('condition', names)} of each observation, because this is a model of "
        f"p(x | {', '.join(names)}), got none{' in ' if source else ''}{source}; give data that has {them}, "
        f"or choose {them} with `given`"
    )


def unexpected_conditions(conditions: Sequence[Condition | str]) -> InputError:
    """The error of conditions for a model that was trained without any."""
    names = ", ".join(c if isinstance(c, str) else c.name for c in conditions)
    return InputError(
        f"expected no conditions, because this is a model of p(x), got {names or 'some'}; leave them out, or "
        "train a model with `given`"
    )


def by_name(conditions: Sequence[Condition], stated: np.ndarray | None) -> dict[str, Stored] | None:
    """The stored numbers of conditions, (N, K), as a person would choose them, see `chosen_conditions`.

    >>> by_name([Condition(name="age", location=40, scale=10)], np.array([[35.0]]))
    {'age': Stored(numbers=array([35.]))}
    """
    if stated is None:
        return None
    return {c.name: Stored(column) for c, column in zip(conditions, stated.T, strict=True)}


def decode_conditions(conditions: Sequence[Condition], given: np.ndarray) -> dict[str, np.ndarray]:
    """The values of conditions by name, each (N,), for their codes side by side, (N, C)."""
    ends = np.cumsum([condition.width for condition in conditions])[:-1]
    parts = np.split(given, ends, axis=1)
    return {c.name: c.decode(part) for c, part in zip(conditions, parts, strict=True)}


def with_levels(conditions: Sequence[Condition], name: str | None, option: str = "condition") -> Condition:
    """The condition of a name, or without one the only condition that has levels; InputError for another.

    `option` is what the name was chosen with, for the message.
    """
    known = {condition.name: condition for condition in conditions if condition.levels is not None}
    own = None if name is None else _own_name(conditions, name)
    if own in known:
        return known[own]
    if own is None and len(known) == 1:
        return next(iter(known.values()))
    if not known:
        numbers = ", ".join(condition.name for condition in conditions)
        raise InputError(
            f"expected a model with a condition that has levels, got a model of "
            f"p(x{numbers and ' | ' + numbers}); train one with `given`"
        )
    raise InputError(
        f"expected the name of a condition with levels, which are {', '.join(known)}, got "
        f"{name or 'no name'}; choose one with `{option}`"
    )


def at_each_level(
    conditions: Sequence[Condition], name: str, n: int, given: Mapping[str, Any] | None = None
) -> tuple[int, dict[str, Any]]:
    """The number of rows, and their conditions, for n rows of each level of a condition in their order.

    Args:
        conditions: of a model's schema.
        name: of the condition that takes each of its levels.
        n: the number of rows of each level.
        given: the other conditions, one value for all rows or one for each of them.

    Raises:
        InputError: the model has no such condition, it is a number, or it is given, too.

    >>> at_each_level([Condition(name="sex", levels=("f", "m"))], "sex", 2)
    (4, {'sex': ['f', 'f', 'm', 'm']})
    """
    condition = with_levels(conditions, name, "each")
    others = {_own_name(conditions, other): value for other, value in (given or {}).items()}
    if condition.name in others:
        raise InputError(
            f"expected one value of the condition {condition.name!r}, or each of its levels, got both; leave "
            "it out of `given`, or leave out `each`"
        )
    levels = [level for level in condition.levels or () for _ in range(n)]
    return len(levels), {**others, condition.name: levels}


def at_level(
    conditions: Sequence[Condition], condition: Condition, level: int, given: np.ndarray | Any
) -> np.ndarray:
    """Codes of conditions, (N, C), in which one of them has the level of this number in every row."""
    codes = np.array(given, np.float32)
    start = sum(c.width for c in conditions[: list(conditions).index(condition)])
    codes[:, start : start + condition.width] = np.eye(condition.width, dtype=np.float32)[level]
    return codes
