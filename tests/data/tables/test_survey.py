"""What the cells of a column are, counted part by part."""

import numpy as np
import pandas as pd
import pytest

from backstory.data.tables.survey import MOST_VALUES, Survey


def survey(*parts: list, name: str = "a", **how) -> Survey:
    counted = Survey(name, "a table", **how)
    for part in parts:
        counted.add(pd.Series(part))
    return counted


@pytest.mark.parametrize(
    ("cells", "whole", "decimals", "low", "high"),
    [
        ([1, 2, 3], True, 0, 1, 3),
        ([1.5, 2.25, None], False, 2, 1.5, 2.25),
        (["1", "2.5", ""], False, 1, 1, 2.5),
        ([1 / 3, 0], False, None, 0, 1 / 3),
        ([True, False], True, 0, 0, 1),
    ],
)
def test_numbers(cells, whole, decimals, low, high) -> None:
    for parts in ([cells], [cells[:1], cells[1:]]):
        numbers = survey(*parts).numbers
        assert (numbers.whole, numbers.decimals, numbers.low, numbers.high) == (whole, decimals, low, high)
    assert survey(cells).numbers.boolean == (cells == [True, False])


def test_different_numbers_are_kept_while_they_are_few() -> None:
    assert survey(list(range(MOST_VALUES))).numbers.few == set(range(MOST_VALUES))
    assert survey(list(range(MOST_VALUES)), [0.5]).numbers.few is None


def test_texts_and_empty_cells() -> None:
    counted = survey(["1", None, "oak"], ["oak", np.nan])
    assert (counted.rows, counted.empty, counted.present) == (5, 2, 3)
    assert counted.texts.words == 2
    assert counted.texts.first_word == (2, "oak")
    assert counted.texts.counts == {"1": 1, "oak": 2}
    assert counted.numbers.cells == 1


def test_formats_of_dates() -> None:
    assert survey(["31.12.2024"], ["01.02.2024"]).date_formats() == ["%d.%m.%Y"]
    assert survey(["01/02/2024", "03/04/2024"]).date_formats() == ["%d/%m/%Y", "%m/%d/%Y"]
    assert survey(["oak", "elm"]).date_formats() == []
    mostly = survey(["2024-01-01"] * 19 + ["soon"])
    assert mostly.date_formats() == ["%Y-%m-%d"]
    assert mostly.dates.failures["%Y-%m-%d"] == (19, "soon")


def test_row_numbers_need_a_name_that_says_so() -> None:
    assert survey([1, 2], [3], name="id").numbers_rows
    assert not survey([1, 2], [2], name="id").numbers_rows
    assert not survey([1, 2], [3], name="age").numbers_rows
