"""The column that a comparison predicts by itself."""

import numpy as np

from backstory.comparing.target import usual_target
from backstory.data.tables.columns import Column

NUMBERS = [Column(name=name, kind="continuous") for name in "xyz"]
A, B, NOISE = (
    Column(name=n, kind="categorical", levels=("0", "1"), cells="text") for n in ("a", "b", "noise")
)


def rows(*parts: np.ndarray) -> np.ndarray:
    return np.stack(parts, axis=1).astype(float)


def test_levels_that_the_others_predict_come_before_noise_and_before_what_is_determined() -> None:
    random = np.random.default_rng(0)
    x, noise = random.normal(size=600), random.integers(0, 2, 600)
    a = x + random.normal(size=600) > 0
    assert usual_target(rows(a, x, noise), [A, NUMBERS[0], NOISE]) == 0
    assert usual_target(rows(a, x, x > 0, noise), [A, NUMBERS[0], B, NOISE]) == 0  # b is known from x


def test_numbers_are_predicted_where_all_levels_are_noise() -> None:
    random = np.random.default_rng(0)
    x, noise = random.normal(size=600), random.integers(0, 2, 600)
    y = x + random.normal(size=600) / 2
    assert usual_target(rows(random.normal(size=600), y, x, noise), [*NUMBERS, NOISE]) in (1, 2)


def test_among_noise_it_is_the_last_column_with_levels_or_the_last() -> None:
    random = np.random.default_rng(0)
    noise, levels = random.normal(size=(300, 2)), random.integers(0, 2, (300, 2))
    assert usual_target(rows(*levels.T, *noise.T), [A, B, *NUMBERS[:2]]) == 1
    assert usual_target(noise, NUMBERS[:2]) == 1
