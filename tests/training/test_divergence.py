"""Divergence: the yardstick of independent entries, and the second attempt of `fit`."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

import backstory
from backstory.data.schema import Schema
from backstory.data.stored import StoredRows
from backstory.distributions.bernoulli import BernoulliHead
from backstory.distributions.categorical import CategoricalHead
from backstory.models import build
from backstory.models.defaults import ScheduleDefaults, resolve
from backstory.options import ModelOptions, TrainOptions
from backstory.training import schedule
from backstory.training.divergence import Yardstick, attained, yardstick
from backstory.training.step import Bound

SMALL = {"hidden": (16,), "latent": 2, "warmup": 0, "compile": False, "progress": False}


def measured(values, schema, **model):
    schema, options = resolve(schema, ModelOptions(latent=2, hidden=(8,), **model))
    statistics = build.build(schema, options, 0, _statistics(values, schema))
    training = schedule.resolve(TrainOptions(), len(values), ScheduleDefaults(1e-3))
    return yardstick(Bound(statistics, schema, training), StoredRows(values), StoredRows(values[:0]), 0)


def _statistics(values, schema):
    from backstory.models.statistics import data_statistics

    return data_statistics(values, schema)


# -- the yardstick ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("levels", "likelihood"), [(2, "bernoulli"), (4, "categorical")])
def test_levels_have_the_entropy_of_their_frequencies(levels, likelihood):
    values = np.random.default_rng(0).binomial(levels - 1, 0.2, (1000, 3, 2)).astype(np.uint8)
    schema = Schema(kind="images", shape=(3, 2), dtype="uint8", levels=levels, maximum=levels - 1)
    entropy = 0.0
    for entry in values.reshape(1000, -1).T:
        p = np.bincount(entry, minlength=levels) / 1000
        entropy -= (p[p > 0] * np.log(p[p > 0])).sum()
    found = measured(values, schema, likelihood=likelihood)
    assert found.trivial == pytest.approx(-entropy, rel=1e-3)


def test_numbers_have_the_entropy_of_gaussians_of_their_moments():
    values = (5 + 3 * np.random.default_rng(0).normal(size=(1000, 4))).astype(np.float32)
    schema = Schema(kind="table", shape=(4,), dtype="float32", columns=tuple("abcd"))
    expected = -(np.log(values.std(0)) + 0.5 * math.log(2 * math.pi * math.e)).sum()
    found = measured(values, schema, likelihood="gaussian-per-entry")
    assert found.trivial == pytest.approx(expected, rel=1e-3)
    assert found.error == pytest.approx(math.sqrt(4 / 2) / math.sqrt(1000), rel=0.2)


def test_missing_entries_do_not_count():
    x = torch.tensor([[0.0, 1.0], [1.0, math.nan], [1.0, math.nan]])
    observed = ~torch.isnan(x)
    assert torch.allclose(BernoulliHead((2,)).marginal(x, observed), torch.tensor([[2.5 / 1.5, 3.0]]).log())
    levels = CategoricalHead((2,), 3).marginal(x, observed).exp()
    assert torch.allclose(levels, torch.tensor([[1.5, 0.5], [2.5, 1.5], [0.5, 0.5]]))


def test_every_kind_of_column_has_a_yardstick():
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "number": random.normal(size=200),
            "count": random.poisson(3, 200),
            "grid": random.choice([0.0, 0.5, 2.25], 200, p=[0.8, 0.1, 0.1]),
            "level": random.choice(list("abc"), 200),
            "yes": random.choice(["y", "n"], 200),
        }
    )
    frame.loc[random.random(200) < 0.2, "level"] = None
    for likelihood in ("joint", "autoregressive"):
        model = backstory.fit(frame, epochs=2, likelihood=likelihood, **SMALL)
        assert model.summary["stopped"] == "finished"


def test_what_is_far_below():
    stick = Yardstick(initial=-500.0, trivial=-200.0, error=1.0)
    assert [stick.is_trivial(v) for v in (-150, -202, -204, -math.inf, math.nan)] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert [stick.is_diverged(v) for v in (-204, -510, -560, math.nan)] == [False, False, True, True]
    unknown = Yardstick(initial=-500.0, trivial=None)
    assert not unknown.is_trivial(-1e9)
    assert not unknown.is_diverged(-1e9)


def test_a_bound_counts_where_the_elbo_is_lower():
    line = {"objective": -20.0, "reconstruction": -10.0, "kl": 15.0}
    assert attained(line, 1.0) == -20
    assert attained(line, 0.5) == -17.5
    assert attained({**line, "validation_objective": math.nan}, 1.0) == -25
    assert attained(dict.fromkeys(line, math.nan), 1.0) == -math.inf


# -- fit --------------------------------------------------------------------------------------------------


def warnings(caplog):
    return [record.getMessage() for record in caplog.records]


def test_training_that_diverges_begins_anew_with_a_lower_rate(caplog, tmp_path):
    """With a learning rate of 100 the KL went to 10¹⁷, and that was called a collapse."""
    data = backstory.load("digits")
    model = backstory.fit(data, tmp_path / "run", epochs=4, lr=100.0, likelihood="bernoulli", **SMALL)
    assert warnings(caplog)[0] == "training diverged with lr 100, so it begins anew with lr 0.001"
    assert model.training.lr == 1e-3
    assert model.summary["diverged_at"] == 100
    slow = backstory.fit(data, epochs=4, lr=1e-3, likelihood="bernoulli", **SMALL)
    for name, value in slow.vae.state_dict().items():
        assert torch.equal(value, model.vae.state_dict()[name])
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 4
    assert backstory.open(tmp_path / "run").training.lr == 1e-3


def test_the_second_attempt_is_the_last(caplog, monkeypatch):
    monkeypatch.setattr("backstory.fitting.single.SLOWER", 1)
    monkeypatch.setattr("backstory.fitting.single.HIGHEST_RETRIED", 100.0)
    model = backstory.fit("digits", epochs=4, lr=100.0, likelihood="bernoulli", **SMALL)
    said = warnings(caplog)
    assert said[0] == "training diverged with lr 100, so it begins anew with lr 100"
    assert said[1].startswith("the model is worse than one of independent entries: its bound is -")
    assert "`lr`" in said[1]
    assert len(said) == 2
    assert model.summary["stopped"] == "diverged"


def test_steps_that_are_never_finite_begin_anew_once(monkeypatch):
    tried = []

    def broken(trainer, job):
        tried.append(trainer.options.lr)
        raise backstory.TrainingFailed("20 steps in a row")

    monkeypatch.setattr("backstory.fitting.single.run_trainer", broken)
    with pytest.raises(backstory.TrainingFailed):
        backstory.fit("digits", epochs=2, lr=0.1, **SMALL)
    assert tried == [0.1, 1e-3]


def test_a_run_that_is_only_short_is_told_so_and_ends(caplog):
    model = backstory.fit("digits", epochs=1, lr=1e-6, likelihood="bernoulli", **SMALL)
    assert [line[:43] for line in warnings(caplog)] == ["the model is worse than one of independent "]
    assert model.summary["stopped"] == "finished"


def test_a_large_beta_is_no_divergence(caplog):
    """A collapse onto independent entries is as good as these: it is called a collapse."""
    backstory.fit("digits", epochs=12, beta=50.0, lr=1e-2, likelihood="bernoulli", **SMALL)
    assert [line for line in warnings(caplog) if "collapsed" in line]
