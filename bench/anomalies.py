"""Anomalies in ADBench's classical sets: Backstory beside four others, on the same rows.

    python bench/anomalies.py             measures, writes bench/results/anomalies.json, renders the table
    python bench/anomalies.py --render    renders the table of the file into docs/anomalies.md again

Each set is a .npz with arrays X and y (1 = anomaly), as in ADBench (Han et al. 2022). AUROC, two protocols:

    normal        trained on half of the normal rows, tested on the other half and the anomalies
    unlabelled    trained on all rows, and tested on the same

Backstory is twice there: `VAEOutlierDetector`, and `fit` with `score`, as on the command line, of tables with
all defaults. Columns are standardised by the training rows, but for `fit`, which gets them as they are. Every
method has one configuration for all sets: its default, KNN the mean distance to 5 neighbours, the mixture 5
components with full covariances, PCA the log-density of probabilistic PCA with half as many components as
columns.
"""

import argparse
import json
import os
import platform
import shlex
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

import backstory
from backstory import VAEOutlierDetector
from backstory.errors import InputError

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- anomalies: begin -->", "<!-- anomalies: end -->"
PROTOCOLS = ("normal", "unlabelled")
DETECTOR, COMMAND = "Backstory", "fit + score"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "adbench")
    parser.add_argument("--rows", type=int, help="at most so many rows of a set, drawn at random")
    parser.add_argument("--seeds", type=int, default=2, help="splits, each with a seed of its own")
    parser.add_argument("--only", help="methods whose names contain one of these, with commas")
    parser.add_argument("--sets", help="sets whose names contain one of these, with commas")
    parser.add_argument("--options", default="{}", help="parameters of the detector, as JSON")
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results" / "anomalies.json")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "anomalies.md")
    parser.add_argument("--render", action="store_true", help="only render the table again")
    arguments = parser.parse_args()
    if not arguments.render:
        measure(arguments)
    render(arguments.output, arguments.docs)


# -- the methods: training rows, test rows and a seed to scores, higher for stranger rows -----------------

