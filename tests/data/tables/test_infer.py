"""Kinds of columns, cells to numbers and back, tables read by the schema of others."""

import numpy as np
import pandas as pd
import pytest

from backstory.data.load import load
from backstory.data.tables.frames import to_frame
from backstory.errors import InputError

KINDS = {
    **dict.fromkeys(("country", "school", "plan"), "categorical"),
    **dict.fromkeys(("member", "newsletter"), "binary"),
    **dict.fromkeys(("age", "income", "spent", "balance", "temperature", "current", "phase"), "continuous"),
    **dict.fromkeys(("joined", "last_seen"), "date"),
    "visits": "count",
    "stars": "ordinal",
}


def test_kinds_are_found_out_and_the_same_everywhere(frame, csv, monkeypatch) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs the extra 'parquet'")
    frame.to_parquet(csv.with_suffix(".parquet"), row_group_size=130)
    here = load(csv)
    assert {c.name: c.kind for c in here.schema.kinds} == KINDS
    assert {c.name: c.reason for c in here.schema.left_out} == {
        "customer_id": "identifier",
        "version": "constant",
    }
    decimals = {c.name: c.decimals for c in here.schema.kinds}
    assert (decimals["income"], decimals["temperature"], decimals["age"], decimals["balance"]) == (
        2,
        1,
        0,
        None,
    )
    monkeypatch.setattr("backstory.data.tables.text.CELLS_AT_ONCE", 2000)
    for source, stream in ((csv, True), (frame, None), (csv.with_suffix(".parquet"), True)):
        there = load(source, stream=stream)
        np.testing.assert_array_equal(there.values[:], here.values)
        types = {column.name for column in there.schema.kinds if column.dtype is not None}
        nullable = {name for name in frame if str(frame[name].dtype) == "Int64"}  # a type that frames keep
        assert types == (set() if source is csv else nullable)
        untyped = tuple(column.model_copy(update={"dtype": None}) for column in there.schema.kinds)
        assert there.schema.model_copy(update={"kinds": untyped}) == here.schema


def test_what_is_said_of_columns(frame, csv, refusal) -> None:
    said = {
        "age": "count",
        "school": "ordinal:primary,secondary,bachelor,master",
        "plan": "ignore",
        "stars": "categorical",
    }
    data = load(csv, columns=said)
    kinds = {c.name: c for c in data.schema.kinds}
    assert kinds["age"].kind == "count"
    assert kinds["school"].levels == ("primary", "secondary", "bachelor", "master")
    assert "plan" not in kinds
    assert kinds["stars"].kind == "categorical"
    assert "did you mean 'age'" in refusal(load, csv, columns={"agee": "count"})
    assert "expected one of continuous" in refusal(load, csv, columns={"age": "number"})
    assert "order of the levels" in refusal(load, csv, columns={"school": "ordinal"})
    assert "leave it out" in refusal(load, np.eye(3), columns={"age": "count"})


def test_dates_are_not_guessed(refusal, caplog) -> None:
    rows = np.arange(24)
    both = pd.DataFrame({"when": [f"{1 + i % 12:02}/{1 + i % 7:02}/2020" for i in rows], "x": rows + 0.5})
    assert load(both).schema.kinds[0].kind == "categorical"
    assert "several ways" in load(both).schema.kinds[0].note
    assert "date:FORMAT" in caplog.text
    assert "one way" in refusal(load, both, columns={"when": "date"})
    european = load(both, columns={"when": "date:%d/%m/%Y"})
    assert to_frame(european.values, european.schema)["when"].tolist() == both["when"].tolist()
    clear = both.assign(when=[f"{1 + i:02}/{1 + i % 7:02}/2020" for i in rows])
    assert load(clear).schema.kinds[0].format == "%d/%m/%Y"


def test_texts_after_numbers_are_read_as_they_stand(tmp_path, monkeypatch) -> None:
    cells = [f"{i % 3:03}" for i in range(40)] + ["A1", "B2"] * 10
    pd.DataFrame({"code": cells, "x": np.arange(60) / 4}).to_csv(tmp_path / "a.csv", index=False)
    monkeypatch.setattr("backstory.data.tables.text.CELLS_AT_ONCE", 20)
    assert load(tmp_path / "a.csv").schema.kinds[0].levels == ("000", "001", "002", "A1", "B2")


def test_arrow_tables(frame) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra 'parquet'")
    data = load(pyarrow.Table.from_pandas(frame))
    np.testing.assert_array_equal(data.values, load(frame).values)
    assert data.source == "pyarrow Table"


def test_few_numbers_are_a_grid_unless_they_are_all_with_so_many_decimals(grids) -> None:
    columns = {c.name: c for c in load(grids()).schema.kinds}
    kinds = {name: column.kind for name, column in columns.items()}
    assert kinds == {
        **dict.fromkeys(("hour", "year", "pack", "count"), "grid"),  # nobody counts from 3 to 90
        **dict.fromkeys(("age", "dose", "free"), "continuous"),
    }
    assert columns["pack"].values == (0, 6, 12, 24)
    said = load(grids(), columns={"hour": "continuous", "age": "grid"}).schema.kinds
    assert [c.kind for c in said if c.name in ("hour", "age")] == ["continuous", "grid"]
    assert {c.kind for c in load(grids(40)).schema.kinds if c.name == "hour"} == {"continuous"}
    with pytest.raises(InputError, match=r"different numbers in column 'free' .*got more than 100"):
        load(grids(), columns={"free": "grid"})


def test_a_column_that_is_infinite_everywhere_is_left_out(grids) -> None:
    left = load(grids(40).assign(hour=np.inf)).schema.left_out
    assert [(column.name, column.reason, column.text) for column in left] == [("hour", "constant", "inf")]
