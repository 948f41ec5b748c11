"""Tables as people bring them are read as they are meant, `info` says how, and they are written alike."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cases import CASES, NUMBERS, TIMES, Case

from backstory.cli.main import main
from backstory.data.load import load
from backstory.data.schema import Schema
from backstory.data.tables.frames import to_frame


def path_of(case: Case, folder: Path) -> Path:
    path = folder / f"table.{case.ending}"
    path.write_bytes(case.text if isinstance(case.text, bytes) else case.text.encode())
    return path


def arguments(case: Case) -> list[str]:
    """What is told, as options of the command line."""
    words: list[str] = []
    for name, value in case.told.items():
        if name == "columns":
            words += [word for pair in value.items() for word in ("--column", "=".join(pair))]
        elif name == "header":
            words += ["--header" if value else "--no-header"]
        elif name == "missing":
            words += ["--missing", ",".join(value)]
        else:
            words += ["--" + name.replace("_", "-"), value if isinstance(value, str) else value[0]]
    return words


def first_row(schema: Schema, values: np.ndarray) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for column, value in zip(schema.kinds, values[0], strict=True):
        texts = column.levels is not None and column.writing is None
        row[column.name] = None if np.isnan(value) else column.levels[int(value)] if texts else value
    return row


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_table_is_read_as_it_is_meant(case: Case, tmp_path) -> None:
    data = load(path_of(case, tmp_path), **case.told)
    kinds = {c.name: c.kind for c in data.schema.kinds} | {c.name: c.reason for c in data.schema.left_out}
    assert {name: kinds.get(name) for name in case.kinds} == dict(case.kinds)
    row = first_row(data.schema, np.asarray(data.values))
    for name, value in case.first.items():
        if name in row and isinstance(value, int | float):
            assert float(row[name]) == pytest.approx(value)
        elif name in row:
            assert row[name] == value


@pytest.mark.parametrize("case", [case for case in CASES if case.said], ids=lambda case: case.name)
def test_info_says_how_it_is_read(case: Case, tmp_path, capfd, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["info", str(path_of(case, tmp_path)), *arguments(case)]) == 0
    out, err = capfd.readouterr()
    for words in case.said:
        assert words in out + err


@pytest.mark.parametrize("case", [*NUMBERS, *TIMES], ids=lambda case: case.name)
def test_cells_are_written_as_they_were_read(case: Case, tmp_path) -> None:
    data = load(path := path_of(case, tmp_path), **case.told)
    back = to_frame(np.asarray(data.values), data.schema)
    raw = pd.read_csv(path, sep=";", dtype=str, keep_default_na=False)
    if "a" in back and "zones" not in case.name:
        known = back["a"].notna()
        assert known.mean() > 0.9
        assert back["a"][known].astype(str).tolist() == raw["a"][known].tolist()
    again = load(path, schema=data.schema)
    np.testing.assert_array_equal(again.values, data.values)
