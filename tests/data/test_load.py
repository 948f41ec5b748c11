import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from backstory.data.decoding import suffixes
from backstory.data.load import load


def test_digits() -> None:
    dataset, truth = load("digits"), load_digits()
    np.testing.assert_array_equal(dataset.values, truth.images)
    np.testing.assert_array_equal(dataset.labels, truth.target)
    schema = dataset.schema
    assert (schema.kind, schema.shape, schema.dtype) == ("images", (8, 8), "uint8")
    assert (schema.levels, schema.maximum) == (17, 16)
    assert dataset.source == "digits"


def test_digits_test_part_is_fixed() -> None:
    test_rows = load("digits").test_rows
    assert len(test_rows) == 360
    assert (np.diff(test_rows) > 0).all()
    assert test_rows[:8].tolist() == [2, 12, 13, 20, 28, 38, 44, 53]
    assert test_rows.sum() == 339627


def test_every_source_gives_the_same(tmp_path) -> None:
    values = np.random.default_rng(0).normal(size=(5, 3))
    frame = pd.DataFrame(values, columns=["a", "b", "c"])
    np.save(tmp_path / "a.npy", values)
    frame.to_csv(tmp_path / "a.csv", index=False)
    for source in (
        values,
        torch.tensor(values),
        frame,
        tmp_path / "a.npy",
        str(tmp_path / "a.npy"),
        str(tmp_path / "a.csv"),
    ):
        np.testing.assert_array_equal(load(source).values, values)


def test_ending_in_capitals(tmp_path) -> None:
    np.save(tmp_path / "a.npy", np.eye(3))
    (tmp_path / "a.npy").rename(tmp_path / "A.NPY")
    np.testing.assert_array_equal(load(tmp_path / "A.NPY").values, np.eye(3))


def test_missing_path(refusal) -> None:
    sentence = refusal(load, "no/such/file.npy")
    for part in ("no/such/file.npy", "does not exist", ".npz", ".csv", ".parquet", "IDX", "folder", "digits"):
        assert part in sentence


@pytest.mark.parametrize("name", ["digit", "Digits", "digits.", "digtis"])
def test_nearly_an_embedded_name(refusal, name: str) -> None:
    assert "did you mean 'digits'?" in refusal(load, name)


def test_path_under_a_file_and_path_too_long(refusal, tmp_path) -> None:
    (tmp_path / "a.npy").write_bytes(b"")
    assert "does not exist" in refusal(load, tmp_path / "a.npy" / "b.npy")
    assert "File name too long" in refusal(load, "x" * 5000)


@pytest.mark.parametrize("name", ["a.xls", "a.txt", "a", "a.pt", "a.pkl", "a.txt.gz"])
def test_unknown_ending(refusal, tmp_path, name: str) -> None:
    (tmp_path / name).write_text("1,2")
    sentence = refusal(load, tmp_path / name)
    assert name in sentence
    assert ".parquet" in sentence
    assert "convert" in sentence


@pytest.mark.parametrize("source", [[[1, 2], [3, 4]], None, 3])
def test_unknown_type(refusal, source) -> None:
    sentence = refusal(load, source)
    assert type(source).__name__ in sentence
    assert "numpy.asarray" in sentence


@pytest.mark.parametrize("source", ["digits", np.eye(3)])
def test_resize_is_for_images(refusal, source) -> None:
    sentence = refusal(load, source, resize=8)
    assert "`resize`" in sentence
    assert "folder of images" in sentence


@pytest.mark.parametrize("resize", [0, -3, (0, 4), (1, 2, 3)])
def test_bad_size(refusal, tmp_path, resize) -> None:
    assert str(resize) in refusal(load, tmp_path, resize=resize)


def test_image_suffixes_are_not_other_formats() -> None:
    assert not set(suffixes()) & {"npy", "npz", "csv", "tsv", "parquet", "idx"}
