"""How long the command line and the package take to start.

    python bench/startup.py     writes bench/results/startup.json

Every command is a process of its own. Commands take turns, so that a busy moment of the machine meets all
of them; what is reported are differences, within a turn, to what each is compared with: the bare interpreter
(`python -c pass`) for the commands, `import torch` for the first use of the package. Beside the seconds that
pass stand those of the processor, which others on the machine change less. The first turn only warms the
disk's cache and is left out. Needs Unix.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import backstory

ROOT = Path(__file__).parents[1]
CLI = ["-m", "backstory"]
BARE, TORCH = "python -c pass", "import torch"
FIRST_USES = {
    "backstory.open": "import backstory; backstory.open",
    "backstory.fit": "import backstory; backstory.fit",
}

Taken = list[tuple[float, float]]  # seconds that passed and seconds of the processor, of each turn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results" / "startup.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        taken = measure(commands(small_run(Path(folder))), arguments.turns)
    bare = {name: compared(taken[name], taken[BARE]) for name in taken if name not in (BARE, *FIRST_USES)}
    result = {
        **environment(),
        "turns": arguments.turns,
        "load_average_of_one_minute": round(os.getloadavg()[0], 2),
        "beyond_the_bare_interpreter": bare,
        "beyond_import_torch": {name: compared(taken[name], taken[TORCH]) for name in FIRST_USES},
    }
    print(json.dumps(result, indent=2))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def small_run(folder: Path) -> Path:
    """A run to be described."""
    options = {"hidden": (8,), "latent": 2, "epochs": 1, "progress": False}
    backstory.fit("digits", folder / "run", **options)
    return folder / "run"


def commands(run: Path) -> dict[str, list[str]]:
    """Arguments of the interpreter by name."""
    return {
        BARE: ["-c", "pass"],
        "backstory --help": [*CLI, "--help"],
        "backstory fit --help": [*CLI, "fit", "--help"],
        "backstory --version": [*CLI, "--version"],
        "backstory info": [*CLI, "info"],
        "backstory info RUN": [*CLI, "info", str(run)],
        "import backstory": ["-c", "import backstory"],
        TORCH: ["-c", TORCH],
        **{name: ["-c", code] for name, code in FIRST_USES.items()},
    }


def measure(what: dict[str, list[str]], turns: int) -> dict[str, Taken]:
    """What every command took in every turn."""
    taken: dict[str, Taken] = {name: [] for name in what}
    for turn in range(turns + 1):
        for name, arguments in what.items():
            used = once(arguments)
            if turn:
                taken[name].append(used)
    return taken


def once(arguments: list[str]) -> tuple[float, float]:
    """Seconds that pass, and seconds of the processor, of one process."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    passed = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)  # known now, and not to be waited for again
    if process.returncode:
        sys.exit(f"{arguments} failed")
    return passed, usage.ru_utime + usage.ru_stime


def compared(taken: Taken, base: Taken) -> dict[str, float]:
    """Medians of the differences, and the smallest one."""
    passed, processor = (
        [ours[i] - theirs[i] for ours, theirs in zip(taken, base, strict=True)] for i in range(2)
    )
    return {
        "seconds": round(statistics.median(passed), 3),
        "smallest": round(min(passed), 3),
        "processor_seconds": round(statistics.median(processor), 3),
    }


def environment() -> dict[str, Any]:
    return {
        "command": shlex.join(["python", "bench/startup.py", *sys.argv[1:]]),
        "backstory": backstory.__version__,
        **{name: version(name) for name in ("torch", "typer", "pydantic", "pandas")},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }


if __name__ == "__main__":
    main()
