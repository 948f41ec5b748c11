import errno
import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from backstory import files as module
from backstory.data.load import load
from backstory.data.schema import Schema
from backstory.data.write import write, write_table
from backstory.errors import InputError
from backstory.files import atomic_path

RNG = np.random.default_rng(0)
IMAGES = {
    "digits": RNG.integers(0, 17, (11, 8, 8)).astype(np.uint8),
    "faces": RNG.integers(0, 256, (5, 28, 20)).astype(np.uint8),
    "dots": RNG.integers(0, 256, (4, 1, 1)).astype(np.uint8),
    "colour": RNG.integers(0, 256, (3, 6, 5, 3)).astype(np.uint8),
    "deep": RNG.integers(0, 65536, (3, 6, 5)).astype(np.uint16),
    "binary": np.where(RNG.random((6, 4, 4)) > 0.5, 255, 0).astype(np.uint8),
    "booleans": RNG.random((6, 4, 4)) > 0.5,
    "fractions": RNG.random((3, 6, 5)).astype(np.float32),
}
ARRAYS = {"columns": RNG.normal(size=(7, 3)), "volumes": RNG.normal(size=(4, 2, 3, 2, 2)).astype(np.float32)}


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.parametrize("ending", [".npy", ".npy.gz", ".npz", ".idx", "-idx3-ubyte.gz"])
@pytest.mark.parametrize("case", [*IMAGES, *ARRAYS])
def test_arrays_come_back(tmp_path, case: str, ending: str) -> None:
    values = (IMAGES | ARRAYS)[case]
    schema = load(values).schema
    if "idx" in ending and case in ("deep", "booleans"):
        values = values.astype(np.int32)  # IDX has no 16-bit levels and no booleans
        schema = load(values).schema
    path = write(tmp_path / f"a{ending}", values, schema)
    again = load(path)
    np.testing.assert_array_equal(again.values, values)
    assert again.schema == schema
    assert left(tmp_path) == [path.name]


@pytest.mark.parametrize("case", ["faces", "dots", "colour", "deep", "binary"])
def test_folders_come_back(tmp_path, case: str) -> None:
    values = IMAGES[case]
    schema = load(values).schema
    again = load(write(tmp_path / "out", values, schema))
    np.testing.assert_array_equal(again.values, values)
    assert again.schema == schema
    assert again.names == tuple(f"{i}.png" for i in range(len(values)))


@pytest.mark.parametrize("case", ["faces", "colour", "deep"])
def test_single_image_comes_back(tmp_path, case: str) -> None:
    values = IMAGES[case][:1]
    path = write(tmp_path / "a.png", values, load(values).schema)
    np.testing.assert_array_equal(load(path).values, values)


def test_folder_that_came_in_goes_out(tmp_path) -> None:
    for name, value in zip(("b/1.jpg", "a/1.png", "a/2.tif"), IMAGES["faces"], strict=False):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(value).save(tmp_path / "in" / name)
    dataset = load(tmp_path / "in")
    again = load(write(tmp_path / "out", dataset.values, dataset.schema, dataset.names))
    np.testing.assert_array_equal(again.values, dataset.values)
    np.testing.assert_array_equal(again.labels, dataset.labels)
    assert again.names == ("a/1.png", "a/2.png", "b/1.png")


def test_names_that_collide_or_lead_out(refusal, tmp_path) -> None:
    values = IMAGES["faces"][:2]
    schema = load(values).schema
    write(tmp_path / "out", values, schema, names=["a.jpg", "a.png"])
    assert left(tmp_path / "out") == ["a.jpg.png", "a.png.png"]
    assert "leads out" in refusal(write, tmp_path / "new", values, schema, names=["a.png", "../b.png"])


def test_many_numbers_sort(tmp_path) -> None:
    values = np.arange(120, dtype=np.uint8).reshape(120, 1, 1)
    again = load(write(tmp_path / "out", values, load(values).schema))
    assert again.names[:2] == ("000.png", "001.png")
    np.testing.assert_array_equal(again.values, values)


def test_levels_fill_the_range_of_a_png(tmp_path) -> None:
    values = np.array([[[0, 8, 16]]], np.uint8)
    schema = Schema(kind="images", shape=(1, 3), dtype="uint8", levels=17, maximum=16)
    assert load(write(tmp_path / "a.png", values, schema)).values.tolist() == [[[0, 128, 255]]]


