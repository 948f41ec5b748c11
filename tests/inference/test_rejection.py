"""Draws in ranges, compared with the closed form of a Gaussian, and refused where they are too rare."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import backstory
from backstory.errors import InputError
from backstory.inference.rejection import MOST, drawn_in


@pytest.fixture(scope="module")
def gaussian() -> backstory.Model:
    z, noise = np.random.default_rng(0).normal(size=(2, 400))
    frame = pd.DataFrame({"a": z, "b": 0.8 * z + 0.6 * noise, "c": z - noise})
    options = {"latent": 2, "epochs": 20, "progress": False, "compile": False, "validation": 0}
    return backstory.fit(frame, network="linear", likelihood="gaussian", incomplete=True, **options)


def truncated(mean: float, std: float, low: float, high: float) -> tuple[float, float]:
    """Mean and standard deviation of a Gaussian between two numbers, from its closed form."""
    a, b = (low - mean) / std, (high - mean) / std
    mass = norm.cdf(b) - norm.cdf(a)
    shift = (norm.pdf(a) - norm.pdf(b)) / mass
    variance = 1 + (a * norm.pdf(a) - b * norm.pdf(b)) / mass - shift**2
    return mean + std * shift, std * variance**0.5


@pytest.mark.parametrize("where", [{"a": (0.5, 1.5)}, {"a": (0.5, 1.5), "c": -0.5}])
def test_draws_in_a_range_have_the_closed_form(gaussian, where) -> None:
    exact = gaussian.exact()
    mean, covariance = exact.bias.numpy(), exact.covariance.numpy()
    if "c" in where:
        gain = covariance[:2, 2] / covariance[2, 2]
        mean = mean[:2] + gain * (where["c"] - mean[2])
        covariance = covariance[:2, :2] - np.outer(gain, covariance[2, :2])
    inside, spread = truncated(mean[0], covariance[0, 0] ** 0.5, 0.5, 1.5)
    slope = covariance[0, 1] / covariance[0, 0]
    expected = mean[1] + slope * (inside - mean[0])
    rest = covariance[1, 1] - slope * covariance[0, 1]
    n = 4000
    drawn = gaussian.sample(n, seed=1, where=where)
    assert drawn["a"].between(0.5, 1.5).all()
    assert drawn["a"].mean() == pytest.approx(inside, abs=5 * spread / n**0.5)
    std = (rest + (slope * spread) ** 2) ** 0.5
    assert drawn["b"].mean() == pytest.approx(expected, abs=5 * std / n**0.5)
    assert drawn["b"].std() == pytest.approx(std, rel=0.06)
    pd.testing.assert_frame_equal(drawn, gaussian.sample(n, seed=1, where=where))


def test_the_order_of_draws_does_not_matter() -> None:
    def ordered(count: int, seed: int) -> np.ndarray:
        return np.sort(np.random.default_rng(seed).random(count))

    x = drawn_in(ordered, lambda x: x > 0.5, 600, 0)
    assert x.mean() == pytest.approx(0.75, abs=0.03)


def test_a_set_that_is_too_rare_is_refused() -> None:
    tried = []

    def draw(count: int, seed: int) -> np.ndarray:
        tried.append(count)
        return np.random.default_rng(seed).random(count)

    with pytest.raises(
        InputError, match=r"got 0 of 2\d\d,000 draws: their share is less than .*; give wider"
    ):
        drawn_in(draw, lambda x: x > 2, 10, 0)
    assert MOST <= sum(tried) < 2 * MOST
    with pytest.raises(InputError, match="their share is about 0"):
        drawn_in(draw, lambda x: x > 1 - 1e-4, 500, 0)
