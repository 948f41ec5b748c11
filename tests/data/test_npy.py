import gzip
import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from backstory.data.load import load
from backstory.data.npy import write_npz

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 5, 4)).astype(np.uint8)
LABELS = np.arange(7, dtype=np.uint8)


def test_npy_and_gz(tmp_path) -> None:
    np.save(tmp_path / "a.npy", IMAGES)
    (tmp_path / "b.npy.gz").write_bytes(gzip.compress((tmp_path / "a.npy").read_bytes()))
    for name in ("a.npy", "b.npy.gz"):
        dataset = load(tmp_path / name)
        np.testing.assert_array_equal(dataset.values, IMAGES)
        assert dataset.schema.levels == 256
        assert name in dataset.source


@pytest.mark.parametrize(
    "arrays",
    [
        {"anything": IMAGES},
        {"x": IMAGES, "mask": IMAGES > 3},
        {"X": IMAGES, "y": LABELS},
        {"faces": IMAGES, "y": LABELS},
        {"images": IMAGES, "labels": LABELS[:, None], "identity": LABELS},
        {"y": IMAGES},
    ],
)
def test_npz(tmp_path, arrays: dict[str, np.ndarray]) -> None:
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    dataset = load(tmp_path / "a.npz")
    np.testing.assert_array_equal(dataset.values, IMAGES)
    if len(arrays) > 1 and "mask" not in arrays:
        np.testing.assert_array_equal(dataset.labels, LABELS)
    else:
        assert dataset.labels is None


def test_npz_labels_of_another_length_are_left(tmp_path) -> None:
    np.savez(tmp_path / "a.npz", x=IMAGES, y=LABELS[:3])
    assert load(tmp_path / "a.npz").labels is None


def test_npz_of_two_parts(tmp_path) -> None:
    np.savez(tmp_path / "a.npz", x_train=IMAGES[:5], x_test=IMAGES[5:], y_train=LABELS[:5], y_test=LABELS[5:])
    dataset = load(tmp_path / "a.npz")
    np.testing.assert_array_equal(dataset.values, IMAGES)
    np.testing.assert_array_equal(dataset.labels, LABELS)
    assert dataset.test_rows.tolist() == [5, 6]


@pytest.mark.parametrize("names", [("left", "right"), ("x", "data"), ()])
def test_npz_without_a_choice(refusal, tmp_path, names: tuple[str, ...]) -> None:
    np.savez(tmp_path / "a.npz", **dict.fromkeys(names, IMAGES))
    sentence = refusal(load, tmp_path / "a.npz")
    assert all(repr(name) in sentence for name in names or ("x",))
    assert "save the observations as 'x'" in sentence


class Trap:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickles_are_never_opened(refusal, tmp_path) -> None:
    sprung = tmp_path / "sprung"
    objects = np.array([Trap(sprung)], dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "b.npz", x=objects)
    (tmp_path / "c.npy").write_bytes(pickle.dumps(Trap(sprung)))
    for name in ("a.npy", "b.npz", "c.npy"):
        sentence = refusal(load, tmp_path / name)
        assert "pickled" in sentence
        assert "numpy.save" in sentence
        assert name in sentence
    assert not sprung.exists()


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.npy.gz"])
def test_damaged_numpy_files(refusal, tmp_path, name: str) -> None:
    path = tmp_path / name
    whole = io.BytesIO()
    if name == "a.npz":
        np.savez(whole, x=IMAGES)
    else:
        np.save(whole, IMAGES)
    content = gzip.compress(whole.getvalue()) if name.endswith("gz") else whole.getvalue()
    for damaged in (b"", content[:-10], content[:90], content[: len(content) // 2], b"not a file" * 20):
        path.write_bytes(damaged)
        assert str(path) in refusal(load, path)


def test_npy_that_promises_too_much(refusal, tmp_path) -> None:
    whole = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        whole, {"descr": "<f8", "fortran_order": False, "shape": (10**15, 10)}
    )
    (tmp_path / "a.npy").write_bytes(whole.getvalue() + b"12345678")
    assert "check that the file is complete" in refusal(load, tmp_path / "a.npy")


def test_real_arrays(shared) -> None:
    faces = load(shared / "freyfaces" / "freyfaces.npy")
    assert (faces.schema.shape, faces.schema.levels) == ((28, 20), 256)
    anomalies = load(shared / "adbench" / "14_glass.npz")
    assert anomalies.values.shape == (214, 7)
    assert anomalies.labels.sum() == 9


def test_no_pickle_is_written(tmp_path) -> None:
    with pytest.raises(ValueError, match="allow_pickle"), (tmp_path / "a.npz").open("wb") as handle:
        write_npz(handle, {"x": np.array([object()])})
