"""Training on data that stays in a file, and using it: what comes out, and how much memory that takes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import backstory
from backstory.cli.main import main
from backstory.data.rows import FileRows
from backstory.data.shuffle import Pieces, ShuffledRows
from backstory.runs import checkpoint

OPTIONS = {"latent": 2, "hidden": (8,), "epochs": 4, "batch_size": 16, "progress": False, "device": "cpu"}


@pytest.fixture(scope="module", autouse=True)
def small_pools() -> Iterator[None]:
    """An epoch of 117 rows of 20 bytes has pools of four batches of 16 rows, in chunks of 5 rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ShuffledRows.__init__, "__defaults__", (slice(None), Pieces(100, 4 * 16 * 20)))
        yield


@pytest.fixture(scope="module")
def home(small_pools, tmp_path_factory) -> Path:
    """Images as one file and as a folder, and a run that was trained on them where they lie."""
    home = tmp_path_factory.mktemp("home")
    values = np.random.default_rng(0).integers(0, 5, (130, 5, 4)).astype(np.uint8)
    np.save(home / "images.npy", values)
    (home / "folder").mkdir()
    for i, image in enumerate(values[:40]):
        Image.fromarray(image).save(home / "folder" / f"{i:02}.png")
    data = backstory.load(home / "images.npy", stream=True)
    backstory.fit(data, home / "run", **OPTIONS)
    return home


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def test_a_run_is_the_same_again_and_can_be_interrupted_in_the_middle_of_a_pool(home, tmp_path, monkeypatch):
    batches, asked = ShuffledRows.batches, []

    def interrupted(self, order, done=0):
        for batch in batches(self, order, done):
            asked.append(done)
            if len(asked) == 22:
                raise KeyboardInterrupt
            yield batch

    data = backstory.load(home / "images.npy", stream=True)
    with monkeypatch.context() as patch:
        patch.setattr(ShuffledRows, "batches", interrupted)
        model = backstory.fit(data, tmp_path / "run", checkpoint_every=1e-6, **OPTIONS)
    assert model.summary["stopped"] == "interrupted"
    assert checkpoint.load_checkpoint(tmp_path / "run").state.values["position"]["step"] % 4 > 0
    backstory.fit(data, tmp_path / "run", resume=True, progress=False)
    for name in ("model.safetensors", "splits.safetensors", "config.json"):
        assert (tmp_path / "run" / name).read_bytes() == (home / "run" / name).read_bytes(), name


def test_the_run_knows_its_rows_wherever_they_are(home) -> None:
    model = backstory.open(home / "run")
    for stream in (True, False):
        data = backstory.load(home / "images.npy", stream=stream)
        assert isinstance(data.values, FileRows) == stream
        assert model.trained_on(data)
        assert model.count_trained_on(data.values) == len(model.rows(data, "train")) == 117


def test_a_run_without_validation_and_a_mixture_fitted_afterwards(home) -> None:
    data = backstory.load(home / "images.npy", stream=True)
    model = backstory.fit(data, validation=0, posterior="delta", prior="mixture", components=2, **OPTIONS)
    assert model.sample(3, seed=0).shape == (3, 5, 4)


@pytest.mark.parametrize(
    ("command", "output"),
    [
        (["encode", "--std", "--draws", "2"], "z.npy"),
        (["encode", "--split", "validation"], "z.csv"),
        (["reconstruct"], "x.npy"),
        (["reconstruct", "--draw"], "x.npz"),
        (["reconstruct", "--limit", "7"], "x.png"),
        (["reconstruct", "--split", "train"], "x.csv"),
    ],
)
def test_commands_write_the_same(home, tmp_path, command: list[str], output: str, monkeypatch) -> None:
    monkeypatch.setattr("backstory.model.LIMIT", 1000)
    found = []
    for way in ("--stream", "--no-stream"):
        (folder := tmp_path / way).mkdir()
        assert (
            run(command[0], home / "run", home / "images.npy", *command[1:], way, "-o", folder / output) == 0
        )
        found.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert found[0] == found[1]


def test_a_folder_of_images_becomes_a_folder_of_images(home, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("backstory.model.LIMIT", 0)
    assert run("fit", home / "folder", "-o", tmp_path / "run", "--epochs", 1, "--hidden", 8, "--stream") == 0
    for way in ("--stream", "--no-stream"):
        assert run("reconstruct", tmp_path / "run", home / "folder", way, "-o", tmp_path / way) == 0
    there, here = (
        {path.name: path.read_bytes() for path in (tmp_path / way).iterdir()}
        for way in ("--stream", "--no-stream")
    )
    assert there == here
    assert len(there) == 40


def test_an_evaluation_is_the_same(home, capfd) -> None:
    found = []
    for way in ("--stream", "--no-stream"):
        assert run("evaluate", home / "run", home / "images.npy", "--samples", 5, "--json", way) == 0
        found.append(json.loads(capfd.readouterr().out))
    assert found[0] == found[1]
    assert found[0]["n"] == 130


# Starts a command and prints the most memory that it held. A process of its own, because a process that is
# started begins with the peak of the one that starts it, and that of a test is high.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_memory(*arguments: object) -> int:
    """Bytes that a command had in memory at its highest."""
    command = [
        sys.executable,
        "-c",
        MEASURE,
        sys.executable,
        "-m",
        "backstory",
        *map(str, arguments),
    ]
    return 1024 * int(subprocess.run(command, check=True, capture_output=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is another")
def test_memory_does_not_grow_with_the_data(tmp_path) -> None:
    options = (
        "--validation 0.02 --hidden 8 --latent 2 --network plain --batch-size 1000 --likelihood bernoulli"
    )
    options += " --epochs 1 --minutes 0.2 --device cpu --stream --force"
    peaks = []
    for rows in (500_000, 1_500_000):
        with (tmp_path / "images.npy").open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (rows, 28, 28)}
            np.lib.format.write_array_header_1_0(file, header)
            for seed in range(rows // 100_000):
                file.write(np.random.default_rng(seed).bytes(100_000 * 28 * 28))
        peaks.append(peak_memory("fit", tmp_path / "images.npy", "-o", tmp_path / "run", *options.split()))
    assert peaks[1] - peaks[0] < 100 << 20  # the file is 750 MiB larger
