"""Estimators give frames for frames, with their columns, index and types; arrays for arrays."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from backstory import VAEDensity, VAEImputer, VAETransformer
from backstory.errors import InputError

SMALL = {"latent": 1, "epochs": 1, "random_state": 0, "options": {"hidden": (8,), "compile": False}}


@pytest.fixture(scope="module")
def numbers() -> pd.DataFrame:
    """Numbers of many types, a constant and gaps, with an index of its own."""
    rng = np.random.default_rng(0)
    g = rng.normal(size=80)
    frame = pd.DataFrame(
        {
            "visits": pd.Series(np.round(100 * g), dtype="Int64"),
            "share": pd.Series(g.round(2), dtype="Float32"),
            "member": pd.Series(g > 0, dtype="boolean"),
            "byte": np.arange(80).astype("uint8"),
            "yes": rng.random(80) < 0.5,
            "version": pd.Series([7] * 80, dtype="Int64"),
            "single": g.astype("float32"),
            "time": 1.7e9 + g,
        }
    ).set_index(np.arange(80) + 1000)
    frame.loc[1000::5, ["visits", "version"]] = pd.NA
    frame.loc[1001::7, ["share", "member", "single", "time"]] = np.nan
    return frame


def test_gaps_of_a_frame_of_numbers_are_filled_in_a_frame(numbers):
    imputer = VAEImputer(**SMALL, ensemble=1).fit(numbers)
    full = imputer.transform(numbers)
    assert full.index.equals(numbers.index)
    assert list(full) == list(numbers) == list(imputer.get_feature_names_out())
    assert not full.isna().any(axis=None)
    observed = numbers.notna()
    assert ((full == numbers) | ~observed).all(axis=None)
    means = {"visits": "float64"}  # whose means are not whole, as with `Model.impute`
    assert {name: str(dtype) for name, dtype in full.dtypes.items()} == {
        name: means.get(name, str(dtype)) for name, dtype in numbers.dtypes.items()
    }
    with pytest.warns(UserWarning, match="feature names"):
        cells = imputer.transform(numbers.to_numpy(np.float64, na_value=np.nan))
    assert isinstance(cells, np.ndarray)
    np.testing.assert_allclose(full.to_numpy(np.float64), cells, rtol=1e-6)


def test_draws_and_means_of_rows_have_the_columns_and_types_of_training(numbers):
    drawn = VAEDensity(**SMALL).fit(numbers).sample(20, random_state=0)
    assert drawn.dtypes.equals(numbers.dtypes)
    assert drawn["byte"].between(0, 79).all()
    assert set(drawn["version"]) == {7}
    transformer = VAETransformer(**SMALL).fit(numbers)
    codes = transformer.set_output(transform="pandas").transform(numbers)
    means = transformer.inverse_transform(codes)
    assert list(means) == list(numbers)
    assert means.index.equals(numbers.index)
    assert transformer.inverse_transform(codes.to_numpy()).index.equals(pd.RangeIndex(80))


def test_what_is_set_as_output_agrees(numbers):
    imputer = VAEImputer(**SMALL, ensemble=1).fit(numbers)
    frame = imputer.transform(numbers)
    as_set = imputer.set_output(transform="pandas")
    pd.testing.assert_frame_equal(as_set.transform(numbers), frame)
    of_array = as_set.fit_transform(numbers.to_numpy(np.float64, na_value=np.nan))
    assert list(of_array) == [f"x{j}" for j in range(8)]
    assert isinstance(clone(imputer).set_output(transform="default").fit_transform(numbers), pd.DataFrame)


@pytest.mark.parametrize("labels", [[3, 1], pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])])
def test_labels_of_columns_may_be_anything(labels):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 2)).round(1)).set_axis(labels, axis=1)
    frame.iloc[0, 1] = np.nan
    full = VAEImputer(**SMALL, ensemble=1).fit_transform(frame)
    assert full.columns.equals(frame.columns)
    assert full.notna().all(axis=None)
    assert full.iloc[1:].equals(frame.iloc[1:])
    assert VAEDensity(**SMALL).fit(frame).sample(3).columns.equals(frame.columns)


def test_polars_frames_come_back_as_such(numbers):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    pytest.importorskip("pyarrow")
    frame = polars.from_pandas(numbers)
    full = VAEImputer(**SMALL, ensemble=1).fit_transform(frame)
    assert isinstance(full, polars.DataFrame)
    assert full.columns == frame.columns
    assert sum(full.null_count().row(0)) == 0
    density = VAEDensity(**SMALL).fit(frame)
    drawn = pickle.loads(pickle.dumps(density)).sample(5)
    assert isinstance(drawn, polars.DataFrame)
    assert drawn.schema == frame.schema
    mixed = frame.with_columns(town=polars.Series(["a", "b"] * 40))
    options = {**SMALL, "likelihood": "joint"}
    assert VAEDensity(**options).fit(mixed).sample(5).schema == mixed.schema
    assert VAEImputer(**options, ensemble=1).fit_transform(mixed)["visits"].null_count() == 0


def test_arrow_tables_come_back_as_such(numbers):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("narwhals")
    table = pyarrow.Table.from_pandas(numbers, preserve_index=False)
    full = VAEImputer(**SMALL, ensemble=1).fit_transform(table)
    assert isinstance(full, pyarrow.Table)
    assert full.column_names == table.column_names
    assert VAEDensity(**SMALL).fit(table).sample(5).schema.types == table.schema.types


def test_an_array_needs_a_frame_where_columns_are_described(numbers):
    options = SMALL["options"] | {"columns": {"byte": "count"}}
    with pytest.raises(InputError, match="expected a frame for `columns`, got ndarray"):
        VAEDensity(**SMALL | {"options": options}).fit(numbers.to_numpy(np.float64, na_value=np.nan))
