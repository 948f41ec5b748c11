"""What `where` takes: durations, days, constants, and sets of numbers."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from backstory.data.load import load
from backstory.data.tables.partial import wanted
from backstory.errors import InputError


@pytest.fixture(scope="module")
def schema():
    rng = np.random.default_rng(0)
    n = 400
    start = pd.Timestamp("2024-01-01", tz="Asia/Tokyo") + pd.to_timedelta(rng.integers(0, 40_000, n), "min")
    frame = {
        "start": start,
        "wait": pd.to_timedelta(rng.integers(1, 90, n), "min"),
        "status": "OK",
        "x": rng.normal(size=n),
    }
    return load(pd.DataFrame(frame), relations=False).schema


@pytest.mark.parametrize("cell", [pd.Timedelta("5min"), "00:05:00", "5 min", 300, np.timedelta64(5, "m")])
def test_a_duration(schema, cell):
    assert wanted(schema, {"wait": cell}).row[schema.columns.index("wait")] == 300


@pytest.mark.parametrize("text", ["{0}:{1:02}", "{0}:{1:02}:00", "{0}h {1}m"])
@pytest.mark.parametrize(
    "cell",
    [pd.Timedelta("90min"), timedelta(minutes=90), np.timedelta64(90, "m"), "90 min", "1h 30m", "5400"],
)
def test_a_duration_of_a_column_of_texts(text, cell):
    minutes = np.random.default_rng(0).integers(1, 3000, 200)
    schema = load(pd.DataFrame({"ride": [text.format(m // 60, m % 60) for m in minutes]})).schema
    unit = schema.kinds[0].seconds
    assert unit == (1 if text.endswith("00") else 60)
    assert wanted(schema, {"ride": cell}).row[0] == 5400 / unit
    assert wanted(schema, {"ride": (cell, None)}).ranges[0][0] == 5400 / unit


def test_a_range_of_durations(schema):
    asked = wanted(schema, {"wait": (pd.Timedelta("5min"), "1 h")})
    assert asked.ranges[schema.columns.index("wait")] == (300, 3600)


def test_a_text_that_is_no_duration(schema):
    with pytest.raises(InputError, match="expected a duration in column 'wait'"):
        wanted(schema, {"wait": "soon"})


@pytest.mark.parametrize("cell", ["2024-01-05", ("2024-01-05", "2024-01-05")])
def test_a_day_is_the_whole_day_in_the_zone_of_the_column(schema, cell):
    ((low, high),) = wanted(schema, {"start": cell}).ranges.values()
    first = pd.Timestamp("2024-01-05", tz="Asia/Tokyo")
    begin, end = (
        (moment - pd.Timestamp(0, tz="UTC")) / pd.Timedelta("1D")
        for moment in (first, first + pd.Timedelta("23:59:59"))
    )
    assert low == pytest.approx(begin, abs=1e-9)
    assert end < high < begin + 1


def test_the_value_of_a_constant_column_changes_nothing(schema):
    assert wanted(schema, {"status": "OK"}).is_open
    assert wanted(schema, {"status": {"OK", "FAIL"}}).is_open


def test_another_value_of_a_constant_column_is_refused(schema):
    with pytest.raises(InputError, match="expected 'OK' for column 'status', its only value in training"):
        wanted(schema, {"status": "FAIL"})


def test_a_set_of_numbers_that_never_come_twice_is_refused_at_once(schema):
    with pytest.raises(InputError, match="expected a value or a range of column 'x'"):
        wanted(schema, {"x": {0.5, 1.0}})
