"""Columns that hold one value, or none, in training: what models, commands and estimators do with them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import backstory
from backstory import InputError, VAEDensity, VAEImputer, VAEOutlierDetector, VAETransformer
from backstory.cli.main import main
from backstory.jobs.impute import impute
from backstory.jobs.output import Output
from backstory.jobs.restore import RestorationSettings
from backstory.jobs.sample import Sampling, sample
from backstory.jobs.source import Source

SMALL = {"epochs": 5, "latent": 1, "random_state": 0, "options": {"hidden": (8,)}}
LEFT_OUT = {"id": None, "status": "OK", "version": 3, "note": None}


def customers(rows: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g = rng.normal(size=rows)
    columns = {
        "id": np.arange(rows) + 1000 * seed,
        "status": "OK",
        "x": g.round(3),
        "version": 3,
        "y": (g + 0.3 * rng.normal(size=rows)).round(3),
        "note": np.nan,
        "city": rng.choice(["a", "b", "c"], rows),
    }
    return pd.DataFrame(columns)


def odd_ones() -> pd.DataFrame:
    """Rows of which some have other values, or gaps, in the constant columns."""
    table = customers(8, 1).astype({"status": object, "version": object, "note": object})
    table.loc[2, "status"] = "FAIL"
    table.loc[3, "status"] = None
    table.loc[4, ["version", "status"]] = 4, "FAIL"
    table.loc[5, "version"] = None
    table.loc[6, "note"] = "broken"
    table.loc[7, ["x", "status"]] = None
    return table


NEW = {2: {"status": "FAIL"}, 4: {"status": "FAIL", "version": "4"}, 6: {"note": "broken"}}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("constant")
    customers(400).to_csv(place / "train.csv", index=False)
    odd_ones().to_csv(place / "odd.csv", index=False)
    options = {"hidden": (16,), "epochs": 15, "latent": 1, "progress": False, "seed": 0}
    backstory.fit(place / "train.csv", place / "run", **options)
    return place


@pytest.fixture(scope="module")
def model(place):
    return backstory.open(place / "run")


def command(*arguments: object) -> None:
    assert main(list(map(str, arguments))) == 0


@pytest.mark.parametrize("frame", [True, False], ids=["frame", "file"])
def test_a_new_value_is_the_strangest_there_is(model, place, frame: bool) -> None:
    found = model.score(odd_ones() if frame else place / "odd.csv")
    least = 1 / (1 + len(model.splits.validation))
    strange = np.isin(np.arange(8), list(NEW))
    assert found.p_value[strange] == pytest.approx(least, abs=0)
    assert (found.p_value[~strange] > least).all()
    assert found.new_values == NEW


def test_log_p_is_of_the_modelled_columns(model) -> None:
    table = odd_ones()
    as_usual = table.assign(status="OK", version=3, note=np.nan)
    found, usual = model.score(table), model.score(as_usual)
    np.testing.assert_array_equal(found.log_evidence, usual.log_evidence)
    np.testing.assert_array_equal(found.entry_p_value, usual.entry_p_value)
    same = [n for n in range(8) if n not in NEW]
    np.testing.assert_array_equal(found.p_value[same], usual.p_value[same])
    evidence = [model.log_evidence(rows, 20).log_evidence for rows in (table, as_usual)]
    assert (evidence[0] == evidence[1]).all()


def test_rows_compared_with_may_have_new_values_too(model) -> None:
    reference = customers(99, 2)
    reference.loc[:9, "status"] = "FAIL"
    found = model.score(odd_ones(), reference)
    assert found.p_value[2] == found.p_value[6] == 11 / 100
    assert (found.p_value[[0, 1, 3, 5]] >= 12 / 100).all()


def test_a_row_with_nothing_but_a_new_value_has_a_p_value(model) -> None:
    nothing = customers(2, 1).assign(x=np.nan, y=np.nan, city=None)
    nothing.loc[1, "status"] = "FAIL"
    found = model.score(nothing).p_value
    assert np.isnan(found[0])
    assert found[1] == 1 / (1 + len(model.splits.validation))


def test_score_names_the_column_and_the_value(place, tmp_path, capfd) -> None:
    command("score", place / "run", place / "odd.csv", "-o", tmp_path / "s.csv")
    strange = pd.read_csv(tmp_path / "s.csv")["strange"].fillna("")
    assert strange[2].split("; ")[0] == "status=FAIL"
    assert strange[4].split("; ")[:2] == ["status=FAIL", "version=4"]
    assert strange[6].split("; ")[0] == "note=broken"
    assert not strange[[0, 1, 3, 5, 7]].str.contains("=").any()
    told = capfd.readouterr().err
    assert told.count("column 'status'") == told.count("column 'version'") == told.count("column 'note'") == 1
    assert "2 cells of column 'status'" in told
    assert "another value than 'OK', the only one in training: 'FAIL' in row 3 for the first" in told


def test_info_and_fit_name_the_constants(place, capfd) -> None:
    command("info", place / "run")
    lines = capfd.readouterr().out.splitlines()
    assert [line.split(None, 1)[1].strip() for line in lines if line.startswith("constant")] == [
        "status = OK, version = 3"
    ]
    assert any(line.split() == ["empty", "note"] for line in lines)
    command("info", place / "train.csv", "--json")
    left_out = {column["name"]: column for column in json.loads(capfd.readouterr().out)["left_out"]}
    assert (left_out["version"]["reason"], left_out["version"]["text"]) == ("constant", "3")


def test_samples_have_the_constants_in_their_places(model, place, tmp_path) -> None:
    command("sample", place / "run", "-n", 5, "-o", tmp_path / "s.csv", "--seed", 1)
    drawn = pd.read_csv(tmp_path / "s.csv")
    assert list(drawn) == ["status", "x", "version", "y", "city"]
    assert set(drawn["status"]) == {"OK"}
    assert set(drawn["version"]) == {3}


def expected(table: pd.DataFrame) -> pd.DataFrame:
    """The constant columns with their gaps filled, and all other values as they are."""
    return table.assign(
        status=table["status"].fillna("OK"),
        version=table["version"].astype(object).where(table["version"].notna(), 3),
    )


def texts(table: pd.DataFrame) -> list[list[str]]:
    """Cells of the columns that are left out."""
    return (
        table[list(LEFT_OUT)]
        .astype(object)
        .where(table[list(LEFT_OUT)].notna(), "")
        .astype(str)
        .to_numpy()
        .tolist()
    )


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("job", ["impute", "restore"])
def test_gaps_are_filled_with_the_constant(place, tmp_path, capfd, ending: str, job: str) -> None:
    table, path = odd_ones(), tmp_path / f"full.{ending}"
    command(job, place / "run", place / "odd.csv", "-o", path, "--draws", 2)
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet}[ending]
    full, draws = read(path), read(tmp_path / f"full.draws.{ending}")
    assert texts(full) == texts(expected(table))
    assert not full[["x", "y", "city"]].isna().any(axis=None)
    assert texts(draws.iloc[::2]) == texts(draws.iloc[1::2]) == texts(expected(table))
    told = capfd.readouterr()
    assert told.err.count("column 'status'") == 1
    assert "2 with gaps in constant columns alone" in told.err
    if job == "impute":
        assert [line.split()[:2] for line in told.out.splitlines()] == [
            ["filled", "4"],
            ["x", "1"],
            ["status", "2"],
            ["version", "1"],
        ]


def test_other_text_of_a_file_stays(place, tmp_path) -> None:
    command("impute", place / "run", place / "odd.csv", "-o", tmp_path / "full.csv")
    before, after = (
        (folder / name).read_text().splitlines()
        for folder, name in [(place, "odd.csv"), (tmp_path, "full.csv")]
    )
    assert before[:4] == after[:4]
    assert after[4] == before[4].replace(",,", ",OK,", 1)


def test_models_and_the_imputer_agree_with_the_command(model, place, tmp_path, caplog) -> None:
    table = odd_ones().set_index(np.arange(10, 18))
    command("impute", place / "run", place / "odd.csv", "-o", tmp_path / "full.csv")
    caplog.clear()
    of_model = model.impute(table)
    assert len([r for r in caplog.records if "column 'status'" in r.getMessage()]) == 1
    imputer = VAEImputer(**SMALL, ensemble=1).fit(customers(400).drop(columns="note"))
    caplog.clear()
    of_imputer = imputer.transform(table.drop(columns="note")).assign(note=table["note"])
    assert len([r for r in caplog.records if "column 'status'" in r.getMessage()]) == 1
    for full in (of_model, of_imputer):
        assert full.index.equals(table.index)
        assert not full[["x", "y", "city"]].isna().any(axis=None)
        assert texts(full) == texts(pd.read_csv(tmp_path / "full.csv"))
    assert list(of_model) == list(table)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_job_keeps_the_cells_of_a_frame(model, tmp_path, ending: str) -> None:
    table, path = odd_ones(), tmp_path / f"full.{ending}"
    imputed = impute(model, Source(table), Output(path), RestorationSettings(draws=2))
    assert imputed.filled == 4
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet}[ending]
    full, draws = read(path), read(tmp_path / f"full.draws.{ending}")
    assert list(full) == list(table)
    assert texts(full) == texts(draws.iloc[::2]) == texts(expected(table))
    assert not full[["x", "y", "city"]].isna().any(axis=None)


def test_constants_have_the_types_of_the_training_table(tmp_path) -> None:
    table = customers(60)[["x", "y"]].assign(
        kind=pd.Categorical(["a"] * 60, ["a", "b"]),
        number=pd.Categorical([2.0] * 60),
        day=pd.Series([pd.Timestamp("2020-01-02 03:04", tz="UTC")] * 60),
        small=np.int8(4),
        half=np.float32(0.5),
        flag=pd.array([True] * 60, "boolean"),
        text=pd.array(["q"] * 60, "string"),
        whole=3,
    )
    small = {"hidden": (4,), "epochs": 1, "likelihood": "joint", "progress": False}
    model = backstory.open(backstory.fit(table, latent=1, **small).save(tmp_path / "run"))
    sample(model, Output(tmp_path / "s.parquet"), Sampling(n=5))
    stored = pd.read_parquet(tmp_path / "s.parquet").astype({"number": "category"})  # Parquet: only of texts
    for drawn in (model.sample(5, seed=0), stored):
        pd.testing.assert_frame_equal(drawn.drop(columns=["x", "y"]), table.drop(columns=["x", "y"])[:5])


def test_what_is_imputed_of_arrays_are_stored_values() -> None:
    x = np.random.default_rng(0).normal(size=(60, 3))
    x[::4, 1] = np.nan
    model = backstory.fit(x, latent=1, hidden=(4,), epochs=1, progress=False)
    full, restored = model.impute(x), model.restore(x[::4], None, 1).mean
    assert (full[~np.isnan(x)] == x[~np.isnan(x)]).all()
    np.testing.assert_allclose(full[::4, 1], restored[:, 1])


# -- estimators ---------------------------------------------------------------------------------------------


def numbers(rows: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.insert(rng.normal(size=(rows, 3)), 1, 7.0, axis=1)


@pytest.mark.parametrize("named", [True, False], ids=["frame", "array"])
def test_estimators_of_numbers_say_it_once_and_keep_the_value(named: bool, caplog) -> None:
    x, name = numbers(12, 1), "b" if named else "1"
    x[3, 1], x[4, 1], x[5, 1] = 8, np.nan, 9

    def rows(array: np.ndarray) -> object:
        return pd.DataFrame(array, columns=list("abcd")) if named else array

    for estimator in (VAEImputer(**SMALL, ensemble=1), VAEDensity(**SMALL), VAETransformer(**SMALL)):
        estimator.fit(rows(numbers(200)))
        caplog.clear()
        answer = getattr(estimator, "transform", None) or estimator.score_samples
        found = np.asarray(answer(rows(x)))
        (record,) = caplog.records
        assert record.getMessage().startswith(f"2 cells of column '{name}' of X have another value than '7'")
        if isinstance(estimator, VAEImputer):
            assert found[:, 1].tolist() == [7, 7, 7, 8, 7, 9, 7, 7, 7, 7, 7, 7]
        if isinstance(estimator, VAEDensity):  # a density of the columns that vary
            np.testing.assert_array_equal(found, estimator.score_samples(rows(np.where(x > 6.5, 7, x))))


def test_an_outlier_detector_puts_new_values_last() -> None:
    detector = VAEOutlierDetector(**{name: SMALL[name] for name in ("epochs", "latent", "random_state")})
    detector.fit(numbers(200))
    x = numbers(50, 1)
    x[0] = [1e6, 7, -1e6, 1e6]
    x[1, 1] = 8
    scores = detector.score_samples(x)
    assert np.isfinite(scores).all()
    assert np.argsort(scores)[:2].tolist() == [1, 0]
    assert detector.predict(x)[1] == -1
    mixed = VAEOutlierDetector(**SMALL).fit(customers(200).drop(columns="note"))
    table = odd_ones().drop(columns="note")
    assert set(np.argsort(mixed.score_samples(table))[:2]) == {2, 4}


def test_constant_columns_of_arrays_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="1 constant or empty column \\('column 2'\\); remove these"):
        backstory.fit(numbers(40), epochs=1, progress=False)
