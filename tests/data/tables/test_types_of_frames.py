"""Frames out have the types of frames in: categories in their order, booleans, times on the grid."""

import numpy as np
import pandas as pd
import pytest

import backstory
from backstory import VAEImputer, VAETransformer
from backstory.data.load import load
from backstory.data.tables.frames import drawn_frame, of_training_types
from backstory.errors import InputError

RNG = np.random.default_rng(0)
N = 120
START = pd.Timestamp("2024-01-01", tz="Asia/Tokyo") + pd.to_timedelta(RNG.integers(0, 40_000, N), "min")
FRAME = pd.DataFrame(
    {
        "size": pd.Categorical(RNG.choice(["small", "mid"], N), ["small", "mid", "huge"]),
        "rank": pd.Categorical(RNG.choice([3, 1, 2], N), [3, 1, 7, 2]),
        "flag": RNG.random(N) < 0.4,
        "maybe": pd.array(RNG.random(N) < 0.4, "boolean"),
        "start": START,
        "wait": pd.to_timedelta(RNG.integers(1, 90, N), "min"),
        "x": RNG.normal(size=N),
    }
)
FRAME.loc[0, "maybe"] = pd.NA
FRAME.loc[1, ["start", "wait"]] = pd.NaT


@pytest.fixture(scope="module")
def model():
    return backstory.fit(FRAME, epochs=1, seed=0, progress=False)


@pytest.mark.parametrize(
    "out",
    [
        lambda model: model.sample(5, seed=0),
        lambda model: model.reconstruct(FRAME),
        lambda model: model.impute(FRAME),
        lambda model: model.restore(FRAME, draws=1).to_frame(),
    ],
    ids=["sample", "reconstruct", "impute", "restore"],
)
def test_frames_have_the_training_types(model, out):
    frame = out(model)
    pd.testing.assert_series_equal(frame.dtypes, FRAME.dtypes)
    for name in ("size", "rank"):  # pandas takes types for equal whatever the order is
        assert list(frame[name].cat.categories) == list(FRAME[name].cat.categories)


def test_filled_dates_are_whole_minutes(model):
    filled = model.impute(FRAME).loc[1]
    assert filled["start"].second == filled["start"].microsecond == 0


def test_means_of_times_are_whole_steps(model):
    means = model.sample(20, mean=True, seed=0)
    assert (means["start"].dt.second == 0).all()
    assert (means["wait"].dt.total_seconds() % 60 == 0).all()
    assert model.impute(FRAME).loc[1, "wait"].total_seconds() % 60 == 0


def test_durations_keep_the_type_that_comes_in():
    """A model of durations as texts, asked about a frame of durations."""
    minutes = np.random.default_rng(0).integers(6, 300, 100) * 5
    texts = pd.DataFrame({"ride": [f"{m // 60}:{m % 60:02}" for m in minutes], "x": np.arange(100.0)})
    model = backstory.fit(texts, epochs=1, seed=0, progress=False)
    typed = texts.assign(ride=pd.to_timedelta(minutes, "min"))
    typed.loc[3, "ride"] = pd.NaT
    assert model.reconstruct(texts)["ride"].str.fullmatch(r"\d+:\d[05]").all()
    full = model.impute(typed)
    pd.testing.assert_series_equal(full.dtypes, typed.dtypes)
    known = typed["ride"].notna()
    assert (full["ride"][known] == typed["ride"][known]).all()
    assert pd.Timedelta("30min") <= full["ride"][3] <= pd.Timedelta("25h")
    assert full["ride"][3].total_seconds() % 300 == 0


def test_days_are_those_of_the_time_zone():
    column = load(FRAME).schema.kinds[4]
    assert column.shown(column.low) == START.min().date().isoformat()


def test_booleans_of_number_frames():
    frame = FRAME[["flag", "x"]].assign(y=np.arange(N))
    transformer = VAETransformer(latent=1, epochs=1, random_state=0).fit(frame)
    assert transformer.inverse_transform(transformer.transform(frame)).dtypes["flag"] == "bool"
    imputer = VAEImputer(latent=1, epochs=1, random_state=0).fit(frame)
    assert imputer.sample(frame, 1)[0].dtypes["flag"] == "bool"


def test_an_empty_column_of_numbers_is_named():
    with pytest.raises(InputError, match="got none in column 'nothing'"):
        VAEImputer().fit(FRAME[["x"]].assign(nothing=np.nan))


def test_numbers_are_matched_with_texts_of_their_value(tmp_path, caplog):
    codes = pd.DataFrame({"code": RNG.choice(["010", "020"], N), "x": RNG.normal(size=N)})
    codes.to_csv(tmp_path / "codes.csv", index=False)
    schema = load(tmp_path / "codes.csv").schema
    read = load(pd.read_csv(tmp_path / "codes.csv"), schema=schema)
    assert (read.values[:, 0] == load(codes, schema=schema).values[:, 0]).all()
    assert "they are matched by value, such as" in caplog.text


@pytest.mark.parametrize("dtype", ["str", "string", object])
def test_drawn_texts_have_the_type_of_training(dtype):
    names = np.array(["Berlin"] * 60 + ["Kiel"] * 56 + ["Ulm", "Jena", "Ulm", "Celle"])
    texts = pd.DataFrame(
        {
            "city": names,
            "income": [f"${v:,.2f}" for v in RNG.lognormal(7, 1, N)],
            "share": [f"{v:.1f} %" for v in RNG.uniform(0, 100, N)],
            "day": FRAME["start"].dt.strftime("%d.%m.%Y").fillna("02.01.2024"),
            "one": "x",
        }
    ).astype(dtype)
    data = load(texts, relations=False)
    assert data.schema.kinds[0].rare
    pd.testing.assert_series_equal(drawn_frame(data.values, data.schema, 0).dtypes, texts.dtypes)
    rows = of_training_types(data.values, data.schema)
    pd.testing.assert_series_equal(rows.dtypes, texts.dtypes)


def test_a_constant_of_whole_numbers_has_the_type_of_training():
    data = load(FRAME[["x"]].assign(one=pd.array([1] * N, "Int64")))
    assert drawn_frame(data.values, data.schema, 0)["one"].dtype == "Int64"


def test_draws_at_the_level_of_rare_ones_have_their_names():
    names = np.array(["Berlin"] * 60 + ["Kiel"] * 56 + ["Ulm", "Jena", "Ulm", "Celle"])
    data = load(FRAME[["x", "flag"]].assign(city=names)).conditioned_on("city")
    frame = drawn_frame(data.values, data.schema, 0, data.stated)
    assert set(frame["city"][-4:]) <= {"Ulm", "Jena", "Celle"}
    assert list(frame["city"][:-4]) == list(names[:-4])
