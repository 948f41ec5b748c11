"""What mixed tables cost: rows per second of reading, training, scoring, sampling and imputing, and memory.

    python bench/tables.py                     10,000, 100,000 and 1,000,000 rows, and the picture
    python bench/tables.py --rows 10000        others; the rest of the results stays
    python bench/tables.py --likelihood joint  columns that are independent given z

The table is that of tests/mixed.py, 18 columns of all kinds, as CSV. Each size has a process of its own,
whose peak resident memory is measured after reading and after training. Training is for a given time,
or for one epoch where that takes longer; its rows per second are those of whole epochs. log p(x) (100 draws),
sampling, and imputing (a fifth of the cells hidden) are timed on the first rows alone, each of which gets
what it would get among all (`usual_budget`). Nothing is timed that is done once in a process, such as
importing pandas.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import backstory
from backstory.inference.effort import usual_budget
from backstory.inference.requests import COSTLY
from record import environment, timed, write

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from mixed import mixed_table  # noqa: E402

SCORED, IMPUTED, SAMPLED = 5_000, 1_000, 50_000
WORK = ("read", "fit", "score", "sample", "impute")
LINES = {"auto": "o-", "joint": "o:"}  # by likelihood


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--likelihood", choices=LINES, default="auto")
    parser.add_argument("--minutes", type=float, default=1.0, help="of training at each size")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results" / "tables.json")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "images" / "tables.png")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)  # the work of one process
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    if a.one:
        print(json.dumps(measured(a.one, a.minutes, a.likelihood)))
        return
    result = json.loads(a.output.read_text(encoding="utf-8")) if a.output.exists() else {}
    for rows in a.rows:
        result.setdefault(a.likelihood, {})[str(rows)] = {**environment(), **apart(rows, a)}
        write(a.output, result)
    draw(result, a.picture)


def apart(rows: int, a: argparse.Namespace) -> dict[str, Any]:
    """The measurements of one size, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        mixed_table(rows, 0).to_csv(path, index=False)
        how = ["--one", str(path), "--minutes", str(a.minutes), "--threads", str(a.threads)]
        how += ["--likelihood", a.likelihood]
        done = subprocess.run([sys.executable, __file__, *how], stdout=subprocess.PIPE, text=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        found["file_mib"] = round(path.stat().st_size / 2**20, 1)
    print(f"{rows:>9,} rows", found, flush=True)
    return found


def measured(path: Path, minutes: float, likelihood: str) -> dict[str, Any]:
    backstory.load(mixed_table(20, 0))  # so that what it needs is imported
    data, reading = timed(lambda: backstory.load(path))
    after_reading = peak()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        options = {"likelihood": likelihood, "progress": False, "validation": 0.01}
        model = backstory.fit(data, run, minutes=minutes, **options)
        if model.summary["epochs"] == 1 and model.summary["stopped"] == "time":  # not even a whole one
            model = backstory.fit(data, run, epochs=1, force=True, **options)
        lines = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        epochs = [line["seconds"] for line in lines]
        if model.summary["stopped"] == "time":
            epochs.pop()  # which was cut off
    training = peak()
    rows = np.asarray(data.values[:SCORED])
    holes = np.where(np.random.default_rng(0).random(rows.shape) < 0.2, np.nan, rows)[:IMPUTED]
    dependent = model.vae.codes_to_weigh is not None
    budget = max(1, COSTLY // len(data)) if dependent else usual_budget(len(data))
    use: dict[str, tuple[int, Callable[[], Any]]] = {
        "score": (len(rows), lambda: model.log_evidence(rows, samples=100)),
        "sample": (SAMPLED, lambda: model.sample(SAMPLED, seed=0, frame=False)),
        "impute": (len(holes), lambda: model.restore(holes, draws=1, budget=budget)),
    }
    # the first epoch may be compiled; where there is no other, it is all there is
    rates = {
        "read": len(data) / reading,
        "fit": len(model.splits.train) / float(np.median(epochs[1:] or epochs)),
    }
    done = {name: timed(call) for name, (_, call) in use.items()}
    rates |= {name: count / done[name][1] for name, (count, _) in use.items()}
    return {
        "rows_per_second": {name: round(rates[name], 1) for name in WORK},
        "peak_mib": {"read": after_reading, "fit": training},
        "epochs": model.summary["epochs"],
        "ess_of_imputed": round(float(np.nanmedian(done["impute"][0].ess)), 1),
    }


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def draw(results: dict[str, Any], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for likelihood, sizes in results.items():
        rows = sorted(map(int, sizes))
        line, known = LINES[likelihood], "" if likelihood == "auto" else f", {likelihood}"
        for colour, name in enumerate(WORK):
            rates = [sizes[str(n)]["rows_per_second"][name] for n in rows]
            left.plot(rows, rates, line, color=f"C{colour}", label=None if known else name)
        for colour, name in enumerate(("read", "fit")):
            peaks = [sizes[str(n)]["peak_mib"][name] for n in rows]
            right.plot(rows, peaks, line, color=f"C{colour}", label=f"after {name}{known}")
    left.set(xscale="log", yscale="log", xlabel="rows of the table", ylabel="rows per second")
    left.legend(frameon=False, ncols=2, title="solid: default; dotted: joint")
    right.set(xscale="log", xlabel="rows of the table", ylabel="peak memory, MiB", ylim=(0, None))
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
