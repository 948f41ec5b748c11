"""p(c | x) by Bayes' rule from a model of p(x | c), beside classifiers of the same rows.

    python bench/classification.py digits            measures, and writes bench/results/classification.json
    python bench/classification.py mnist --minutes 8 likewise, beside what the file has
    python bench/classification.py mnist --minutes 8 --labelled 100 --samples 5    with 100 labels

The model: `fit(DATA, given="class")`, with the likelihood bernoulli on MNIST. Beside it scikit-learn's
logistic regression and a network with the hidden layers of the encoder, each with its defaults but for these
layers and for early stopping. All learn from the training part, and are judged on the whole test part. With
few labels the classifiers learn from these rows alone, and the model from all rows, with the settings `FEW`.
"""

import argparse
import json
import platform
import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

import backstory
from backstory.data.dataset import Dataset
from backstory.data.load import load
from backstory.fitting.options import as_labelled
from backstory.inference.classification import Classification

ROOT = Path(__file__).parents[1]
FEW = {"latent": 8, "hidden": (300, 300), "warmup": 0, "lr": 1e-3, "validation": 0.02}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", choices=["digits", "mnist"])
    parser.add_argument("--folder", type=Path, default=ROOT.parent / "shared" / "data" / "mnist")
    parser.add_argument("--minutes", type=float, help="of training; by default as many as epochs need")
    parser.add_argument("--samples", type=int, default=20, help="draws of z for each row and class")
    parser.add_argument("--labelled", type=int, help="labels that are kept, balanced over the classes")
    parser.add_argument("--run", type=Path, help="a trained run, in place of training")
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results" / "classification.json")
    arguments = parser.parse_args()
    source = arguments.folder if arguments.data == "mnist" else "digits"
    data = load(source)
    assert data.labels is not None
    assert data.test_rows is not None
    x = data.values[:].reshape(len(data), -1) / float(data.schema.maximum or 1)
    few = {} if arguments.labelled is None else {"labelled": arguments.labelled}
    test, train = data.test_rows, _with_labels(data, few)
    rows = {}
    wide = (400, 400) if arguments.data == "mnist" else (128, 128)
    for name, judge in (
        ("logistic regression", LogisticRegression(max_iter=100)),
        (f"network {wide[0]}-{wide[1]}", MLPClassifier(wide, early_stopping=not few, random_state=0)),
    ):
        begun = time.monotonic()
        judge.fit(x[train], data.labels[train])
        rows[name] = _row(_figures(judge.predict_proba(x[test]), data.labels[test]), begun)
        print(name, rows[name], flush=True)
    begun = time.monotonic()
    likelihood = {"likelihood": "bernoulli", "latent": 32} if arguments.data == "mnist" else {}
    limit = {} if arguments.minutes is None else {"minutes": arguments.minutes}
    settings = {**likelihood, **limit, **({**FEW, **few} if few else {})}
    model = (
        backstory.fit(source, given="class", **settings)
        if arguments.run is None
        else backstory.open(arguments.run)
    )
    if few:
        direct = model.classify(data.subset(test), method="encoder")
        rows["Backstory, q(c | x)"] = _row(_figures(direct.probabilities, data.labels[test]), begun)
        print(rows["Backstory, q(c | x)"], flush=True)
    found = model.classify(data.subset(test), samples=arguments.samples)
    rows["Backstory, p(c | x)"] = _row(_figures(found.probabilities, data.labels[test]), begun)
    known = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    name = arguments.data + (f", {arguments.labelled} labels" if few else "")
    known[name] = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": f"{platform.machine()}, one thread",
        "versions": {"backstory": backstory.__version__, "python": platform.python_version()},
        "test_rows": len(test),
        "training": model.summary,
        "methods": rows,
    }
    arguments.output.write_text(json.dumps(known, indent=1) + "\n")
    print(json.dumps(known[name]["methods"], indent=1))


def _with_labels(data: Dataset, few: dict[str, int]) -> np.ndarray:
    """The training rows that the classifiers learn from: those whose labels the model has."""
    if not few:
        return data.training_rows
    told = as_labelled(data.conditioned_on("class"), {**few, "validation": FEW["validation"]})
    assert told.stated is not None
    return np.flatnonzero(np.isfinite(told.stated[:, 0]))


def _figures(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    levels = tuple(map(str, range(probabilities.shape[1])))
    even = np.full(len(levels), 1 / len(levels))
    found = Classification("class", levels, probabilities, np.log(np.maximum(probabilities, 1e-300)), even)
    quality = found.quality(labels.astype(float))
    assert quality is not None
    return asdict(quality)


def _row(figures: dict[str, Any], begun: float) -> dict[str, Any]:
    return {**figures, "seconds": round(time.monotonic() - begun, 1)}


if __name__ == "__main__":
    main()
