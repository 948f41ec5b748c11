import threading
import time

import numpy as np
import pytest
import torch

from backstory.data.rows import FileRows, Spool, subset
from backstory.data.shuffle import Pieces, ShuffledRows
from backstory.data.stored import StoredRows
from backstory.errors import InputError

CPU = torch.device("cpu")
ROWS = 103


def values_of(shuffled, *how):
    """The stored values of its batches."""
    return (stored.values for stored in shuffled.batches(*how))


def on_disk(array: np.ndarray) -> FileRows:
    spool = Spool(0)
    spool.write(array)
    rows = spool.array(array.shape, array.dtype)
    assert isinstance(rows, FileRows)
    return rows


@pytest.fixture
def array() -> np.ndarray:
    """Rows of 24 bytes that begin with their own number."""
    return np.arange(ROWS * 6, dtype=np.int32).reshape(ROWS, 2, 3)


def all_shuffled(array: np.ndarray, batch_size: int = 8, own: slice = slice(None)) -> list[ShuffledRows]:
    """Of rows in memory, of rows in a file, of a choice of rows in a file; chunks of 4 rows, pools of 32."""
    spread = np.zeros((2 * len(array), *array.shape[1:]), array.dtype)
    spread[::2] = array
    chosen = subset(on_disk(spread), np.arange(0, 2 * len(array), 2))
    return [
        ShuffledRows(rows, batch_size, CPU, own, Pieces(100, 800)) for rows in (array, on_disk(array), chosen)
    ]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("batch_size", [1, 8, 30, 200])
def test_every_row_comes_once(array, kind: int, batch_size: int) -> None:
    shuffled = all_shuffled(array, batch_size)[kind]
    batches = list(values_of(shuffled, shuffled.order(generator())))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    seen = torch.cat(batches).numpy()
    assert seen.dtype == array.dtype
    numbers = seen[:, 0, 0] // 6
    np.testing.assert_array_equal(seen, array[numbers])
    assert sorted(numbers) == list(range(ROWS))
    assert len(shuffled) == ROWS


@pytest.mark.parametrize("kind", range(3))
def test_the_order_follows_from_the_generator(array, kind: int) -> None:
    shuffled = all_shuffled(array)[kind]
    g = generator()
    first, second = shuffled.order(g), shuffled.order(g)
    assert first.dtype == torch.int64
    assert torch.equal(shuffled.order(generator()), first)
    assert not torch.equal(second, first)
    for batch, index in zip(values_of(shuffled, first), first.split(8), strict=True):
        np.testing.assert_array_equal(batch.numpy(), array[index.numpy()])


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("done", [0, 1, 4, 5, 12, 13, 20])
def test_an_epoch_can_be_taken_up_in_its_middle(array, kind: int, done: int) -> None:
    shuffled = all_shuffled(array)[kind]
    order = shuffled.order(generator())
    whole, rest = list(values_of(shuffled, order)), list(values_of(shuffled, order, done))
    assert len(rest) == max(0, len(whole) - done)
    assert all(torch.equal(a, b) for a, b in zip(whole[done:], rest, strict=True))


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("world", [2, 3, 8, 11])
def test_processes_share_out_each_batch(array, kind: int, world: int) -> None:
    ranks = [all_shuffled(array, own=slice(rank, None, world))[kind] for rank in range(world)]
    order = ranks[0].order(generator())
    parts = zip(*(list(values_of(shuffled, order, 3)) for shuffled in ranks), strict=True)
    for shares, index in zip(parts, order.split(8)[3:], strict=True):
        for rank, share in enumerate(shares):
            np.testing.assert_array_equal(share.numpy(), array[index[rank::world].numpy()])


def test_a_process_reads_its_own_rows_only(array, monkeypatch) -> None:
    shuffled = all_shuffled(array, own=slice(1, None, 2))[1]
    asked = []
    read = FileRows.__getitem__
    monkeypatch.setattr(FileRows, "__getitem__", lambda self, key: asked.extend(key) or read(self, key))
    order = shuffled.order(generator())
    list(values_of(shuffled, order))
    assert asked == [int(i) for batch in order.split(8) for i in batch[1::2]]


def test_rows_in_a_given_order(array) -> None:
    for shuffled in all_shuffled(array):
        np.testing.assert_array_equal(torch.cat(list(values_of(shuffled, torch.arange(ROWS)))).numpy(), array)


