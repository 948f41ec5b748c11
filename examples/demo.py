"""Training, evaluation and pictures on the embedded data set, with the commands that a newcomer would type.

Run it as `python examples/demo.py [FOLDER]`.
"""

import shlex
import sys
import time
from pathlib import Path

from backstory.cli.main import main

PICTURES = {
    "training.png": "distortion and rate against epochs, their path, and the KL of each latent unit",
    "samples.png": "50 new digits, z ~ p(z), then x ~ p(x|z), each below its mean E[x|z]",
    "nearest.png": "new digits, each above the three training digits that are nearest to it",
    "classes.png": "eight new digits of each class, x ~ p(x|c), where pixels depend on each other",
    "reconstructions.png": "held-out digits, each above its reconstruction",
    "restorations.png": "digits with half of their pixels hidden, E[x|y], three draws, and their uncertainty",
}


def commands(run: Path) -> list[str]:
    """The commands that train, evaluate on held-out rows, and make the pictures."""
    return [
        f"fit digits -o {run} --force",
        f"evaluate {run} digits --samples 1000",
        f"evaluate {run} digits --method ais",
        f"sample {run} -n 50 -o {run / 'samples.png'} --seed 0 --force",
        f"reconstruct {run} digits -o {run / 'reconstructions.png'} --force",
        f"restore {run} digits -o {run / 'restorations.png'} --damage --missing 0.5 --force",
        f"sample {run} -n 24 -o {run / 'nearest.png'} --seed 0 --nearest digits --force",
        f"fit digits -o {run / 'given-class'} --given class --likelihood pixels --epochs 50 --force",
        f"sample {run / 'given-class'} --each class -n 8 -o {run / 'classes.png'} --seed 0 --force",
        f"info {run}",
    ]


def demo(run: Path) -> int:
    """Run the commands one after the other; the exit status of the first that fails."""
    start = time.monotonic()
    for command in commands(run):
        print(f"\n$ backstory {command}", flush=True)
        if status := main(shlex.split(command)):
            return status
    print(f"\nDone in {time.monotonic() - start:.0f} seconds. Pictures to look at:")
    for name, what in PICTURES.items():
        print(f"  {run / name}: {what}")
    return 0


if __name__ == "__main__":
    sys.exit(demo(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo")))
