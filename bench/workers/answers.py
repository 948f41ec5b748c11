"""One question to a model that Backstory of any checkout trains: CPU seconds of the answer, and its error.

    python -m workers.answers '{"question": "evaluate", "rows": 6000, "seed": 0, "threads": 1}'

Prints one JSON object. Training is no part of the seconds. Where the truth is known, the error is that to it.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn import datasets

import backstory
from backstory import Noise, VAEImputer

Answer = dict[str, float]
FIT: dict[str, Any] = {"progress": False, "compile": False}


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    started = os.times()
    result = call()
    ended = os.times()
    return result, ended.user + ended.system - started.user - started.system


def evaluate(rows: int, seed: int) -> Answer:
    """Numbers of 15 columns, by a linear model whose encoder is nearly exact."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 4)) @ rng.normal(size=(4, 15)) + 0.5 * rng.normal(size=(rows, 15))
    return _evaluated(x, x, seed, latent=4, epochs=max(1, 60_000 // rows))


def evaluate_images(rows: int, seed: int) -> Answer:
    """Digits of 32 × 32 pixels, by a linear model whose encoder was trained too briefly."""
    digits = datasets.load_digits().images[:400].repeat(4, 1).repeat(4, 2).reshape(400, -1)
    x = digits / 16 + 0.1 * np.random.default_rng(0).normal(size=digits.shape)
    return _evaluated(x, x[:rows], seed, latent=16, epochs=40)


def _evaluated(x: np.ndarray, asked: np.ndarray, seed: int, latent: int, epochs: int) -> Answer:
    options = {"network": "linear", "likelihood": "gaussian", "lr": 0.01}
    model = backstory.fit(x, latent=latent, epochs=epochs, seed=seed, **options, **FIT)
    found, seconds = timed(lambda: model.log_evidence(asked))
    exact = model.log_evidence(asked, method="exact").log_evidence
    error = (found.log_evidence - exact).abs()
    return {"cpu_seconds": seconds, "mean_error_in_nats": float(error.mean())}


def restore(rows: int, seed: int) -> Answer:
    """Noisy digits of 28 × 24 pixels of bytes, by the default likelihood of such images."""
    digits = datasets.load_digits().images[:800].repeat(3, 2).repeat(3, 1)
    x = np.rint(255 / 16 * np.pad(digits, ((0, 0), (2, 2), (0, 0)))).astype(np.uint8)
    model = backstory.fit(x[:700], latent=8, epochs=30, seed=seed, hidden=(128,), **FIT)
    truth = x[-rows:] / 255
    noisy = 255 * (truth + 0.25 * np.random.default_rng(1).normal(size=truth.shape))  # in levels
    found, seconds = timed(lambda: model.restore(noisy, Noise(0.25), draws=10, seed=seed))
    mean = np.asarray(found.mean, np.float64) / 255
    return {"cpu_seconds": seconds, "psnr": float(-10 * np.log10(np.mean((mean - truth) ** 2)))}


def impute(rows: int, seed: int) -> Answer:
    """VAEImputer with one network and otherwise its defaults: 30 columns of numbers, 30 % of cells hidden."""
    whole = datasets.load_breast_cancer().data[:rows]
    whole = (whole - whole.mean(0)) / whole.std(0)
    hidden = np.random.default_rng(1).random(whole.shape) < 0.3
    holes = np.where(hidden, np.nan, whole)
    imputer = VAEImputer(ensemble=1, random_state=seed)
    filled, seconds = timed(lambda: imputer.fit_transform(holes))
    error = np.sqrt(np.mean((np.asarray(filled) - whole)[hidden] ** 2))
    return {"cpu_seconds": seconds, "rmse_in_standard_deviations": float(error)}


QUESTIONS: dict[str, Callable[[int, int], Answer]] = {
    "evaluate": evaluate,
    "evaluate images": evaluate_images,
    "restore": restore,
    "impute": impute,
}

if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    torch.set_num_threads(asked["threads"])
    started = time.perf_counter()
    answer = QUESTIONS[asked["question"]](asked["rows"], asked["seed"])
    print(json.dumps({**answer, "seconds_in_all": time.perf_counter() - started}))