def test_few_pools_are_in_memory(array, monkeypatch) -> None:
    shuffled = all_shuffled(array)[1]
    assert (shuffled.chunk, shuffled.pool) == (4, 32)
    read, running = [], []
    monkeypatch.setattr(
        ShuffledRows,
        "_read",
        lambda self, pool, r=ShuffledRows._read: read.append(len(pool)) or r(self, pool),
    )
    for step, _ in enumerate(values_of(shuffled, shuffled.order(generator()))):
        running.append(len(read) <= step // 4 + 2)
    assert read == [32, 32, 32, 7]
    assert all(running)


def test_a_pool_is_read_while_the_one_before_is_used(array, monkeypatch) -> None:
    shuffled = all_shuffled(array)[1]
    begun = [threading.Event() for _ in range(4)]
    counter = iter(begun)
    monkeypatch.setattr(
        ShuffledRows, "_read", lambda self, pool, r=ShuffledRows._read: next(counter).set() or r(self, pool)
    )
    batches = values_of(shuffled, shuffled.order(generator()))
    next(batches)
    assert begun[1].wait(5)  # without a second call
    assert not begun[2].is_set()


def test_data_of_one_pool_is_shuffled_perfectly(array) -> None:
    shuffled = ShuffledRows(on_disk(array), 8, CPU, pieces=Pieces(chunk=100))
    orders = torch.stack([shuffled.order(g) for g in [generator()] for _ in range(4000)])
    follows = (orders[:, 1:] == orders[:, :-1] + 1).double().sum(1)
    assert abs(float(follows.mean()) - (ROWS - 1) / ROWS) < 5 * float(follows.std()) / 4000**0.5
    places = orders.double().mean(0)
    assert float((places - (ROWS - 1) / 2).abs().max()) < 5 * ROWS / 12**0.5 / 4000**0.5


def test_batches_of_a_sorted_file_are_nearly_as_mixed_as_those_of_a_perfect_shuffle() -> None:
    """The variance of a class's share is p(1 − p)(1/B + 1/C), with C chunks in a pool."""
    classes, batch_size, chunks = 10, 64, 128
    labels = np.repeat(np.arange(classes, dtype=np.uint8), 20480)[:, None]  # rows of one byte, sorted
    streamed = ShuffledRows(on_disk(labels), batch_size, CPU, pieces=Pieces(16, 16 * chunks))
    g = generator()

    def deviation(shuffled: ShuffledRows) -> float:
        counts = [
            np.bincount(batch[:, 0], minlength=classes) / batch_size
            for batch in values_of(shuffled, shuffled.order(g))
        ]
        return float(np.sqrt(np.square(np.array(counts) - 1 / classes).mean()))

    perfect = (0.1 * 0.9 / batch_size) ** 0.5
    assert deviation(ShuffledRows(labels, batch_size, CPU)) == pytest.approx(perfect, rel=0.03)
    assert deviation(streamed) == pytest.approx(perfect * (1 + batch_size / chunks) ** 0.5, rel=0.05)


def test_other_rows_come_together_in_every_epoch(array) -> None:
    shuffled = all_shuffled(array)[1]
    g = generator()
    pools = [frozenset(shuffled.order(g)[:32].tolist()) for _ in range(20)]
    assert len(set(pools)) == 20


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("backstory-shuffle")]


def test_an_error_of_the_reading_thread_comes_out(array, tmp_path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(array.tobytes())
    with path.open("r+b") as handle:
        shuffled = ShuffledRows(
            FileRows(handle, 0, array.shape, array.dtype), 8, CPU, pieces=Pieces(pool=800)
        )
        batches = values_of(shuffled, torch.arange(ROWS))
        next(batches)
        handle.truncate(70 * 24)
    with pytest.raises(InputError, match="cut short"):
        list(batches)
    assert not threads()


def test_the_thread_ends_when_nobody_asks_any_more(array) -> None:
    shuffled = all_shuffled(array)[1]
    batches = values_of(shuffled, shuffled.order(generator()))
    next(batches)
    assert threads()
    batches.close()
    assert not threads()
    for _ in values_of(shuffled, shuffled.order(generator())):
        break
    deadline = time.monotonic() + 5
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not threads()


@pytest.mark.parametrize("place", range(3))
def test_conditions_stay_with_their_rows(array, place):
    plain = all_shuffled(array)[place]
    given = array.reshape(len(array), -1)[:, :2].astype(np.float32)
    shuffled = ShuffledRows(StoredRows(plain.rows, given), 8, CPU, pieces=Pieces(100, 800))
    for stored in shuffled.batches(shuffled.order(generator())):
        assert torch.equal(stored.values.flatten(1)[:, :2].float(), stored.given)
