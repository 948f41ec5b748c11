"""Gaps in tables of mixed columns, filled by Backstory and by boosting for each column.

    python bench/mixed_imputation.py magic obesity        (bench/results/mixed_imputation.json)
    python bench/mixed_imputation.py magic --rows all

1,500 rows of a table (or `--rows`), with 30 % of their cells hidden at random, are the training rows and the
rows to fill.

    error      root mean square error of the hidden numbers, in standard deviations of their columns
    accuracy   share of right levels among the hidden ones, the mean over the columns with levels
    seconds    of the processor, training and filling together, on one thread

`joint` and `autoregressive` are single models of `fit`, and `VAEImputer` averages three by its defaults.
`boosting` fits gradient boosting for each column to the rows that have it, from all other columns;
these keep their gaps, which boosting takes as they are.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

import backstory
from record import environment, write

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "bench" / "results" / "mixed_imputation.json"
TABLES = ROOT.parent / "shared" / "data" / "tables"
NAMES = ("magic", "default", "obesity", "spambase")
ROWS, HIDDEN, FEW = 1500, 0.3, 12  # a column with no more different numbers than this has levels


def table(name: str, rows: int | None) -> pd.DataFrame:
    """So many rows in random order, or all."""
    frame = pd.read_csv(TABLES / f"{name}.csv.gz")
    frame = frame.drop(columns=[c for c in frame if c.upper() == "ID"])
    return frame.sample(rows or len(frame), random_state=0).reset_index(drop=True)


def row_count(text: str) -> int | None:
    return None if text == "all" else int(text)


def has_levels(column: pd.Series) -> bool:
    return not pd.api.types.is_numeric_dtype(column) or column.nunique() <= FEW


def with_levels(holes: pd.DataFrame, whole: pd.DataFrame) -> pd.DataFrame:
    """Columns of levels as categories, also where these are numbers."""
    return holes.astype({name: "category" for name in whole if has_levels(whole[name])})


def ours(likelihood: str) -> Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]:
    def fill(holes: pd.DataFrame, whole: pd.DataFrame) -> pd.DataFrame:
        model = backstory.fit(with_levels(holes, whole), likelihood=likelihood, progress=False)
        return model.impute(with_levels(holes, whole))

    return fill


def numbers(column: pd.Series) -> pd.Series:
    """The column itself, or the numbers of its levels; NaN in gaps."""
    if pd.api.types.is_numeric_dtype(column):
        return column
    return column.astype("category").cat.codes.replace(-1, np.nan)


def boosting(holes: pd.DataFrame, whole: pd.DataFrame) -> pd.DataFrame:
    codes = holes.apply(
        lambda c: (
            c if pd.api.types.is_numeric_dtype(c) else c.astype("category").cat.codes.replace(-1, np.nan)
        )
    )
    filled = holes.copy()
    for name in holes:
        gaps = holes[name].isna().to_numpy()
        kind = HistGradientBoostingClassifier if has_levels(whole[name]) else HistGradientBoostingRegressor
        others = codes.drop(columns=name).to_numpy(float)
        train = ~gaps & (holes[name].duplicated(keep=False) | (not has_levels(whole[name]))).to_numpy()
        model = kind(random_state=0).fit(others[train], holes[name][train])  # it wants each level twice
        filled.loc[gaps, name] = model.predict(others[gaps])
    return filled


def imputer(holes: pd.DataFrame, whole: pd.DataFrame) -> pd.DataFrame:
    """Three models, averaged."""
    return backstory.VAEImputer(random_state=0).fit_transform(with_levels(holes, whole))


METHODS: dict[str, Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]] = {
    "joint": ours("joint"),
    "autoregressive": ours("autoregressive"),
    "VAEImputer": imputer,
    "boosting": boosting,
}


def judged(whole: pd.DataFrame, hidden: np.ndarray, filled: pd.DataFrame) -> dict[str, float]:
    squares, right = [], []
    for j, name in enumerate(whole):
        truth, guess = whole[name][hidden[:, j]], filled[name][hidden[:, j]]
        if not has_levels(whole[name]):
            squares.append(((guess.astype(float) - truth) / whole[name].std()) ** 2)
        elif pd.api.types.is_numeric_dtype(whole[name]):
            right.append(np.mean(np.isclose(pd.to_numeric(guess, errors="coerce"), truth)))
        else:
            right.append(np.mean(guess.astype(str) == truth.astype(str)))
    return {"error": float(np.sqrt(np.mean(np.concatenate(squares)))), "accuracy": float(np.mean(right))}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="*", default=list(NAMES), metavar="TABLE")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--rows", type=row_count, default=ROWS, help="a number, or all")
    parser.add_argument("--seed", type=int, default=0, help="of the hidden cells")
    a = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    for name in a.tables:
        whole = table(name, a.rows)
        hidden = np.random.default_rng(a.seed).random(whole.shape) < HIDDEN
        record = results.setdefault(name if a.rows == ROWS else f"{name}, {len(whole):,} rows", {})
        record["environment"] = environment()
        for method in a.methods:
            start = time.process_time()
            filled = METHODS[method](whole.mask(hidden), whole)
            seconds = time.process_time() - start
            record[method] = judged(whole, hidden, filled) | {"seconds": round(seconds, 1)}
            print(name, method, record[method], file=sys.stderr, flush=True)
            write(RESULT, results)


if __name__ == "__main__":
    main()
