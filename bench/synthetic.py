"""Synthetic rows of mixed tables, beside CTGAN's TVAE with the same time to train.

    python bench/synthetic.py run customers bike cancer   trains, draws, judges (bench/results/synthetic.json)
    python bench/synthetic.py render                      the table of docs/tables.md from this file

Needs the packages ctgan and sdmetrics, in an environment of their own. Seven rows of ten are for training;
all figures compare as many synthetic rows with the other three. Columns are those that Backstory models, and
TVAE is told the same kinds: columns with levels and grids are discrete, all others continuous, and what it
draws is rounded and clipped as Backstory's draws are. Empty cells: TVAE sees a median and a discrete column
that says so, and draws both; Backstory draws whole rows, in which the cells are emptied that are empty in
training rows chosen at random. Both train on one thread of the processor, for as many epochs as take so many
seconds of it (Backstory until it no longer improves). `training rows` are real rows in the place of synthetic
ones: the best there can be.

    shapes, pairs   SDMetrics' quality report: Kolmogorov-Smirnov and total variation complement of columns;
                    correlation and contingency similarity of pairs of columns, 1 is best; newer
                    versions take those pairs alone that hang together in the real rows (correlation above
                    0.5, Cramér's V above 0.3), older ones and `backstory compare` take all
    two-sample      AUROC of gradient boosting that tells synthetic from real rows, 0.5 is best
    transfer        AUROC or R² for real rows of gradient boosting that was trained on synthetic rows
    nearest         median distance to the nearest training row, divided by that of real held-out rows: far
                    below 1, rows were learned by heart
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import NearestNeighbors

import backstory
from backstory.comparing.boosting import categories, predictability
from backstory.data.dataset import Dataset
from backstory.data.schema import Schema
from backstory.data.tables.columns import Column
from record import environment, place, write

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "bench" / "results" / "synthetic.json"
BIKE = ROOT.parent / "shared" / "data" / "uci" / "bike.csv.gz"
ROWS, LONGEST = 5000, 200  # of a table, and epochs of Backstory, its usual bound
sys.path.append(str(ROOT / "tests"))


def customers() -> pd.DataFrame:
    from mixed import mixed_table

    return mixed_table(ROWS, 0).drop(columns=["customer_id", "version"])


def bike() -> pd.DataFrame:
    frame = pd.read_csv(BIKE, header=None, names=[f"c{j}" for j in range(18)])
    return frame.sample(ROWS, random_state=0).reset_index(drop=True)


def cancer() -> pd.DataFrame:
    data = load_breast_cancer(as_frame=True)
    return data.data.assign(diagnosis=np.array(data.target_names)[data.target])


SETS: dict[str, tuple[Callable[[], pd.DataFrame], str]] = {  # and the column to predict
    "customers": (customers, "member"),
    "bike": (bike, "c17"),
    "cancer": (cancer, "diagnosis"),
}


Drawn = tuple[np.ndarray, dict[str, Any]]


@dataclass(frozen=True)
class Split:
    """Stored values of a table's rows."""

    data: Dataset
    train: np.ndarray
    test: np.ndarray

    @property
    def schema(self) -> Schema:
        return self.data.schema


def split_of(name: str) -> Split:
    data = backstory.load(SETS[name][0]())
    order = np.random.default_rng(0).permutation(len(data))
    cut = int(0.7 * len(data))
    return Split(data, np.asarray(data.values)[order[:cut]], np.asarray(data.values)[order[cut:]])


# -- models -----------------------------------------------------------------------------------------------


def ours(split: Split, seconds: float) -> Drawn:
    """As many rows as are held out, and what training took."""
    data = Dataset(split.train, split.schema, source="training rows")

    def fitted(epochs: int) -> tuple[backstory.Model, float]:
        start = time.process_time()
        model = backstory.fit(data, epochs=epochs, device="cpu", compile=False, progress=False)
        return model, time.process_time() - start

    model, spent = fitted(min(LONGEST, _epochs(fitted, seconds, 3)))
    x = np.array(model.sample(len(split.test), seed=0, frame=False))
    rows = np.random.default_rng(1).integers(0, len(split.train), len(x))
    x[np.isnan(split.train[rows])] = np.nan
    told = {"epochs": model.summary["epochs"], "stopped": model.summary["stopped"]}
    return x, {"processor_seconds": spent} | told


