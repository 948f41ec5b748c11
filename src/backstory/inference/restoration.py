"""The record of a restoration, and how well it agrees with the truth."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from backstory.data.tables.aligned import FrameRows, no_frame
from backstory.errors import InputError

T = TypeVar("T", Tensor, np.ndarray)

NUMBERS = ("log_evidence", "ess", "pareto_k", "r_hat", "acceptance")  # of each observation
AXES = {"mean": 0, "std": 0, "draws": 1, "codes": 1, **dict.fromkeys(NUMBERS, 0)}  # of the observations


@dataclass(frozen=True)
class Restoration(Generic[T]):
    """What p(x|y) says of each of N observations.

    Attributes:
        mean: E[x|y], (N, *shape); of a table's columns with levels the most probable level.
        std: standard deviation of each entry, (N, *shape); of columns with levels the probability of others.
        draws: of p(x|y), (M, N, *shape), each with the same weight.
        codes: the z of each draw, (M, N, D).
        methods: the method that gave the codes of each observation; `prior` if all entries are missing, and
            `observed` if none is, so that x is y.
        log_evidence: estimate of log p(y), (N,) nats; NaN without importance weights.
        ess: effective sample size, (N,), of the weights or of the chains; NaN for independent draws.
        pareto_k: shape of the tail of the weights, (N,), see `inference.pareto`; NaN without weights.
        r_hat, acceptance: of the chains, (N,); NaN without.
        level_probs: of each group of columns with levels its columns, (C,), and the probabilities of their
            levels given y, (N, L, C); zeros at observed entries.
        rows: the frame that y came in; None for other data.
    """

    mean: T
    std: T
    draws: T
    codes: Tensor
    methods: tuple[str, ...]
    log_evidence: Tensor
    ess: Tensor
    pareto_k: Tensor
    r_hat: Tensor
    acceptance: Tensor
    level_probs: tuple[tuple[Tensor, Tensor], ...] = ()
    rows: FrameRows | None = None

    def to_frame(self, draw: int | None = None) -> Any:
        """The frame that was given with the means in place of its missing cells, or with one of the draws.

        It has the same index and columns; cells that were observed exactly stay as they are.

        Args:
            draw: the number of a draw, from 0; by default the means, and the most probable levels.

        Raises:
            InputError: y was no frame, or there is no such draw.
        """
        if self.rows is None:
            raise no_frame("the restoration")
        if draw is not None and not 0 <= draw < len(self.draws):
            raise InputError(
                f"expected the number of one of {len(self.draws)} draws, counted from 0, got {draw}; choose "
                "one, or take more draws"
            )
        return self.rows.completed(np.asarray(self.mean if draw is None else self.draws[draw]))

    def select(self, numbers: Sequence[int]) -> Self:
        """The restorations of the observations of these numbers."""
        parts = {
            name: getattr(self, name).swapaxes(0, axis)[numbers].swapaxes(0, axis)
            for name, axis in AXES.items()
        }
        return replace(
            self,
            **parts,
            methods=tuple(self.methods[n] for n in numbers),
            level_probs=tuple((columns, probs[numbers]) for columns, probs in self.level_probs),
        )

    def with_rows(self, numbers: Sequence[int], others: Self) -> Self:
        """The same with other restorations of the observations of these numbers."""
        parts = {name: deepcopy(getattr(self, name)) for name in AXES}
        for name, axis in AXES.items():
            parts[name].swapaxes(0, axis)[numbers] = getattr(others, name).swapaxes(0, axis)
        methods = dict(enumerate(self.methods)) | dict(zip(numbers, others.methods, strict=True))
        level_probs = tuple((columns, probs.clone()) for columns, probs in self.level_probs)
        for (_, probs), (_, own) in zip(level_probs, others.level_probs, strict=False):  # () if all observed
            probs[numbers] = own
        return replace(self, **parts, methods=tuple(methods.values()), level_probs=level_probs)


def coverage(
    restoration: Restoration[T], truth: T, level: float = 0.9, where: np.ndarray | Tensor | None = None
) -> float:
    """The share of true entries that lie in the central interval of `level` of the draws: at best, `level`.

    Of M draws and the truth, all ranks of the truth are equally likely if the draws are right. An entry
    counts by the share of its rank, [r, r + 1] / (M + 1), that lies within ½ ± level / 2; with ties r + 1 is
    r + 1 + ties. So the number is right for any M, and for data with levels.

    Args:
        restoration: of `truth`.
        truth: (N, *shape).
        level: of the interval, in (0, 1).
        where: (N, *shape) of bool: the entries to count, such as those that were missing; all without it.

    Raises:
        InputError: for a truth of another shape, or nothing to count.
    """
    draws, x = torch.as_tensor(restoration.draws), torch.as_tensor(truth)
    if x.shape != draws.shape[1:]:
        raise InputError(f"expected a truth of shape {tuple(draws.shape[1:])}, got {tuple(x.shape)}")
    if not 0 < level < 1:
        raise InputError(f"the level of an interval lies between 0 and 1, got {level:g}")
    below, equal = (draws < x).sum(0).double(), (draws == x).sum(0).double()
    first, last = (below / (len(draws) + 1), (below + equal + 1) / (len(draws) + 1))
    inside = last.clamp(max=0.5 + level / 2) - first.clamp(min=0.5 - level / 2)
    share = inside.clamp(min=0) / (last - first)
    share = share if where is None else share[torch.as_tensor(where)]
    if share.numel() == 0:
        raise InputError("there is no entry to count: `where` is false everywhere")
    return float(share.mean())


def guess_levels(mean: Tensor, std: Tensor, columns: Tensor, probs: Tensor) -> None:
    """The most probable levels in place of means, and the probability of others in place of deviations.

    Args:
        mean, std: (N, C); columns are changed where their levels have probabilities.
        columns, probs: as in `Restoration.level_probs`.
    """
    best, guessed = probs.max(-2), probs.sum(-2) > 0
    mean[:, columns] = torch.where(guessed, best.indices.to(mean), mean[:, columns])
    std[:, columns] = torch.where(guessed, (1 - best.values).clamp(min=0).to(std), std[:, columns])
