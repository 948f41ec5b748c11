"""The estimators follow scikit-learn's conventions, and what they compute is what the model says."""

import io
import pickle

import numpy as np
import pandas as pd
import pytest
from mixed import mixed_table
from scipy.stats import spearmanr
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from backstory import VAEDensity, VAEImputer, VAEOutlierDetector, VAETransformer
from backstory.errors import InputError

SMALL = {"latent": 1, "epochs": 3, "options": {"hidden": (8,), "compile": False}}
EXCEPTIONS = {
    "check_sample_weight_equivalence_on_dense_data": "weights and repeated rows agree on average over draws"
}


@parametrize_with_checks(
    [
        VAEImputer(**SMALL),
        VAEDensity(**SMALL),
        VAETransformer(**SMALL),
        VAEOutlierDetector(ensemble=2, **SMALL),
    ],
    expected_failed_checks=lambda estimator: EXCEPTIONS,
)
def test_the_conventions(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Three columns, two of which say nearly the same."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=400)
    return np.stack([z, 2 * z + 0.1 * rng.normal(size=400), 5 + rng.normal(size=400)], 1)


TRAINED = {
    "latent": 1,
    "epochs": 80,
    "random_state": 0,
    "options": {
        "network": "linear",
        "validation": 0.0,
        "warmup": 0,
        "batch_size": 100,
        "lr": 0.1,
        "compile": False,
    },
}


def test_what_is_missing_is_filled_from_what_is_there(rows):
    holes = rows.copy()
    holes[::4, 1] = np.nan
    filled = VAEImputer(**TRAINED, ensemble=1).fit_transform(holes)
    assert np.array_equal(filled[~np.isnan(holes)], holes[~np.isnan(holes)])
    error = filled[::4, 1] - rows[::4, 1]
    assert np.sqrt(np.mean(error**2)) < 0.2  # the noise alone is 0.1, the column's deviation 2


def test_the_density_is_that_of_the_rows(rows):
    density = VAEDensity(**TRAINED).fit(rows)
    truth = -0.5 * np.log(2 * np.pi * np.e) * 3 - np.log(0.1)  # of a Gaussian: its entropy
    assert density.score(rows) == pytest.approx(truth, abs=0.15)
    sample = density.sample(20_000, random_state=0)
    np.testing.assert_allclose(np.corrcoef(sample.T), np.corrcoef(rows.T), atol=0.05)
    np.testing.assert_allclose(sample.mean(0), rows.mean(0), atol=0.15)
    assert np.array_equal(density.sample(3, 0), density.sample(3, 0))


def test_the_density_of_what_was_observed(rows):
    holes = rows.copy()
    holes[::2, 0] = np.nan
    density = VAEDensity(**TRAINED).fit(holes)
    truth = -np.log(2 * np.pi) - np.log(2)  # of the second column's mean and the third's
    assert density.score_samples([[np.nan, 0.0, 5.0]])[0] == pytest.approx(truth, abs=0.2)


@pytest.mark.parametrize("origin", [1e7, 1.7e9])
def test_columns_far_from_zero_keep_their_digits(rows, origin):
    """Such as times in seconds."""
    gaps, away = rows.copy(), np.array([origin, 0, 0])
    gaps[::5, 0] = np.nan
    near, far = (
        VAEImputer(**TRAINED | {"epochs": 10}, ensemble=1).fit_transform(gaps + shift)[:, 0] - shift[0]
        for shift in (0 * away, away)
    )
    np.testing.assert_allclose(far, near, atol=0.05)
    density = VAEDensity(**SMALL, random_state=0)
    scores = density.fit(rows + away).score_samples(rows + away)
    assert scores.std() > 0.1
    assert abs(density.sample(50, random_state=0)[:, 0] - origin).max() < 100


def test_constant_columns_alone_are_refused():
    with pytest.raises(InputError, match="expected a column that varies, got 3"):
        VAEImputer(**SMALL).fit(np.ones((10, 3)))


def test_codes_hold_the_row(rows):
    transformer = VAETransformer(**TRAINED).fit(rows)
    z = transformer.transform(rows)
    assert z.shape == (400, 1)
    assert abs(np.corrcoef(z[:, 0], rows[:, 0])[0, 1]) > 0.99
    assert list(transformer.get_feature_names_out()) == ["vaetransformer0"]
    back = transformer.inverse_transform(z)
    assert np.sqrt(np.mean((back - rows)[:, 1] ** 2)) < 0.3
    np.testing.assert_allclose(transformer.model_.decode(z).mean.detach().numpy(), back)


def test_codes_of_several_models_stand_side_by_side(rows):
    transformer = VAETransformer(**SMALL | {"options": {"ensemble": 2}}).fit(rows[:50])
    assert transformer.transform(rows[:3]).shape == (3, len(transformer.get_feature_names_out()))
    with pytest.raises(InputError, match="ask one of its members"):
        transformer.inverse_transform(transformer.transform(rows[:3]))


def test_outliers_have_a_low_density(rows):
    settings = {"random_state": 0, "latent": 1, "epochs": 60, "options": {"hidden": (32,), "lr": 0.01}}
    detector = VAEOutlierDetector(contamination=0.05, ensemble=2, **settings).fit(rows)
    assert np.sum(detector.predict(rows) == -1) == 20
    strange = np.array([[1.0, -2.0, 5.0]])  # each column is common, the pair is not
    assert detector.predict(strange)[0] == -1
    assert detector.score_samples(strange)[0] < detector.score_samples(rows).min()


def test_an_outlier_detector_has_the_score_of_its_model(rows):
    detector = VAEOutlierDetector(**SMALL, random_state=0).fit(rows)
    x = np.concatenate([rows[:20], 3 * rows[:20]])
    shortened = np.arcsinh((x - detector.location_) / detector.spread_)
    found = detector.model_.score(shortened, reference=shortened).score  # by fewer training rows
    assert spearmanr(detector.score_samples(x), found).statistic > 0.98
    assert np.percentile(detector.score_samples(rows), 10) == pytest.approx(detector.offset_)


@pytest.mark.parametrize("networks", [1, 3])
def test_an_outlier_detector_may_have_several_networks(rows, networks):
    detector = VAEOutlierDetector(ensemble=networks, **SMALL, random_state=0).fit(rows)
    assert len(detector.model_.members) == networks


def test_few_rows_few_values_and_missing_cells(rows):
    assert np.isfinite(VAEOutlierDetector(**SMALL).fit([[0.0, 1.0], [1.0, 1.0]]).offset_)
    levels = np.round(rows)
    levels[:, 2] = levels[:, 2] > 5
    holes = levels.copy()
    holes[::3, 1] = np.nan
    detector = VAEOutlierDetector(**SMALL, random_state=0).fit(holes)
    assert np.isfinite(detector.score_samples(np.concatenate([holes, levels, 1e6 + levels]))).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [({"contamination": 0.7}, "0.7"), ({"ensemble": 0}, "at least 1"), ({"sigma_floor": 0.0}, "positive")],
)
def test_what_cannot_be_is_said(rows, options, words):
    with pytest.raises(ValueError, match=words):
        VAEOutlierDetector(**options).fit(rows)


