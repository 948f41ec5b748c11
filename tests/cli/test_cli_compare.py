"""`backstory compare`, as people type it."""

import json

from commands import run, table


def test_it_prints_figures_with_their_meaning(home, capfd) -> None:
    assert run("compare", home / "mixed.csv", home / "mixed.csv") == 0
    out, err = capfd.readouterr()
    for word in ("shapes", "pairs", "two-sample", "transfer stars", "nearer to training", "membership"):
        assert word in out
    assert "copies" in out
    assert "60 of 60" in out
    assert ".5 is best" in " ".join(out.split())
    assert "customer_id (identifier)" in err
    assert "no rows are held out" in err
    assert "transfer predicts 'stars'; name other columns with --target" in err
    assert "as far" in " ".join(out.split()) or "nearer" in out


def test_a_run_draws_rows(home, capfd) -> None:
    assert run("compare", home / "prices", home / "table.csv", "--json", "--target", "height") == 0
    out, _ = capfd.readouterr()
    record = json.loads(out)
    assert record["rows"] == {"synthetic": 60, "real": 54}  # six held-out rows are too few
    assert "no rows are held out" in record["notes"][2]
    assert record["transfer"][0]["target"] == "height"
    assert set(record["shapes"]["columns"]) == {"width", "height", "price"}
    assert run("compare", home / "prices", home / "table.csv", "--json", "--target", "height") == 0
    assert capfd.readouterr()[0] == out  # the same seed


def test_all_figures_are_written(home, tmp_path, refuse, capfd) -> None:
    table(80, 1).to_csv(tmp_path / "new.csv", index=False)
    arguments = ["compare", tmp_path / "new.csv", home / "table.csv", tmp_path / "new.csv"]
    assert run(*arguments, "-o", tmp_path / "all.json") == 0
    record = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    assert record["privacy"]["copies"] == 0
    assert record["rows"] == {"synthetic": 80, "real": 60, "held_out": 80}
    refuse(*arguments, "-o", tmp_path / "all.json", says="--force")
    refuse(*arguments, "-o", tmp_path / "all.csv", says=".json")


def test_what_does_not_belong_is_refused(home, tmp_path, refuse) -> None:
    refuse(
        "compare", home / "table.csv", home / "table.csv", "--target", "hight", says="did you mean 'height'"
    )
    refuse("compare", home / "prices", home / "table.csv", "--column", "width=count", says="--column")
    refuse("compare", tmp_path / "none.csv", home / "table.csv", says="does not exist")


def test_a_figure_that_does_not_exist_is_a_dash(home, tmp_path, capfd) -> None:
    table()[["width"]].to_csv(tmp_path / "one.csv", index=False)
    assert run("compare", tmp_path / "one.csv", home / "table.csv") == 0
    out, err = capfd.readouterr()
    assert "nan" not in out
    assert out.splitlines()[3].split()[:2] == ["pairs", "-"]
    assert "pairs and transfer have no figures, because they need two columns" in err
