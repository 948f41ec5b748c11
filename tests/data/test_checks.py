"""Missing and infinite entries, in memory and in a file."""

import warnings

import numpy as np
import pytest

from backstory.data.arrays import from_array
from backstory.data.checks import check_finite, missing
from backstory.data.dataset import Dataset
from backstory.data.load import load
from backstory.data.rows import Rows, Spool
from backstory.models.statistics import data_statistics

VALUES = np.array([[1, np.nan], [2, 3], [np.nan, np.nan]])


def rows(values: np.ndarray, stream: bool) -> Rows:
    if not stream:
        return values
    spool = Spool(0)
    spool.write(values)
    return spool.array(values.shape, values.dtype)


@pytest.mark.parametrize("stream", [False, True])
def test_missing_entries(stream: bool) -> None:
    values = rows(VALUES, stream)
    assert check_finite(values, "a table")
    assert not check_finite(rows(VALUES[[1]], stream), "a table")
    assert not check_finite(rows(np.arange(6).reshape(3, 2), stream), "a table")
    assert missing(values, np.array([1, 2, 0])) == (3, (2, 0))
    assert missing(values, np.array([1])) == (0, ())


@pytest.mark.parametrize("stream", [False, True])
def test_infinite_entries(stream: bool, refusal) -> None:
    values = rows(np.where(VALUES == 3, np.inf, VALUES), stream)
    sentence = refusal(check_finite, values, "the source", ("a", "b"))
    assert "inf in row 2, column 'b'" in sentence
    assert "the source" in sentence


@pytest.mark.parametrize("stream", [False, True])
def test_a_dataset_made_by_hand_looks_for_missing_entries(stream: bool) -> None:
    schema = from_array(VALUES).schema
    assert from_array(rows(VALUES, stream)).incomplete is True
    assert Dataset(rows(VALUES, stream), schema).incomplete is True
    assert Dataset(rows(VALUES[[1]], stream), schema).incomplete is False
    assert Dataset(rows(VALUES, stream), schema).subset(np.array([1])).incomplete is True  # as of its whole


def test_signalling_nan_is_missing_like_any_other(tmp_path):
    values = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    values.view(np.uint32)[5, 1] = 0x7FA00001
    np.save(tmp_path / "x.npy", values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load(tmp_path / "x.npy")
        location, scale = data_statistics(data.values, data.schema)
    assert data.incomplete
    assert location.isfinite().all()
    assert scale.isfinite().all()
