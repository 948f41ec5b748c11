"""Data that stays in a file is described as the same data in memory, and refused with the same words."""

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from backstory.data import binary, reading, rows
from backstory.data.dataset import Dataset
from backstory.data.idx import write_idx
from backstory.data.load import load
from backstory.data.rows import FileRows
from backstory.data.splits import check_for_training, row_hashes, split
from backstory.data.tables import text as tables
from backstory.errors import InputError
from backstory.models.statistics import data_statistics

pytest.importorskip("pyarrow")

PIECES = ((rows, "_BLOCK_ENTRIES"), (binary, "_COPIED_AT_ONCE"), (tables, "CELLS_AT_ONCE"))

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (30, 6, 5)).astype(np.uint8)
FLOATS = RNG.normal(size=(30, 4))
HOLES = np.where(RNG.random((30, 4)) < 0.2, np.nan, FLOATS)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch) -> None:
    """What stays in a file has many blocks and parts."""
    for place, name in PIECES:
        monkeypatch.setattr(place, name, 20)


@contextmanager
def large_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as whole:
        for place, name in PIECES:
            whole.setattr(place, name, 1 << 21)
        yield


def npy(values: np.ndarray, name: str = "data.npy") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.save(folder / name, values)
        return folder / name

    return make


def npz(**arrays: np.ndarray) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.savez_compressed(folder / "data.npz", **arrays)
        return folder / "data.npz"

    return make


