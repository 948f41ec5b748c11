"""Conditions as people give them to `fit`: by name, or with their values."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from backstory.data import conditions as how
from backstory.data.conditions import LABELS, Condition
from backstory.data.dataset import Dataset
from backstory.errors import InputError, counted


def names_and_values(given: Any) -> tuple[list[str] | None, dict[str, Any] | None]:
    """The names of the conditions, and their values where they do not come with the data.

    Args:
        given: a name or a sequence of names; values of one condition, (N,), which is then called `class`; or
            values by name, such as a mapping or a frame. None for a model of p(x).

    >>> names_and_values("class"), names_and_values(["age", "sex"])
    ((['class'], None), (['age', 'sex'], None))
    >>> names_and_values(np.array([3, 1]))
    (['class'], {'class': array([3, 1])})
    """
    if given is None:
        return None, None
    if isinstance(given, str):
        return [given], None
    if isinstance(given, list | tuple) and all(isinstance(name, str) for name in given):
        return list(given), None
    values = dict(given.items()) if isinstance(given, Mapping) or _is_frame(given) else {LABELS[0]: given}
    return list(map(str, values)), {str(name): _column(name, value) for name, value in values.items()}


def with_values(data: Dataset, values: Mapping[str, Any], known: Sequence[Condition] = ()) -> Dataset:
    """The data set with conditions of these values.

    Args:
        data: N observations, without conditions.
        values: N labels or numbers of each condition, by its name.
        known: the conditions, if they are known; else their levels and scales are found in the values.

    Raises:
        InputError: another number of values; see also `Dataset.conditioned_on`.
    """
    for name, column in values.items():
        if len(column) != len(data):
            raise InputError(
                f"expected one value of the condition {name!r} for each of "
                f"{counted(len(data), 'observation')} in {data.source}, got {len(column)}; give as many"
            )
    taken = [name for name in values if name in (data.schema.columns or ())]
    if taken:
        raise InputError(
            f"expected values of a condition that is no column of {data.source}, got {taken[0]!r}; give the "
            "name alone to take the column, or another name"
        )
    rows = data.training_rows
    conditions = known or how.settled([how.of_labels(name, v, rows) for name, v in values.items()])
    stated = how.stated_conditions(conditions, values, data.source)
    labels = next((v for name, v in values.items() if name in LABELS), data.labels)
    return replace(
        data,
        labels=labels,
        given=how.encode_stated(conditions, stated, data.source),
        stated=stated,
        schema=data.schema.conditioned(conditions),
    )


def _is_frame(given: Any) -> bool:
    return hasattr(given, "columns") and hasattr(given, "items")


def _column(name: Any, values: Any) -> np.ndarray:
    """Values of one condition, (N,)."""
    array = np.asarray(values.tolist() if hasattr(values, "tolist") else values)
    if array.ndim != 1:
        raise InputError(
            f"expected one value of the condition {name!r} for each observation, got an array of shape "
            f"{array.shape}; give labels, not codes"
        )
    return array
