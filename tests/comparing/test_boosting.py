"""Boosting that tells rows apart, or carries over: closed answers."""

import numpy as np
import pytest

from backstory.comparing.boosting import predictability, two_sample
from backstory.data.tables.columns import Column

COLUMNS = [
    Column(name="x", kind="continuous"),
    Column(name="town", kind="categorical", levels=("a", "b", "c"), cells="text"),
]


def table(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=count)
    return np.stack([x, np.digitize(x, [-0.5, 0.5])], axis=1).astype(float)


def test_identical_tables_cannot_be_told_apart() -> None:
    assert two_sample(table(200, 0), table(200, 0)[::-1], COLUMNS) == 0.5


def test_rows_of_one_source_can_hardly_be_told_apart() -> None:
    assert two_sample(table(600, 0), table(500, 1), COLUMNS) == pytest.approx(0.5, abs=0.06)


def test_another_range_is_told_apart() -> None:
    assert two_sample(table(200, 0), table(200, 1) + np.array([10, 0]), COLUMNS) == 1


def test_other_shares_of_few_different_rows_are_told_apart() -> None:
    # with P(1) = .9 and .5 in the tables, the score is 1 or 0: AUROC = ½ + (.9 − .5)/2
    few = [np.stack([np.zeros(1000), np.arange(1000) % 10 < ones], axis=1).astype(float) for ones in (9, 5)]
    assert two_sample(few[0], few[1], COLUMNS) == pytest.approx(0.7, abs=0.01)


def test_a_column_that_follows_from_another_is_predicted() -> None:
    assert predictability(table(400, 0), table(300, 1), COLUMNS, 1) > 0.99
    assert predictability(table(400, 0), table(300, 1), COLUMNS, 0) > 0.6


def test_a_column_that_does_not_is_not() -> None:
    train, test = table(400, 0), table(300, 1)
    for rows in (train, test):
        rows[:, 1] = np.random.default_rng(2).permutation(rows[:, 1])
    assert predictability(train, test, COLUMNS, 1) == pytest.approx(0.5, abs=0.1)


def test_rows_without_the_target_are_left_out() -> None:
    test = table(300, 1)
    whole = predictability(table(400, 0), test, COLUMNS, 1)
    assert predictability(table(400, 0), np.concatenate([test, test * [1, np.nan]]), COLUMNS, 1) == whole


def test_a_level_that_was_not_learned_counts_as_half() -> None:
    train = table(400, 0)
    only = train[train[:, 1] == 1]
    assert predictability(only, table(300, 1), COLUMNS, 1) == 0.5
    two = predictability(train[train[:, 1] != 2], table(300, 1), COLUMNS, 1)
    assert 0.5 < two < predictability(train, table(300, 1), COLUMNS, 1)


def test_what_cannot_be_measured_is_none() -> None:
    same = np.array([[float(i), 1.0] for i in range(50)])
    assert np.isnan(predictability(table(100, 0), same, COLUMNS, 1))
    assert np.isnan(predictability(table(100, 0) * [1, np.nan], table(100, 1), COLUMNS, 1))


def test_columns_that_are_empty_are_taken_as_they_are() -> None:
    empty = table(100, 0) * [np.nan, 1]
    assert predictability(empty, table(100, 1), COLUMNS, 1) == 0.5
    assert two_sample(empty, empty, COLUMNS) == 0.5
