"""Weights of rows count as repetitions do, and rows of weight 0 are not there."""

import numpy as np
import pandas as pd
import pytest
from small_estimators import LINEAR, SMALL

from backstory import VAEDensity, VAEImputer, VAEOutlierDetector, VAETransformer
from backstory.errors import InputError


@pytest.fixture(scope="module")
def clusters() -> np.ndarray:
    """Two clusters of 100 rows each, at (-1, 0) and (1, 2)."""
    centres = np.repeat([[-1.0, 0.0], [1.0, 2.0]], 100, axis=0)
    return centres + 0.7 * np.random.default_rng(0).normal(size=(200, 2))


def test_rows_of_weight_zero_are_left_out(clusters):
    weight = np.repeat([0.0, 1.0], 100)
    weighted = VAEDensity(**SMALL).fit(clusters, sample_weight=weight)
    alone = VAEDensity(**SMALL).fit(clusters[100:])
    np.testing.assert_array_equal(weighted.score_samples(clusters), alone.score_samples(clusters))
    mixed = pd.DataFrame(clusters, columns=["a", "b"]).assign(town=np.repeat(["out", "in"], 100))
    with pytest.raises(InputError, match="expected"):  # one town is left, which says nothing
        VAEDensity(**SMALL).fit(mixed[["town"]], sample_weight=weight)
    assert VAEDensity(**SMALL).fit(mixed, sample_weight=weight).sample(9)["town"].eq("in").all()


def test_weights_count_as_repetitions(clusters):
    """A Gaussian whose mean and evidence follow the weights of the clusters."""
    doubled = VAEDensity(**LINEAR).fit(clusters, sample_weight=np.repeat([1.0, 3.0], 100))
    repeated = VAEDensity(**LINEAR).fit(np.concatenate([clusters, clusters[100:], clusters[100:]]))
    plain = VAEDensity(**LINEAR).fit(clusters)
    means = [d.sample(4000, random_state=0).mean(0) for d in (doubled, repeated, plain)]
    np.testing.assert_allclose(means[0], [0.5, 1.5], atol=0.15)
    np.testing.assert_allclose(means[0], means[1], atol=0.15)
    np.testing.assert_allclose(means[2], [0.0, 1.0], atol=0.15)
    assert doubled.score(clusters[100:]) == pytest.approx(repeated.score(clusters[100:]), abs=0.05)
    assert doubled.score(clusters[100:]) > plain.score(clusters[100:]) + 0.1


@pytest.mark.parametrize("kind", [VAEImputer, VAETransformer, VAEOutlierDetector])
def test_every_estimator_takes_weights(kind, clusters):
    weight = np.linspace(0, 1, len(clusters))
    options = {**SMALL, "options": SMALL["options"] | {"validation": 0.2}}
    assert len(kind(**options).fit(clusters, sample_weight=weight).model_.splits.train) in (159, 160, 199)


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (np.ones(3), r"a weight for each of 200 rows, got weights of shape \(3,\)"),
        (np.r_[np.ones(199), -1.0], "not negative, got -1 for row 200"),
        (np.r_[np.nan, np.ones(199)], "got none for row 1"),
        (np.r_[1.0, np.zeros(199)], "two or more rows with a weight above zero, got 1 of 200"),
    ],
)
def test_weights_that_cannot_be_are_refused(clusters, weight, words):
    with pytest.raises(InputError, match=words):
        VAEDensity(**SMALL).fit(clusters, sample_weight=weight)
