"""Cells that a person gives: what the column cannot hold is refused, not replaced."""

import logging

import numpy as np
import pandas as pd
import pytest

from backstory.data.load import load
from backstory.data.tables.partial import wanted


@pytest.fixture(scope="module")
def schema():
    rng = np.random.default_rng(0)
    n = 400
    frame = pd.DataFrame(
        {
            "PassengerId": np.arange(n),
            "Ticket": np.where(rng.random(n) < 0.2, [f"PC {i}" for i in range(n)], rng.choice(["A", "B"], n)),
            "tolls": rng.choice([0.0, 5.76, 12.5], n),
            "Age": rng.uniform(0.5, 80, n),
            "Day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 300, n), "D"),
            "Pclass": rng.integers(1, 4, n),
        }
    )
    return load(frame).schema


def test_cells_that_the_columns_hold(schema) -> None:
    cells = {"Ticket": "other", "tolls": "5.76", "Age": "30.5", "Day": "2020-02-01", "Pclass": 3}
    row = dict(zip(schema.columns, wanted(schema, cells).row, strict=True))
    assert row["Ticket"] == len(schema.kinds[0].levels) - 1
    assert row["tolls"] == 5.76
    assert row["Age"] == 30.5
    assert row["Day"] == 18293
    assert row["Pclass"] == 2


@pytest.mark.parametrize(
    ("name", "cell", "says"),
    [
        ("Ticket", "UNKNOWN", "such as 'other' for all rare ones"),
        ("tolls", "5.77", "the nearest is 5.76"),
        ("Age", "200", "from 0.5"),
        ("Day", "1999-01-01", "2020-01-01 to 2020-10"),
        ("PassengerId", "3", "the model leaves out (identifier)"),
        ("Pclas", "3", "did you mean 'Pclass'?"),
    ],
)
def test_cells_that_they_cannot_hold(refusal, schema, name: str, cell: str, says: str) -> None:
    assert says in refusal(wanted, schema, {name: cell})


def test_a_number_somewhat_outside_is_told(schema, caplog) -> None:
    with caplog.at_level(logging.WARNING, "backstory"):
        row = wanted(schema, {"Age": 100}).row
    assert row[schema.columns.index("Age")] == 100
    assert "outside the training data of column 'Age'" in caplog.text


def test_a_row_of_a_frame_may_have_columns_that_are_left_out(schema) -> None:
    row = wanted(schema, pd.Series({"PassengerId": 3, "Age": 30.0})).row
    assert row[schema.columns.index("Age")] == 30


ROWS = np.array([[0, 5.76, 30, 18300, 2], [1, 0, 70, 18400, 0], [2, 12.5, 39.9, 18290, 1]], float)


@pytest.mark.parametrize(
    ("name", "cell", "rows"),
    [
        ("Age", (30, 40), [0, 2]),
        ("Age", (None, 39.9), [0, 2]),
        ("Age", ("39.95", None), [1]),
        ("Day", ("2020-01-28", "2020-02-28"), [0, 2]),
        ("tolls", (1, 20), [0, 2]),
        ("tolls", {0, "12.5"}, [1, 2]),
        ("Ticket", {"A", "other"}, [0, 2]),
        ("Pclass", (2, 9), [0, 2]),
        ("Pclass", ["1", 2], [1, 2]),
    ],
)
def test_ranges_and_sets(schema, name: str, cell: object, rows: list[int]) -> None:
    asked = wanted(schema, {name: cell})
    assert asked.is_open
    assert not asked.is_exact
    assert np.flatnonzero(asked.holds(ROWS)).tolist() == rows


@pytest.mark.parametrize(
    ("name", "cell", "says"),
    [
        ("Age", (40, 30), "40..30; exchange its ends"),
        ("Age", (200, None), "200..; choose another"),
        ("Age", (1, 2, 3), "got 3 values"),
        ("Age", set(), "an empty set"),
        ("Ticket", ("A", "B"), "whose levels have no order"),
        ("Ticket", {"A", "Z"}, "such as 'other'"),
        ("Pclass", (5, 9), "5..9; choose another"),
    ],
)
def test_ranges_and_sets_that_are_none(refusal, schema, name: str, cell: object, says: str) -> None:
    assert says in refusal(wanted, schema, {name: cell})
