"""The column that a comparison predicts, unless a person names one: that which the others predict best.

It is one of the columns with levels, or else one of numbers, if the others predict it better than chance.
A column that they predict without error (one that another determines) is passed over, as are dates. If all
are noise, it is the last column with levels, or else the last one.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from backstory.comparing.boosting import predictability
from backstory.comparing.rows import some
from backstory.data.tables.columns import Column

ROWS = 2000  # of which one half learns and the other is predicted
ROUNDS = 10  # of boosting
MOST_LEVELS, MOST_CANDIDATES = 20, 50  # the last of more columns
WITHOUT_ERROR = 0.999  # AUROC or R²
LEAST_R2 = 0.05
ERRORS = 3  # standard errors of an AUROC above chance


def usual_target(rows: np.ndarray, columns: Sequence[Column]) -> int:
    """The number of the column to predict for real rows, (N, C)."""
    levelled = [j for j, column in enumerate(columns) if column.levels is not None]
    numbers = [j for j, c in enumerate(columns) if c.levels is None and c.kind != "date"]
    few = [j for j in levelled if len(columns[j].levels or ()) <= MOST_LEVELS]
    mixed = np.random.default_rng(0).permutation(some(rows, ROWS, np.random.default_rng(0)))
    train, test = mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]
    chance = 0.5 + ERRORS / math.sqrt(3 * len(test))

    def predicted(j: int) -> float:
        return predictability(train, test, columns, j, ROUNDS)

    for candidates, least in ((few, chance), (numbers, LEAST_R2)):
        best = _best(candidates[-MOST_CANDIDATES:], predicted, least)
        if best is not None:
            return best
    return levelled[-1] if levelled else len(columns) - 1


def _best(candidates: Sequence[int], predicted: Callable[[int], float], least: float) -> int | None:
    """The column that is predicted best, the last of equal ones; None if all are noise or have no error."""
    scores = {j: predicted(j) for j in candidates}
    known = {j: score for j, score in scores.items() if least < score < WITHOUT_ERROR}
    return max(known, key=lambda j: (known[j], j)) if known else None
