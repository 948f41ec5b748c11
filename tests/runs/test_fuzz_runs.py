"""Damaged files of runs: each gives the same numbers as before, or one sentence of `InputError`.

A hundred in each test by default, with `--fuzz N` half of N. A case is made from its number alone.
"""

import json
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mixed import mixed_table

import backstory
from backstory import InputError
from backstory.runs import checkpoint
from backstory.runs.folder import sealed
from backstory.runs.info import run_info
from backstory.training.trainer import Trainer

SMALL = {"latent": 2, "hidden": (4,), "epochs": 2, "batch_size": 32, "progress": False, "device": "cpu"}
SECONDS, BYTES = 10.0, 1e9  # that a case may take
VALUES: list[Any] = [None, True, -1, 0, 1, 3, 10**12, -(10**30), 0.5, 1e308, float("nan"), float("inf")]
VALUES += [
    "",
    "rubbish",
    "float16",
    [],
    {},
    [0] * 5,
    [[[1]]],
    [10**9],
    {"name": "conv"},
    "\x00\ud800",
    "a" * 10**5,
]
CONTENTS = [
    b"",
    b"[",
    b"{}",
    b"null",
    b"[" * 200_000,
    b'{"a":' * 50_000,
    b"1" * 5_000,
    b"\x00" * 100,
    b"\xff\xfe\x00",
]


def array() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)


class Stop(BaseException):
    """In the place of a kill."""


