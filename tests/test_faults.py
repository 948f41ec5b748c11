"""Whatever is written, a full disk or a kill at any step of it loses nothing that existed before."""

import gc
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from faults import MODES, Killed, faulty

import backstory
import backstory.jobs.impute
import backstory.jobs.restore
from backstory import InputError, jobs
from backstory.jobs.damage import Damage
from backstory.jobs.encode import encode
from backstory.jobs.impute import impute
from backstory.jobs.output import Output
from backstory.jobs.restore import RestorationSettings, restore
from backstory.jobs.source import Source
from backstory.runs.replacement import in_training

OPTIONS = {"latent": 1, "hidden": (4,), "epochs": 2, "batch_size": 32, "device": "cpu", "progress": False}
OPTIONS |= {"checkpoint_every": 1e-9, "patience": 9}
OLD, NEW = {**OPTIONS, "seed": 1}, {**OPTIONS, "seed": 2}
SETTINGS = RestorationSettings(draws=2, std=True, method="importance")
TOTAL = 1000


def data() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """Something that writes.

    Attributes:
        prepare: makes what existed before, in an empty folder.
        act: writes.
        check: asserts that nothing was lost after a fault, and that it can be done again.
    """

    prepare: Callable[[Path], object]
    act: Callable[[Path], object]
    check: Callable[[Path, Path, str], object]


