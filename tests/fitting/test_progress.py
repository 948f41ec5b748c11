"""What `fit` says: what it maximises, and whether the warm-up was over."""

import json
import logging

import numpy as np
import pytest

import backstory
from backstory.runs.folder import CONFIG

SMALL = {"hidden": (8,), "latent": 2, "epochs": 3, "warmup": 0, "compile": False}


def numbers(gaps=False):
    random = np.random.default_rng(0)
    x = random.normal(size=(80, 1)) + 0.3 * random.normal(size=(80, 4))
    if gaps:
        x[random.random(x.shape) < 0.2] = np.nan
    return x.astype(np.float32)


def last_line(capsys):
    return " ".join(line for line in capsys.readouterr().err.splitlines() if "weights of epoch" in line)


@pytest.mark.parametrize(
    ("options", "name"),
    [({}, "iwae"), ({"objective": "stl"}, "stl"), ({"objective": "elbo", "beta": 2.0}, "elbo with beta 2")],
)
def test_the_objective_is_named_and_its_own_value_shown(capsys, tmp_path, options, name):
    """Tables with gaps maximise the bound of 20 draws: its value comes first, and the ELBO beside it."""
    model = backstory.fit(numbers(gaps=True), tmp_path / "run", **SMALL, **options)
    best = json.loads(
        (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[model.summary["best_epoch"] - 1]
    )
    line = last_line(capsys)
    assert (
        f"validation {name} {best['validation_objective']:.2f} nats (elbo {best['validation_elbo']:.2f} = "
        in line
    )
    saved = json.loads((tmp_path / "run" / CONFIG).read_text())["summary"]
    assert saved["objective"] == best["validation_objective"]


def test_the_plain_elbo_is_shown_once(capsys):
    model = backstory.fit(numbers(), **SMALL)
    assert f"validation elbo {model.summary['elbo']:.2f} = reconstruction" in last_line(capsys)


def test_a_warm_up_that_was_not_over_is_warned_of(caplog):
    backstory.fit(numbers(), progress=False, **{**SMALL, "warmup": 5})
    (warning,) = [r.getMessage() for r in caplog.records if "warm-up" in r.getMessage()]
    assert warning.startswith("training ended during the warm-up, at beta 0.5 of 1, so")
    assert "`warmup`" in warning


@pytest.mark.parametrize("options", [{}, {"posterior": "delta", "warmup": 5}, {"beta": 0.0, "warmup": 5}])
def test_no_warning_where_the_kl_counts_in_full_or_not_at_all(caplog, options):
    with caplog.at_level(logging.WARNING):
        backstory.fit(numbers(), progress=False, **{**SMALL, **options})
    assert not [r for r in caplog.records if "warm-up" in r.getMessage()]
