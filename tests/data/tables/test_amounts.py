"""Numbers with signs around them: recognised, read and written back."""

import math

import numpy as np
import pytest

from backstory.data.tables.amounts import Amount
from backstory.data.tables.writing import recognised

CASES = [
    (["$1,234.50", "$9.99", "-$3.00"], [1234.5, 9.99, -3]),
    (["€ 1.234,50", "€ 12,00"], [1234.5, 12]),
    (["1.234,50 €", "3,00 €"], [1234.5, 3]),
    (["CHF 1'200.50", "CHF 5.00"], [1200.5, 5]),
    (["US$ 5.00", "US$ 1,000.00"], [5, 1000]),
    (["12 kr", "5 kr"], [12, 5]),
    (["45 %", "12.5 %"], [45, 12.5]),
    (["45%", "5%"], [45, 5]),
    (["12,5 %", "3,0 %"], [12.5, 3]),
    (["1,234", "999", "1,234,567"], [1234, 999, 1234567]),
    (["1.234.567", "1.000"], [1234567, 1000]),
    (["1 234,5", "12,0"], [1234.5, 12]),
    (["1\u00a0234", "12"], [1234, 12]),
    (["3,14", "2,71"], [3.14, 2.71]),
    (["0,512", "3,145"], [0.512, 3.145]),  # no thousands begin with 0
    (["($1,005.25)", "$7.25"], [-1005.25, 7.25]),
    (["$-5.00", "$2.00"], [-5, 2]),
    (["1,000.00-", "5.00"], [-1000, 5]),
    (["010", "020"], [10, 20]),
]


@pytest.mark.parametrize(("texts", "numbers"), CASES)
def test_numbers_are_recognised_read_and_written_back(texts: list[str], numbers: list[float]) -> None:
    way = recognised(dict.fromkeys(texts, 1))
    assert way is not None
    assert way.numbers(texts).tolist() == numbers
    assert [way.text(number) for number in numbers] == texts


@pytest.mark.parametrize(
    "texts", [["A", "B"], ["$5", "€5"], ["5 - 3"], ["2024-01-01"], ["1.2.3"], ["1-800-555"]]
)
def test_other_texts_are_no_numbers(texts: list[str]) -> None:
    assert recognised(dict.fromkeys(texts, 1)) is None


def test_nine_cells_of_ten_decide() -> None:
    way = recognised({"$1,000": 90, "ask": 10})
    assert math.isnan(way.numbers(["ask"])[0])
    assert recognised({"$1,000": 89, "ask": 11}) is None


def test_the_sign_before_decimals_can_be_told() -> None:
    assert recognised({"1,234": 1}).numbers(["1,234"]) == [1234]
    assert recognised({"1,234": 1}, decimal=",").numbers(["1,234"]) == [1.234]
    assert recognised({"1.234": 1}, decimal=",").numbers(["1.234"]) == [1234]


def test_plain_numbers_are_plain() -> None:
    assert recognised({"1.5": 1, "-2e3": 1, "7": 1}).is_plain
    assert not recognised({"1,5": 1}).is_plain


def test_writing_is_the_inverse_of_reading() -> None:
    numbers = np.round(
        np.random.default_rng(0).normal(size=300) * 10.0 ** np.arange(300).repeat(1).clip(0, 9), 2
    )
    for way in (
        Amount(before="$", thousands=",", decimals=2),
        Amount(after=" €", thousands=".", decimal=",", decimals=2, negative="last"),
        Amount(decimal=",", negative="brackets"),
    ):
        np.testing.assert_array_equal(way.numbers(map(way.text, numbers)), numbers)
