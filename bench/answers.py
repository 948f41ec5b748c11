"""What answers cost in this checkout and in another one: CPU seconds, and how near they come to the truth.

    python bench/answers.py --against OTHER/src     writes bench/results/answers.json

    evaluate         log p(x) of rows of numbers, by a linear model; the truth is the closed form
    evaluate images  the same of images, with an encoder that is far from p(z|x)
    restore          images of bytes with noise, by their default likelihood
    impute           VAEImputer with one network and otherwise its defaults

Each answer comes from a process of its own, which trains its model first; both checkouts take turns in one
run. A ratio is the other's median of CPU seconds over ours.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import backstory
from record import environment, write

BENCH = Path(__file__).parent
ROWS = {"evaluate": 6000, "evaluate images": 50, "restore": 2, "impute": 569}
Times = dict[str, list[dict[str, float]]]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--against", type=Path, required=True, help="src folder of another checkout")
    parser.add_argument("--questions", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--rows", type=int, help="rows of every question; by default each has its own number")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=BENCH / "results" / "answers.json")
    a = parser.parse_args(arguments)
    sources = {"now": Path(backstory.__file__).parents[1], "before": a.against.resolve()}
    record: dict[str, Any] = {**environment(), "threads": a.threads, "repeats": a.repeats, "answers": {}}
    for question in a.questions:
        asked = {"question": question, "rows": a.rows or ROWS[question], "threads": a.threads}
        taken: Times = {name: [] for name in sources}
        for seed in range(a.repeats):
            for name, source in sources.items():
                taken[name].append(answer(source, {**asked, "seed": seed}))
        record["answers"][question] = {"rows": asked["rows"], **compared(taken)}
        write(a.output, record)
        print(question, json.dumps(record["answers"][question]), file=sys.stderr, flush=True)


def answer(source: Path, asked: dict[str, Any]) -> dict[str, float]:
    """What the worker prints with the package of this folder."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(source), str(BENCH)])}
    environ |= {"OMP_NUM_THREADS": str(asked["threads"])}
    command = [sys.executable, "-m", "workers.answers", json.dumps(asked)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compared(taken: Times) -> dict[str, Any]:
    """Medians of both, and the ratio of their CPU seconds."""
    medians = {
        name: {key: round(statistics.median(one[key] for one in all_of), 4) for key in all_of[0]}
        for name, all_of in taken.items()
    }
    ratio = medians["before"]["cpu_seconds"] / medians["now"]["cpu_seconds"]
    return {**medians, "times_faster": round(ratio, 2)}


if __name__ == "__main__":
    main()
