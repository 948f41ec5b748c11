"""Likelihood autoregressive from fit to run folder: what a table's owner asks of a model."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from mixed import mixed_table

import backstory
from backstory import InputError
from backstory.cli.main import main
from backstory.inference.operators import Noise

COLUMNS = ["school", "age", "member", "plan", "income", "visits", "temperature", "stars"]
OPTIONS = {
    "likelihood": "autoregressive",
    "embedding": 8,
    "layers": 1,
    "hidden": (8,),
    "latent": 2,
    "batch_size": 32,
    "epochs": 3,
    "progress": False,
}


@pytest.fixture(scope="module")
def customers(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "customers.csv"
    mixed_table(200, 0)[COLUMNS].to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def run(customers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    backstory.fit(customers, folder, **OPTIONS)
    return folder


@pytest.fixture(scope="module")
def model(run):
    return backstory.open(run)


def values(customers, rows=20):
    return backstory.load(customers).values[:rows]


@pytest.mark.parametrize("objective", ["elbo", "iwae", "stl", "dreg", "tcvae", "mmd"])
def test_objectives_train_it(customers, objective):
    options = {"samples": 2} if objective in ("iwae", "dreg") else {}
    trained = backstory.fit(customers, **{**OPTIONS, "epochs": 1}, objective=objective, **options)
    assert np.isfinite(trained.log_evidence(values(customers), samples=20).log_evidence).all()


def test_a_reopened_run_gives_the_same_numbers(customers, run, tmp_path):
    first = backstory.open(run)
    first.save(tmp_path / "copy")
    again = backstory.open(tmp_path / "copy")
    x = values(customers)
    assert torch.equal(
        first.log_evidence(x, samples=30).log_evidence, again.log_evidence(x, samples=30).log_evidence
    )
    np.testing.assert_array_equal(first.sample(5, seed=1), again.sample(5, seed=1))


def test_codes_come_without_keys(customers, model):
    q = model.encode(values(customers))
    assert q.mean.shape == (20, 2)
    p = model.decode(q.mean)
    assert p.mean.shape == (20, len(COLUMNS))
    with pytest.raises(InputError, match="expected codes with 2 units"):
        model.decode(np.zeros((3, 10)))


def test_rows_given_some_columns(customers, model):
    where = values(customers)[0].copy()
    where[[0, 3]] = math.nan
    drawn = model.sample(8, where=where, seed=0, frame=False)
    known = ~np.isnan(where)
    np.testing.assert_array_equal(drawn[:, known], np.broadcast_to(where[known], (8, known.sum())))
    assert not np.isnan(drawn).any()


def test_estimates_agree_and_rows_are_scored(customers, model):
    x = values(customers, 8)
    importance = model.evaluate(x, samples=1000)
    annealed = model.evaluate(x, method="ais", samples=64, steps=20)
    error = math.hypot(importance.standard_error, annealed.standard_error)
    assert abs(importance.log_evidence - annealed.log_evidence) < 5 * error + 0.05
    scores = model.score(x)
    assert ((scores.p_value > 0) & (scores.p_value <= 1)).all()
    np.testing.assert_array_equal(np.isnan(scores.surprise), np.isnan(x))
    np.testing.assert_allclose(model.score(x[3:4]).log_evidence, scores.log_evidence[3:4], rtol=1e-4)


def test_gaps_are_filled_and_noise_is_refused(customers, model):
    x = values(customers)
    y = np.where(np.random.default_rng(0).random(x.shape) < 0.4, math.nan, x)
    found = model.restore(y, draws=3, seed=1)
    kept = ~np.isnan(y)
    np.testing.assert_array_equal(found.mean[kept], x.astype(found.mean.dtype)[kept])
    assert not np.isnan(found.mean).any()
    assert not np.isnan(found.draws).any()
    assert found.codes.shape == (3, 20, 2)
    alone = model.restore(y[:1], draws=3, seed=1)
    np.testing.assert_allclose(alone.mean, found.mean[:1], rtol=1e-3, atol=1e-3)
    with pytest.raises(InputError, match="depend on each other given z"):
        model.restore(np.nan_to_num(x), Noise(0.1))


def test_a_reconstruction_has_a_mean_and_draws(customers, model):
    x = values(customers)
    assert model.reconstruct(x).shape == model.reconstruct(x, mean=False).shape == x.shape
    assert model.sample(4, mean=True, seed=0, frame=False).shape == (4, len(COLUMNS))


def test_an_ensemble_of_them(customers):
    ensemble = backstory.fit(customers, **{**OPTIONS, "epochs": 1}, ensemble=2)
    x = values(customers, 5)
    assert np.isfinite(ensemble.log_evidence(x, samples=20).log_evidence).all()
    assert ensemble.encode(x).mean.shape == (5, 4)
    assert not np.isnan(ensemble.restore(x, draws=2).mean).any()


def test_a_run_taken_up_again_ends_as_if_nothing_had_happened(customers, run, tmp_path, monkeypatch):
    from backstory.training.trainer import Trainer

    step, count = Trainer._step, [0]

    def interrupted(self, *arguments):
        count[0] += 1
        if count[0] == 8:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", interrupted)
    backstory.fit(customers, tmp_path / "again", **OPTIONS)
    monkeypatch.undo()
    backstory.fit(customers, tmp_path / "again", **OPTIONS, resume=True)
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes()


def test_tables_of_numbers(tmp_path):
    a, b = np.random.default_rng(0).standard_normal((2, 100))
    pd.DataFrame({"a": a, "b": a + 0.1 * b}).to_csv(tmp_path / "numbers.csv", index=False)
    trained = backstory.fit(tmp_path / "numbers.csv", **OPTIONS)
    assert trained.sample(4, seed=0).shape == (4, 2)


def test_arrays_are_refused():
    with pytest.raises(InputError, match="likelihood autoregressive is for tables"):
        backstory.fit(np.random.default_rng(0).standard_normal((50, 3)), **OPTIONS)


def test_heads_that_do_not_divide_the_width_are_refused(customers):
    with pytest.raises(InputError, match="heads have to divide embedding, got 3 heads and embedding 8"):
        backstory.fit(customers, **OPTIONS, heads=3)


def test_frequent_numbers_are_drawn_as_often_as_they_come(tmp_path):
    r = np.random.default_rng(1)
    n = 600
    g = r.normal(size=n)
    table = {
        "hours": np.where(r.random(n) < 0.6, 40, np.clip(np.round(35 + 12 * g), 1, 90)).astype(int),
        "likert": np.where(r.random(n) < 0.1, 9, np.clip(np.round(3 + g), 1, 5)).astype(int),
        "x": g.round(3),
    }
    pd.DataFrame(table).to_csv(tmp_path / "a.csv", index=False)
    options = {**OPTIONS, "likelihood": "autoregressive", "embedding": 16, "epochs": 40, "lr": 0.006}
    trained = backstory.fit(tmp_path / "a.csv", **options)
    drawn = trained.sample(4000, seed=0, frame=False)
    names = list(trained.schema.columns)
    assert 0.55 < (drawn[:, names.index("hours")] == 40).mean() < 0.65
    likert = drawn[:, names.index("likert")]
    assert np.isin(likert, [6, 7, 8]).mean() < 0.003
    assert 0.06 < (likert == 9).mean() < 0.14


def test_the_commands(customers, run, tmp_path, capfd):
    assert main(["evaluate", str(run), str(customers), "--samples", "20", "--json"]) == 0
    assert math.isfinite(json.loads(capfd.readouterr().out)["log_evidence"])
    for command in (
        ["sample", run, "-n", "5", "-o", tmp_path / "drawn.csv"],
        ["sample", run, "-n", "5", "--where", "member=yes", "-o", tmp_path / "members.csv"],
        ["encode", run, customers, "-o", tmp_path / "codes.csv"],
        ["score", run, customers, "-o", tmp_path / "scores.csv"],
        ["impute", run, customers, "-o", tmp_path / "filled.csv"],
        ["reconstruct", run, customers, "-o", tmp_path / "again.csv"],
        ["info", run],
    ):
        assert main([str(part) for part in command]) == 0
    assert len(pd.read_csv(tmp_path / "codes.csv").columns) == 2
    assert (pd.read_csv(tmp_path / "members.csv")["member"] == "yes").all()
    assert not pd.read_csv(tmp_path / "filled.csv").isna().any().any()
    capfd.readouterr()
    noisy = ["restore", run, customers, "--noise", "0.1", "-o", tmp_path / "noisy.csv"]
    assert main([str(part) for part in noisy]) == 2
    assert capfd.readouterr().err.startswith("error: ")
