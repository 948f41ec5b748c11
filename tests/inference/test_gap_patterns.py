"""Gaps of drawn rows: as frequent as among the rows that are kept, and near the same values."""

import numpy as np
import pandas as pd
import pytest

import backstory
from backstory.errors import InputError
from backstory.inference.gap_patterns import drawn_gaps

OPTIONS = {"epochs": 8, "hidden": (16,), "latent": 2, "progress": False, "compile": False, "validation": 0.3}


def test_gaps_depend_on_values_and_keep_their_frequency() -> None:
    rng = np.random.default_rng(0)
    kept, x = rng.normal(size=(1000, 3)), rng.normal(size=(4000, 3))
    kept[kept[:, 0] > 1, 1] = np.nan  # depends on another column
    kept[rng.random(1000) < 0.3, 2] = np.nan
    kept[:, 0] = np.where(rng.random(1000) < 0.05, np.nan, kept[:, 0])
    gaps = drawn_gaps(x, kept, np.ones(3), np.zeros(3, bool), 0)
    np.testing.assert_allclose(gaps.mean(0), np.isnan(kept).mean(0), atol=0.03)
    both = np.isnan(kept[:, 1]) & np.isnan(kept[:, 2])
    assert (gaps[:, 1] & gaps[:, 2]).mean() == pytest.approx(both.mean(), abs=0.03)
    assert gaps[x[:, 0] > 1.2, 1].mean() > 0.65  # at random 0.16
    assert gaps[x[:, 0] < 0.8, 1].mean() < 0.05


def test_gaps_depend_on_levels() -> None:
    rng = np.random.default_rng(0)
    kept = np.column_stack([rng.integers(0, 3, 600), rng.normal(size=600)])
    kept[kept[:, 0] == 2, 1] = np.nan
    x = np.column_stack([rng.integers(0, 3, 500), rng.normal(size=500)])
    gaps = drawn_gaps(x, kept, np.ones(2), np.array([True, False]), 0)
    assert gaps[x[:, 0] == 2, 1].mean() > 0.85
    assert gaps[x[:, 0] != 2, 1].mean() < 0.1


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    n = 800
    town = rng.choice(["Ulm", "Bonn", *(f"Village {i}" for i in range(20))], n, p=[0.5, 0.3] + [0.01] * 20)
    frame = pd.DataFrame({"town": town, "a": rng.normal(size=n), "b": rng.normal(size=n), "c": 1.0})
    frame["c"] = frame["a"] + rng.normal(size=n)
    frame.loc[rng.random(n) < 0.2, "b"] = np.nan
    return frame


@pytest.fixture(scope="module")
def model(table) -> backstory.Model:
    return backstory.fit(table, **OPTIONS, likelihood="joint")


def test_draws_have_gaps_if_they_are_asked_for(model, table) -> None:
    assert model.sample(300, seed=0).notna().all().all()
    drawn = model.sample(2000, seed=0, missing_cells="keep")
    assert drawn["b"].isna().mean() == pytest.approx(0.2, abs=0.06)
    assert drawn[["town", "a", "c"]].notna().all().all()
    given = model.sample(100, seed=0, missing_cells="keep", where={"b": (-1, 1)})
    assert given["b"].notna().all()


def test_models_without_kept_rows_have_none(table) -> None:
    bare = backstory.fit(table, **{**OPTIONS, "epochs": 1, "validation": 0})
    with pytest.raises(InputError, match="with validation rows"):
        bare.sample(3, missing_cells="keep")
    with pytest.raises(InputError, match="missing_cells"):
        bare.sample(3, missing_cells="some")


@pytest.mark.parametrize("typed", [False, True])
def test_rare_levels_come_back_by_their_frequency(typed) -> None:
    rng = np.random.default_rng(2)
    n = 2000
    cells = {"Bonn": 600, "Kiel": 20, "Jena": 3, "Trier": 2, "Worms": 1}
    town = rng.permutation(np.repeat(["Ulm", *cells], [n - 626, *cells.values()]))
    frame = pd.DataFrame({"town": pd.Categorical(town) if typed else town, "x": rng.normal(size=n)})
    model = backstory.fit(
        frame, **OPTIONS | {"epochs": 30, "batch_size": 128, "lr": 0.01}, likelihood="joint"
    )
    column = model.schema.kinds[0]
    assert column.levels == ("Bonn", "Kiel", "Ulm", "other")
    assert column.rare_levels == (("Jena", 3), ("Trier", 2), ("Worms", 1))
    drawn = model.sample(20_000, seed=0)["town"]
    if typed:
        assert set(drawn.cat.categories) == set(town)
    assert set(drawn) == set(town)
    assert (drawn == "Kiel").mean() == pytest.approx(0.01, abs=0.006)  # one of 100 is no rare level
    rare = drawn[drawn.isin(["Jena", "Trier", "Worms"])]
    assert len(rare) < 400
    assert (rare == "Jena").mean() == pytest.approx(0.5, abs=0.2)
    again = model.sample(20_000, seed=0)["town"]
    assert drawn.equals(again)