def _epochs(fitted: Callable[[int], tuple[Any, float]], seconds: float, more: int) -> int:
    """As many as take so many seconds, by a training of one epoch and one of some more."""
    _, one, several = fitted(1)[1], fitted(1)[1], fitted(1 + more)[1]  # the first has to import and prepare
    return max(1, 1 + round((seconds - one) * more / max(several - one, 1e-3)))


def tvae(split: Split, seconds: float) -> Drawn:
    """The same from TVAE, with as many epochs as the time allows."""
    import torch
    from ctgan import TVAE

    frame, discrete = _for_tvae(split)

    def fitted(epochs: int) -> tuple[Any, float]:
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 - it draws from the global state
        start = time.process_time()
        model = TVAE(epochs=epochs, enable_gpu=False)
        model.fit(frame, discrete)
        return model, time.process_time() - start

    epochs = _epochs(fitted, seconds, 20)
    model, spent = fitted(epochs)
    drawn = model.sample(len(split.test))
    values = np.empty((len(drawn), len(split.schema.kinds)))
    for j, column in enumerate(split.schema.kinds):
        if _has_levels(column):
            values[:, j] = drawn[f"x{j}"].replace("empty", np.nan).astype(float)
        else:
            values[:, j] = column.settled(drawn[f"x{j}"].to_numpy(float))
            if f"empty{j}" in drawn:
                values[drawn[f"empty{j}"] == "yes", j] = np.nan
    return values, {"processor_seconds": spent, "epochs": epochs}


def _for_tvae(split: Split) -> tuple[pd.DataFrame, list[str]]:
    """Training rows as TVAE takes them, and which of the columns are discrete."""
    columns: dict[str, Any] = {}
    for j, column in enumerate(split.schema.kinds):
        x = pd.Series(split.train[:, j])
        if _has_levels(column):
            columns[f"x{j}"] = x.map(lambda v: "empty" if np.isnan(v) else repr(float(v)))
            continue
        columns[f"x{j}"] = x.fillna(x.median())
        if x.isna().any():
            columns[f"empty{j}"] = np.where(x.isna(), "yes", "no")
    frame = pd.DataFrame(columns)
    return frame, [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]


def _has_levels(column: Column) -> bool:
    """Whether it is one of few values, as texts or as numbers."""
    return column.levels is not None or column.values is not None


MODELS = {"backstory": ours, "tvae": tvae}


# -- judgement --------------------------------------------------------------------------------------------


def judged(split: Split, x: np.ndarray, target: str) -> dict[str, Any]:
    """All figures of some rows of stored values."""
    shapes, pairs, columns = _quality(split, x)
    return {
        "shapes": shapes,
        "pairs": pairs,
        "two_sample": _two_sample(split, x),
        "transfer": _transfer(split, x, target),
        "nearest": _nearest(split, x) / _nearest(split, split.test),
        "columns": columns,
    }