def gz(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def packed(folder: Path) -> Path:
        path = make(folder)
        packed = path.with_name(path.name + ".gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        return packed

    return packed


def cut(make: Callable[[Path], Path], size: int) -> Callable[[Path], Path]:
    def shorter(folder: Path) -> Path:
        path = make(folder)
        path.write_bytes(path.read_bytes()[:size])
        return path

    return shorter


def idx(values: np.ndarray, name: str = "images.idx") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        with (folder / name).open("wb") as handle:
            write_idx(handle, values)
        return folder / name

    return make


def idx_folder(folder: Path) -> Path:
    for part, images in (("train", GREY[:20]), ("t10k", GREY[20:])):
        idx(images, f"{part}-images-idx3-ubyte")(folder)
        idx(np.arange(len(images), dtype=np.uint8), f"{part}-labels-idx1-ubyte")(folder)
    return folder


def images(*arrays: np.ndarray, damaged: bool = False) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        for i, array in enumerate(arrays):
            (folder / "ab"[i % 2]).mkdir(exist_ok=True)
            form = "tif" if array.dtype == np.float32 else "png"
            Image.fromarray(array).save(folder / "ab"[i % 2] / f"{i}.{form}")
        if damaged:
            path = folder / "b" / "1.png"
            path.write_bytes(path.read_bytes()[:60])
        return folder

    return make


def csv(frame: pd.DataFrame) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        frame.to_csv(folder / "data.csv", index=False)
        return folder / "data.csv"

    return make


def parquet(frame: pd.DataFrame, **how) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        frame.to_parquet(folder / "data.parquet", row_group_size=7, **how)
        return folder / "data.parquet"

    return make


def with_bad(column: str, row: int, value: object) -> pd.DataFrame:
    frame = TABLE.astype(object)
    frame.loc[row, column] = value
    return frame.astype(str)


def long_row(folder: Path, before: int = 41) -> Path:
    (folder / "data.csv").write_bytes(b"a,b\n" + b"1,2\n" * before + b"1,2,3\n")
    return folder / "data.csv"


COLOUR = RNG.integers(0, 256, (5, 6, 5, 3)).astype(np.uint8)
DEEP = RNG.integers(0, 65536, (4, 6, 5)).astype(np.uint16)
TABLE = pd.DataFrame({"a": FLOATS[:, 0], "n": np.arange(30), "b": FLOATS[:, 1]})
LATE = np.where(np.arange(30) > 25, np.nan, np.arange(30.0))  # its last parts have holes
WHOLE = pd.DataFrame(
    {
        "integers": np.arange(30),
        "floats": np.arange(30.0),
        "with holes": LATE,
        "fractions": np.where(np.arange(30) == 29, 0.5, LATE),
        "empty": np.full(30, np.nan),
        "yes": np.arange(30) % 2 == 0,
        "perhaps": pd.array([True, None, *[False] * 28], "boolean"),
        "nullable": pd.array([None] * 10 + [1] * 20, "Int64"),
        "single": np.float32(FLOATS[:, 2]),
    }
)

GOOD = {
    "bytes": npy(GREY),
    "colour": npy(COLOUR),
    "levels to 16": npy(GREY % 17),
    "binary": npy((GREY > 99).astype(np.uint8)),
    "binary 255": npy(np.where(GREY > 99, 255, 0).astype(np.uint8)),
    "booleans": npy(GREY > 99),
    "deep": npy(DEEP),
    "signed": npy(GREY.astype(np.int64) - 7),
    "fractions": npy(GREY.astype(np.float32) / 255),
    "whole floats": npy(GREY.astype(np.float64)),
    "floats": npy(FLOATS),
    "half": npy(FLOATS.astype(np.float16)),
    "long": npy(FLOATS.astype(np.longdouble)),
    "holes": npy(HOLES),
    "holes in levels": npy(np.where(HOLES > 0, 1.0, np.where(np.isnan(HOLES), np.nan, 0))),
    "nothing observed": npy(np.full((9, 3), np.nan)),
    "big-endian": npy(FLOATS.astype(">f4")),
    "Fortran": npy(np.asfortranarray(FLOATS)),
    "Fortran images": npy(np.asfortranarray(COLOUR)),
    "Fortran, big-endian": npy(np.asfortranarray(GREY.astype(">u2"))),
    "npy.gz": gz(npy(FLOATS)),
    "npz": npz(x=GREY, y=np.arange(30), other=FLOATS),
    "npz in two parts": npz(x_train=GREY[:20], x_test=GREY[20:] / 2, y_train=np.ones(20), y_test=np.ones(10)),
    "idx": idx(GREY),
    "idx of floats": idx(FLOATS),
    "idx.gz": gz(idx(GREY)),
    "idx folder": idx_folder,
    "grey images": images(*GREY),
    "colour images": images(*COLOUR),
    "mixed images": images(*GREY[:3], *COLOUR, *GREY[3:5]),
    "deep images": images(*DEEP),
    "images of mixed depth": images(*GREY[:3], *DEEP),
    "images of every depth": images(*GREY[:3], *DEEP, *COLOUR),
    "floating images": images(*(GREY[:4] / np.float32(255))),
    "csv": csv(TABLE),
    "csv.gz": gz(csv(WHOLE)),
    "csv of whole numbers": csv(WHOLE),
    "parquet": parquet(TABLE),
    "parquet of whole numbers": parquet(WHOLE),
    "parquet with an index": parquet(TABLE.set_index("n")),
    "parquet with a range as index": parquet(TABLE.set_index(pd.RangeIndex(5, 65, 2)), index=None),
    "parquet of texts": parquet(TABLE.astype(str)),
    "binary parquet": parquet(pd.DataFrame({"a": [0, 1] * 9, "b": [1.0, np.nan, 0.0] * 6})),
}  # fmt: skip

BAD = {
    "infinite": npy(np.where(FLOATS[17, 2] == FLOATS, np.inf, FLOATS)),
    "infinite and empty": npy(np.where(FLOATS[17, 2] == FLOATS, -np.inf, HOLES)),
    "infinite image": npy(np.where(GREY[9, 4, 3] == GREY, np.inf, GREY / 255)),
    "one-dimensional": npy(np.arange(9)),
    "a number": npy(np.array(9)),
    "no rows": npy(np.zeros((0, 3))),
    "no columns": npy(np.zeros((3, 0))),
    "texts": npy(np.array([["a", "b"]])),
    "complex": npy(FLOATS * 1j),
    "truncated npy": cut(npy(FLOATS), 500),
    "truncated header": cut(npy(FLOATS), 50),
    "empty file": cut(npy(FLOATS), 0),
    "another file": cut(parquet(TABLE), 400),
    "truncated gz": cut(gz(npy(FLOATS)), 500),
    "truncated npz": cut(npz(x=FLOATS), 500),
    "truncated idx": cut(idx(GREY), 500),
    "no choice": npz(a=GREY, b=FLOATS),
    "parts of other shapes": npz(x_train=GREY, x_test=FLOATS),
    "images of several sizes": images(*GREY[:3], GREY[3, :4], GREY[4, :, :3]),
    "images and floats": images(*GREY[:3], GREY[0].astype(np.float32)),
    "damaged image": images(*GREY[:3], damaged=True),
    "bad cell": csv(with_bad("b", 3, "much")[:9]),
    "long row": long_row,
    "no rows in a table": csv(TABLE[:0]),
    "infinite cell": csv(TABLE.replace({"n": {21: np.inf}})),
    "bad cell in parquet": parquet(with_bad("b", 3, "much")[:9]),
    "lists": parquet(TABLE.assign(b=[[1]] * len(TABLE))),
    "nothing but constants": csv(TABLE.assign(a=1, n="same", b=0.5)),
    "infinite cell in parquet": parquet(TABLE.replace({"n": {21: np.inf}})),
    "no rows in parquet": parquet(TABLE[:0]),
    "no columns in parquet": parquet(TABLE[[]]),
}  # fmt: skip


def both(make: Callable[[Path], Path], folder: Path) -> tuple[Dataset, Dataset]:
    """The data in memory, read as a whole, and in a file, read in small pieces."""
    path = make(folder)
    with large_pieces():
        here = load(path, stream=False)
    return here, load(path, stream=True)


@pytest.mark.parametrize("name", GOOD)
def test_the_same_description(name: str, tmp_path) -> None:
    here, there = both(GOOD[name], tmp_path)
    assert isinstance(here.values, np.ndarray)
    assert isinstance(there.values, FileRows)
    assert there.values.dtype == here.values.dtype
    np.testing.assert_array_equal(there.values[:], here.values)
    for field in fields(Dataset):
        if field.name != "values":
            a, b = getattr(here, field.name), getattr(there, field.name)
            assert (a is None) == (b is None), field.name
            if isinstance(a, np.ndarray):
                np.testing.assert_array_equal(b, a)
            else:
                assert a == b


def sentence(make: Callable[[Path], Path], folder: Path, stream: bool) -> str:
    folder.mkdir()
    with pytest.raises(InputError) as caught:
        load(make(folder), stream=stream)
    return str(caught.value).replace(str(folder), "")


@pytest.mark.parametrize("name", BAD)
def test_the_same_refusal(name: str, tmp_path) -> None:
    with large_pieces():
        here = sentence(BAD[name], tmp_path / "here", stream=False)
    assert sentence(BAD[name], tmp_path / "there", stream=True) == here
    assert "\n" not in here


@pytest.mark.skipif(
    tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1),
    reason="pandas before 3.1 does not count the cells of the first row of a part",
)
def test_a_long_row_that_begins_a_part_is_refused(tmp_path) -> None:
    assert "got more in line 42" in sentence(partial(long_row, before=40), tmp_path / "there", stream=True)


@pytest.mark.parametrize("name", ["bytes", "floats", "fractions", "csv", "binary", "grey images"])
def test_the_same_numbers_for_training(name: str, tmp_path) -> None:
    here, there = both(GOOD[name], tmp_path)
    np.testing.assert_array_equal(row_hashes(there.values), row_hashes(here.values))
    train = split(there).train
    assert isinstance(there.values, FileRows)
    a, b = (data_statistics(v, here.schema) for v in (here.values[train], there.values.take(train)))
    assert all((x == y).all() for x, y in zip(a, b, strict=True))
    here.schema.check(there.values)
    check_for_training(there, train)


@pytest.mark.parametrize("name", ["holes", "csv of whole numbers"])
def test_the_same_statistics_of_what_is_there(name: str, tmp_path) -> None:
    here, there = both(GOOD[name], tmp_path)
    values = np.asarray(here.values[:], np.float64)
    mean, std = data_statistics(there.values, there.schema)
    some = ~np.isnan(values).all(0) & np.array([c.levels is None for c in here.schema.kinds] or True)
    expected = [np.nanmean(values[:, some], 0), np.nanstd(values[:, some], 0)]
    np.testing.assert_allclose(mean.numpy()[some], expected[0], rtol=1e-6)
    np.testing.assert_allclose(std.numpy()[some], np.where(expected[1] > 0, expected[1], 1), rtol=1e-6)


def test_columns_that_are_constant_in_the_training_rows(tmp_path, refusal) -> None:
    frame = TABLE.assign(c=np.where(TABLE["n"] < 20, 3.5, TABLE["a"]), d=TABLE["n"].clip(19))
    here, there = both(parquet(frame), tmp_path)
    rows = np.arange(20)
    assert "'c', 'd'" in refusal(check_for_training, there, rows)
    assert refusal(check_for_training, here, rows) == refusal(check_for_training, there, rows)


def test_values_out_of_range_in_a_file(tmp_path, refusal) -> None:
    here, there = both(npy(GREY), tmp_path)
    schema = load(GREY % 17).schema
    assert refusal(schema.check, there.values) == refusal(schema.check, here.values)


@pytest.mark.parametrize(("limit", "kind"), [(899, FileRows), (900, np.ndarray)])
def test_large_data_stays_in_its_file(limit: int, kind: type, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(reading._LIMITS, None, limit)
    for make in (npy(GREY), gz(npy(GREY)), images(*GREY)):
        (folder := tmp_path / make.__qualname__ / str(id(make))).mkdir(parents=True)
        assert isinstance(load(make(folder)).values, kind)


def test_a_plain_file_is_read_where_it_lies(tmp_path, monkeypatch) -> None:
    def no_file(**_) -> None:
        raise AssertionError("a temporary file was made")

    monkeypatch.setattr("tempfile.TemporaryFile", no_file)
    for make in (npy(GREY), npy(FLOATS), idx(GREY)):
        assert isinstance(load(make(tmp_path), stream=True).values, FileRows)
    with pytest.raises(AssertionError):
        load(npy(FLOATS.astype(">f8"))(tmp_path), stream=True)


def test_what_is_in_memory_stays_there() -> None:
    for source in ("digits", GREY, TABLE):
        assert isinstance(load(source, stream=True).values, np.ndarray)


def test_hidden_files_and_links(tmp_path) -> None:
    folder = images(*GREY[:4])(tmp_path)
    (folder / ".hidden").mkdir()
    Image.fromarray(GREY[9]).save(folder / ".hidden" / "9.png")
    Image.fromarray(GREY[9]).save(folder / ".9.png")
    (folder / "c.PNG").symlink_to(folder / "a" / "0.png")
    (folder / "again").symlink_to(folder / "a")
    assert load(folder, stream=True).names == ("a/0.png", "a/2.png", "b/1.png", "b/3.png", "c.PNG")
