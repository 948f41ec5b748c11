import gc
import os
import tempfile
import threading

import numpy as np
import pytest

from backstory.data import rows as module
from backstory.data.rows import FileRows, Spool, subset
from backstory.errors import InputError

SHAPE = (100, 3, 4)


@pytest.fixture
def array() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint16)


@pytest.fixture
def rows(array, tmp_path) -> FileRows:
    path = tmp_path / "rows"
    path.write_bytes(b"header" + array.tobytes())
    with path.open("rb") as handle:
        return FileRows(handle, 6, SHAPE, array.dtype)


def test_it_describes_itself_as_the_array_does(array, rows) -> None:
    for name in ("shape", "ndim", "size", "nbytes", "dtype"):
        assert getattr(rows, name) == getattr(array, name)
    assert len(rows) == len(array)


KEYS = [
    slice(None),
    slice(3, 17),
    slice(-5, None),
    slice(17, 3),
    slice(90, 1000),
    slice(2, 50, 7),
    slice(None, None, -1),
    5,
    -1,
    np.int64(7),
    [],
    [4, 2, 2, 99, -1, 0],
    np.array([3, 4, 5, 50, 51], np.int32),
    np.random.default_rng(1).permutation(100),
    np.arange(100) % 3 == 0,
]


@pytest.mark.parametrize("key", KEYS, ids=str)
@pytest.mark.parametrize(("gap", "piece"), [(1 << 14, 1 << 23), (0, 1), (48, 240), (1 << 14, 100)])
def test_indexing_gives_what_an_array_gives(array, rows, key, gap, piece, monkeypatch) -> None:
    monkeypatch.setattr(module, "_GAP", gap)
    monkeypatch.setattr(module, "_PIECE", piece)
    index = np.random.default_rng(2).integers(0, 100, 100)
    for here, there in ((rows, array), (rows.take(index), array[index])):
        got, expected = here[key], there[key]
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == array.dtype
        assert got.flags.writeable


def test_rows_near_each_other_are_read_at_once(rows, monkeypatch) -> None:
    reads = []
    read = FileRows._read
    monkeypatch.setattr(FileRows, "_read", lambda self, a, b: reads.append((a, b)) or read(self, a, b))
    monkeypatch.setattr(module, "_GAP", 48)  # two rows
    rows[[60, 5, 3, 1, 8]]
    assert reads == [(1, 9), (60, 61)]


@pytest.mark.parametrize("key", [100, -101, [0, 100], np.zeros((2, 2), int), [0.5], np.ones(3, bool)])
def test_wrong_indices(rows, key) -> None:
    with pytest.raises(IndexError):
        rows[key]


def test_a_choice_of_a_choice(array, rows) -> None:
    taken = subset(subset(rows, np.arange(10, 60)), np.array([4, 2, 40]))
    assert isinstance(taken, FileRows)
    assert taken.shape == (3, 3, 4)
    np.testing.assert_array_equal(taken[:], array[[14, 12, 50]])
    np.testing.assert_array_equal(np.asarray(taken), subset(array, np.array([14, 12, 50])))
    assert len(rows.take(np.zeros(0, np.int64))[:]) == 0


def test_threads_may_read_at_once(array, rows) -> None:
    wrong = []

    def look(seed: int) -> None:
        for index in np.random.default_rng(seed).integers(0, 100, (50, 20)):
            wrong.extend([seed] * (not np.array_equal(rows[index], array[index])))

    threads = [threading.Thread(target=look, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_file_that_is_cut_short(array, tmp_path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(array.tobytes())
    with path.open("r+b") as handle:
        rows = FileRows(handle, 0, SHAPE, array.dtype)
        handle.truncate(1000)
    with pytest.raises(InputError, match="cut short"):
        rows[:]


def test_the_file_is_closed_with_the_last_of_its_rows(array, tmp_path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(array.tobytes())
    with path.open("rb") as handle:
        rows = FileRows(handle, 0, SHAPE, array.dtype)
    number, taken = rows._file.number, rows.take(np.arange(3))
    del rows
    gc.collect()
    np.testing.assert_array_equal(taken[:], array[:3])
    del taken
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


@pytest.mark.parametrize("limit", [float("inf"), 0, 500])
def test_a_spool_keeps_what_is_written(array, limit) -> None:
    spool = Spool(limit)
    for start in range(0, 100, 30):
        spool.write(array[start : start + 30])
    whole = spool.array(SHAPE, array.dtype)
    assert isinstance(whole, np.ndarray if limit > array.nbytes else FileRows)
    np.testing.assert_array_equal(whole[:], array)
    np.testing.assert_array_equal(spool.array((2, 12), array.dtype, offset=24)[:], array[1:3].reshape(2, 12))


def test_a_spool_that_will_be_too_large_keeps_nothing_in_memory(array) -> None:
    spool = Spool(500, expected=501)
    spool.write(array[:1])
    assert isinstance(spool.array((1, 3, 4), array.dtype), FileRows)


@pytest.mark.parametrize("limit", [float("inf"), 0])
def test_a_spool_as_a_file(array, limit) -> None:
    spool = Spool(limit)
    spool.write(array)
    with spool.file() as handle:
        assert handle.read() == array.tobytes()


def test_the_temporary_file_has_no_name(array, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spool = Spool(0)
    spool.write(array)
    assert not list(tmp_path.iterdir())


def test_a_full_disk(array, tmp_path, monkeypatch, refusal) -> None:
    full = open("/dev/full", "r+b", buffering=0)  # noqa: SIM115
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full)
    with full:
        sentence = refusal(Spool(0).write, array)
    assert "No space left on device" in sentence
    assert "TMPDIR" in sentence


def test_no_place_for_a_temporary_file(array, tmp_path, monkeypatch, refusal) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    sentence = refusal(Spool(0).write, array)
    assert "nowhere" in sentence
    assert "TMPDIR" in sentence