def numbers(run: Path) -> np.ndarray:
    return backstory.open(run, "cpu").sample(3, seed=0)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Finished runs, images and a table, not to be changed."""
    home = tmp_path_factory.mktemp("home")
    for name, options in (("old", OLD), ("new", NEW), ("old2", {**OLD, "ensemble": 2})):
        backstory.fit(data(), home / name, **options)
    images = np.random.default_rng(0).integers(0, 255, (12, 5, 5)).astype(np.uint8)
    np.save(home / "images.npy", images)
    backstory.fit(images, home / "images", likelihood="gaussian", **OPTIONS)
    table = "\n".join(["a,b,c", *(",".join(f"{x:.3f}" for x in row) for row in data()), ",0.1,"]) + "\n"
    (home / "table.csv").write_text(table)
    backstory.fit(home / "table.csv", home / "table", **OPTIONS)
    return home


@pytest.fixture(autouse=True)
def solved_once(monkeypatch):
    """Restorations are computed once for each model: what is tested is how they are written."""
    solve, known = jobs.restore.solve, {}

    def remembered(model, *arguments):
        if id(model) not in known:
            known[id(model)] = solve(model, *arguments)
        return known[id(model)]

    for module in (jobs.restore, jobs.impute):
        monkeypatch.setattr(module, "solve", remembered)


# -- runs -------------------------------------------------------------------------------------------------


def begun(home: Path, folder: Path, mode: str) -> None:
    """A new run: it is whole, or can be begun or gone on with."""
    run = folder / "run"
    if (run / "config.json").exists() and mode == "killed":
        numbers(run)
    backstory.fit(data(), run, resume=True, **NEW)
    assert np.array_equal(numbers(run), numbers(home / "new"))


def replaced(home: Path, folder: Path, mode: str) -> None:
    """A run that is replaced: it is the old or the new one, whole, and other files are untouched."""
    run = folder / "run"
    old = numbers(home / ("old2" if (folder / "ensemble").exists() else "old"))
    found = numbers(run)
    assert np.array_equal(found, old) or np.array_equal(found, numbers(home / "new"))
    assert (run / "notes.txt").read_text() == "mine"
    resumable = in_training(run) != run
    backstory.fit(data(), run, **NEW, **({"resume": True} if resumable else {"force": True}))
    assert np.array_equal(numbers(run), numbers(home / "new"))
    assert (run / "notes.txt").read_text() == "mine"
    assert not any("replacement" in path.name or path.name.startswith(".") for path in run.iterdir())


def earlier(home: Path, name: str) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        shutil.copytree(home / name, folder / "run")
        (folder / "run" / "notes.txt").write_text("mine")
        if name == "old2":
            (folder / "ensemble").touch()

    return prepare


# -- files ------------------------------------------------------------------------------------------------


def nothing_lost(before: dict[str, bytes], after: dict[str, bytes]) -> Callable[[Path, Path, str], None]:
    """Each file is as before or as it was to become; after a full disk all files are the one or the other."""

    def check(home: Path, folder: Path, mode: str) -> None:
        found = {name: _content(folder / name) for name in after}
        for name, content in found.items():
            assert content in (before.get(name), after[name]), name
        if mode == "full":
            assert found == {name: before.get(name) for name in after} or found == after
            assert {path.name for path in folder.iterdir()} <= {*before, *after}

    return check


def _content(path: Path) -> object:
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.is_file()]
        return {file.relative_to(path).as_posix(): file.read_bytes() for file in found}
    return path.read_bytes() if path.exists() else None


def files(act: Callable[[Path], object], tmp_path: Path, names: list[str], exist: bool = True) -> Case:
    """A case of files that are replaced, or made if they do not `exist`."""
    reference = tmp_path / "reference"
    reference.mkdir()
    act(reference)
    after = {name: _content(reference / name) for name in names}
    before = {name: b"old " + name.encode() for name in names if exist and not isinstance(after[name], dict)}

    def prepare(folder: Path) -> None:
        for name, content in before.items():
            (folder / name).write_bytes(content)

    return Case(prepare, act, nothing_lost(before, after))


def cases(home: Path, tmp_path: Path) -> dict[str, Callable[[], Case]]:
    """All cases by name; each is made when it is needed."""
    images, table = (backstory.open(home / name, "cpu") for name in ("images", "table"))
    few = Source(str(home / "images.npy"), limit=3)
    damage = Damage(missing=0.3)

    def restored(ending: str) -> Callable[[Path], object]:
        return lambda folder: restore(
            images, few, Output(folder / f"x{ending}", True), damage, SETTINGS, whole=True
        )

    def restored_files(ending: str, exist: bool) -> Callable[[], Case]:
        names = [f"x{kind}{ending}" for kind in ("", ".draws", ".std")]
        return lambda: files(restored(ending), tmp_path, names, exist)

    def in_place() -> Case:
        content = (home / "table.csv").read_bytes()

        def act(folder: Path) -> None:
            impute(table, Source(str(folder / "t.csv")), Output(folder / "t.csv", True), SETTINGS)

        reference = tmp_path / "imputed"
        reference.mkdir()
        (reference / "t.csv").write_bytes(content)
        act(reference)
        after = {name: _content(reference / name) for name in ("t.csv", "t.draws.csv", "t.std.csv")}
        check = nothing_lost({"t.csv": content}, after)
        return Case(lambda folder: (folder / "t.csv").write_bytes(content), act, check)

    def imputed(ending: str, exist: bool = True) -> Callable[[], Case]:
        source = Source(str(home / "table.csv"))
        act = lambda folder: impute(table, source, Output(folder / f"t{ending}", True), SETTINGS)  # noqa: E731
        return lambda: files(act, tmp_path, [f"t{kind}{ending}" for kind in ("", ".draws", ".std")], exist)

    codes = lambda folder: encode(images, few, Output(folder / "z.npz", True), std=True, draws=2)  # noqa: E731
    fitted = lambda folder: backstory.fit(data(), folder / "run", **NEW)  # noqa: E731
    forced = lambda folder: backstory.fit(data(), folder / "run", force=True, **NEW)  # noqa: E731
    saved = lambda folder: backstory.open(home / "new", "cpu").save(folder / "run", force=True)  # noqa: E731
    return {
        "fit": lambda: Case(lambda folder: None, fitted, begun),
        "fit --force": lambda: Case(earlier(home, "old"), forced, replaced),
        "fit --force of an ensemble": lambda: Case(earlier(home, "old2"), forced, replaced),
        "save": lambda: Case(earlier(home, "old"), saved, replaced),
        "restore .npy": restored_files(".npy", True),
        "restore .npy, new": restored_files(".npy", False),
        "restore a folder": restored_files("", False),
        "restore .npz": restored_files(".npz", True),
        "restore .idx.gz": restored_files(".idx.gz", True),
        "impute in place": in_place,
        "impute .parquet": imputed(".parquet"),
        "impute .parquet, new": imputed(".parquet", False),
        "impute .csv.gz": imputed(".csv.gz"),
        "encode": lambda: files(codes, tmp_path, ["z.npz", "z.std.npz", "z.draws.npz"]),
    }


NAMES = (
    "fit",
    "fit --force",
    "fit --force of an ensemble",
    "save",
    "restore .npy",
    "restore .npy, new",
    "restore a folder",
    "restore .npz",
    "restore .idx.gz",
    "impute in place",
    "impute .parquet",
    "impute .parquet, new",
    "impute .csv.gz",
    "encode",
)


def run_case(case: Case, home: Path, folder: Path, patch: pytest.MonkeyPatch, mode: str, nth: int) -> int:
    """Write with a fault at the nth step, and check; the number of steps."""
    folder.mkdir()
    case.prepare(folder)
    said = ""
    with faulty(patch, mode, nth) as faults:
        try:
            case.act(folder)
        except (Killed, InputError) as error:
            said = str(error)
    if mode == "full" and said:
        assert "No space left on device" in said
        assert "\n" not in said
        assert "free some space" in said or "cannot write to" in said
    gc.collect()  # a dead process has no open files
    if nth:
        case.check(home, folder, mode)
    shutil.rmtree(folder)
    return faults.count


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_lost(name, mode, home, tmp_path, monkeypatch):
    """At the first, the last and one other step."""
    case = cases(home, tmp_path)[name]()
    steps = run_case(case, home, tmp_path / "whole", monkeypatch, mode, 0)
    assert steps > 3
    chosen = {1, steps, 2 + int(torch.randint(steps - 2, (), generator=torch.Generator().manual_seed(steps)))}
    for nth in chosen if not name.startswith("fit") else chosen - {1}:
        run_case(case, home, tmp_path / str(nth), monkeypatch, mode, nth)


@pytest.mark.slow
def test_nothing_is_lost_a_thousand_times(home, tmp_path, monkeypatch, capsys):
    """At each step of everything that writes."""
    counts: dict[str, int] = {}
    for name, make in cases(home, tmp_path).items():
        shutil.rmtree(tmp_path / "reference", ignore_errors=True)
        case = make()
        for mode in MODES:
            steps = run_case(case, home, tmp_path / "whole", monkeypatch, mode, 0)
            for nth in range(1, steps + 1):
                run_case(case, home, tmp_path / str(nth), monkeypatch, mode, nth)
            counts[f"{name}, {mode}"] = steps
            with capsys.disabled():
                print(f"{name}, {mode}: {steps}", flush=True)
    assert sum(counts.values()) >= TOTAL


@pytest.mark.slow
def test_nothing_is_lost_when_the_process_is_really_killed(home, tmp_path):
    """SIGKILL at moments of a `fit --force` from its beginning to its end."""
    np.save(tmp_path / "data.npy", data())
    shutil.copytree(home / "old", tmp_path / "run")
    old = numbers(home / "old")
    options = ["--latent", "1", "--hidden", "4", "--epochs", "2000", "--checkpoint-every", "0.001"]
    command = [
        sys.executable,
        "-m",
        "backstory",
        "fit",
        str(tmp_path / "data.npy"),
        "-o",
        str(tmp_path / "run"),
    ]
    for seconds in np.linspace(0, 2, 6):
        with subprocess.Popen([*command, *options, "--force"], stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and not (tmp_path / "run" / "replacement").exists():
                time.sleep(0.01)
            time.sleep(seconds)
            process.kill()
        assert np.array_equal(numbers(tmp_path / "run"), old)
    assert in_training(tmp_path / "run") != tmp_path / "run"
