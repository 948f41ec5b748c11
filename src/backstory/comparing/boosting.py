"""What gradient boosting makes of synthetic rows: whether it tells them from real ones, what it learns there.

Boosting takes empty cells as they are, and columns of texts as categories if they have no more levels than it
can hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from backstory.comparing.rows import keys
from backstory.data.tables.columns import Column

FOLDS = 3
ROUNDS = 100  # of boosting
MOST_LEVELS = 254  # of a category, for scikit-learn's boosting


@dataclass(frozen=True)
class Transfer:
    """How well one column is predicted from the others, on the same real rows.

    Attributes:
        target: the name of the column.
        measure: `auroc` of a column with levels (of more than two, the mean over the levels that occur, each
            against the others, weighted by its share), `r2` of numbers.
        synthetic: after training on synthetic rows; NaN if it cannot be measured.
        real: after training on as many real rows.
    """

    target: str
    measure: str
    synthetic: float
    real: float


def two_sample(
    real: np.ndarray, synthetic: np.ndarray, columns: Sequence[Column], folds: int = FOLDS
) -> float:
    """AUROC of boosting that tells synthetic from real rows it was not trained on; 0.5 is best, 1 the worst.

    A synthetic row and the real row that it equals, if there is one, are in the same fold, so that a copy
    cannot be told by the label of its original. The figure is the mean over the folds: scores of several
    judges in one order would favour rows that are rare in their fold.
    """
    both = np.concatenate([real, synthetic])
    label = np.repeat([0, 1], [len(real), len(synthetic)])
    order = np.random.default_rng(0).permutation(len(both))
    both, label = both[order], label[order]
    partner, areas = _partners(both, label), []
    for _, rows in StratifiedKFold(folds).split(both, label):
        test = np.isin(partner, rows)
        judge = _Boosting.fitted(both[~test], label[~test], columns)
        areas.append(roc_auc_score(label[test], judge.probabilities(both[test])[:, 1]))
    return float(np.mean(areas))


def _partners(rows: np.ndarray, label: np.ndarray) -> np.ndarray:
    """For each row, (N, C), the number of the row of label 0 that it equals, or its own; pairs are random.

    Each row has one partner at most, so that a value that many rows share stays in all folds.
    """
    equal = np.unique(keys(rows), return_inverse=True)[1]
    order = np.lexsort([np.random.default_rng(1).permutation(len(rows)), label, equal])
    same = 2 * equal[order] + label[order]
    place = np.empty_like(equal)  # among the equal rows of the same label
    place[order] = np.arange(len(same)) - np.searchsorted(same, same)
    pair = np.unique(equal * len(rows) + place, return_inverse=True)[1]
    partner = np.empty(len(rows), np.int64)
    for value in (1, 0):
        partner[pair[label == value]] = np.flatnonzero(label == value)
    return partner[pair]


def predictability(
    train: np.ndarray, test: np.ndarray, columns: Sequence[Column], target: int, rounds: int = ROUNDS
) -> float:
    """AUROC or R² on test rows for a column, given by its number, of boosting that learned on other rows.

    Rows in which the column is empty are left out. NaN if the test rows are alike in it, or there is no other
    column.
    """
    train, test = (rows[~np.isnan(rows[:, target])] for rows in (train, test))
    truth, levels = test[:, target], columns[target].levels
    if len(columns) < 2 or len(np.unique(truth)) < 2 or not len(train):
        return np.nan
    if levels is not None and len(np.unique(train[:, target])) < 2:
        return 0.5
    others = [j for j in range(len(columns)) if j != target]
    kinds = [columns[j] for j in others]
    model = _Boosting.fitted(train[:, others], train[:, target], kinds, levels is None, rounds)
    if levels is None:
        return float(r2_score(truth, model.predictions(test[:, others])))
    return _auroc(truth, model.model.classes_, model.probabilities(test[:, others]))


@dataclass(frozen=True)
class _Boosting:
    """Boosting, for which columns that are empty in its training rows are constant.

    Attributes:
        model: of scikit-learn.
        empty: (C,) of bool, these columns.
    """

    model: Any
    empty: np.ndarray

    @classmethod
    def fitted(
        cls,
        x: np.ndarray,
        y: np.ndarray,
        columns: Sequence[Column],
        numbers: bool = False,
        rounds: int = ROUNDS,
    ) -> Self:
        """Boosting that has learned y, (N,), from x, (N, C): levels, or numbers."""
        kind = HistGradientBoostingRegressor if numbers else HistGradientBoostingClassifier
        empty = np.isnan(x).all(axis=0)
        model = kind(max_iter=rounds, categorical_features=categories(columns), random_state=0)
        return cls(model.fit(np.where(empty, 0, x), y), empty)

    def predictions(self, x: np.ndarray) -> np.ndarray:
        """Numbers, (N,)."""
        return np.asarray(self.model.predict(np.where(self.empty, 0, x)))

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """Of each level, (N, L)."""
        return np.asarray(self.model.predict_proba(np.where(self.empty, 0, x)))


def categories(columns: Sequence[Column]) -> list[bool]:
    """Whether each column is a category for boosting; ordered levels are numbers to it."""
    return [c.kind in ("binary", "categorical") and len(c.levels or ()) <= MOST_LEVELS for c in columns]


def _auroc(truth: np.ndarray, classes: np.ndarray, probability: np.ndarray) -> float:
    """AUROC of each level against the others, weighted by its share; ½ for a level that was not learned."""
    known, areas, shares = list(classes), [], []
    for level in np.unique(truth):
        score = probability[:, known.index(level)] if level in known else np.zeros(len(truth))
        areas.append(roc_auc_score(truth == level, score))
        shares.append(np.mean(truth == level))
    return float(np.average(areas, weights=shares))