Method = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def knn(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """The mean distance to the 5 nearest training rows, the row itself not among them."""
    itself = int(train is test)
    distance, _ = NearestNeighbors(n_neighbors=5 + itself).fit(train).kneighbors(test)
    return distance[:, itself:].mean(1)


def mixture(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    return -GaussianMixture(5, random_state=seed).fit(train).score_samples(test)


def forest(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    return -IsolationForest(random_state=seed).fit(train).score_samples(test)


def pca(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    return -PCA(max(1, train.shape[1] // 2), random_state=seed).fit(train).score_samples(test)


METHODS: dict[str, Method] = {
    "KNN": knn,
    "Gaussian mixture": mixture,
    "isolation forest": forest,
    "PCA density": pca,
}


def detector(options: dict[str, Any]) -> Method:
    def score(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        return -VAEOutlierDetector(random_state=seed, **options).fit(train).score_samples(test)

    return score


def command_line(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """The score of `fit` and `score`, of tables."""
    tables = [pd.DataFrame(x, columns=[f"c{j}" for j in range(x.shape[1])]) for x in (train, test)]
    return -backstory.fit(tables[0], seed=seed, progress=False).score(tables[1]).score


# -- measuring --------------------------------------------------------------------------------------------


def measure(a: argparse.Namespace) -> None:
    """Every method on every set; the file is written anew after each set."""
    options = json.loads(a.options)
    methods = {DETECTOR: detector(options), COMMAND: command_line, **METHODS}
    asked = (a.only or "").split(",")
    methods = {name: method for name, method in methods.items() if any(part in name for part in asked)}
    result: dict[str, Any] = {
        "command": f"python {shlex.join(['bench/anomalies.py', *sys.argv[1:]])}",
        "backstory": backstory.__version__,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "settings": {"rows": a.rows, "seeds": a.seeds, "options": options, "methods": list(methods)},
        "sets": [],
    }
    paths = [
        p for p in sorted(a.data.glob("*.npz")) if not a.sets or any(s in p.stem for s in a.sets.split(","))
    ]
    if not paths:
        raise InputError(f"expected .npz files with X and y in {a.data}, found none; give --data FOLDER")
    for path in paths:
        result["sets"].append(one_set(path, methods, a))
        a.output.parent.mkdir(parents=True, exist_ok=True)
        a.output.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(json.dumps(result["sets"][-1], ensure_ascii=False), file=sys.stderr)


def one_set(path: Path, methods: dict[str, Method], a: argparse.Namespace) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        x, y = file["X"].astype(np.float64), file["y"].astype(int)
    if a.rows and len(x) > a.rows:
        some = np.random.default_rng(0).choice(len(x), a.rows, replace=False)
        x, y = x[some], y[some]
    found: dict[str, Any] = {"name": path.stem, "shape": list(x.shape), "anomalies": int(y.sum())}
    for protocol in PROTOCOLS:
        found[protocol] = {}
        for name, method in methods.items():
            started = time.perf_counter()
            scaled = name != COMMAND
            areas = [area(x, y, protocol, method, seed, scaled) for seed in range(a.seeds)]
            seconds = (time.perf_counter() - started) / a.seeds
            found[protocol][name] = {"auroc": float(np.mean(areas)), "seconds": seconds}
    return found


def area(x: np.ndarray, y: np.ndarray, protocol: str, method: Method, seed: int, standardise: bool) -> float:
    """AUROC of one method on one split."""
    train = test = np.arange(len(x))
    if protocol == "normal":
        normal = np.random.default_rng(seed).permutation(np.flatnonzero(y == 0))
        half = len(normal) // 2
        train, test = normal[:half], np.concatenate([normal[half:], np.flatnonzero(y == 1)])
    scaled = x
    if standardise:
        mean, std = x[train].mean(0), x[train].std(0)
        scaled = (x - mean) / np.where(std > 0, std, 1.0)
    rows = scaled[train]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mixtures that do not converge
        scores = method(rows, rows if protocol == "unlabelled" else scaled[test], seed)
    return float(roc_auc_score(y[test], scores))


# -- the table --------------------------------------------------------------------------------------------


def render(source: Path, docs: Path) -> None:
    """Put the tables of a result between the markers of a page."""
    result = json.loads(source.read_text(encoding="utf-8"))
    s = result["settings"]
    rows = "all rows" if s["rows"] is None else f"at most {s['rows']:,} rows of a set"
    splits = "one split" if s["seeds"] == 1 else f"means of {s['seeds']} splits"
    lines = [f"AUROC, {splits}, {rows}; {result['machine']}, torch {result['torch']}."]
    lines += [f"`{result['command']}`"]
    for protocol in PROTOCOLS:
        lines += ["", f"Protocol *{protocol}*:", "", f"| set | rows × columns | {' | '.join(s['methods'])} |"]
        lines += ["|---|---:|" + "---:|" * len(s["methods"])]
        areas = np.array([[r[protocol][m]["auroc"] for m in s["methods"]] for r in result["sets"]])
        for r, row in zip(result["sets"], areas, strict=True):
            size = " × ".join(f"{n:,}" for n in r["shape"])
            lines.append(f"| {r['name'].partition('_')[2] or r['name']} | {size} | {cells(row)} |")
        lines.append(f"| **average** | | {cells(areas.mean(0))} |")
    text = docs.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    docs.write_text("\n".join([before + BEGIN, *lines, END + after]), encoding="utf-8")


def cells(values: np.ndarray) -> str:
    """The numbers of a row, the largest in bold."""
    top = f"{values.max():.3f}"
    return " | ".join(f"**{v:.3f}**" if f"{v:.3f}" == top else f"{v:.3f}" for v in values)


if __name__ == "__main__":
    main()
