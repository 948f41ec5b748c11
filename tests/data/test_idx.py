import gzip
import io
import struct
from pathlib import Path

import numpy as np
import pytest

from backstory.data.idx import read_idx, write_idx
from backstory.data.load import load

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 5, 4)).astype(np.uint8)
LABELS = np.arange(7, dtype=np.uint8)


def idx(array: np.ndarray) -> bytes:
    """An IDX file of bytes as its description says, made without the code that is tested."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize("name", ["a.idx", "a-idx3-ubyte", "a.idx3-ubyte.gz"])
@pytest.mark.parametrize("shape", [(7, 5, 4), (3, 28, 20), (2, 1, 1), (6, 4)])
def test_idx(tmp_path, name: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    content = idx(values)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    dataset = load(tmp_path / name)
    np.testing.assert_array_equal(dataset.values, values)
    assert dataset.values.dtype == np.uint8
    assert dataset.test_rows is None


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64", "bool"])
def test_idx_types_come_back(tmp_path, dtype: str) -> None:
    values = np.array([[0, 1, 100], [3, 0, 1]]).astype(dtype)
    with (tmp_path / "a.idx").open("wb") as handle:
        write_idx(handle, values)
    read = read_idx(tmp_path / "a.idx")
    np.testing.assert_array_equal(read, values)
    assert read.dtype == ("uint8" if dtype == "bool" else dtype)
    assert read.flags.writeable


def test_written_bytes_are_those_of_the_description() -> None:
    handle = io.BytesIO()
    write_idx(handle, IMAGES)
    assert handle.getvalue() == idx(IMAGES)


def test_wrong_magic_number(refusal, tmp_path) -> None:
    path = tmp_path / "a.idx"
    for content, shown in [
        (b"\x01\x00\x08\x03", "01 00 08 03"),
        (b"", "empty"),
        (b"\0\0\x07\x01", "00 00 07 01"),
    ]:
        path.write_bytes(content)
        sentence = refusal(load, path)
        assert shown in sentence
        assert "IDX" in sentence


def test_truncated_idx(refusal, tmp_path) -> None:
    path = tmp_path / "a.idx"
    content = idx(IMAGES)
    for changed in (content[:-1], content + b"\0", content[:17]):
        path.write_bytes(changed)
        sentence = refusal(load, path)
        assert f"expected {len(content)} bytes" in sentence
        assert f"got {len(changed)}" in sentence
        assert "(7, 5, 4)" in sentence
    path.write_bytes(content[:9])
    assert "IDX" in refusal(load, path)


def test_truncated_gz(refusal, tmp_path) -> None:
    path = tmp_path / "a.idx.gz"
    path.write_bytes(gzip.compress(idx(IMAGES))[:-12])
    assert "complete" in refusal(load, path)
    path.write_bytes(idx(IMAGES))
    assert str(path) in refusal(load, path)


def test_labels_alone_are_no_data(refusal, tmp_path) -> None:
    (tmp_path / "a-idx1-ubyte").write_bytes(idx(LABELS))
    assert "first axis" in refusal(load, tmp_path / "a-idx1-ubyte")


def folder(path: Path, dot: str = "-", gz: bool = False, **files: np.ndarray) -> Path:
    for name, array in files.items():
        dims = 3 if name.endswith("images") else 1
        file = path / f"{name.replace('_', '-')}{dot}idx{dims}-ubyte{'.gz' if gz else ''}"
        file.write_bytes(gzip.compress(idx(array)) if gz else idx(array))
    return path


FOUR = {
    "train_images": IMAGES[:4],
    "train_labels": LABELS[:4],
    "t10k_images": IMAGES[4:],
    "t10k_labels": LABELS[4:],
}


@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("gz", [False, True])
def test_mnist_folder(tmp_path, dot: str, gz: bool) -> None:
    dataset = load(folder(tmp_path, dot, gz, **FOUR))
    np.testing.assert_array_equal(dataset.values, IMAGES)
    np.testing.assert_array_equal(dataset.labels, LABELS)
    assert dataset.test_rows.tolist() == [4, 5, 6]


def test_mnist_folder_without_labels(tmp_path) -> None:
    dataset = load(folder(tmp_path, train_images=IMAGES[:4], t10k_images=IMAGES[4:], train_labels=LABELS[:4]))
    np.testing.assert_array_equal(dataset.values, IMAGES)
    assert dataset.labels is None
    assert len(dataset.test_rows) == 3


def test_mnist_folder_without_test_part(tmp_path) -> None:
    dataset = load(folder(tmp_path, train_images=IMAGES, train_labels=LABELS))
    assert dataset.test_rows is None
    np.testing.assert_array_equal(dataset.labels, LABELS)


def test_mnist_folder_without_training_images(refusal, tmp_path) -> None:
    sentence = refusal(load, folder(tmp_path, t10k_images=IMAGES))
    assert "train-images-idx3-ubyte" in sentence
    assert "t10k-images-idx3-ubyte" in sentence


def test_mnist_parts_that_do_not_fit(refusal, tmp_path) -> None:
    files = folder(tmp_path, train_images=IMAGES, t10k_images=IMAGES[:, :3])
    sentence = refusal(load, files)
    assert "(5, 4)" in sentence
    assert "(3, 4)" in sentence
    sentence = refusal(
        load, folder(tmp_path, train_images=IMAGES, t10k_images=IMAGES, train_labels=LABELS[:5])
    )
    assert "5 labels for 7 images" in sentence


def test_real_mnist(shared) -> None:
    dataset = load(shared / "mnist")
    assert dataset.values.shape == (70000, 28, 28)
    assert dataset.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert dataset.test_rows.tolist() == list(range(60000, 70000))
    assert dataset.labels[60000:60003].tolist() == [7, 2, 1]
