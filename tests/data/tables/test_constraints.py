"""Relations that people give."""

import numpy as np
import pandas as pd
import pytest

from backstory import InputError
from backstory.data.load import load

RNG = np.random.default_rng(0)
LOW = RNG.normal(size=40).round(2)
FRAME = pd.DataFrame(
    {
        "pick up": LOW,
        "drop off": LOW + 5,
        "a": RNG.normal(9, 1, 40).round(1),
        "b": RNG.normal(9, 1, 40).round(1),
        "zone": np.arange(40) % 4 + 10.5,
        "part": np.array(["x", "y"])[np.arange(40) % 2],
    }
)
FRAME["sum"], FRAME["area"] = (FRAME.a + FRAME.b).round(), (FRAME.a * FRAME.b / 2).round(3)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("drop off >= pick up", "drop off = pick up + 5"),
        ("pick up <= drop off", "drop off = pick up + 5"),
        ("sum = a + b", "sum = a + b"),
        ("area = 0.5 * a * b", "area = 0.5 * a * b"),
        ("area = a * b / 2", "area = 0.5 * a * b"),
        ("zone -> part", "zone -> part"),
    ],
)
def test_a_constraint_is_taken_in_few_rows_and_within_rounding(text, read):
    related = load(FRAME, constraints=[text]).schema.related
    assert [(r.text, r.rows, r.told) for r in related.all] == [(read, 40, True)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("b >= a", r"expected b >= a in all rows of data frame, got \d+ that break it, the first in row \d+"),
        ("area = a * b", "that break it"),
        ("part -> zone", "expected one value of 'zone' for each of 'part'"),
        ("drop off > pick up", "expected a constraint such as"),
        ("drop of >= pick up", "got 'drop of'"),
        ("a >= 3", "expected two columns"),
        ("part >= a", "the binary column 'part'"),
        ("a = a + b", "different columns"),
        ("a = b + sum * area", "a sum or a product"),
    ],
)
def test_a_constraint_that_cannot_be_kept_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        load(FRAME, constraints=[text])


def test_constraints_are_for_tables():
    with pytest.raises(InputError, match="expected a table for `constraints`"):
        load(np.zeros((3, 2)), constraints=["a >= b"])
