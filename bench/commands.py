"""Synthetic rows and log p(x) of a table by the plain commands, without any option.

    python bench/commands.py magic default            (bench/results/commands.json)
    python bench/commands.py magic --likelihood joint  beside it, with columns independent given z

Nine rows of ten are for training, the others are held out; as many rows are drawn as there are for training.

    backstory fit train.csv -o run
    backstory sample run -n N -o synthetic.csv
    backstory compare synthetic.csv train.csv held-out.csv
    backstory evaluate run held-out.csv

The numbers are those that `compare` and `evaluate` print (shapes and pairs in SDMetrics' sense as errors in
per cent, against the training rows), and CPU seconds of each command.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from record import environment, write

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "bench" / "results" / "commands.json"
TABLES = ROOT.parent / "shared" / "data" / "tables"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="+", metavar="TABLE", help="a name, or a CSV file")
    parser.add_argument("--likelihood", default="auto")
    parser.add_argument("--seed", type=int, default=0, help="of the split")
    a = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    for name in a.tables:
        found = environment() | measured(read(name), a.likelihood, a.seed)
        results.setdefault(Path(name).name.split(".")[0], {})[a.likelihood] = found
        print(name, a.likelihood, found, flush=True)
        write(RESULT, results)


def read(name: str) -> pd.DataFrame:
    path = TABLES / f"{name}.csv.gz"
    return pd.read_csv(path if path.exists() else name)


def measured(frame: pd.DataFrame, likelihood: str, seed: int) -> dict[str, Any]:
    train = frame.sample(frac=0.9, random_state=seed)
    held_out = frame.drop(train.index)
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        train.to_csv(Path(folder) / "train.csv", index=False)
        held_out.to_csv(Path(folder) / "held-out.csv", index=False)

        def command(line: str) -> dict[str, Any]:
            start = resource.getrusage(resource.RUSAGE_CHILDREN)
            call = [sys.executable, "-m", "backstory", *line.split()]
            alone = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(call, cwd=folder, stdout=subprocess.PIPE, text=True, check=True, env=alone)
            end = resource.getrusage(resource.RUSAGE_CHILDREN)
            used = end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime
            seconds[line.split()[0]] = round(used, 1)
            answer: dict[str, Any] = json.loads(done.stdout) if "--json" in line else {}
            return answer

        chosen = "" if likelihood == "auto" else f" --likelihood {likelihood}"
        command(f"fit train.csv -o run{chosen}")
        command(f"sample run -n {len(train)} -o synthetic.csv")
        alike = command("compare synthetic.csv train.csv held-out.csv --json")
        evidence = command("evaluate run held-out.csv --json")
    errors = {name: round(100 * (1 - alike[name]["mean"]), 3) for name in ("shapes", "pairs")}
    return {
        "rows": len(train),
        "errors_in_percent": errors,
        "two_sample": alike["two_sample"],
        "privacy": alike["privacy"],
        "transfer": alike["transfer"],
        "evidence": numbers(evidence),
        "cpu_seconds": seconds,
    }


def numbers(answer: dict[str, Any]) -> dict[str, float]:
    """The single numbers of an answer, without those of columns and rows."""
    return {name: value for name, value in answer.items() if isinstance(value, int | float)}


if __name__ == "__main__":
    main()