def test_contact_sheet_of_several(tmp_path) -> None:
    values = IMAGES["digits"]
    with Image.open(write(tmp_path / "a.png", values, load(values).schema)) as sheet:
        assert sheet.mode == "L"
        assert sheet.size == (4 * 66 + 2, 3 * 66 + 2)


TABLE = "age,height,member\n30,1.75,1\n41,,0\n52,0.1,1\n"


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv"])
def test_text_tables_come_back_to_the_letter(tmp_path, name: str) -> None:
    for header in (True, False):
        text = TABLE if header else "".join(TABLE.splitlines(keepends=True)[1:])
        text = text.replace(",", "\t") if name == "a.tsv" else text
        source = tmp_path / name
        source.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
        dataset = load(source)
        written = write(tmp_path / f"out-{name}", dataset.values, dataset.schema, force=True).read_bytes()
        assert (gzip.decompress(written) if name.endswith("gz") else written).decode() == text


def _without_types(schema: Schema) -> Schema:
    """Without the pandas types, since Parquet files keep whole numbers as nullable ones."""
    return schema.model_copy(
        update={"kinds": tuple(c.model_copy(update={"dtype": None}) for c in schema.kinds)}
    )


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tsv", ".parquet"])
def test_tables_come_back(tmp_path, ending: str) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs the extra 'parquet'")
    frame = pd.DataFrame({"n": [3, -1, 10**12], "x": RNG.normal(size=3) * 1e-7, "y, z": [1.5, np.nan, 2.5]})
    dataset = load(frame)
    again = load(write(tmp_path / f"a{ending}", dataset.values, dataset.schema))
    np.testing.assert_array_equal(again.values, dataset.values)
    assert _without_types(again.schema) == _without_types(dataset.schema)
    if ending == ".parquet":
        assert pd.read_parquet(tmp_path / "a.parquet")["n"].tolist() == [3, -1, 10**12]


def test_column_of_one_with_empty_cells(tmp_path) -> None:
    dataset = load(pd.DataFrame({"x": [1.5, np.nan, 2.5]}))
    again = load(write(tmp_path / "a.csv", dataset.values, dataset.schema))
    np.testing.assert_array_equal(again.values, dataset.values)


def test_fractions_in_whole_columns_stay(tmp_path) -> None:
    schema = load(pd.DataFrame({"n": [1, 2]})).schema
    assert load(write(tmp_path / "std.csv", np.array([[0.25], [0.5]]), schema)).values.tolist() == [
        [0.25],
        [0.5],
    ]


def test_images_and_arrays_as_tables(tmp_path) -> None:
    values = IMAGES["digits"]
    again = load(write(tmp_path / "a.csv", values, load(values).schema))
    assert again.schema.columns[:2] == ("pixel_0", "pixel_1")
    np.testing.assert_array_equal(again.values, values.reshape(11, 64))
    columns = ARRAYS["columns"]
    again = load(write(tmp_path / "b.csv", columns, load(columns).schema))
    assert again.schema.columns == ("x_0", "x_1", "x_2")
    np.testing.assert_array_equal(again.values, columns)


def test_same_values_same_bytes(tmp_path) -> None:
    values = IMAGES["faces"]
    for name in ("a.npy.gz", "a.npz", "a.csv.gz", "a.png"):
        first = write(tmp_path / name, values, load(values).schema).read_bytes()
        assert write(tmp_path / name, values, load(values).schema, force=True).read_bytes() == first


def test_written_numpy_files_are_for_everyone(tmp_path) -> None:
    write(tmp_path / "a.npz", IMAGES["faces"], load(IMAGES["faces"]).schema)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["x"], IMAGES["faces"])


@pytest.mark.parametrize("name", ["a.png", "folder"])
@pytest.mark.parametrize("source", [ARRAYS["columns"], pd.DataFrame({"a": [1.0, 2], "b": [3, 4.5]})])
def test_no_pictures_of_tables(refusal, tmp_path, name: str, source) -> None:
    dataset = load(source)
    sentence = refusal(write, tmp_path / name, dataset.values, dataset.schema)
    assert repr(dataset.schema.kind) in sentence
    assert ".csv" in sentence
    assert left(tmp_path) == []


@pytest.mark.parametrize("name", ["a.jpg", "a.txt", "a.pt", "a.pkl", "a.npy.zip"])
def test_unknown_ending(refusal, tmp_path, name: str) -> None:
    sentence = refusal(write, tmp_path / name, IMAGES["faces"], load(IMAGES["faces"]).schema)
    assert name in sentence
    assert ".npz" in sentence
    assert left(tmp_path) == []


