"""Models of tables whose columns belong together: what they draw, fill and score keeps the relations."""

import json

import numpy as np
import pandas as pd
import pytest

import backstory
from backstory import InputError, VAEImputer
from backstory.jobs.impute import impute
from backstory.jobs.output import Output
from backstory.jobs.restore import RestorationSettings
from backstory.jobs.source import Source

RNG = np.random.default_rng(1)
N = 400
START = pd.Timestamp("2024-01-01") + pd.to_timedelta(RNG.integers(0, 40_000, N), "min")
ZONES = [f"z{k:02}" for k in range(12)]
BOROUGHS = dict(zip(ZONES, "AABBCCABCABC", strict=True))
ZONE = RNG.choice(ZONES, N)
A, B = RNG.normal(50, 9, N).round(2), np.exp(RNG.normal(2, 0.4, N)).round(2)
STATUS = RNG.choice(["single", "married"], N)
FRAME = pd.DataFrame(
    {
        "start": START,
        "end": START + pd.to_timedelta(RNG.integers(2, 40, N), "min"),
        "borough": pd.Series(ZONE).map(BOROUGHS),
        "zone": ZONE,
        "a": A,
        "b": B,
        "total": (A + B).round(2),
        "status": STATUS,
        "spouse": np.where(STATUS == "married", RNG.integers(20, 80, N), np.nan),
    }
)
SMALL = {"epochs": 2, "hidden": (16,), "latent": 2, "progress": False, "seed": 0}


@pytest.fixture(scope="module", params=["joint", "autoregressive"])
def model(request):
    return backstory.fit(FRAME, likelihood=request.param, **SMALL)


def check(frame: pd.DataFrame) -> None:
    """Every row keeps every relation."""
    assert list(frame.columns) == list(FRAME.columns)
    assert (frame.end >= frame.start).all()
    assert (frame.zone.map(BOROUGHS) == frame.borough).all()
    np.testing.assert_allclose(frame.a + frame.b, frame.total, atol=1e-6)
    assert frame.spouse[frame.status == "single"].isna().all()
    assert frame.spouse[frame.status == "married"].notna().all()


def test_draws_keep_every_relation(model):
    assert [r.text for r in model.schema.related.all] == [
        "total = a + b",
        "zone -> borough",
        "end >= start",
        "spouse is empty if status = single",
    ]
    check(model.sample(300, seed=0))
    check(model.sample(50, where={"status": "married"}, seed=0))


def test_filled_gaps_keep_every_relation_and_observed_cells(model):
    holes = FRAME.iloc[:80].copy()
    gone = np.random.default_rng(0).random(holes.shape) < 0.3
    for j, name in enumerate(holes.columns):
        holes.loc[gone[:, j], name] = None
    before = holes.copy()
    for full in (model.impute(holes), model.restore(holes, draws=2).to_frame(1)):
        check(full.astype({"start": "datetime64[us]", "end": "datetime64[us]"}))
        for name in FRAME.columns:
            known = before[name].notna()
            assert (full[name][known] == before[name][known]).all(), name


def test_means_of_dates_that_belong_together_are_whole_minutes(model):
    holes = FRAME.iloc[:40].copy()
    holes.loc[:19, "end"] = holes.loc[10:29, "start"] = None
    for frame in (model.sample(40, mean=True, seed=0), model.reconstruct(FRAME), model.impute(holes)):
        for name in ("start", "end"):
            assert (pd.to_datetime(frame[name]).dt.second == 0).all(), name
        assert (frame["end"] >= frame["start"]).all()


def test_a_dependent_cell_is_filled_without_the_model(model):
    holes = FRAME.iloc[:5].copy()
    holes["borough"], holes["total"] = None, np.nan
    full = model.impute(holes)
    assert full.borough.tolist() == FRAME.borough[:5].tolist()
    np.testing.assert_allclose(full.total, FRAME.total[:5])


