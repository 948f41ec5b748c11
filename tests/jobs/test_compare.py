"""Comparisons of whole tables, and of draws of a model with a table."""

import json

import numpy as np
import pandas as pd
import pytest
from mixed import mixed_table

import backstory
from backstory.comparing.comparison import MEANINGS
from backstory.jobs.compare import check_report, compare, write_report
from backstory.jobs.output import Output

TINY = {"epochs": 2, "hidden": (8,), "latent": 2, "batch_size": 32, "progress": False}


@pytest.fixture(scope="module")
def customers() -> pd.DataFrame:
    return mixed_table(200, 0).drop(columns="customer_id")


def numbers(count: int = 60, seed: int = 0) -> pd.DataFrame:
    """A column of each of three kinds, and levels that are numbers."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=count).round(3)
    scale = rng.integers(1, 6, count)
    return pd.DataFrame({"x": x, "visits": rng.poisson(9, count), "scale": scale, "sex": list("fm") * 30})


def test_identical_tables_are_alike_and_copies(customers) -> None:
    done = compare(customers, customers)
    assert done.means == {"shapes": 1, "pairs": 1}
    assert done.two_sample == 0.5
    assert done.nearness.nearer_to_training == 0.5
    assert done.nearness.membership == pytest.approx(0.5, abs=0.05)
    assert done.copies == 200
    assert done.held_out_copies is None
    assert "half of the real rows" in done.notes[0]
    assert done.left_out == {"version": "constant"}
    assert done.rows == {"synthetic": 200, "real": 200}


def test_learned_by_heart_shows_beside_held_out_rows(customers) -> None:
    done = compare(customers, customers, mixed_table(200, 1).drop(columns="customer_id"))
    assert done.nearness.nearer_to_training == 1
    assert done.nearness.membership == 1
    assert (done.copies, done.held_out_copies) == (200, 0)
    assert done.notes == ("transfer predicts 'member'; name other columns with `target`",)
    assert done.rows["held_out"] == 200


def test_a_shifted_column_has_the_known_distance() -> None:
    real = numbers().assign(x=np.arange(60.0))
    assert compare(real.assign(x=real["x"] + 6), real).shapes["x"] == pytest.approx(0.9)


def test_levels_that_the_real_table_does_not_have_count_as_another() -> None:
    real = numbers()
    sex = real["sex"].where(np.arange(60) >= 6, "x")  # three of each level
    assert compare(real.assign(sex=sex), real).shapes["sex"] == pytest.approx(0.9)
    scale = real["scale"].where(np.arange(60) >= 6, 7)
    likert = {"scale": "ordinal:1,2,3,4,5"}
    assert compare(real.assign(scale=scale), real, columns=likert).shapes["scale"] == pytest.approx(0.9)


def test_numbers_are_read_as_they_are() -> None:
    real = numbers()
    done = compare(
        real.assign(visits=real["visits"] - 0.5), real, columns={"scale": "grid", "visits": "count"}
    )
    below = (real["visits"].to_numpy()[:, None] <= np.arange(-1, 40)).mean(axis=0)
    assert done.shapes["visits"] == pytest.approx(1 - np.diff(below).max())


def test_empty_levels_count_and_empty_numbers_do_not() -> None:
    real, gaps = numbers(), np.arange(60) < 6
    done = compare(real.assign(x=real["x"].mask(gaps), sex=real["sex"].mask(gaps)), real)
    assert done.shapes["sex"] == pytest.approx(0.9)
    assert done.shapes["x"] > 0.85


def test_targets_are_named_or_the_last_levels_of_noise() -> None:
    real = numbers()
    same = compare(real, real)
    assert [one.target for one in same.transfer] == ["sex"]
    assert same.notes[-1] == "transfer predicts 'sex'; name other columns with `target`"
    done = compare(real, numbers(seed=1), targets=["x", "sex"])
    assert [(one.target, one.measure) for one in done.transfer] == [("x", "r2"), ("sex", "auroc")]
    with pytest.raises(backstory.InputError, match="did you mean 'sex'"):
        compare(real, real, targets=["sexx"])


def test_tables_of_other_kinds_are_refused() -> None:
    real = numbers()
    with pytest.raises(backstory.InputError, match="at least 10 rows of each table, got '9 synthetic'"):
        compare(real[:9], real)
    with pytest.raises(
        backstory.InputError, match="share columns, got 'y' in the synthetic table, and 'x', "
    ):
        compare(real[["x"]].rename(columns={"x": "y"}), real)
    model = backstory.fit(real, **TINY)
    for tables in (["digits", "digits"], ["digits", real], [model, "digits"], [model, real, "digits"]):
        with pytest.raises(backstory.InputError, match="expected tables to compare, got digits, which has"):
            compare(*tables)


def test_columns_that_only_one_table_has_are_named_and_left_out(capsys) -> None:
    real = numbers()
    done = compare(real.drop(columns="sex").assign(weight=2.0), real.assign(w=1.5 * real["visits"]))
    assert set(done.shapes) == {"x", "visits", "scale"}
    assert done.left_out == {
        "w": "not in the synthetic table",
        "sex": "not in the synthetic table",
        "weight": "not in the real table",
    }
    assert done.copies == 60
    ignored = {"sex": "ignore", "weight": "ignore"}
    done = compare(real.assign(weight=2.0), real, numbers().drop(columns="x"), columns=ignored)
    assert set(done.shapes) == {"visits", "scale"}
    assert done.left_out["sex"] == "ignored"
    assert done.left_out["x"] == "not in the held-out table"
    assert "training table" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("synthetic", "name", "words"),
    [
        (
            numbers().drop(columns="sex"),
            "sex",
            "got 'sex', which is not in the synthetic table; choose one of",
        ),
        (numbers().assign(y=1.5), "y", "got 'y', which is not in the real table; choose one of"),
        (numbers(), "sez", "did you mean 'sex'"),
    ],
)
def test_a_target_that_not_all_tables_have_is_refused(synthetic, name, words) -> None:
    with pytest.raises(backstory.InputError, match=words):
        compare(synthetic, numbers(), targets=[name])


def test_figures_that_do_not_exist_are_explained() -> None:
    one = compare(numbers()[["x"]], numbers())
    assert one.transfer == ()
    assert one.notes[-1] == "pairs and transfer have no figures, because they need two columns"
    real = numbers()[["x", "visits"]]
    flat = compare(real.assign(x=1.5), real, targets=["x"])
    assert flat.notes[-1].startswith("pairs: no figure, because a column of each pair is constant")
    assert not np.isnan(flat.transfer[0].synthetic)
    empty = compare(real.assign(x=np.nan), real, targets=["x"])
    assert empty.notes[-1].startswith("transfer x: no figure, because it is empty in the rows")


def test_a_run_is_compared_by_the_columns_that_the_table_has(capsys) -> None:
    real = numbers().assign(w=1 + np.arange(60) % 3)
    model = backstory.fit(real, weights="w", **TINY)
    done = compare(model, real)
    assert set(done.shapes) == {"x", "visits", "scale", "sex"}
    assert done.left_out == {"w": "weights"}
    assert "trained on" in done.notes[1]
    assert done.notes[2] == "the run weighed its rows in training; here each real row counts once"
    done = compare(model, real.drop(columns=["visits", "w"]).assign(more=1.0))
    assert set(done.shapes) == {"x", "scale", "sex"}
    assert done.left_out["visits"] == "not in the real table"
    assert done.left_out["more"] == "not in the run"
    assert done.rows == {"synthetic": 60, "real": 60}
    without = real.assign(w=real["w"] - 1)  # 20 rows of weight 0
    done = compare(backstory.fit(without, weights="w", validation=0.3, **TINY), without)
    assert done.rows == {"synthetic": 60, "real": 28, "held_out": 12}
    given = backstory.fit(backstory.load(real).conditioned_on("scale"), **TINY)
    fewer = compare(given, real.drop(columns=["visits", "w", "x"]))
    assert set(fewer.shapes) == {"scale", "sex"}
    assert fewer.shapes["scale"] == 1
    assert "training table" not in capsys.readouterr().err


def test_the_record_is_json(tmp_path) -> None:
    real = numbers()
    flat = compare(real.assign(x=1.5), real)
    output = Output(tmp_path / "report.json")
    write_report(output, flat)
    record = json.loads(output.path.read_text(encoding="utf-8"))
    assert record["pairs"]["each"][0] == {"columns": ["x", "visits"], "score": None}
    assert record["shapes"]["mean"] == pytest.approx(flat.means["shapes"])
    assert record["meanings"] == MEANINGS
    with pytest.raises(backstory.InputError, match="which exists"):
        check_report(output)
    with pytest.raises(backstory.InputError, match=r"ends in \.json"):
        check_report(Output(tmp_path / "report.csv"))


def test_a_model_is_compared_by_its_draws(customers) -> None:
    model = backstory.fit(customers, **TINY)
    done = compare(model, customers)
    assert done.rows == {"synthetic": 200, "real": 180, "held_out": 20}
    assert "200 rows were drawn" in done.notes[0]
    assert "trained on" in done.notes[1]
    assert done.two_sample > 0.6
    other = compare(model, mixed_table(100, 5).drop(columns="customer_id"))
    assert other.rows == {"synthetic": 100, "real": 100}
    assert set(other.shapes) == set(done.shapes)


def test_conditions_of_a_model_are_those_of_the_rows() -> None:
    real = numbers()
    model = backstory.fit(backstory.load(real).conditioned_on("sex"), **TINY)
    done = compare(model, real, numbers(seed=1))
    assert set(done.shapes) == {"x", "visits", "scale", "sex"}
    assert done.shapes["sex"] == 1


def test_conditions_on_a_grid_are_drawn_at_their_own_numbers() -> None:
    real = numbers().assign(scale=lambda frame: frame["scale"] * 10 + (frame["scale"] == 5) * 7)
    data = backstory.load(real, columns={"scale": "grid"}).conditioned_on("scale")
    done = compare(backstory.fit(data, **TINY), real, real)
    assert done.shapes["scale"] == 1


def test_conditions_that_are_dates_are_read_as_the_run_reads_them() -> None:
    real = numbers().assign(start=pd.date_range("2020-01-01", periods=60))
    done = compare(backstory.fit(backstory.load(real).conditioned_on("start"), **TINY), real, real)
    assert done.shapes["start"] == 1


def test_rows_without_a_level_are_compared_with_draws_of_all_levels() -> None:
    real = numbers()
    real["sex"] = real["sex"].mask(np.arange(60) % 3 == 0)
    model = backstory.fit(backstory.load(real).conditioned_on("sex", "scale"), **TINY)
    assert compare(model, real, real).shapes["sex"] == 1
    drawn = model.sample(60, given={"sex": None, "scale": 3})
    assert drawn.notna().all(axis=None)


@pytest.mark.parametrize("gaps", [0, 9])
def test_empty_cells_of_the_real_rows_are_told(gaps) -> None:
    real = numbers().astype({"x": float})
    real.loc[real.index < gaps, "x"] = np.nan
    done = compare(backstory.fit(real, **TINY), real)
    assert any("no empty cell" in note for note in done.notes) == (gaps > 0)
