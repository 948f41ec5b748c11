"""Missing cells of tables: how near the means that restoration fills in come to the truth, beside others.

    python bench/imputation.py                 writes bench/results/imputation.json, renders the tables
    python bench/imputation.py --render        renders the tables of the file into docs/imputation.md again
    python bench/imputation.py --only breast   one table; what the file has of others stays
    python bench/imputation.py --cost          the cost of VAEImputer: bench/results/imputation_cost.json

Columns are standardised with all rows. Then cells are hidden, in two ways, the same for every method:

    random   half of all cells, whatever they hold
    above    in the first half of the columns, every value above the column's mean (Ipsen, Mattei &
             Frellsen 2021, sec. 4.1)

The number is the mean squared error over the hidden cells, in which the mean of a column has about 1 for
`random`. Nothing of the hidden cells reaches a method. Backstory has the defaults of `fit` and `restore`;
`--cost` hides 30 % of the cells of 1,500 rows of tables with columns of several kinds. It compares VAEImputer
with its options, and with those of `fit` and no limit of the codes for each row, which it had before: CPU
seconds of one thread, root mean squared error of the numbers in standard deviations, and accuracy of the
levels.

"3 fits" is `fit(…, ensemble=3)`, and "3 of all rows" the same without rows for validation, trained to its
end.
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
import sklearn
import torch
from sklearn import datasets
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

import backstory
from backstory.sklearn import imputer

ROOT = Path(__file__).parents[1]
UCI = ROOT.parent / "shared" / "data" / "uci"
MIXED = ROOT.parent / "shared" / "data" / "tables"
BEGIN, END = "<!-- {}: begin -->", "<!-- {}: end -->"


def uci(name: str, columns: int, rows: int | None = None) -> np.ndarray:
    table = pd.read_csv(UCI / f"{name}.csv.gz", header=None).to_numpy(float)[:, :columns]
    return table if rows is None else table[np.random.default_rng(0).permutation(len(table))[:rows]]


def digits() -> np.ndarray:
    pixels = datasets.load_digits().data
    return pixels[:, pixels.std(0) > 0.5]


TABLES: dict[str, Callable[[], np.ndarray]] = {
    "breast": lambda: datasets.load_breast_cancer().data,
    "red wine": lambda: uci("wine", 11),
    "red wine, quality": lambda: uci("wine", 12),
    "wine": lambda: datasets.load_wine().data,
    "diabetes": lambda: datasets.load_diabetes().data,
    "iris": lambda: datasets.load_iris().data,
    "bike": lambda: uci("bike", 18, 2000),
    "digits": digits,
}
TREES = 40  # of each column's forest


def ours(holes: np.ndarray, seed: int, **options: Any) -> np.ndarray:
    names = [f"x{j}" for j in range(holes.shape[1])]
    frame = pd.DataFrame(holes, columns=names)
    model = backstory.fit(frame, seed=seed, progress=False, **options)
    return model.restore(frame, draws=1, seed=seed).mean


def sklearns(make: Callable[[int], Any]) -> Callable[[np.ndarray, int], np.ndarray]:
    return lambda holes, seed: np.asarray(make(seed).fit_transform(holes))


def forest(seed: int) -> Any:
    """In the manner of missForest (Stekhoven & Bühlmann 2012), with extremely randomised trees."""
    trees = ExtraTreesRegressor(TREES, min_samples_leaf=1, random_state=seed)
    return IterativeImputer(trees, max_iter=5, random_state=seed)


SELF = {"missingness": "self"}
HIGH = {"missingness": "self-high"}
THREE: dict[str, Any] = {"ensemble": 3}
WHOLE: dict[str, Any] = {"ensemble": 3, "validation": 0.0}
Method = Callable[[np.ndarray, int], np.ndarray]
COMMON: dict[str, Method] = {
    "mean": sklearns(lambda seed: SimpleImputer()),
    "KNN": sklearns(lambda seed: KNNImputer()),
    "MICE": sklearns(lambda seed: IterativeImputer(max_iter=10, random_state=seed)),
    "forest": sklearns(forest),
    "Backstory": ours,
    "Backstory, 3 fits": lambda holes, seed: ours(holes, seed, **THREE),
}
METHODS: dict[str, dict[str, Method]] = {
    "random": {**COMMON, "Backstory, 3 of all rows": lambda holes, seed: ours(holes, seed, **WHOLE)},
    "above": {
        **COMMON,
        "Backstory, self": lambda holes, seed: ours(holes, seed, **SELF),
        "Backstory, self-high": lambda holes, seed: ours(holes, seed, **HIGH),
    },
}


def hide(x: np.ndarray, how: str, seed: int) -> np.ndarray:
    """Which cells are hidden, of bool."""
    if how == "random":
        return np.random.default_rng(seed).random(x.shape) < 0.5
    return (x > 0) & (np.arange(x.shape[1]) < x.shape[1] // 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES), metavar="TABLE")
    parser.add_argument("--hidden", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="those whose name begins so")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the mask and the method")
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results" / "imputation.json")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "imputation.md")
    parser.add_argument("--render", action="store_true", help="only render the tables again")
    parser.add_argument("--cost", nargs="*", metavar="TABLE", help="measure the cost of VAEImputer")
    parser.add_argument("--ensemble", type=int, default=3, help="models of VAEImputer, for --cost")
    arguments = parser.parse_args()
    if arguments.cost is not None:
        measure_cost(arguments)
        return
    if not arguments.render:
        measure(arguments)
    render(arguments.output, arguments.docs)


def measure(a: argparse.Namespace) -> None:
    """Every method on every table; the file is written anew after each, in place of an earlier number."""
    warnings.filterwarnings("ignore", module="sklearn")
    earlier = json.loads(a.output.read_text(encoding="utf-8"))["runs"] if a.output.is_file() else []
    runs = {key(run): run for run in earlier}
    for table in a.only:
        x = standardised(TABLES[table]())
        for how in a.hidden:
            for name, method in METHODS[how].items():
                if a.methods and not name.startswith(tuple(a.methods)):
                    continue
                for seed in a.seeds:
                    run = {
                        "table": table,
                        "shape": list(x.shape),
                        "hidden": how,
                        "method": name,
                        "seed": seed,
                    }
                    run |= measured(x, hide(x, how, seed), method, seed)
                    run["command"] = f"python {shlex.join(['bench/imputation.py', *sys.argv[1:]])}"
                    runs[key(run)] = run
                    write(a.output, list(runs.values()))
                    print(json.dumps(run), file=sys.stderr)


# -- the cost of VAEImputer -------------------------------------------------------------------------------

BEFORE = {"samples": 20, "batch_size": 64, "lr": 3e-3, "epochs": 150}


def measure_cost(a: argparse.Namespace) -> None:
    """VAEImputer with the options of `fit`, and with its own, on the same rows in one process."""
    torch.set_num_threads(1)
    output = a.output.with_name("imputation_cost.json")
    runs = []
    for name in a.cost or ["magic", "default", "obesity", "spambase"]:
        whole = pd.read_csv(MIXED / f"{name}.csv.gz").sample(1500, random_state=0).reset_index(drop=True)
        whole = whole.astype({c: float for c in whole if pd.api.types.is_numeric_dtype(whole[c])})
        for seed in a.seeds:
            hidden = np.random.default_rng(seed).random(whole.shape) < 0.3
            pair = [cost(whole, hidden, seed, a.ensemble, before) for before in (True, False)]
            ratio = pair[1]["cpu_seconds"] / pair[0]["cpu_seconds"]
            runs.append(
                {"table": name, "seed": seed, "before": pair[0], "now": pair[1], "ratio": round(ratio, 3)}
            )
            command = f"python {shlex.join(['bench/imputation.py', *sys.argv[1:]])}"
            record = {"command": command, "ensemble": a.ensemble, "rows": len(whole), "runs": runs}
            output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            print(json.dumps(runs[-1]), file=sys.stderr)


def cost(
    whole: pd.DataFrame, hidden: np.ndarray, seed: int, ensemble: int, before: bool
) -> dict[str, float | None]:
    """CPU seconds and errors of one imputation."""
    options, budget = ({**BEFORE}, None) if before else ({}, imputer.BUDGET)
    started, usual = time.process_time(), imputer.BUDGET
    imputer.BUDGET = budget  # type: ignore[assignment]
    try:
        made = backstory.VAEImputer(ensemble=ensemble, random_state=seed, options=options)
        filled = made.fit_transform(whole.mask(hidden))
    finally:
        imputer.BUDGET = usual
    seconds = round(time.process_time() - started, 1)
    return {"cpu_seconds": seconds, **errors_of(whole, pd.DataFrame(filled, columns=whole.columns), hidden)}


def errors_of(whole: pd.DataFrame, filled: pd.DataFrame, hidden: np.ndarray) -> dict[str, float | None]:
    """Averages over the columns: the error of numbers in standard deviations, the accuracy of others."""
    errors, hits = [], []
    for j, name in enumerate(whole):
        truth, guess, at = whole[name], filled[name], hidden[:, j]
        if pd.api.types.is_numeric_dtype(truth):
            distance = guess[at].to_numpy(float) - truth[at].to_numpy(float)
            errors.append(float(np.sqrt(np.square(distance).mean()) / (truth.std() or 1)))
        else:
            hits.append(float((guess[at].astype(str) == truth[at].astype(str)).mean()))
    accuracy = round(float(np.mean(hits)), 4) if hits else None
    return {"nrmse": round(float(np.mean(errors)), 4), "accuracy": accuracy}


def standardised(x: np.ndarray) -> np.ndarray:
    return np.asarray((x - x.mean(0)) / x.std(0), np.float64)


def key(run: dict[str, Any]) -> tuple[Any, ...]:
    return run["table"], run["hidden"], run["method"], run["seed"]


def measured(x: np.ndarray, hidden: np.ndarray, method: Method, seed: int) -> dict[str, float]:
    started = time.perf_counter()
    filled = method(np.where(hidden, np.nan, x), seed)
    seconds = time.perf_counter() - started
    return {"mse": float(np.square(filled - x)[hidden].mean()), "seconds": round(seconds, 1)}


def write(path: Path, runs: list[dict[str, Any]]) -> None:
    result = {
        "backstory": backstory.__version__,
        "torch": torch.__version__,
        "sklearn": sklearn.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "runs": runs,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def render(source: Path, docs: Path) -> None:
    """Put the tables of a result between the markers of a page."""
    result = json.loads(source.read_text(encoding="utf-8"))
    text = docs.read_text(encoding="utf-8")
    for how in METHODS:
        begin, end = BEGIN.format(how), END.format(how)
        before, rest = text.split(begin)
        after = rest.split(end)[1]
        text = "\n".join([before + begin, *table_of(result["runs"], how), end + after])
    docs.write_text(text, encoding="utf-8")


def table_of(runs: list[dict[str, Any]], how: str) -> list[str]:
    """A line for each table, with the mean over the seeds of each method; the least is bold."""
    names = list(METHODS[how])
    lines = [f"| table | {' | '.join(names)} | seeds |", f"|---|{'---:|' * len(names)}---|"]
    for table in TABLES:
        here = [run for run in runs if run["table"] == table and run["hidden"] == how]
        if not here:
            continue
        errors = {name: [run["mse"] for run in here if run["method"] == name] for name in names}
        means = {name: float(np.mean(values)) for name, values in errors.items() if values}
        least = min(means.values())
        cells = [cell(means[name], least) if name in means else "" for name in names]
        rows, columns = here[0]["shape"]
        seeds = ", ".join(str(seed) for seed in sorted({run["seed"] for run in here}))
        lines.append(f"| {table}, {rows:,} × {columns} | {' | '.join(cells)} | {seeds} |")
    return lines


def cell(value: float, least: float) -> str:
    return f"**{value:.3f}**" if value == least else f"{value:.3f}"


if __name__ == "__main__":
    main()
