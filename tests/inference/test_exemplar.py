"""The exemplar density is the mixture that its formula says, and a tail is a share of the training rows."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from backstory.inference.exemplar import MOST_EXEMPLARS, Exemplars, Tail

SIGMA = 0.3


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 3)) @ np.array([[1.0, 2.0, 0.0], [0.0, 0.05, 0.0], [0.0, 0.0, 5.0]]) + 3.0


def vae(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and covariance of p(x|n) for standardised rows, from W and q(z|x), not from the short form."""
    b, cov = rows.mean(0), np.cov(rows.T, bias=True)
    values, basis = np.linalg.eigh(cov)
    w = basis * np.sqrt(np.maximum(values - SIGMA**2, 0))
    posterior = np.linalg.inv(np.eye(len(w)) + w.T @ w / SIGMA**2)
    codes = (rows - b) @ w / SIGMA**2 @ posterior
    return b + codes @ w.T, w @ posterior @ w.T + SIGMA**2 * np.eye(len(w))


def mixture(rows: np.ndarray, x: np.ndarray, cells: list[int]) -> np.ndarray:
    location, scale = rows.mean(0), rows.std(0)
    means, cov = vae((rows - location) / scale)
    y, keep = ((x - location) / scale)[:, cells], np.ix_(cells, cells)
    parts = [multivariate_normal(mean[cells], cov[keep]).logpdf(y) for mean in means]
    return logsumexp(parts, axis=0) - np.log(len(rows)) - np.log(scale[cells]).sum()


def test_the_density_is_that_of_a_linear_vae_with_its_rows_as_prior(rows):
    x = rows[:5] + np.random.default_rng(1).normal(size=(5, 3))
    np.testing.assert_allclose(Exemplars.of(rows, SIGMA).log_evidence(x), mixture(rows, x, [0, 1, 2]))
    holes = x.copy()
    holes[:, 1] = np.nan
    both = Exemplars.of(rows, SIGMA).log_evidence(np.concatenate([holes, x]))
    np.testing.assert_allclose(both[:5], mixture(rows, x, [0, 2]))
    np.testing.assert_allclose(both[5:], mixture(rows, x, [0, 1, 2]))


def test_separate_columns_multiply(rows):
    x = rows[:5] + 0.1
    whole = Exemplars.of(rows, SIGMA, separate=True).log_evidence(x)
    each = [Exemplars.of(rows[:, [j]], SIGMA).log_evidence(x[:, [j]]) for j in range(3)]
    np.testing.assert_allclose(whole, np.sum(each, 0))


def test_a_missing_training_cell_is_no_exemplar_of_its_column(rows):
    holes = rows.copy()
    holes[::2, 1] = np.nan
    x = np.array([[np.nan, 4.0, np.nan]])
    separate = Exemplars.of(holes, SIGMA, separate=True)
    y = (holes[1::2, 1] - holes[1::2, 1].mean()) / holes[1::2, 1].std()
    at = (4.0 - holes[1::2, 1].mean()) / holes[1::2, 1].std()
    variance = np.nansum(((holes - np.nanmean(holes, 0)) / np.nanstd(holes, 0))[:, 1] ** 2) / len(holes)
    shrink = 1 - SIGMA**2 / variance
    parts = norm(shrink * y, SIGMA * np.sqrt(1 + shrink)).logpdf(at)
    truth = logsumexp(parts) - np.log(len(y)) - np.log(holes[1::2, 1].std())
    assert separate.log_evidence(x)[0] == pytest.approx(truth)


@pytest.mark.parametrize("separate", [False, True])
def test_it_integrates_to_one(separate):
    rows = np.random.default_rng(0).normal(size=(10, 1)) * 7
    grid = np.linspace(-100, 100, 20_001)
    density = np.exp(Exemplars.of(rows, SIGMA, separate).log_evidence(grid[:, None]))
    assert density.sum() * 0.01 == pytest.approx(1, abs=1e-6)


def test_a_training_row_is_weighed_with_the_others(rows):
    x = np.concatenate([rows, [[100.0, 0.0, 0.0]]])
    model = Exemplars.of(x, SIGMA)
    beside = model.log_evidence(x[-1:] + 1e-6)[0]  # a new row at the same place has it for a neighbour
    assert model.log_evidence(x[-1:])[0] < beside - 5
    twice = np.concatenate([x, x[-1:]])
    model = Exemplars.of(twice, SIGMA)  # one of two equal rows stays
    assert model.log_evidence(x[-1:])[0] == pytest.approx(
        model.log_evidence(x[-1:] + 1e-6)[0] - np.log(2) + np.log(len(twice) / len(x)), abs=1e-3
    )


def test_two_rows_equal_columns_and_many_rows():
    two = np.array([[0.0, 1.0], [1.0, 1.0]])
    for separate in (False, True):
        model = Exemplars.of(two, SIGMA, separate)
        assert np.isfinite(model.log_evidence(np.concatenate([two, [[1e6, -1e6], [np.nan, 1.0]]]))).all()
        assert model.log_evidence(np.full((1, 2), np.nan))[0] == 0  # of no cell
    assert len(Exemplars.of(np.random.default_rng(0).normal(size=(5000, 1)), SIGMA).rows) == MOST_EXEMPLARS


def test_a_tail_is_the_share_with_a_lower_score():
    scores = np.random.default_rng(0).permutation(norm.ppf((np.arange(999) + 0.5) / 999))
    tail = Tail.of(scores)
    at = np.array([-1.5, 0.0, 1.5])
    np.testing.assert_allclose(np.exp(tail.log_share(at)), norm.cdf(at), atol=0.002)
    np.testing.assert_allclose(  # whatever the units and the zero of the scores
        Tail.of(100 * scores - 1e4).log_share(100 * at - 1e4), tail.log_share(at)
    )
    near, far = tail.log_share(scores.min() - np.array([1.0, 100.0]))
    assert far < near < np.log(1 / 1000)
    assert near - far == pytest.approx(np.log1p(100 / tail.excess) - np.log1p(1 / tail.excess), abs=1e-6)


def test_rounding_does_not_turn_a_tie():
    tail = Tail.of(np.repeat([0.0, 1.0], 50))
    assert tail.log_share(np.array([1.0 - 1e-14]))[0] == pytest.approx(tail.log_share(np.array([1.0]))[0])
    assert np.isfinite(Tail.of(np.zeros(2)).log_share(np.array([-1.0, 0.0]))).all()