@pytest.fixture
def cases(fuzz) -> int:
    """How many cases a test tries: half as many as for files of data, since runs open slowly."""
    return max(1, fuzz // 2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """Runs by name, finished and in training, not to be changed."""
    home = tmp_path_factory.mktemp("runs")
    table = mixed_table(60, 0)[["country", "age", "stars", "income"]]
    images = np.random.default_rng(0).integers(0, 9, (40, 4, 4)).astype(np.uint8)
    backstory.fit(array(), home / "array", **SMALL)
    backstory.fit(table, home / "table", **SMALL)
    backstory.fit(images, home / "images", **SMALL)
    backstory.fit(array(), home / "ensemble", ensemble=2, **SMALL)
    for name, step, options in (("cut", 3, {}), ("cut ensemble", 5, {"ensemble": 2})):
        with pytest.MonkeyPatch.context() as patch:
            steps, original = 0, Trainer._step

            def counted(trainer, *arguments, step=step, original=original):
                nonlocal steps
                steps += 1
                if steps == step:
                    raise Stop
                return original(trainer, *arguments)

            patch.setattr(Trainer, "_step", counted)
            with pytest.raises(Stop):
                backstory.fit(array(), home / name, checkpoint_every=1e-9, **options, **SMALL)
    return {path.name: path for path in home.iterdir()}


# -- damage -----------------------------------------------------------------------------------------------


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """The content of a file with one damage."""
    at, length = int(rng.integers(len(content) + 1)), int(rng.integers(1, 64))
    noise = rng.bytes(length)
    ways: list[Callable[[], bytes]] = [
        lambda: _flipped(content, at, int(rng.integers(8))),
        lambda: content[:at],
        lambda: content[:at] + content[at + length :],
        lambda: content[:at] + noise + content[at:],
        lambda: content[:at] + noise + content[at + length :],
        lambda: content[:at] + content[max(0, at - length) : at] + content[at:],
        lambda: CONTENTS[rng.integers(len(CONTENTS))],
        lambda: _with_json_altered(content, rng),
        lambda: _with_json_altered(content, rng),
    ]
    return ways[rng.integers(len(ways))]()


def _flipped(content: bytes, at: int, bit: int) -> bytes:
    changed = bytearray(content or b"\x00")
    changed[at % len(changed)] ^= 1 << bit
    return bytes(changed)


def _with_json_altered(content: bytes, rng: np.random.Generator) -> bytes:
    """One value of the JSON in a file altered: of a line, of all, or of the header of tensors."""
    try:
        if content[8:9] == b"{":
            size = int.from_bytes(content[:8], "little")
            header = json.dumps(altered(json.loads(content[8 : 8 + size]), rng)).encode()
            return len(header).to_bytes(8, "little") + header + content[8 + size :]
        lines = content.splitlines() if content.count(b"\n{") else [content]
        line = rng.integers(len(lines))
        lines[line] = json.dumps(altered(json.loads(lines[line]), rng)).encode()
        return b"\n".join(lines)
    except ValueError:  # a table
        return content[:-5]


def altered(record: Any, rng: np.random.Generator) -> Any:
    """A JSON value with one value in it changed, removed or renamed."""
    copy = json.loads(json.dumps(record))
    holder, key, places = None, None, []

    def walk(value: Any) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, part in items:
            places.append((value, name))
            if isinstance(part, dict | list):
                walk(part)

    walk(copy)
    if not places:
        return VALUES[rng.integers(len(VALUES))]
    holder, key = places[rng.integers(len(places))]
    way = rng.integers(6)
    if way == 0:
        del holder[key]
    elif way == 1 and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
    elif way == 2 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
        holder[key] = holder[key] * 2 + 1
    else:
        holder[key] = VALUES[rng.integers(len(VALUES))]
    return copy


# -- cases ------------------------------------------------------------------------------------------------


def attempt(use: Callable[[], Any], case: object) -> Any:
    """The result of a use, or None for an InputError of one sentence; within the limits."""
    start, result, said = time.monotonic(), None, ""
    try:
        result = use()
    except InputError as error:
        said = str(error)
    except Exception as error:
        raise AssertionError(f"{case}: {type(error).__name__}: {error}") from error
    assert "\n" not in said, case
    assert len(said) < 1000, case
    assert time.monotonic() - start < SECONDS, case
    return result


def numbers(run: Path) -> np.ndarray:
    return np.asarray(backstory.open(run, "cpu").sample(2, seed=0))


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("name", ["array", "table", "images", "ensemble"])
def test_damaged_files_of_a_finished_run(name, runs, tmp_path, cases):
    run = shutil.copytree(runs[name], tmp_path / name)
    before, reference = peak(), numbers(run)
    files = sorted(path for path in run.rglob("*") if path.is_file())
    refused = 0
    for number in range(cases):
        rng = np.random.default_rng([1, number])
        path = files[rng.integers(len(files))]
        content = path.read_bytes()
        path.write_bytes(damaged(content, rng))
        found = attempt(lambda: numbers(run), (name, number, path.name))
        assert found is None or np.array_equal(found, reference), (name, number, path.name)
        refused += found is None
        attempt(lambda: run_info(run), (name, number, path.name))
        if path.name == checkpoint.METRICS:
            attempt(lambda folder=path.parent: checkpoint.read_metrics(folder), (name, number, path.name))
        path.write_bytes(content)
    assert peak() - before < BYTES
    print(f"{name}: {cases} cases, {refused} refused")


@pytest.mark.parametrize("name", ["array", "table", "images", "ensemble"])
def test_configs_that_were_altered_and_sealed_again(name, runs, tmp_path, cases):
    """As by a person who knows how: the model opens, or is refused."""
    run = shutil.copytree(runs[name], tmp_path / name)
    before, refused = peak(), 0
    files = sorted(run.rglob("config.json"))
    for number in range(cases):
        rng = np.random.default_rng([2, number])
        path = files[rng.integers(len(files))]
        content = path.read_bytes()
        record = json.loads(content)
        del record["checksum"]
        changed = altered(record, rng)
        path.write_bytes(sealed(changed) if isinstance(changed, dict) else b"[]")
        refused += attempt(lambda: backstory.open(run, "cpu"), (name, number)) is None
        attempt(lambda: run_info(run), (name, number))
        path.write_bytes(content)
    assert peak() - before < BYTES
    print(f"{name} sealed: {cases} cases, {refused} refused")


@pytest.mark.parametrize("name", ["cut", "cut ensemble"])
def test_damaged_files_of_a_run_in_training(name, runs, tmp_path, cases):
    """Gone on with, it ends with the same numbers, or is refused and can still be replaced."""
    whole = shutil.copytree(runs[name], tmp_path / "whole")
    backstory.fit(array(), whole, resume=True, progress=False)
    reference, before, refused = numbers(whole), peak(), 0
    for number in range(max(1, cases // 4)):
        run = shutil.copytree(runs[name], tmp_path / str(number))
        rng = np.random.default_rng([3, number])
        files = sorted(path for path in run.rglob("*") if path.is_file())
        path = files[rng.integers(len(files))]
        path.write_bytes(damaged(path.read_bytes(), rng))
        case = (name, number, path.relative_to(run))
        found = attempt(lambda: backstory.fit(array(), run, resume=True, **SMALL), case)  # noqa: B023
        assert found is None or np.array_equal(found.sample(2, seed=0), reference), case
        refused += found is None
        shutil.rmtree(run)
    assert peak() - before < BYTES
    print(f"{name}: {max(1, cases // 4)} cases, {refused} refused")
