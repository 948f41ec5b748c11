"""The command score: a row for each observation, and tables that are refused."""

import numpy as np
import pandas as pd
import pytest
from commands import TINY, run, table
from mixed import mixed_table

import backstory


def test_score_writes_a_row_for_each_observation(home, tmp_path):
    frame = table()
    frame.iloc[3, 1] = 1e6
    frame.to_csv(tmp_path / "new.csv", index=False)
    assert run("score", home / "prices", tmp_path / "new.csv", "-o", tmp_path / "scores.csv") == 0
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert list(scores) == ["log_evidence", "score", "p_value", "strange"]
    assert scores["p_value"][3] == scores["p_value"].min()
    assert len(backstory.open(home / "prices").splits.validation) < 19  # none of so few is one in twenty
    assert scores["strange"].isna().all()
    assert scores["log_evidence"].idxmin() == 3
    options = ("-o", tmp_path / "s.csv", "--reference", tmp_path / "many.csv")
    table(400).to_csv(tmp_path / "many.csv", index=False)
    assert run("score", home / "prices", tmp_path / "new.csv", *options) == 0
    assert pd.read_csv(tmp_path / "s.csv")["strange"][3].startswith("height")


SPOILT = {
    "twice": (lambda t: t.rename(columns={"school": "age"}), {}, "none called 'school'"),
    "missing": (lambda t: t.drop(columns="age"), {}, "none called 'age'"),
    "types": (
        lambda t: t.assign(visits=["many"] * 12 + [*range(48)]),
        {},
        "'many' in row 1, column 'visits'",
    ),
    "count": (lambda t: t.assign(visits=-1), {}, "-1 in row 1, column 'visits'"),
    "infinite": (lambda t: t.assign(spent=[np.inf, *t["spent"][1:]]), {}, "inf in row 1, column 'spent'"),
    "rows": (lambda t: t[:0], {}, "0 rows"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_table_is_refused_in_one_sentence(home, tmp_path, refuse, name):
    spoil, how, says = SPOILT[name]
    path = tmp_path / "spoilt.csv"
    spoil(mixed_table(60, 1)).to_csv(path, index=False, **how)
    assert str(path) in refuse("score", home / "mixed", path, "-o", tmp_path / "scores.csv", says=says)
    if name not in ("twice", "missing", "types", "count"):  # which only a trained model tells
        refuse("fit", path, "-o", tmp_path / "run", *TINY, says=says)


def test_typing_errors_are_named_and_taken_as_empty(home, tmp_path, capfd):
    path, scores = tmp_path / "spoilt.csv", tmp_path / "scores.csv"
    frame, errors = mixed_table(60, 1)[:12], {"visits": "many", "joined": "2020-13-45"}
    frame = frame.astype(dict.fromkeys(errors, str))
    spoilt = {name: [cell, *frame[name][1:]] for name, cell in errors.items()}
    frame.assign(**spoilt).to_csv(path, index=False)
    assert run("score", home / "mixed", path, "-o", scores) == 0
    told = capfd.readouterr().err
    for cell in errors.values():
        assert f"{cell!r} in row 1; taken as empty" in told
    frame.assign(**{name: [None, *frame[name][1:]] for name in errors}).to_csv(path, index=False)
    assert run("score", home / "mixed", path, "-o", tmp_path / "empty.csv") == 0
    assert scores.read_text() == (tmp_path / "empty.csv").read_text()


def test_new_levels_and_empty_columns_are_scored(home, tmp_path, capfd):
    path = tmp_path / "other.csv"
    other = mixed_table(60, 1)[:12].assign(income=np.nan)
    other.loc[7, "plan"] = "platinum"
    other.to_csv(path, index=False)
    assert run("score", home / "mixed", path, "-o", tmp_path / "scores.csv") == 0
    told = [line for line in capfd.readouterr().err.splitlines() if "column" in line]
    assert len(told) == 1
    assert told[0].startswith("warning: ")
    assert "column 'plan'" in told[0]
    assert "'platinum' in row 8" in told[0]


def test_score_of_images_needs_rows_to_compare_with(home, tmp_path, refuse):
    files = (home / "images.npy", "-o", tmp_path / "s.csv")
    refuse("score", home / "bars", *files, says="reference")
    assert run("score", home / "bars", *files, "--reference", home / "images.npy") == 0
    assert list(pd.read_csv(tmp_path / "s.csv")) == ["log_evidence", "score", "p_value"]
