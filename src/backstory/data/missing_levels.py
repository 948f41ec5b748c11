"""A condition with levels that is missing in some rows: its place among the codes, and levels in its place.

One condition of a model may have gaps in training. Its code is NaN in the rows without a level. The model
infers the level there, see `models.level_posterior`; p(c) are the shares of the levels in the other rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from backstory import console
from backstory.data.conditions import Condition, Stored, by_name, chosen_stated, of_shares
from backstory.errors import InputError, counted

if TYPE_CHECKING:
    from backstory.data.dataset import Dataset


@dataclass(frozen=True)
class MissingLevel:
    """The condition of a model whose level may be missing.

    Attributes:
        condition: its description.
        place: its numbers among the codes of all conditions.
    """

    condition: Condition
    place: slice

    @classmethod
    def of(cls, conditions: Sequence[Condition]) -> "MissingLevel | None":
        """The condition that has gaps; None where all are observed."""
        start = 0
        for condition in conditions:
            if condition.inferred:
                return cls(condition, slice(start, start + condition.width))
            start += condition.width
        return None

    @property
    def count(self) -> int:
        """L, the number of levels."""
        return self.condition.width

    def gaps(self, given: Any) -> Any:
        """Whether the level is missing in each row of codes, (N, C) to (N,) of bool."""
        first = given[:, self.place.start]
        return first != first  # NaN

    def filled(self, given: np.ndarray, levels: np.ndarray | int) -> np.ndarray:
        """Codes, (N, C), with these levels in the place of missing ones."""
        codes, gaps = np.array(given, np.float32), self.gaps(given)
        chosen = np.broadcast_to(levels, len(codes))[gaps]
        codes[gaps, self.place] = np.eye(self.count, dtype=np.float32)[chosen]
        return codes

    def with_levels(self, given: Tensor, levels: Tensor) -> Tensor:
        """Codes, (N, C), whose level is that of these numbers, (N,)."""
        own = torch.nn.functional.one_hot(levels, self.count).to(given)
        return torch.cat((given[:, : self.place.start], own, given[:, self.place.stop :]), 1)

    def others(self, given: Tensor) -> Tensor:
        """The codes of the other conditions, (N, C − L)."""
        return torch.cat((given[:, : self.place.start], given[:, self.place.stop :]), 1)


def unknown(conditions: Sequence[Condition], rows: int) -> np.ndarray | None:
    """Codes of rows without any condition, (rows, C); None unless the only condition may be missing."""
    if len(conditions) != 1 or not conditions[0].inferred:
        return None
    return np.full((rows, conditions[0].width), np.nan, np.float32)


def with_drawn_levels(
    conditions: Sequence[Condition], given: Mapping[str, Any] | None, rows: int, seed: int
) -> Mapping[str, Any] | None:
    """Conditions that a person chose, with a level drawn from p(c) where the level is missing.

    Args:
        conditions: of a model's schema.
        given: see `chosen_conditions`; None leaves out the only condition, if it may be missing.
        rows: the number of observations.
        seed: of the levels.
    """
    missing = MissingLevel.of(conditions)
    if missing is None or (given is None and len(conditions) > 1):
        return given
    own = {missing.condition.name: None} if given is None else given
    chosen = by_name(conditions, chosen_stated(conditions, own, rows)) or {}
    column, drawn = chosen[missing.condition.name].numbers, _drawn_levels(missing.condition, rows, seed)
    return {**chosen, missing.condition.name: Stored(np.where(np.isnan(column), drawn, column))}


def _drawn_levels(condition: Condition, rows: int, seed: int) -> np.ndarray:
    """Numbers of levels drawn from p(c), (rows,)."""
    shares = np.exp(condition.log_shares)
    return np.random.default_rng(seed).choice(len(shares), rows, p=shares / shares.sum())


def with_few_labels(data: "Dataset", rows: np.ndarray, count: int, seed: int) -> "Dataset":
    """The data set with the level of its condition in `count` of these rows, and in no other row.

    As many rows as possible are kept of each level.

    Args:
        data: with one condition, which has levels.
        rows: row numbers to choose from.
        count: of rows with a level.
        seed: of the choice.

    Raises:
        InputError: other conditions, or fewer rows with a level.
    """
    conditions = data.schema.conditions
    if len(conditions) != 1 or conditions[0].levels is None or data.stated is None or data.given is None:
        names = ", ".join(condition.name for condition in conditions) or "none"
        raise InputError(
            f"expected one condition with levels for `labelled`, got {names}; choose it with `given`"
        )
    stated = data.stated[:, 0]
    known = rows[np.isfinite(stated[rows])]
    if not 1 <= count <= len(known):
        raise InputError(
            f"expected from 1 to {len(known)} labels, of so many training rows, for `labelled`, got {count}; "
            "choose fewer"
        )
    kept = _balanced(stated[known], count, seed)
    hidden = np.ones(len(data), bool)
    hidden[known[kept]] = False
    left = np.where(hidden, np.nan, stated)
    condition = of_shares(conditions[0], left[rows])
    return replace(
        data,
        given=np.where(hidden[:, None], np.float32(np.nan), data.given),
        stated=left[:, None],
        schema=data.schema.model_copy(update={"conditions": (condition,)}),
    )


def warn_of_unlabelled(whole: "Dataset", data: "Dataset", rows: np.ndarray) -> None:
    """Warn of levels that some of these rows have in the whole data set, and none after `with_few_labels`."""
    if data is whole or whole.stated is None or data.stated is None:
        return
    known, kept = (len(np.unique(x[np.isfinite(x)])) for x in (whole.stated[rows, 0], data.stated[rows, 0]))
    if kept < known:
        verb, them = ("has", "it") if known - kept == 1 else ("have", "them")
        console.warn(
            f"{known - kept} of {counted(known, 'level')} of {data.schema.conditions[0].name!r} {verb} no "
            f"labelled row, so nothing tells the model which rows are of {them}; keep more labels"
        )


def _balanced(levels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The numbers of `count` rows, of each level in turn in random order."""
    order = np.random.default_rng(seed).permutation(len(levels))
    turn = np.empty(len(levels), np.int64)  # how many rows of its level come before each one
    for level in np.unique(levels):
        own = order[levels[order] == level]
        turn[own] = np.arange(len(own))
    return order[np.argsort(turn[order], kind="stable")][:count]
