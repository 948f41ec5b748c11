"""Identifiers and row numbers stand before results of the rows of a table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import backstory
from backstory.jobs.encode import encode
from backstory.jobs.impute import impute
from backstory.jobs.output import Output
from backstory.jobs.score import score
from backstory.jobs.source import Source

ROWS = 80


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, ROWS)).round(3)
    frame = pd.DataFrame({"id": [f"{i:05}" for i in range(ROWS)], "a": a, "b": b, "id2": a + b})
    frame.loc[3, "a"] = np.nan
    path = tmp_path_factory.mktemp("people") / "people.csv"
    frame.to_csv(path)
    return path


@pytest.fixture(scope="module")
def model(data) -> backstory.Model:
    options = {"epochs": 2, "hidden": (8,), "latent": 2, "progress": False, "compile": False}
    return backstory.fit(data, columns={"id2": "ignore"}, **options)


def jobs(model, source, place: Path) -> None:
    paths = {name: place / f"{name}.csv" for name in ("encode", "score", "impute")}
    encode(model, source, Output(paths["encode"]), std=True)
    score(model, source, Output(paths["score"]))
    impute(model, source, Output(paths["impute"]))


@pytest.mark.parametrize("split", ["all", "validation"])
def test_they_are_those_of_the_rows(model, data, tmp_path, split) -> None:
    assert {c.name: c.reason for c in model.schema.left_out} == {
        "Unnamed: 0": "index",
        "id": "identifier",
        "id2": "ignored",
    }
    jobs(model, Source(data, split), tmp_path)
    rows = np.arange(ROWS) if split == "all" else model.splits.validation
    for name in ("encode", "encode.std", "score", "impute"):
        written = pd.read_csv(tmp_path / f"{name}.csv", dtype={"id": str})
        assert written["id"].tolist() == [f"{i:05}" for i in rows], name
        assert written["Unnamed: 0"].tolist() == rows.tolist(), name
    codes = pd.read_csv(tmp_path / "encode.csv", dtype={"id": str})
    assert list(codes) == ["Unnamed: 0", "id", "z_0", "z_1"]


def test_other_columns_stay_in_a_completed_table(model, data, tmp_path, caplog) -> None:
    frame = pd.read_csv(data, dtype={"id": str}).assign(remark="x", id=lambda t: t["id"] + "a")
    frame.to_csv(tmp_path / "more.csv", index=False)
    jobs(model, Source(tmp_path / "more.csv"), tmp_path)
    full = pd.read_csv(tmp_path / "impute.csv")
    assert full["remark"].tolist() == ["x"] * ROWS
    assert full["id"].tolist() == frame["id"].tolist()
    assert full["a"].notna().all()
    assert "the column 'remark'" in caplog.text


def test_arrays_have_none(model, data, tmp_path) -> None:
    encode(model, Source(data), Output(tmp_path / "z.npy"))
    assert np.load(tmp_path / "z.npy").shape == (ROWS, 2)
