"""A program for tests: trains in processes that are killed, and goes on until one of them ends by itself.

    python killed.py FOLDER HOW…

HOW is a stage of the writing of a file, at which later and later ones are met by SIGKILL, or the number of a
series of random moments. Writes runs FOLDER/HOW and prints how many processes were killed for each. The
processes are forks, which spares them the imports.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

import backstory
from backstory import files, tensor_files
from backstory.runs import checkpoint, run

OPTIONS = {
    "latent": 2,
    "hidden": (16,),
    "epochs": 6,
    "batch_size": 16,
    "patience": 3,
    "lr": 0.02,
    "warmup": 1,
}
OPTIONS |= {"progress": False, "device": "cpu", "validation": 0.2}
LONGEST = 0.8  # seconds to live
STAGES = ("before", "half", "whole", "renamed")


def data() -> np.ndarray:
    z, noise = np.split(np.random.default_rng(0).normal(size=(200, 8)), 2, axis=1)
    return z[:, :1] + 0.3 * noise


def train(folder: Path, every: float) -> None:
    torch.set_num_threads(1)
    backstory.fit(data(), folder, resume=True, checkpoint_every=every, **OPTIONS)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_while_writing(stage: str, nth: int) -> None:
    """SIGKILL at a stage of the nth writing of a file, which may be a checkpoint or the run's results."""
    count, atomic_path, replace, write_bytes = 0, files.atomic_path, os.replace, Path.write_bytes

    def counted(path, force=False):
        nonlocal count
        count += 1
        if stage == "before" and count == nth:
            die()
        return atomic_path(path, force)

    def halved(path, content):
        if stage == "half" and count == nth:
            write_bytes(path, content[: len(content) // 2])
            die()
        return write_bytes(path, content)

    def renamed(source, target):
        if stage == "whole" and count == nth:
            die()
        replace(source, target)
        if stage == "renamed" and count == nth:
            die()

    checkpoint.atomic_path = run.atomic_path = tensor_files.atomic_path = counted
    Path.write_bytes, files.os.replace = halved, renamed


def until_it_ends(folder: Path, how: str) -> int:
    """How many processes were killed."""
    rng, killed = random.Random(how), 0
    while True:
        child = os.fork()
        if not child:
            if how in STAGES:  # the first dies at the first writing, each later one gets further
                die_while_writing(how, 1 + 8 * killed)
            train(folder, every=1e-6 if how in STAGES else rng.choice([1e-6, 0.01, 60.0]))
            os._exit(0)
        if how not in STAGES:
            time.sleep(rng.uniform(0, LONGEST * 1.1**killed))  # a slow machine gets further, too
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            return killed
        killed += 1


if __name__ == "__main__":
    for how in sys.argv[2:]:
        print(how, until_it_ends(Path(sys.argv[1]) / how, how), flush=True)
