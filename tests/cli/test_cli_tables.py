"""A table as people bring it, through the commands: read, trained on, drawn and filled."""

from pathlib import Path

import pytest
from commands import TINY, run


@pytest.fixture(scope="module")
def german(tmp_path_factory) -> Path:
    """A table in cp1252 with semicolons, decimal commas, comments, and marks for gaps."""
    lines = ["# Umsätze", "Nr;Preis;Ort;Maß;Tag;Zeit"]
    for i in range(80):
        price = "" if i % 7 == 3 else f"{1 + i // 40}.{100 + 9 * i},{i % 10}0 €"
        size = "k.A." if i % 5 == 1 else f"{i % 13},5"
        day = f"{i % 27 + 1:02}.{i % 12 + 1:02}.2024"
        lines.append(f"{i:04};{price};{('Köln', 'Bonn', 'Zürich')[i % 3]};{size};{day};{i % 24:02}:30")
    folder = tmp_path_factory.mktemp("german")
    (folder / "a.csv").write_bytes("\n".join([*lines, "# Ende", ""]).encode("cp1252"))
    assert run("fit", folder / "a.csv", "-o", folder / "run", "--missing", "k.A.", *TINY) == 0
    return folder


def test_samples_look_like_the_table(german, tmp_path) -> None:
    assert run("sample", german / "run", "-n", 20, "-o", tmp_path / "new.csv") == 0
    head, *rows = (tmp_path / "new.csv").read_text(encoding="utf-8").splitlines()
    assert head == "Preis;Ort;Maß;Tag;Zeit"
    price, town, size, day, time = rows[0].split(";")
    assert price.endswith("0 €")
    assert price[-5] == ","
    assert town in ("Köln", "Bonn", "Zürich")
    assert "," in size
    assert day[2] + day[5] + time[2] == "..:"


def test_gaps_are_filled_in_place(german, tmp_path) -> None:
    assert run("impute", german / "run", german / "a.csv", "-o", tmp_path / "full.csv") == 0
    before = (german / "a.csv").read_text(encoding="cp1252").splitlines()
    after = (tmp_path / "full.csv").read_text(encoding="utf-8").splitlines()
    assert len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        gaps = [cell in ("", "k.A.") for cell in old.split(";")]
        if not any(gaps) or old.startswith("#"):
            assert new == old
        for cell, filled, gap in zip(old.split(";"), new.split(";"), gaps, strict=True):
            assert (filled != cell) == (gap and not old.startswith("#"))


def test_cells_are_given_as_they_are_written(german, tmp_path) -> None:
    where = ["--where", "Preis=1.400,00 €", "--where", "Zeit=08:30"]
    assert run("sample", german / "run", "-n", 2, *where, "-o", tmp_path / "some.csv") == 0
    rows = (tmp_path / "some.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert all(row.startswith("1.400,00 €;") and row.endswith(";08:30") for row in rows)


def test_options_of_tables_belong_to_tables(refuse, home) -> None:
    refuse("info", home / "images.npy", "--separator", ";", says="--separator")
    refuse("info", home / "table.csv", "--decimal", "x", says="--decimal")
    refuse("info", home / "table.csv", "--index", "widht", says="did you mean 'width'")
    refuse("info", home / "table.csv", "--encoding", "latin-99", says="--encoding")
