"""Times of day and durations: recognised, read and written back."""

import numpy as np
import pandas as pd
import pytest

from backstory import InputError
from backstory.data.load import load
from backstory.data.tables.clocks import Clock
from backstory.data.tables.summary import records
from backstory.data.tables.writing import recognised

CASES = [
    (["08:30", "17:45"], [510, 1065], "times of day"),
    (["8:30", "17:45"], [510, 1065], "times of day"),
    (["08:30:15", "00:00:00"], [30615, 0], "times of day"),
    (["8:30 PM", "12:05 AM", "12:00 PM"], [1230, 5, 720], "times of day"),
    (["08:30pm", "11:05am"], [1230, 665], "times of day"),
    (["8:30 p.m.", "9:00 a.m."], [1230, 540], "times of day"),
    (["26:30", "03:10"], [1590, 190], "durations"),
    (["0:00:05.50", "1:02:03.25"], [5.5, 3723.25], "times of day"),
    (["2 days 03:00:00", "1 day 00:10:00", "0 days 00:00:01"], [183600, 87000, 1], "durations"),
    (["-00:30", "01:15"], [-30, 75], "durations"),
    (["PT1H30M", "P1DT2H", "PT5M"], [90, 1560, 5], "durations"),
    (["1h 30m", "2h"], [90, 120], "durations"),
    (["90 min", "1 min"], [90, 1], "durations"),
    (["1 hour 30 mins", "2 hours 5 mins"], [90, 125], "durations"),
]


@pytest.mark.parametrize(("texts", "numbers", "what"), CASES)
def test_times_are_recognised_read_and_written_back(texts, numbers, what) -> None:
    way = recognised(dict.fromkeys(texts, 1))
    assert way.numbers(texts).tolist() == numbers
    assert [way.text(number) for number in numbers] == texts
    assert str(way).startswith(what)


@pytest.mark.parametrize("text", ["25:00 PM", "13:00 PM", "08:75", "8", "1m 2h", "P", "PT"])
def test_no_times(text: str) -> None:
    assert recognised({text: 1}) is None or recognised({text: 1}).is_plain


def test_times_of_day_stay_in_the_day() -> None:
    assert Clock().text(1439.7) == "23:59"
    assert Clock(seconds=True).text(86400) == "23:59:59"


def test_times_that_a_person_calls_durations_may_be_longer_than_a_day(tmp_path) -> None:
    frame = pd.DataFrame({"wait": [f"{i % 17}:30:00" for i in range(40)], "x": np.arange(40.0)})
    [wait, _] = load(frame, columns={"wait": "duration"}).schema.kinds
    assert wait.cell(90000) == "25:00:00"
    assert wait.close == ()
    assert load(frame).schema.kinds[0].close == ("duration",)
    again = load(frame, columns=records(load(frame, columns={"wait": "duration"}).schema))
    assert again.schema.kinds[0] == wait
    night = frame.assign(wait=frame["wait"].str.replace("16:30", "23:30"))
    assert load(night).schema.kinds[0].close == ()


@pytest.mark.parametrize(
    ("cells", "got"),
    [([1.5, 2.5], "numbers"), (["soon", "late"], "texts"), (["8:30 PM", "9:15 AM"], "8:30 PM")],
)
def test_what_is_no_duration_is_refused(cells, got) -> None:
    with pytest.raises(InputError, match=f"expected durations such as 1:30:00.*{got}"):
        load(pd.DataFrame({"wait": cells * 10}), columns={"wait": "duration"})


def test_cells_that_are_no_durations_are_not_said_to_be_no_numbers() -> None:
    frame = pd.DataFrame({"wait": [f"{20 + i}:30" for i in range(20)], "x": np.arange(20.0)})
    with pytest.raises(InputError, match=r"expected durations, written as .*, got 'soon' in row 1, .* it so"):
        load(frame.assign(wait="soon"), schema=load(frame).schema)
