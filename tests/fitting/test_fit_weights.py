"""Weights of rows in `fit`: they count as repetitions, and a run is resumed with its own."""

import itertools
import signal

import numpy as np
import pandas as pd
import pytest

import backstory
from backstory import InputError
from backstory.training.trainer import Trainer

LINEAR = {
    "network": "linear",
    "latent": 1,
    "validation": 0.0,
    "warmup": 0,
    "epochs": 200,
    "compile": False,
    "seed": 0,
    "progress": False,
}
SMALL = {"hidden": (8,), "latent": 1, "epochs": 2, "seed": 0, "compile": False, "progress": False}


@pytest.fixture(scope="module")
def clusters() -> pd.DataFrame:
    """Two clusters of 100 rows each, and their weights."""
    centres = np.repeat([[-1.0, 0.0], [1.0, 2.0]], 100, axis=0)
    x = centres + 0.7 * np.random.default_rng(0).normal(size=(200, 2))
    return pd.DataFrame(x, columns=["a", "b"]).assign(w=np.repeat([1.0, 3.0], 100))


def test_weights_count_as_repetitions_by_value_and_by_column(clusters):
    x = clusters[["a", "b"]]
    models = [
        backstory.fit(x, weights=clusters["w"], **LINEAR),
        backstory.fit(clusters, weights="w", **LINEAR),
        backstory.fit(pd.concat([x, x[100:], x[100:]]), **LINEAR),
    ]
    means = [np.asarray(model.sample(4000, seed=0)).mean(axis=0) for model in models]
    np.testing.assert_allclose(means[0], [0.5, 1.5], atol=0.15)
    np.testing.assert_allclose(means[2], [0.5, 1.5], atol=0.15)
    np.testing.assert_array_equal(means[0], means[1])
    assert models[1].schema.columns == ("a", "b")
    assert list(models[1].sample(2)) == ["a", "b"]


def test_rows_of_weight_zero_are_left_out(clusters, tmp_path):
    out = clusters.assign(w=np.repeat([0.0, 2.0], 100))
    model = backstory.fit(out, weights="w", **SMALL)
    alone = backstory.fit(clusters[100:][["a", "b"]], **SMALL)
    assert sum(model.provenance.sizes().values()) == 100
    np.testing.assert_array_equal(model.sample(50, seed=0), alone.sample(50, seed=0))
    model.save(tmp_path / "run")
    reopened, data = backstory.open(tmp_path / "run"), backstory.load(out, schema=model.schema)
    assert reopened.trained_on(data)
    rows = [reopened.rows(data, part) for part in ("train", "validation")]
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(100, 200))


def interrupted(monkeypatch, step: int) -> None:
    """Ctrl-C in this step."""
    original, steps = Trainer._step, itertools.count(1)

    def counted(trainer, *arguments):
        if next(steps) == step:
            signal.raise_signal(signal.SIGINT)
        return original(trainer, *arguments)

    monkeypatch.setattr(Trainer, "_step", counted)


@pytest.mark.parametrize("by_column", [True, False])
def test_a_run_goes_on_with_its_weights_alone(clusters, tmp_path, monkeypatch, by_column):
    """Interrupted in the second epoch and resumed, it ends with the bits of a run without interruption."""
    options = {**SMALL, "epochs": 4, "batch_size": 20}
    numbers, folder = clusters["w"].to_numpy(), tmp_path / "run"
    data, weights, others = (
        (clusters, "w", numbers) if by_column else (clusters[["a", "b"]], numbers, numbers + 1)
    )
    straight = backstory.fit(data, tmp_path / "straight", weights=weights, **options)
    with monkeypatch.context() as patch:
        interrupted(patch, 14)
        assert backstory.fit(data, folder, weights=weights, **options).summary["stopped"] == "interrupted"
    with pytest.raises(InputError, match=r"begun with weights .*, got values"):
        backstory.fit(data, folder, weights=others, resume=True)
    if by_column:
        resumed = backstory.fit(data, folder, resume=True, progress=False)
    else:
        with pytest.raises(InputError, match="expected the weights that the run was begun with"):
            backstory.fit(data, folder, resume=True)
        resumed = backstory.fit(data, folder, weights=numbers, resume=True, progress=False)
    for name, tensor in straight.vae.state_dict().items():
        np.testing.assert_array_equal(resumed.vae.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.ones(3), r"a weight for each of 200 rows, got weights of shape \(3,\)"),
        (np.r_[np.ones(199), -1.0], "not negative, got -1 for row 200"),
        (np.r_[np.nan, np.ones(199)], "got none for row 1"),
        (np.zeros(200), "two or more rows with a weight above zero, got 0 of 200"),
        ("v", "expected a column of data frame, got 'v'"),
        ("sex", "expected a column of numbers for `weights`, got 'sex', whose cells are no numbers"),
    ],
)
def test_weights_that_cannot_be_are_refused(clusters, weights, words):
    with pytest.raises(InputError, match=words):
        backstory.fit(clusters.assign(sex=["f", "m"] * 100), weights=weights, **SMALL)


def test_a_column_is_not_both_a_weight_and_a_condition(clusters):
    with pytest.raises(InputError, match="one use of each column, got 'w' for both `weights` and `given`"):
        backstory.fit(clusters, weights="w", given="w", **SMALL)


def test_a_name_belongs_to_a_table(clusters):
    with pytest.raises(InputError, match="expected a table that is still to be read for weights"):
        backstory.fit(clusters.to_numpy(), weights="w", **SMALL)
