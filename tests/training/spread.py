"""A program for tests: trains in groups of processes, as torchrun would start them.

    python spread.py FOLDER

Writes the runs of `main` into FOLDER, and prints as JSON for each of them what its processes ended with: exit
status (negative for a signal) and standard error. The processes are forks, which spares them the imports.
"""

import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"  # a store whose process has ended is reported at length

import lightning_fabric  # noqa: F401
import numpy as np
import torch

import backstory
from backstory.cli import main as cli
from backstory.training import distributed
from backstory.training import trainer as train

ROWS = 30  # of which 7 are for validation and 23 for training: the third batch has a single row
COMMON = {"epochs": 5, "batch_size": 11, "validation": 0.24, "lr": 0.02, "warmup": 1, "latent": 2}
TABLE = {**COMMON, "hidden": (8,), "clip": 2.0, "ema": 0.9, "skip_spikes": 4.0}
KINDS = np.resize(["a", "b", "c"], ROWS).astype(object)
CASES = {
    "table": TABLE,
    "images": {**COMMON, "network": "conv", "likelihood": "bernoulli", "objective": "iwae", "samples": 3},
    "no-gradient": {**COMMON, "hidden": (8,), "posterior": "delta", "prior": "mixture", "components": 2},
    "no-validation": {**TABLE, "validation": 0},
    "mmd": {**TABLE, "objective": "mmd"},
    "weights": {**TABLE, "weights": np.tile([1.0, 0.5, 4.0], ROWS // 3)},
    "ladder": {**COMMON, "network": "ladder", "likelihood": "bernoulli", "latent": "2x4x5,3", "width": 4},
    "exemplar": {**TABLE, "prior": "exemplar", "exemplars": 12},
    "conditional": {**TABLE, "prior": "conditional", "given": KINDS},
    "labels": {**TABLE, "given": np.where(np.arange(ROWS) % 4 == 0, None, KINDS)},
    "diffusion": {**TABLE, "prior_after": "diffusion"},
    "pixels": {**COMMON, "network": "conv", "likelihood": "pixels-bernoulli", "width": 4},
}
IMAGES = ("images", "ladder", "pixels")
AS_SLURM = ("table", "no-gradient", "no-validation")


def data(case: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    if case in IMAGES:
        return rng.integers(0, 256, (ROWS, 9, 10)).astype("uint8")
    return rng.normal(size=(ROWS, 1)) + 0.3 * rng.normal(size=(ROWS, 4))


def fit(folder: Path, case: str, **options: object) -> None:
    chosen = {**CASES[case], "device": "cpu", "progress": False, "checkpoint_every": 1e-9, **options}
    backstory.fit(data(case), folder, resume=True, **chosen)


# -- groups -----------------------------------------------------------------------------------------------


def group(task: Callable[[int], object], world: int = 2, slurm: bool = False) -> list[tuple[int, str]]:
    """The exit status and standard error of each of so many processes, as of torchrun or srun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    files = [Path(sys.argv[1]) / f"stderr-{rank}" for rank in range(world)]
    names = _slurm if slurm else _torchrun
    children = [fork(task, rank, names(rank, world, port), file) for rank, file in enumerate(files)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return [(code, file.read_text()) for code, file in zip(codes, files, strict=True)]


def _torchrun(rank: int, world: int, port: int) -> dict[str, object]:
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    return names | {
        "GROUP_RANK": 0,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "TORCHELASTIC_RUN_ID": "x",
    }


def _slurm(rank: int, world: int, port: int) -> dict[str, object]:
    names = {"PROCID": rank, "LOCALID": rank, "NTASKS": world, "NTASKS_PER_NODE": world, "NNODES": 1}
    names |= {"NODEID": 0, "STEP_ID": 0, "JOB_ID": 1, "JOB_NAME": "train", "NODELIST": "127.0.0.1"}
    return {f"SLURM_{name}": value for name, value in names.items()} | {"MASTER_PORT": port}


def fork(task: Callable[[int], object], rank: int, names: dict[str, object], file: Path) -> int:
    child = os.fork()
    if child:
        return child
    os.environ.update({name: str(value) for name, value in names.items()})
    os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        status = task(rank) or 0
    except Exception as error:
        status = cli.fail(error)
    finally:
        sys.stderr.flush()
    os._exit(status)


def at_step(number: int, act: Callable[[train.Trainer], object]) -> None:
    """Does something with the trainer of this process before one of its steps."""
    original, steps = train.Trainer._step, 0

    def counted(trainer, *arguments):
        nonlocal steps
        steps += 1
        if steps == number:
            act(trainer)
        return original(trainer, *arguments)

    train.Trainer._step = counted


def die(trainer: train.Trainer) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(folder: Path, case: str, **options: object) -> None:
    """All processes are killed in the third epoch, whose first two steps are in the checkpoint."""

    def cut(rank: int) -> None:
        at_step(9, die)
        fit(folder, case, **options)

    assert [code for code, _ in group(cut)] == [-signal.SIGKILL] * 2


# -- what goes wrong --------------------------------------------------------------------------------------


def command(folder: Path, *more: str) -> int:
    table = folder.parent / "table.npy"
    if not table.exists():
        np.save(table, data("table"))
    options = ["--epochs", "5", "--batch-size", "11", "--latent", "2", "--hidden", "8"]
    return cli.main(["fit", str(table), "-o", str(folder), *options, *more])


def fails(folder: Path, rank: int) -> int:
    """The second process alone meets an error, while the first waits for it."""

    def fail(trainer: train.Trainer) -> None:
        raise OSError(5, "input/output error", "rows.npy")

    if rank == 1:
        at_step(4, fail)
    return command(folder)


def lost(folder: Path, rank: int) -> int:
    """The second process is killed."""
    if rank == 1:
        at_step(4, die)
    return command(folder)


def other_rows(folder: Path, rank: int) -> None:
    backstory.fit(data("table") + rank, folder, progress=False)


def interrupted(folder: Path, rank: int) -> int:
    """Ctrl-C reaches the second process alone."""
    if rank == 1:
        at_step(5, lambda trainer: signal.raise_signal(signal.SIGINT))
    return command(folder, "--checkpoint-every", "1000")


def hurried(folder: Path, rank: int) -> int:
    """The second process has a clock that runs ahead."""
    if rank == 1:
        clock = time.monotonic
        train.time = type("Clock", (), {"monotonic": staticmethod(lambda: 1e6 * clock())})
    return command(folder, "--minutes", "5")


def main(folder: Path) -> dict[str, list[tuple[int, str]]]:
    ends = {}
    for case in CASES:
        fit(folder / f"{case}-one", case)
        ends[case] = group(lambda rank, case=case: fit(folder / f"{case}-two", case))
    for case in AS_SLURM:
        path = folder / f"{case}-slurm"
        ends[path.name] = group(lambda rank, case=case, path=path: fit(path, case), slurm=True)

    killed(folder / "mmd-killed", "mmd")
    ends["mmd-killed"] = group(lambda rank: fit(folder / "mmd-killed", "mmd"))
    killed(folder / "table-killed", "table")
    shutil.copytree(folder / "table-killed", folder / "table-one-left")
    ends["table-killed"] = group(lambda rank: fit(folder / "table-killed", "table"))
    fit(folder / "table-one-left", "table")

    for task in (fails, lost, other_rows, interrupted, hurried):
        path = folder / task.__name__
        ends[task.__name__] = group(lambda rank, task=task, path=path: task(path, rank))
    ends["refused"] = group(lambda rank: command(folder / "refused", "--lr", "-1"))
    return ends


if __name__ == "__main__":
    torch.set_num_threads(1)
    distributed.Group.pause, distributed.GRACE = 2, 0.5
    print(json.dumps(main(Path(sys.argv[1]))))
