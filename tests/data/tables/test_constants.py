"""Cells of columns that were constant or empty in training, in other tables."""

import numpy as np
import pandas as pd
import pytest

from backstory.data.load import load
from backstory.data.tables.constants import ConstantCells, new_values

X = np.random.default_rng(0).normal(size=40).round(3)
DAY = pd.Timestamp("2024-03-01 12:30")

# the constant, other ways to write it, other values, and their texts
CELLS = {
    "text": ("OK", [" OK "], ["FAIL", "ok", 7], ["FAIL", "ok", "7"]),
    "whole": (3, ["3", 3.0, "3.0"], [4, "three", -3], ["4", "three", "-3"]),
    "number": (2.5, ["2.50", "25e-1"], [2.4, "many"], ["2.4", "many"]),
    "infinite": (np.inf, ["inf", "Infinity"], [1], ["1"]),
    "bool": (True, ["True", "true", 1, "1"], [False, "0", "no"], ["False", "0", "no"]),
    "date": (DAY, ["2024-03-01T12:30"], [DAY + pd.Timedelta("1h"), "soon"], ["2024-03-01 13:30:00", "soon"]),
}


def frame(cells: object) -> pd.DataFrame:
    return pd.DataFrame({"n": cells, "x": X[: len(cells)] if isinstance(cells, list) else X})


@pytest.mark.parametrize("name", CELLS)
def test_cells_are_compared_with_the_constant(name: str) -> None:
    constant, same, others, texts = CELLS[name]
    schema = load(frame(constant)).schema
    assert [column.reason for column in schema.left_out] == ["constant"]
    (cells,) = load(frame([constant, *same, *others, None]), schema=schema).constants
    first = 1 + len(same)
    assert cells.different.tolist() == list(range(first, first + len(others)))
    assert list(cells.texts) == texts
    assert cells.empty.tolist() == [first + len(others)]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_same_table_has_no_other_values(ending: str, tmp_path, caplog) -> None:
    table = pd.DataFrame(
        {"k": 0.1, "v": np.float32(0.1), "s": "OK", "b": True, "d": DAY, "z": "010", "e": np.nan, "x": X}
    )
    table.loc[5, "s"] = None
    path = tmp_path / f"a.{ending}"
    table.to_parquet(path) if ending == "parquet" else table.to_csv(path, index=False)
    for trained, other in [(path, path), (table, path), (path, table)]:
        schema = load(trained).schema
        data = load(other, schema=schema)
        assert [cells.column.name for cells in data.constants] == list("kvsbdze")
        assert not new_values(data.constants)
        assert data.constants[2].empty.tolist() == [5]
    assert not caplog.records


def test_a_value_in_an_empty_column_is_new(caplog) -> None:
    schema = load(frame(np.nan)).schema
    data = load(frame([None, "here", 7]), schema=schema)
    assert new_values(data.constants) == {1: {"n": "here"}, 2: {"n": "7"}}
    (record,) = caplog.records
    assert record.getMessage() == (
        "2 cells of column 'n' of data frame have a value, and training had none: 'here' in row 2 for the "
        "first; the model leaves the column out"
    )


def test_columns_are_matched_by_name_or_by_order(tmp_path) -> None:
    table = pd.DataFrame({"id": np.arange(40), "n": "a", "x": X})
    schema = load(table).schema
    other = table[["x", "n"]].assign(n=["b"] + ["a"] * 39)
    assert new_values(load(other, schema=schema).constants) == {0: {"n": "b"}}
    assert load(table[["x"]], schema=schema).constants == ()
    table.assign(n=2).to_csv(tmp_path / "a.csv", index=False, header=False)
    schema = load(tmp_path / "a.csv").schema.model_copy(update={"header": False})
    table.assign(n=3).to_csv(tmp_path / "b.csv", index=False, header=False)
    assert len(new_values(load(tmp_path / "b.csv", schema=schema).constants)) == 40


def test_a_subset_has_the_cells_of_its_rows() -> None:
    schema = load(frame("a")).schema
    data = load(frame(["a", "b", None, "c", "a", None]), schema=schema)
    cells = data.subset(np.array([5, 3, 0, 3, 1])).constants[0]
    assert isinstance(cells, ConstantCells)
    assert cells.empty.tolist() == [0]
    assert cells.different.tolist() == [1, 3, 4]
    assert cells.texts == ("c", "c", "b")


def test_large_tables_are_compared_part_by_part(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("backstory.data.tables.text.CELLS_AT_ONCE", 20)
    schema = load(frame(3)).schema
    other = frame(3).astype({"n": object})
    other.loc[[7, 33], "n"] = "x", None
    other.to_csv(tmp_path / "a.csv", index=False)
    for stream in (False, True):
        (cells,) = load(tmp_path / "a.csv", schema=schema, stream=stream).constants
        assert (cells.different.tolist(), cells.texts, cells.empty.tolist()) == ([7], ("x",), [33])
