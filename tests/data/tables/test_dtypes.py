"""Columns of the types of frames are read, and come back in their types."""

import numpy as np
import pandas as pd
import pytest

from backstory.data.load import load
from backstory.data.tables.decode import decoded
from backstory.data.tables.frames import to_frame

N = 30
I = np.arange(N)
COLUMNS = {
    "Int64": pd.Series(pd.array([None if i % 7 == 3 else i * 11 for i in I], "Int64")),
    "Float32": pd.Series(pd.array([None if i % 7 == 3 else i / 4 for i in I], "Float32")),
    "boolean": pd.Series(pd.array([None if i % 7 == 3 else i % 2 == 0 for i in I], "boolean")),
    "string": pd.Series(pd.array([None if i % 7 == 3 else "abc"[i % 3] for i in I], "string")),
    "zeros": pd.Series([f"{i % 3:03}" for i in I], dtype="string"),
    "prices": pd.Series([f"${i}.50" for i in I], dtype=object),
    "category": pd.Series(pd.Categorical(["abc"[i % 3] for i in I], ["c", "b", "a", "never"])),
    "ordered": pd.Series(pd.Categorical(["abc"[i % 3] for i in I], ["c", "b", "a", "never"], ordered=True)),
    "numbered": pd.Series(pd.Categorical([i % 3 for i in I])),
    "halves": pd.Series(pd.Categorical([i % 3 / 2 for i in I], [0.0, 0.5, 1.0, 1.5])),
    "years": pd.Series(pd.Categorical([str(2019 + i % 3) for i in I], ["2021", "2019", "2020", "2023"])),
    "grades": pd.Series(pd.Categorical([str(9 + i % 3) for i in I], ["11", "10", "9"], ordered=True)),
    "percents": pd.Series(pd.Categorical([f"{i % 3} %" for i in I])),
    "timedelta": pd.Series(pd.to_timedelta(I * 3 + 1, "min")),
    "period": pd.Series(pd.period_range("2020-01", periods=N, freq="M")),
    "quarter": pd.Series(pd.period_range("2020Q1", periods=N, freq="Q")),
    "late": pd.Series(
        np.where(I % 3 == 0, np.datetime64("9999-12-31", "s"), np.datetime64("2024-01-01", "s") + I * 86400)
    ),
    "zone": pd.Series(pd.date_range("2024-01-01", periods=N, freq="h", tz="Europe/Berlin")),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_types_come_back(name: str) -> None:
    pytest.importorskip("tzdata")
    cells = COLUMNS[name]
    frame = pd.DataFrame({"a": cells, "x": I + 0.5})
    data = load(frame)
    assert "a" in data.schema.columns
    back = to_frame(np.asarray(data.values), data.schema)["a"]
    assert str(back.dtype) == str(cells.dtype)
    assert back.isna().equals(cells.isna())
    assert (back.dropna().astype(object) == cells.dropna().astype(object)).all()
    if isinstance(cells.dtype, pd.CategoricalDtype):
        assert list(back.cat.categories) == list(cells.cat.categories)
        assert back.cat.ordered == cells.cat.ordered
    np.testing.assert_array_equal(load(frame, schema=data.schema).values, data.values)


def test_categories_that_are_texts_of_numbers_are_levels_unless_a_person_asks() -> None:
    frame = pd.DataFrame({"year": COLUMNS["years"], "grade": pd.Categorical([str(8 + i % 3) for i in I])})
    year, grade = load(frame, columns={"year": "continuous", "grade": "ordinal"}).schema.cell_kinds
    assert (year.kind, year.low, year.high) == ("continuous", 2019, 2021)
    assert (grade.kind, grade.cells, grade.levels) == ("ordinal", "text", ("8", "9", "10"))


@pytest.mark.parametrize("name", ["Int64", "string", "timedelta", "zone", "category"])
def test_types_of_arrow(name: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"a": COLUMNS[name], "x": I + 0.5})
    packed = pyarrow.Table.from_pandas(frame)
    np.testing.assert_array_equal(load(packed).values, load(frame).values)
    arrow = packed.to_pandas(types_mapper=pd.ArrowDtype)
    np.testing.assert_array_equal(load(arrow).values, load(frame).values)


def test_sparse_numbers() -> None:
    dense = pd.DataFrame({"a": np.where(I % 5 == 0, I / 2, 0.0), "b": (I % 2).astype(float)})
    sparse = dense.astype(pd.SparseDtype("float64", 0.0))
    np.testing.assert_array_equal(load(sparse).values, load(dense).values)


def test_numbers_and_texts_that_mean_nothing_in_a_frame() -> None:
    frame = pd.DataFrame({"a": np.where(I == 3, -200, I + 0.5), "b": np.where(I == 3, "unknown", "t")})
    frame["b"] += pd.Series(I % 2).astype(str).where(I != 3, "")
    data = load(frame, missing=["-200", "unknown"])
    assert np.isnan(data.values[3]).all()
    assert not np.isnan(np.delete(data.values, 3, 0)).any()
    again = load(frame, schema=data.schema)  # a run keeps what was told
    np.testing.assert_array_equal(again.values, data.values)


def test_means_of_durations_are_durations() -> None:
    frame = pd.DataFrame({"wait": pd.to_timedelta(np.arange(60) * 7, unit="min"), "g": list("xyz") * 20})
    column = load(frame).schema.kinds[0]
    cells = decoded(np.array([60.0, 500.5, np.nan]), column)
    assert str(cells.dtype).startswith("timedelta64")
    assert cells[1] == pd.Timedelta(minutes=7)  # the nearest step of the column
    assert cells.isna().tolist() == [False, False, True]
