"""Models of tables give frames, of the training types and with the index of the frame that they are given."""

import numpy as np
import pandas as pd
import pytest

import backstory
from backstory import Noise, load
from backstory.data.tables.aligned import FrameRows

ROWS = 120
OPTIONS = {"epochs": 2, "hidden": (8,), "latent": 2, "progress": False, "device": "cpu", "compile": False}


def people() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": np.arange(ROWS) + 7000,
            "sex": rng.choice(["F", "M"], ROWS),
            "age": rng.integers(18, 90, ROWS) * 10,
            "kids": pd.array(rng.poisson(3.0, ROWS), "Int64"),
            "plan": pd.Categorical(rng.choice(["basic", "plus"], ROWS)),
            "weight": rng.normal(70, 10, ROWS).round(1).astype("float32"),
            "version": "v2",
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 300, ROWS), "D"),
        },
        index=pd.Index([f"row {i}" for i in range(ROWS)], name="who"),
    )


def with_gaps() -> pd.DataFrame:
    frame = people()
    frame.iloc[3, [1, 5]] = None
    frame.iloc[5, [3, 6]] = None
    return frame


@pytest.fixture(scope="module")
def model() -> backstory.Model:
    return backstory.fit(people(), incomplete=True, **OPTIONS)


@pytest.mark.parametrize("options", [{}, {"where": {"sex": "F"}}])
def test_draws_are_a_frame_of_the_training_types(model, options) -> None:
    drawn, frame = model.sample(40, seed=0, **options), people().drop(columns="id")
    assert list(drawn) == list(frame)
    assert drawn.dtypes.astype(str).tolist() == frame.dtypes.astype(str).tolist()
    assert drawn["version"].unique().tolist() == ["v2"]
    assert set(drawn["sex"]) <= {"F", "M"}


def test_draws_may_be_stored_values(model) -> None:
    stored = model.sample(5, seed=0, frame=False)
    assert stored.shape == (5, 6)
    np.testing.assert_array_equal(stored[:, 1], model.sample(5, seed=0)["age"])


def test_draws_of_arrays_are_arrays() -> None:
    plain = backstory.fit(np.random.default_rng(0).normal(size=(50, 3)), **OPTIONS)
    assert plain.sample(4, seed=0).shape == plain.reconstruct(np.zeros((4, 3))).shape == (4, 3)


@pytest.mark.parametrize("draw", [None, 1])
def test_a_restored_frame_keeps_all_that_it_has(model, draw) -> None:
    gaps, frame = with_gaps().iloc[:9], people().iloc[:9]
    found = model.restore(gaps, draws=2).to_frame(draw)
    assert found.index.equals(gaps.index)
    assert list(found) == list(gaps)
    means = {} if draw is not None else {"kids": "float64"}  # a mean of counts is no whole number
    assert found.dtypes.astype(str).to_dict() == gaps.dtypes.astype(str).to_dict() | means
    assert found.notna().all().all()
    assert found.loc["row 5", "version"] == "v2"
    whole = gaps.notna().to_numpy()
    assert (found.astype(object).to_numpy()[whole] == frame.astype(object).to_numpy()[whole]).all()


def test_a_frame_without_noise_is_another_one(model) -> None:
    numbers = people()[["age", "weight"]]
    plain = backstory.fit(numbers, **OPTIONS)
    found = plain.restore(numbers.iloc[:5], Noise(0.5), draws=1).to_frame()
    assert (found["weight"] != numbers["weight"].iloc[:5]).all()
    assert found.index.equals(numbers.index[:5])


def test_scores_codes_and_reconstructions_have_the_index_of_the_frame(model) -> None:
    frame = with_gaps().iloc[[8, 3, 5]].assign(version=["v2", "v2", "v3"])
    scores = model.score(frame)
    table = scores.to_frame()
    assert list(table) == ["log_evidence", "score", "p_value", "strange"]
    np.testing.assert_array_equal(table["p_value"], scores.p_value)
    assert table.loc["row 5", "strange"].startswith("version=v3")
    codes = model.codes(frame)
    np.testing.assert_array_equal(codes, model.encode(frame).mean)
    assert list(codes) == ["z_0", "z_1"]
    back = model.reconstruct(frame)
    assert list(back) == list(frame)
    assert back["id"].tolist() == frame["id"].tolist()
    assert back.notna().all().all()
    np.testing.assert_allclose(back["weight"], np.asarray(model.reconstruct(model_rows(model, frame)))[:, 4])
    assert all(result.index.equals(frame.index) for result in (table, codes, back))


def model_rows(model, frame) -> np.ndarray:
    return backstory.load(frame, schema=model.schema).values


def test_frames_of_other_libraries_come_back_as_such(model) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("narwhals")
    given = pyarrow.Table.from_pandas(with_gaps().iloc[:9], preserve_index=False)
    results = [model.impute(given), model.restore(given, draws=1).to_frame(), model.codes(given)]
    results += [model.score(given).to_frame(), model.reconstruct(given)]
    assert [type(result) for result in results] == [pyarrow.Table] * 5
    assert [len(result) for result in results] == [9] * 5
    assert results[0].column_names == given.column_names
    assert results[0].column("id").to_pylist() == given.column("id").to_pylist()


def test_other_data_gives_no_frames(model, refusal) -> None:
    rows = model_rows(model, people().iloc[:5])
    assert "give a frame" in refusal(model.codes, rows)
    assert "give a frame" in refusal(model.score(rows).to_frame)
    found = model.restore(rows, draws=2)
    assert "give a frame" in refusal(found.to_frame)
    assert "counted from 0" in refusal(model.restore(people().iloc[:5], draws=2).to_frame, 2)


def test_draws_given_conditions_have_them() -> None:
    data = backstory.load(people()).conditioned_on("sex")
    drawn = backstory.fit(data, **OPTIONS).sample(3, seed=0, given={"sex": "F"})
    assert drawn["sex"].tolist() == ["F"] * 3
    assert list(drawn) == list(people().drop(columns="id"))


@pytest.mark.parametrize("dtype", ["str", "category"])
def test_a_filled_cell_has_a_level_that_people_know(dtype) -> None:
    towns = ["Ayr"] * 200 + ["Bern"] * 200 + [f"village {i}" for i in range(9)]
    frame = pd.DataFrame({"town": pd.Series(towns, dtype=dtype), "x": np.arange(409.0)})
    data = load(frame, relations=False)
    gaps = frame.assign(town=frame["town"].where(frame.index > 1))
    rare = len(data.schema.kinds[0].levels) - 1
    values = np.column_stack([np.full(409, rare), frame["x"]])
    filled = FrameRows.of(gaps, data.schema).completed(np.where(gaps.isna(), values, stored(data)))
    assert filled["town"].tolist() == ["village 0"] * 2 + towns[2:]
    assert filled["town"].dtype == gaps["town"].dtype


def stored(data) -> np.ndarray:
    return np.asarray(data.values)