def test_a_row_that_breaks_a_relation_is_the_strangest_and_named(model, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr("backstory.console.warn", told.append)
    rows = FRAME.iloc[:6].copy()
    rows.loc[1, "borough"] = "C" if rows.borough[1] != "C" else "A"
    rows.loc[2, "end"] = rows.start[2] - pd.Timedelta(1, "h")
    rows.loc[3, "total"] += 5
    scores = model.score(rows).to_frame()
    assert (scores.p_value[[1, 2, 3]] == scores.p_value.min()).all()
    assert (scores.p_value[[0, 4, 5]] > scores.p_value.min()).all()
    for row, text in ((1, "zone -> borough"), (2, "end >= start"), (3, "total = a + b")):
        assert text in scores.strange[row]
    assert "row 2 of data frame breaks zone -> borough" in told


def test_a_file_with_gaps_keeps_its_text_and_gets_cells_that_belong_together(model, tmp_path):
    path, full = tmp_path / "holes.csv", tmp_path / "full.csv"
    holes = FRAME.iloc[:60].copy()
    gone = np.random.default_rng(2).random(holes.shape) < 0.3
    for j, name in enumerate(holes.columns):
        holes.loc[gone[:, j], name] = None
    holes.assign(note="as it was").to_csv(path, index=False)
    done = impute(model, Source(path), Output(full), RestorationSettings(draws=2))
    for file in (full, tmp_path / "full.draws.csv"):
        frame = pd.read_csv(file, parse_dates=["start", "end"])
        assert (frame.pop("note") == "as it was").all()
        check(frame[FRAME.columns])
    assert done.columns["borough"] == holes.borough.isna().sum()
    assert done.columns["end"] == holes.end.isna().sum()


def test_where_takes_cells_as_they_stand_in_the_table(model):
    row = {"start": "2024-01-09 10:00:00", "end": "2024-01-09 10:21:00"}
    drawn = model.sample(4, where=row, seed=0)
    check(drawn)
    assert set(drawn.end.astype(str)) == {"2024-01-09 10:21:00"}
    drawn = model.sample(40, where={"borough": "B", "total": (40, 70)}, seed=0)
    check(drawn)
    assert set(drawn.borough) == {"B"}
    assert drawn.total.between(40, 70).all()
    with pytest.raises(InputError, match="expected 'start' beside 'end'"):
        model.sample(4, where={"end": "2024-01-09 10:21:00"})
    with pytest.raises(InputError, match="that break zone -> borough"):
        model.sample(4, where={"zone": "z00", "borough": "C"})


def test_a_run_keeps_its_relations(model, tmp_path):
    model.save(tmp_path / "run")
    again = backstory.open(tmp_path / "run")
    assert again.schema == model.schema
    pd.testing.assert_frame_equal(again.sample(20, seed=3), model.sample(20, seed=3))


def test_a_run_without_relations_opens_as_before(tmp_path):
    plain = backstory.fit(FRAME[["a", "b"]], **SMALL)
    plain.save(tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert "related" in config["data"]
    assert type(plain.schema).model_validate({k: v for k, v in config["data"].items() if k != "related"})


@pytest.mark.parametrize("likelihood", ["joint", "autoregressive", "gaussian-per-entry"])
def test_the_density_of_an_order_is_that_of_its_cells(likelihood):
    """The distance has the density of the upper cell: log p(low, high) = log p(low, high - low)."""
    low, apart = A, B
    cells = pd.DataFrame({"low": low, "high": (low + apart).round(2)})
    distances = pd.DataFrame({"low": low, "high": apart})
    options = {**SMALL, "likelihood": likelihood}
    one = backstory.fit(cells, constraints=["high >= low"], **options)
    other = backstory.fit(distances, relations=False, **options)
    evidence = [
        m.log_evidence(x, samples=5, seed=0).log_evidence for m, x in ((one, cells), (other, distances))
    ]
    np.testing.assert_allclose(*evidence, rtol=1e-5)


def test_a_determined_column_adds_nothing_to_the_density():
    one = backstory.fit(FRAME[["zone", "borough", "a"]], likelihood="joint", **SMALL)
    other = backstory.fit(FRAME[["zone", "a"]], likelihood="joint", **SMALL)
    evidence = [m.log_evidence(FRAME[["zone", "borough", "a"]], samples=5, seed=0) for m in (one, other)]
    np.testing.assert_allclose(*[e.log_evidence for e in evidence], rtol=1e-6)


def test_levels_as_numbers_keep_their_relations():
    """A likelihood of numbers has no levels; keys and points become numbers."""
    rng = np.random.default_rng(0)
    items = {f"q{k}": rng.integers(1, 5, N) for k in range(3)}
    frame = pd.DataFrame({**items, "points": np.sum(list(items.values()), axis=0)})
    model = backstory.fit(frame, likelihood="gaussian", **SMALL)
    drawn = model.sample(50, seed=0)
    np.testing.assert_allclose(drawn.q0 + drawn.q1 + drawn.q2, drawn.points)
    assert set(model.sample(200, seed=0).q0) == {1, 2, 3, 4}


def test_estimators_keep_relations():
    holes = FRAME.iloc[:60].drop(columns="spouse")
    holes.loc[:20, "end"], holes.loc[10:30, "zone"], holes.loc[25:40, "total"] = pd.NaT, None, np.nan
    options = {"hidden": (16,), "likelihood": "joint"}
    imputer = VAEImputer(epochs=1, latent=2, options=options, random_state=0).fit(FRAME[holes.columns])
    full = imputer.transform(holes)
    assert (full.end >= full.start).all()
    assert (full.zone.map(BOROUGHS) == full.borough).all()
    np.testing.assert_allclose(full.a + full.b, full.total, atol=1e-6)
    plain = VAEImputer(epochs=1, latent=2, options=options | {"relations": False}, random_state=0)
    assert not plain.fit(FRAME[["zone", "borough", "a"]]).model_.schema.related


def test_a_distance_of_whole_minutes_is_drawn_in_minutes():
    rng = np.random.default_rng(0)
    start = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 40_000, 200), "min")
    frame = pd.DataFrame({"start": start, "end": start + pd.to_timedelta(rng.integers(2, 40, 200), "min")})
    model = backstory.fit(frame, latent=1, hidden=(4,), epochs=1, progress=False, likelihood="joint")
    assert (model.sample(100, seed=0)["end"].dt.second == 0).all()
