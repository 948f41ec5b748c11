"""Tables of other programs: Excel files, databases, frames of other libraries."""

import builtins
import sqlite3
from datetime import date, time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backstory.cli.main import main
from backstory.data.load import load

I = np.arange(30)
FRAME = pd.DataFrame(
    {
        "town": [f"t{i % 3}" for i in I],
        "code": [f"{i % 3:03}" for i in I],
        "price": [f"${i + 1},000.50" for i in I],
        "x": np.where(I == 4, np.nan, I / 4),
    }
)
KINDS = {"town": "categorical", "code": "categorical", "price": "continuous", "x": "continuous"}


def check(source: object) -> None:
    data = load(source)
    assert {c.name: c.kind for c in data.schema.kinds} == KINDS
    np.testing.assert_array_equal(data.values, load(FRAME).values)


def test_excel(tmp_path, caplog) -> None:
    pytest.importorskip("openpyxl", reason="Excel files need the extra 'excel'")
    FRAME.to_excel(tmp_path / "a.xlsx", index=False)
    check(tmp_path / "a.xlsx")
    with pd.ExcelWriter(tmp_path / "b.xlsx") as writer:
        more = FRAME.assign(at=[time(i % 24, 30) for i in I], day=[date(2024, 1, 1 + i) for i in I])
        more.to_excel(writer, sheet_name="sales")
        FRAME.to_excel(writer, sheet_name="other")
    data = load(tmp_path / "b.xlsx")
    kinds = {c.name: c.kind for c in data.schema.kinds} | {c.name: c.reason for c in data.schema.left_out}
    assert kinds == KINDS | {"at": "continuous", "day": "date", "Unnamed: 0": "index"}
    assert "2 sheets; the first, 'sales'" in caplog.text


def test_damaged_excel(tmp_path, refusal) -> None:
    pytest.importorskip("openpyxl", reason="Excel files need the extra 'excel'")
    (tmp_path / "a.xlsx").write_bytes(b"PK no workbook")
    assert "an Excel file" in refusal(load, tmp_path / "a.xlsx")


@pytest.fixture
def database(tmp_path) -> str:
    connection = sqlite3.connect(tmp_path / "shop.db")
    FRAME.to_sql("sales", connection, index=False)
    connection.close()
    return f"sqlite:///{(tmp_path / 'shop.db').as_posix()}"


def test_databases(database, refusal, capfd) -> None:
    pytest.importorskip("sqlalchemy", reason="databases need the extra 'sql'")
    check(f"{database}#sales")
    few = load(f"{database}#SELECT town, x FROM sales WHERE town = 't1'")
    assert len(few) == 10
    assert "cannot read" in refusal(load, f"{database}#nothing")
    assert "after the address" in refusal(load, database)
    assert "secret" not in refusal(load, "postgresql://me:secret@nowhere.example/db")
    assert main(["info", f"{database}#sales"]) == 0
    assert "categorical" in capfd.readouterr().out


@pytest.mark.parametrize("lazy", [False, True])
def test_polars(lazy: bool) -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    pytest.importorskip("pyarrow")
    frame = polars.from_pandas(FRAME.assign(x=FRAME["x"].astype("Float64")))
    check(frame.lazy() if lazy else frame)


def test_polars_types() -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    pytest.importorskip("pyarrow")
    frame = polars.DataFrame(
        {
            "kind": polars.Series([f"k{i % 3}" for i in I], dtype=polars.Categorical),
            "took": [pd.Timedelta(minutes=int(i) * 3 + 1).to_pytimedelta() for i in I],
            "at": [time(int(i) % 24, 30) for i in I],
        }
    )
    assert [c.kind for c in load(frame).schema.kinds] == ["categorical", "continuous", "continuous"]


def test_duckdb() -> None:
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed")
    pytest.importorskip("pyarrow")
    sales = FRAME
    with duckdb.connect() as connection:
        connection.register("sales", sales)
        check(connection.sql("SELECT * FROM sales"))


@pytest.mark.parametrize(
    ("package", "extra", "source"),
    [("openpyxl", "excel", "a.xlsx"), ("sqlalchemy", "sql", "sqlite:///a.db#t")],
)
def test_packages_that_are_missing(package, extra, source, tmp_path, refusal, monkeypatch) -> None:
    def without(name: str, *args, **kwargs):
        if name.split(".")[0] == package:
            raise ImportError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    real = builtins.__import__
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    monkeypatch.chdir(Path(tmp_path))
    monkeypatch.setattr(builtins, "__import__", without)
    assert f"pip install 'backstory[{extra}]'" in refusal(load, source)
