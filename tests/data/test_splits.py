import hashlib
import time

import numpy as np
import pandas as pd
import pytest

from backstory.data.load import load
from backstory.data.splits import check_for_training, row_hashes, split


def table(count: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, 3))


@pytest.mark.parametrize(
    ("count", "fraction", "expected"),
    [(10, 0.1, 1), (10, 0.0, 0), (100, 0.25, 25), (10, 0.001, 1), (10, 0.8, 8), (1797, 0.1, 180)],
)
def test_sizes(count: int, fraction: float, expected: int) -> None:
    parts = split(load(table(count)), fraction)
    assert len(parts.validation) == expected
    assert len(parts.test) == 0
    together = np.concatenate([parts.train, parts.validation])
    np.testing.assert_array_equal(np.sort(together), np.arange(count))
    for part in (parts.train, parts.validation, parts.test):
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()


def test_own_test_part_is_kept() -> None:
    digits = load("digits")
    parts = split(digits, 0.1, seed=3)
    np.testing.assert_array_equal(parts.test, digits.test_rows)
    assert (len(parts.train), len(parts.validation)) == (1293, 144)
    assert not set(parts.test) & (set(parts.train) | set(parts.validation))


def test_seed_decides() -> None:
    dataset = load(table(100))
    again, other = split(dataset, 0.2, seed=7), split(dataset, 0.2, seed=8)
    np.testing.assert_array_equal(split(dataset, 0.2, seed=7).validation, again.validation)
    assert not np.array_equal(again.validation, other.validation)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 2, float("nan")])
def test_fraction_out_of_range(refusal, fraction: float) -> None:
    sentence = refusal(split, load(table(10)), fraction)
    assert f"{fraction:g}" in sentence
    assert "`validation" in sentence
    assert "0.1" in sentence


@pytest.mark.parametrize(("count", "fraction"), [(1, 0.0), (2, 0.1), (10, 0.9), (1, 0.5)])
def test_one_row(refusal, count: int, fraction: float) -> None:
    sentence = refusal(split, load(table(count)), fraction)
    assert "two rows" in sentence
    assert ("one row" in sentence) == (not (count == 1 and fraction))
    assert "smaller `validation`" in sentence


def test_hashes_tell_rows_apart() -> None:
    values = table(1000)
    values[10] = values[20]
    hashes = row_hashes(values)
    assert hashes.dtype == np.uint64
    assert len(np.unique(hashes)) == 999
    assert hashes[10] == hashes[20]
    np.testing.assert_array_equal(row_hashes(values[5:9]), hashes[5:9])
    np.testing.assert_array_equal(row_hashes(np.asfortranarray(values)), hashes)


def test_hashes_are_the_same_everywhere() -> None:
    values = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    assert row_hashes(values).tolist() == [
        int.from_bytes(hashlib.blake2b(bytes(range(k, k + 4)), digest_size=8).digest(), "little")
        for k in (0, 4, 8)
    ]
    assert row_hashes(values)[0] == 11009417550903347706  # is saved with runs


def test_hashes_are_quick() -> None:
    values = np.zeros((60000, 784), np.uint8)
    began = time.process_time()
    assert len(row_hashes(values)) == 60000
    assert time.process_time() - began < 3


def test_good_data_may_be_trained_on() -> None:
    digits = load("digits")  # with constant pixels
    check_for_training(digits, split(digits).train)
    check_for_training(load(table(5)), np.arange(5))
    binary = np.zeros((4, 3), np.uint8)
    check_for_training(load(binary), np.arange(4))


def test_missing_cells(refusal) -> None:
    frame = pd.DataFrame({"age": [1.5, 2, 3, 4], "height": [1, 2.5, np.nan, np.nan]})
    check_for_training(load(frame), np.array([0, 1, 3]))
    sentence = refusal(check_for_training, load(frame), np.array([0, 2, 3]))
    assert "1 constant or empty column ('height')" in sentence  # of what is there, one value
    assert "('height')" in refusal(check_for_training, load(frame), np.array([2, 3]))


def test_constant_columns(refusal) -> None:
    frame = pd.DataFrame({"age": [1.5, 2, 3], "site": [7, 7, 7], "unit": [1, 1, 2]})
    sentence = refusal(check_for_training, load(frame), np.arange(3))
    assert "1 constant or empty column ('site')" in sentence
    assert "'site', 'unit'" in refusal(check_for_training, load(frame), np.arange(2))
    values = table(6)
    values[:, 1] = 3
    assert "'column 2'" in refusal(check_for_training, load(values), np.arange(6))
    assert "remove" in sentence


def test_one_training_row(refusal) -> None:
    assert "1 row" in refusal(check_for_training, load(table(5)), np.array([3]))


@pytest.mark.parametrize("kind", ["array", "frame"])
def test_a_column_with_one_odd_row_varies_over_the_training_rows(kind: str) -> None:
    values = np.random.default_rng(0).normal(size=(200, 2))
    values[:, 1] = 0.0
    values[-1, 1] = 1.0
    data = load(values if kind == "array" else pd.DataFrame(values, columns=["a", "b"]))
    for seed in range(30):
        parts = split(data, seed=seed)
        check_for_training(data, parts.train)
        assert len(parts.train) + len(parts.validation) == 200
        assert not np.intersect1d(parts.train, parts.validation).size


def test_odd_rows_stay_where_the_split_needs_none() -> None:
    values = np.random.default_rng(0).normal(size=(50, 2))
    levels = (values > 2.2).astype(np.uint8)  # a discrete array may have constant columns
    assert len(split(load(levels)).validation) == 5
