"""Each objective at equal epochs on MNIST: what it learns, and what it costs.

    python bench/objectives.py             trains, writes bench/results/objectives.json, renders the table
    python bench/objectives.py --render    renders the table of the file into docs/objectives.md again

Every run has the same net (784-200-200-50 tanh), seed, rows, order and learning-rate schedule, dynamic
binarisation, and no validation set: the weights are those of the last epoch. ELBO and log-evidence
(importance sampling) are means over test rows that are the same for all.
"""

import argparse
import json
import os
import platform
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import backstory
from backstory.data.dataset import Dataset
from backstory.errors import InputError
from record import place

ROOT = Path(__file__).parents[1]

# What the table calls a run, and its options; one draw of z for each row and step unless they say otherwise.
RUNS: dict[str, dict[str, Any]] = {
    "ELBO": {},
    "ELBO, no warm-up": {"warmup": 0},
    "ELBO, cyclical warm-up, M = 2": {"warmup_cycles": 2},
    "ELBO, 5 draws": {"samples": 5},
    "ELBO, sampled KL": {"objective": "elbo-sampled"},
    "β-ELBO, β = 2": {"beta": 2.0},
    "free bits, λ = 0.125": {"objective": "free-bits", "objective_args": {"threshold": 0.125}},
    "capacity, C = 25, γ = 10": {
        "objective": "capacity",
        "objective_args": {"capacity": 25.0, "gamma": 10.0},
    },
    "sticking the landing": {"objective": "stl"},
    "score function": {"objective": "score"},
    "score function, 5 draws": {"objective": "score", "samples": 5},
    "IWAE, K = 5": {"objective": "iwae", "samples": 5},
    "MIWAE, M = 2, K = 5": {"objective": "miwae", "samples": 10, "objective_args": {"averages": 2}},
    "DReG, K = 5": {"objective": "dreg", "samples": 5},
    "Rényi, α = 0.5, K = 5": {"objective": "renyi", "samples": 5, "objective_args": {"alpha": 0.5}},
    "β-TCVAE, β = 4": {"objective": "tcvae", "beta": 4.0},
    "InfoVAE, β = 1, weight 100": {"objective": "mmd", "objective_args": {"weight": 100.0}},
    "WAE, β = 0, weight 1000": {"objective": "mmd", "beta": 0.0, "objective_args": {"weight": 1000.0}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default=str(ROOT.parent / "shared" / "data" / "mnist"))
    parser.add_argument("--rows", type=int, default=10_000, help="training rows")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--hidden", default="200,200")
    parser.add_argument("--latent", type=int, default=50)
    parser.add_argument("--test-rows", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=500, help="importance samples of the evaluation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="runs whose name contains this")
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results" / "objectives.json")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "objectives.md")
    parser.add_argument("--render", action="store_true", help="only render the table again")
    arguments = parser.parse_args()
    if not arguments.render:
        measure(arguments)
    render(arguments.output, arguments.docs)


def measure(a: argparse.Namespace) -> None:
    """Train and evaluate each run; the file is written anew after every one."""
    train, test = parts(backstory.load(a.data), a.rows, a.test_rows)
    result: dict[str, Any] = {
        "command": f"python {shlex.join(['bench/objectives.py', *sys.argv[1:]])}",
        "backstory": backstory.__version__,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "settings": {
            "rows": len(train),
            "epochs": a.epochs,
            "net": f"{int(np.prod(train.schema.shape))}-{a.hidden.replace(',', '-')}-{a.latent} tanh",
            "test_rows": len(test),
            "samples": a.samples,
            "seed": a.seed,
        },
        "runs": [],
    }
    for name, options in RUNS.items():
        if a.only and a.only not in name:
            continue
        result["runs"].append({"name": name, "options": options, **run(train, test, options, a)})
        a.output.parent.mkdir(parents=True, exist_ok=True)
        a.output.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(json.dumps(result["runs"][-1], ensure_ascii=False), file=sys.stderr)


def parts(data: Dataset, rows: int, test_rows: int) -> tuple[Dataset, Dataset]:
    """The first rows of the training and of the test part."""
    if data.test_rows is None:
        raise InputError(f"{data.source} has no test part; give a folder with the four MNIST-style files")

    def first(index: np.ndarray, count: int) -> Dataset:
        values = data.values[index[:count]]
        return replace(data, values=values, labels=None, test_rows=None, names=None)

    train = np.setdiff1d(np.arange(len(data)), data.test_rows)
    return first(train, rows), first(data.test_rows, test_rows)


def run(train: Dataset, test: Dataset, options: dict[str, Any], a: argparse.Namespace) -> dict[str, Any]:
    started = time.perf_counter()
    model = backstory.fit(
        train,
        likelihood="bernoulli",
        network="plain",
        activation="tanh",
        hidden=tuple(int(width) for width in a.hidden.split(",")),
        latent=a.latent,
        epochs=a.epochs,
        validation=0.0,
        seed=a.seed,
        progress=False,
        **options,
    )
    seconds = time.perf_counter() - started
    e = model.evaluate(test, samples=a.samples, seed=a.seed)
    names = ("elbo", "reconstruction", "kl", "log_evidence", "standard_error", "active_units")
    return {**{name: getattr(e, name) for name in names}, "seconds": seconds}


def render(source: Path, docs: Path) -> None:
    """Put the table of a result between the markers of a page."""
    result = json.loads(source.read_text(encoding="utf-8"))
    s = result["settings"]
    lines = [
        f"{s['rows']:,} training rows, {s['epochs']} epochs, net {s['net']}, dynamic binarisation; "
        f"{s['test_rows']:,} test rows, importance sampling with {s['samples']:,} draws; "
        f"{result['machine']}, torch {result['torch']}. `{result['command']}`",
        "",
        "| objective | test ELBO | reconstruction | KL | log-evidence | active units | seconds |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for r in result["runs"]:
        cells = [r["name"], *(f"{r[name]:.2f}" for name in ("elbo", "reconstruction", "kl"))]
        cells += [f"{r['log_evidence']:.2f} ± {r['standard_error']:.2f}"]
        lines.append("| " + " | ".join([*cells, str(r["active_units"]), f"{r['seconds']:.0f}"]) + " |")
    place(docs, "objectives", lines)


if __name__ == "__main__":
    main()
