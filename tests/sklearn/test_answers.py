"""Draws for missing cells and given cells, and the surprise of each cell."""

import numpy as np
import pandas as pd
import pytest
from small_estimators import LINEAR, SMALL

from backstory import VAEDensity, VAEImputer, VAEOutlierDetector
from backstory.errors import InputError


@pytest.fixture(scope="module")
def pairs() -> pd.DataFrame:
    """Two Gaussian columns with correlation 0.8, standard deviations 1 and 2, and a constant."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=400)
    b = 2 * (0.8 * a + 0.6 * rng.normal(size=400))
    return pd.DataFrame({"a": a, "b": b, "version": 3})


@pytest.fixture(scope="module")
def density(pairs) -> VAEDensity:
    return VAEDensity(**LINEAR).fit(pairs)


def test_draws_have_the_distribution_of_missing_cells(pairs):
    imputer = VAEImputer(**LINEAR, ensemble=1).fit(pairs)
    asked = pd.DataFrame({"a": [1.0, -1.0, 0.0], "b": [np.nan, np.nan, 0.5], "version": [3, 3, 3]})
    draws = imputer.sample(asked, 500, random_state=0)
    assert all(list(draw) == list(pairs) for draw in draws)
    drawn = np.array([draw["b"] for draw in draws])
    np.testing.assert_allclose(drawn[:, :2].mean(0), [1.6, -1.6], atol=0.25)
    np.testing.assert_allclose(drawn[:, :2].std(0), 1.2, atol=0.15)
    assert set(drawn[:, 2]) == {0.5}
    std = imputer.std(asked)
    np.testing.assert_allclose(std["b"], [1.2, 1.2, 0], atol=0.15)
    assert (std[["a", "version"]] == 0).all(axis=None)
    np.testing.assert_array_equal(
        imputer.sample(asked, 2, random_state=0)[1], imputer.sample(asked, 2, random_state=0)[1]
    )
    with pytest.raises(InputError, match="n_draws of at least 1, got 0"):
        imputer.sample(asked, 0)


def test_draws_of_whole_numbers_are_whole_and_keep_their_type():
    g = np.random.default_rng(0).normal(size=60)
    frame = pd.DataFrame(
        {"n": pd.Series(np.round(5 * g), dtype="Int64"), "yes": pd.Series(g > 0, dtype="boolean")}
    )
    frame.loc[::4, "n"], frame.loc[1::4, "yes"] = pd.NA, pd.NA
    draws = VAEImputer(**SMALL, ensemble=2).fit(frame).sample(frame, 3)
    assert all(draw.dtypes.equals(frame.dtypes) and draw.notna().all(axis=None) for draw in draws)
    assert not draws[0].equals(draws[1])
    array = frame.to_numpy(np.float64, na_value=np.nan)
    assert isinstance(VAEImputer(**SMALL, ensemble=1).fit(array).sample(array, 1)[0], np.ndarray)


def test_draws_given_cells_have_the_conditional_distribution(density):
    given = density.sample(2000, random_state=0, where={"a": 1.0})
    assert set(given["a"]) == {1.0}
    assert set(given["version"]) == {3}
    assert given["b"].mean() == pytest.approx(1.6, abs=0.25)
    assert given["b"].std() == pytest.approx(1.2, abs=0.15)
    above = density.sample(2000, random_state=0, where={"a": (0.0, None), "version": (1, 5)})
    assert above["a"].min() >= 0
    assert above["b"].mean() == pytest.approx(1.6 * np.sqrt(2 / np.pi), abs=0.25)
    with pytest.raises(InputError, match="no column 'c'"):
        density.sample(1, where={"c": 1.0})
    with pytest.raises(InputError, match="version"):
        density.sample(1, where={"version": 4})


def test_cells_of_arrays_and_whole_numbers_may_be_given():
    g = np.random.default_rng(0).normal(size=60)
    frame = pd.DataFrame({"n": np.round(3 * g).astype(int), "yes": g > 0, "x": g})
    drawn = VAEDensity(**SMALL).fit(frame).sample(20, 0, where={"n": {-1, 2}, "yes": True})
    assert set(drawn["n"]) == {-1, 2}
    assert drawn["yes"].all()
    of_array = VAEDensity(**SMALL).fit(frame.to_numpy(np.float64)).sample(20, 0, where={2: (0.0, 1.0)})
    assert np.all((of_array[:, 2] >= 0) & (of_array[:, 2] <= 1))


def test_surprise_of_each_cell_is_that_of_the_score(density, pairs):
    strange = pd.DataFrame({"a": [0.0, 0.0], "b": [9.0, 0.0], "version": [3, 4]}, index=["p", "q"])
    nats = density.attribute(strange)
    assert nats.index.equals(strange.index)
    assert nats.loc["p"].idxmax() == "b"
    stored = strange[["a", "b"]].to_numpy()
    of_score = density.model_.score(stored, reference=pairs[["a", "b"]].to_numpy()).surprise
    np.testing.assert_allclose(nats[["a", "b"]], of_score)
    assert nats["version"].tolist() == [0, np.inf]
    of_array = VAEDensity(**SMALL).fit(pairs.to_numpy()).attribute(strange.to_numpy(np.float64))
    assert isinstance(of_array, np.ndarray)
    assert of_array.shape == (2, 3)


def test_an_outlier_detector_names_the_columns_that_make_a_row_strange(pairs):
    detector = VAEOutlierDetector(**SMALL).fit(pairs)
    nats = detector.attribute(pd.DataFrame({"a": [9.0, 0.0], "b": [0.0, 30.0], "version": 3}))
    assert nats.idxmax(axis=1).tolist() == ["a", "b"]
    gaps = pairs.assign(a=pairs["a"].where(pairs.index > 5))
    missing = VAEOutlierDetector(**SMALL).fit(gaps).attribute(gaps)
    assert missing.isna().equals(gaps.isna())
    mixed = pairs.assign(town=np.resize(["x", "y"], len(pairs)))
    assert list(VAEOutlierDetector(**SMALL).fit(mixed).attribute(mixed)) == list(mixed)


def test_a_gap_that_no_training_row_had_is_refused_everywhere(density, pairs):
    rows = pairs.iloc[:3].astype({"a": float})
    rows.iloc[1, 0] = np.nan
    for answer in (density.score_samples, density.score, density.attribute):
        with pytest.raises(InputError, match="expected a finite number"):
            answer(rows)


def test_a_share_of_a_row_is_not_drawn(density):
    with pytest.raises(InputError, match=r"a whole number of samples, at least 1, got 2\.5"):
        density.sample(2.5)
    with pytest.raises(InputError, match=r"a whole number of samples, at least 1, got 2\.5"):
        density.sample(2.5, where={"a": (0.0, None)})