def test_gz_of_what_is_packed(refusal, tmp_path) -> None:
    for name in ("a.npz.gz", "a.png.gz", "a.parquet.gz"):
        assert ".gz" in refusal(write, tmp_path / name, IMAGES["faces"], load(IMAGES["faces"]).schema)


def test_type_that_idx_has_not(refusal, tmp_path) -> None:
    sentence = refusal(write, tmp_path / "a.idx", IMAGES["deep"], load(IMAGES["deep"]).schema)
    assert "uint16" in sentence
    assert ".npy" in sentence
    assert left(tmp_path) == []


@pytest.mark.parametrize("name", ["a.npy", "a.csv", "a.png", "folder"])
def test_nothing_is_overwritten_without_force(refusal, tmp_path, name: str) -> None:
    values, schema = IMAGES["faces"], load(IMAGES["faces"]).schema
    write(tmp_path / name, values, schema)
    before = left(tmp_path)
    sentence = refusal(write, tmp_path / name, values[:2], schema)
    assert "exists" in sentence
    assert "`force`" in sentence
    assert left(tmp_path) == before
    write(tmp_path / name, values[:2], schema, force=True)
    if name in ("a.npy", "folder"):
        np.testing.assert_array_equal(load(tmp_path / name).values, values[:2])
    assert not [n for n in left(tmp_path) if n.startswith(".")]


def test_empty_folder_may_be_filled(tmp_path) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", IMAGES["faces"], load(IMAGES["faces"]).schema)
    assert len(left(tmp_path / "out")) == 5


def test_folder_of_other_things_is_never_replaced(refusal, tmp_path) -> None:
    (tmp_path / "out" / "sub").mkdir(parents=True)
    (tmp_path / "out" / "sub" / "thesis.tex").write_text("years of work")
    sentence = refusal(write, tmp_path / "out", IMAGES["faces"], load(IMAGES["faces"]).schema, force=True)
    assert "other files" in sentence
    assert (tmp_path / "out" / "sub" / "thesis.tex").read_text() == "years of work"


def test_folder_is_not_replaced_by_a_file(refusal, tmp_path) -> None:
    (tmp_path / "a.npy").mkdir()
    (tmp_path / "a.npy" / "thesis.tex").write_text("years of work")
    refusal(write, tmp_path / "a.npy", IMAGES["faces"], load(IMAGES["faces"]).schema, force=True)
    assert left(tmp_path) == ["a.npy", "thesis.tex"]


def test_current_folder_and_root(refusal, tmp_path, monkeypatch) -> None:
    values, schema = IMAGES["faces"], load(IMAGES["faces"]).schema
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for path in (".", tmp_path / "here", "../here"):
        assert "the current one" in refusal(write, path, values, schema, force=True)
    assert left(tmp_path) == ["here"]

    def attempt() -> None:
        with atomic_path("/"):
            raise AssertionError("the block must not run")

    assert "`force`" in refusal(attempt)


def test_parents_are_made(tmp_path) -> None:
    path = write(tmp_path / "new" / "deep" / "a.npy", IMAGES["faces"], load(IMAGES["faces"]).schema)
    assert path.exists()


@pytest.mark.parametrize("name", ["a.npy", "sub/a.npy", "folder"])
def test_parent_that_is_a_file(refusal, tmp_path, name: str) -> None:
    (tmp_path / "file").write_text("text")
    sentence = refusal(write, tmp_path / "file" / name, IMAGES["faces"], load(IMAGES["faces"]).schema)
    assert "cannot write" in sentence
    assert "is a file" in sentence
    assert left(tmp_path) == ["file"]


class FullDisk:
    """A file that takes some bytes and then no more."""

    def __init__(self, handle, room: int) -> None:
        self.handle, self.room = handle, room

    def write(self, data) -> int:
        self.room -= memoryview(data).nbytes
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.handle.write(data)

    def __getattr__(self, name: str):
        return getattr(self.handle, name)

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self.handle.close()


FORMATS = (
    "a.npy",
    "a.npy.gz",
    "a.npz",
    "a.csv",
    "a.csv.gz",
    "a.tsv",
    "a.parquet",
    "a.idx",
    "a.idx.gz",
    "a.png",
    "new/a.npy",
)