def _quality(split: Split, x: np.ndarray) -> tuple[float, float, dict[str, float]]:
    """Shapes and pairs on average, and the shape of each column."""
    from sdmetrics.reports.single_table import QualityReport

    kinds = {c.name: "numerical" if c.levels is None else "categorical" for c in split.schema.kinds}
    frames = [_frame(split.schema, values) for values in (split.test, x)]
    report = QualityReport()
    described = {"columns": {name: {"sdtype": kind} for name, kind in kinds.items()}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report.generate(*frames, described, verbose=False)
    scores = report.get_properties().set_index("Property")["Score"]
    each = report.get_details("Column Shapes").set_index("Column")["Score"]
    return scores["Column Shapes"], scores["Column Pair Trends"], each.round(4).to_dict()


def _frame(schema: Schema, values: np.ndarray) -> pd.DataFrame:
    """Numbers as numbers, levels as texts."""
    frame = pd.DataFrame(values, columns=list(schema.columns or ()))
    for column in schema.kinds:
        if column.levels is not None:
            known = dict(enumerate(column.levels))
            frame[column.name] = frame[column.name].map(known).astype(object)
    return frame


def _two_sample(split: Split, x: np.ndarray) -> float:
    both = np.concatenate([split.test, x])
    label = np.repeat([0, 1], [len(split.test), len(x)])
    kinds = categories(split.schema.kinds)
    judge = HistGradientBoostingClassifier(categorical_features=kinds, random_state=0)
    order = np.random.default_rng(0).permutation(len(both))
    found = cross_val_predict(judge, both[order], label[order], cv=5, method="predict_proba")[:, 1]
    return float(roc_auc_score(label[order], found))


def _transfer(split: Split, x: np.ndarray, target: str) -> float:
    return predictability(x, split.test, split.schema.kinds, list(split.schema.columns or ()).index(target))


def _nearest(split: Split, x: np.ndarray) -> float:
    """Median distance to the nearest training row, in standard deviations; another level counts as one."""
    middle, scale = np.nanmedian(split.train, axis=0), np.nanstd(split.train, axis=0)

    def features(values: np.ndarray) -> np.ndarray:
        filled = np.where(np.isnan(values), middle, values)
        parts = []
        for j, column in enumerate(split.schema.kinds):
            if column.levels is None:
                parts.append(((filled[:, j] - middle[j]) / (scale[j] or 1))[:, None])
            else:
                parts.append(np.eye(len(column.levels))[filled[:, j].astype(int)] / np.sqrt(2))
        return np.concatenate(parts, axis=1)

    search = NearestNeighbors(n_neighbors=1).fit(features(split.train))
    return float(np.median(search.kneighbors(features(x))[0]))


# -- commands ---------------------------------------------------------------------------------------------


def run(names: list[str], seconds: float) -> None:
    results: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    for name in names:
        split, target = split_of(name), SETS[name][1]
        rows = np.random.default_rng(2).choice(len(split.train), len(split.test), replace=False)
        record: dict[str, Any] = {"rows": len(split.train), "columns": len(split.schema.kinds)}
        record |= {"environment": environment(), "seconds": seconds}
        record["training rows"] = judged(split, split.train[rows], target)
        for model, drawn_by in MODELS.items():
            x, spent = drawn_by(split, seconds)
            record[model] = judged(split, x, target) | spent
            print(name, model, {k: v for k, v in record[model].items() if k != "columns"}, flush=True)
        results[name] = record
        write(RESULT, results)


def render() -> None:
    found = json.loads(RESULT.read_text(encoding="utf-8"))
    told = {
        f"`{one['environment']['command']}`, {one['seconds']:g} s of training each" for one in found.values()
    }
    lines = [
        "; ".join(sorted(told)) + ":",
        "",
        "| table | rows | shapes | pairs | two-sample | transfer | nearest | s of processor, epochs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, record in found.items():
        for rows in ("backstory", "tvae", "training rows"):
            one = record[rows]
            figures = " | ".join(
                f"{one[k]:.3f}" for k in ("shapes", "pairs", "two_sample", "transfer", "nearest")
            )
            spent = f"{one['processor_seconds']:.0f}, {one['epochs']}" if "epochs" in one else ""
            lines.append(f"| {name}, {record['rows']:,} rows | {rows} | {figures} | {spent} |")
    place(ROOT / "docs" / "tables.md", "synthetic", lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["run", "render"])
    parser.add_argument("sets", nargs="*", default=list(SETS))
    parser.add_argument("--seconds", type=float, default=60, help="of training, for each model")
    arguments = parser.parse_args()
    run(arguments.sets or list(SETS), arguments.seconds) if arguments.command == "run" else render()


if __name__ == "__main__":
    main()