@pytest.mark.parametrize("kind", [VAEDensity, VAEOutlierDetector])
def test_a_pickle_holds_files_of_a_run_and_no_module(rows, kind):
    estimator = kind(**SMALL, random_state=0).fit(rows)
    text = pickle.dumps(estimator)
    loaded = pickle.loads(text)
    assert np.array_equal(loaded.score_samples(rows), estimator.score_samples(rows))

    class NoTorch(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> type:
            assert not module.startswith("torch")
            return super().find_class(module, name)

    NoTorch(io.BytesIO(text)).load()


def test_a_pipeline_and_a_grid_search(rows):
    pipeline = make_pipeline(StandardScaler(), VAEDensity(random_state=0, **SMALL))
    search = GridSearchCV(pipeline, {"vaedensity__epochs": [1, 20]}, cv=2).fit(rows)
    assert search.best_params_ == {"vaedensity__epochs": 20}


def test_a_column_that_does_not_vary_is_put_back(rows):
    constant = np.insert(rows, 1, 7.0, axis=1)
    holes = constant.copy()
    holes[3, 1] = np.nan
    assert np.array_equal(VAEImputer(**SMALL).fit_transform(holes), constant)
    assert set(VAEDensity(**SMALL).fit(constant).sample(5)[:, 1]) == {7.0}
    transformer = VAETransformer(**SMALL).fit(constant)
    assert set(transformer.inverse_transform(transformer.transform(constant))[:, 1]) == {7.0}
    assert VAEOutlierDetector(ensemble=2, **SMALL).fit(constant).score_samples(constant).shape == (400,)
    with pytest.raises(ValueError, match="got none in column 1"):
        VAEDensity(**SMALL).fit(np.insert(rows, 1, np.nan, axis=1))


# -- mixed frames -------------------------------------------------------------------------------------------

MIXED = {**SMALL, "random_state": 0, "epochs": 5}


@pytest.fixture(scope="module")
def customers() -> pd.DataFrame:
    """Texts, yes or no, counts, dates, a constant and numbers of rows; empty cells; an index of its own."""
    frame = mixed_table(120, 0).assign(plan=lambda f: f["plan"].astype("category"))
    frame.loc[[3, 4], "version"] = None
    frame.loc[5, "plan"] = None
    return frame.set_index(np.arange(1000, 1120))


def test_a_mixed_frame_comes_back_as_a_frame_without_gaps(customers):
    imputer = VAEImputer(**MIXED, ensemble=2)
    full = imputer.fit_transform(customers)
    assert list(full) == list(customers) == list(imputer.get_feature_names_out())
    assert full.index.equals(customers.index)
    assert not full.isna().any(axis=None)
    there = customers.notna()
    same = full.astype(object).where(there) == customers.astype(object).where(there)
    assert (same | ~there).all(axis=None)
    for name in ("country", "member", "plan"):
        assert set(full[name]) <= set(customers[name].dropna())
    assert full["plan"].dtype == customers["plan"].dtype
    assert set(full["version"]) == {"v2"}
    assert pd.to_datetime(full["joined"], format="%Y-%m-%d").notna().all()
    # other rows, with columns that happen to have no gaps, or nothing but gaps
    other = customers.iloc[:7].assign(income=np.nan, country="Chad")
    assert not imputer.transform(other).isna().any(axis=None)


def test_densities_codes_and_outliers_of_a_mixed_frame(customers):
    settings = {**MIXED, "options": {**SMALL["options"], "likelihood": "joint"}}
    customers = customers[:60]
    density = VAEDensity(**settings).fit(customers)
    scores = density.score_samples(customers)
    assert scores.shape == (60,)
    assert np.isfinite(scores).all()
    strange = customers.iloc[:1].assign(spent=1e7)
    assert density.score_samples(strange)[0] < scores[0]
    drawn = density.sample(30, random_state=0)
    assert list(drawn) == [name for name in customers if name != "customer_id"]
    assert set(drawn["member"]) <= {"yes", "no"}
    transformer = VAETransformer(**settings).fit(customers)
    z = transformer.transform(customers)
    assert z.shape == (60, 1)
    assert list(transformer.inverse_transform(z)) == list(drawn)
    detector = VAEOutlierDetector(ensemble=1, **MIXED).fit(customers)
    assert detector.model_.options.likelihood.name == "joint"
    assert detector.predict(customers).tolist().count(-1) == 6
    assert detector.score_samples(strange)[0] < detector.offset_


def test_mixed_frames_in_pipelines_searches_and_pickles(customers):
    kinds = {"visits": "continuous"}
    settings = {**MIXED, "options": {**SMALL["options"], "columns": kinds, "likelihood": "joint"}}
    search = GridSearchCV(VAEDensity(**settings), {"epochs": [1, 15]}, cv=2).fit(customers)
    assert search.best_params_ == {"epochs": 15}
    found = {column.name: column.kind for column in search.best_estimator_.model_.schema.kinds}
    assert found["visits"] == "continuous"
    loaded = pickle.loads(pickle.dumps(search.best_estimator_))
    assert np.array_equal(loaded.score_samples(customers), search.best_estimator_.score_samples(customers))
    pipeline = make_pipeline(VAEImputer(**MIXED, ensemble=1), VAETransformer(**MIXED))
    assert pipeline.fit_transform(customers).shape == (120, 1)


def test_what_is_wrong_with_a_mixed_frame_is_said(customers):
    density = VAEDensity(**MIXED).fit(customers)
    with pytest.raises(ValueError, match=r"expected a frame .* got ndarray"):
        density.score_samples(customers.to_numpy())
    with pytest.raises(ValueError, match=r"(?s)feature names.*age"):
        density.score_samples(customers.drop(columns="age"))
    with pytest.raises(ValueError, match="got 'many' in row 3, column 'visits'"):
        density.score_samples(customers.assign(visits=["1", "2"] + ["many"] * 38 + ["4"] * 80))
    with pytest.raises(ValueError, match="got none in column 'income'"):
        VAEImputer(**MIXED).fit(customers.assign(income=None))


def test_numbers_with_gaps_are_all_trained_on():
    x = np.random.default_rng(0).normal(size=(40, 3))
    x[::3, 1] = np.nan
    model = VAEImputer(latent=1, epochs=1, ensemble=1).fit(x).model_
    assert len(model.splits.train) == 40
    assert model.training.keep == "last"
    held_out = VAEImputer(latent=1, epochs=1, ensemble=1, options={"validation": 0.25}).fit(x).model_
    assert len(held_out.splits.train) == 30


def test_an_imputer_of_many_rows_takes_fewer_draws_and_steps(rows):
    holes = np.where(np.random.default_rng(0).random((500, 4)) < 0.2, np.nan, np.resize(rows, (500, 4)))

    def training(x, **options):
        return VAEImputer(ensemble=1, epochs=1, options=options).fit(x).model_.training

    many, few = training(holes), training(holes[:400])
    assert (many.samples, many.batch_size, many.lr) == (5, 128, 6e-3)
    assert (few.samples, few.lr) == (20, 3e-3)
    assert training(holes, objective="elbo", samples=1).batch_size == 64  # options are not mixed with others


def test_columns_of_a_frame_of_numbers_are_what_the_options_say():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"code": rng.integers(1, 4, 120) * 10, "size": rng.normal(size=120)})
    options = {"columns": {"code": "categorical"}, "hidden": (8,)}
    model = VAETransformer(latent=1, epochs=1, options=options, random_state=0).fit(frame)
    assert model.model_.schema.kinds[0].kind == "categorical"
    assert model.transform(frame).shape == (120, 1)
    with pytest.raises(InputError, match="frame for `columns`"):
        VAETransformer(options=options).fit(frame.to_numpy())


def test_ways_of_reading_are_no_options_of_rows():
    with pytest.raises(InputError, match="`kind`"):
        VAETransformer(epochs=1, options={"kind": "images"}).fit(np.eye(5))