@pytest.mark.parametrize("name", [*FORMATS, "folder", "new/folder"])
@pytest.mark.parametrize("room", [0, 100])
def test_full_disk_leaves_nothing(refusal, tmp_path, monkeypatch, name: str, room: int) -> None:
    if name == "a.parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs the extra 'parquet'")
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *args: FullDisk(opened(path, *args), room))
    values = RNG.integers(0, 256, (40, 9, 9)).astype(np.uint8)
    sentence = refusal(write, tmp_path / name, values, load(values).schema)
    assert "No space left on device" in sentence
    assert name in sentence
    assert "free some space" in sentence
    assert left(tmp_path) == []


def test_full_disk_keeps_what_was_there(refusal, tmp_path, monkeypatch) -> None:
    values, schema = IMAGES["faces"], load(IMAGES["faces"]).schema
    path = write(tmp_path / "a.npy", values, schema)
    opened = Path.open
    with monkeypatch.context() as full:
        full.setattr(Path, "open", lambda path, *args: FullDisk(opened(path, *args), 100))
        refusal(write, path, values[:1], schema, force=True)
    np.testing.assert_array_equal(load(path).values, values)


@pytest.mark.parametrize("name", FORMATS[:-1])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device /dev/full")
def test_full_device(refusal, tmp_path, monkeypatch, name: str) -> None:
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *args: opened(Path("/dev/full"), *args))
    values = IMAGES["faces"]
    sentence = refusal(write, tmp_path / name, values, load(values).schema)
    assert "cannot write" in sentence
    assert left(tmp_path) == []


def test_read_only_folder(refusal, tmp_path, monkeypatch) -> None:
    def denied(path: Path, *args: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "open", denied)
    sentence = refusal(write, tmp_path / "a.npy", IMAGES["faces"], load(IMAGES["faces"]).schema)
    assert "Permission denied" in sentence
    assert "choose another place" in sentence
    assert str(tmp_path / "a.npy") in sentence


def test_failed_rename_restores_the_folder(tmp_path, monkeypatch) -> None:
    values, schema = IMAGES["faces"], load(IMAGES["faces"]).schema
    write(tmp_path / "out", values, schema)
    calls = []

    def replace(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        renamed(source, target)

    renamed = os.replace
    monkeypatch.setattr(module.os, "replace", replace)
    with pytest.raises(InputError, match="Input/output error"):
        write(tmp_path / "out", values[:2], schema, force=True)
    np.testing.assert_array_equal(load(tmp_path / "out").values, values)
    assert len(left(tmp_path)) == 6


# write_table

COLUMNS = {
    "z_0": RNG.normal(size=4),
    "z_1": np.arange(4),
    "label": np.array(["a", "b", "ä", "d"], dtype=object),
}


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tsv", ".parquet"])
def test_table_of_results(tmp_path, ending: str) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs the extra 'parquet'")
    path = write_table(tmp_path / f"a{ending}", COLUMNS)
    frame = pd.read_parquet(path) if ending == ".parquet" else pd.read_csv(path, sep=None, engine="python")
    assert frame.columns.tolist() == ["z_0", "z_1", "label"]
    np.testing.assert_array_equal(frame["z_0"], COLUMNS["z_0"])
    np.testing.assert_array_equal(frame["z_1"], COLUMNS["z_1"])
    assert frame["label"].tolist() == ["a", "b", "ä", "d"]


def test_table_of_results_as_arrays(tmp_path) -> None:
    numbers = {name: COLUMNS[name] for name in ("z_0", "z_1")}
    np.testing.assert_array_equal(
        np.load(write_table(tmp_path / "a.npy", numbers)), np.column_stack([COLUMNS["z_0"], COLUMNS["z_1"]])
    )
    with np.load(write_table(tmp_path / "a.npz", COLUMNS), allow_pickle=False) as arrays:
        assert arrays["label"].tolist() == ["a", "b", "ä", "d"]
        np.testing.assert_array_equal(arrays["z_0"], COLUMNS["z_0"])


def test_table_of_results_refusals(refusal, tmp_path) -> None:
    assert ".parquet" in refusal(write_table, tmp_path / "a.png", COLUMNS)
    write_table(tmp_path / "a.csv", COLUMNS)
    assert "`force`" in refusal(write_table, tmp_path / "a.csv", COLUMNS)
    write_table(tmp_path / "a.csv", COLUMNS, force=True)
