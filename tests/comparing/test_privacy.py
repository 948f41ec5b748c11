"""Nearest rows and copies: closed answers."""

import numpy as np
import pytest

from backstory.comparing.privacy import Space, copies, nearer_share, nearest, nearness
from backstory.data.tables.columns import Column

X, Y = Column(name="x", kind="continuous"), Column(name="y", kind="continuous")
TOWN = Column(name="town", kind="categorical", levels=("a", "b"), cells="text")


def normal(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 2))


def test_distances_are_in_deviations_and_levels() -> None:
    training = np.array([[-2.0, 0], [2.0, 0], [-2.0, 1], [2.0, 1]])  # a standard deviation of 2
    points = Space.of(training, [X, TOWN]).points(np.array([[2.0, 0], [4.0, 0], [2.0, 1], [2.0, np.nan]]))
    assert nearest(points[1:2], points[:1]) == pytest.approx(1)
    assert nearest(points[2:3], points[:1]) == pytest.approx(1)
    assert nearest(points[3:], points[:3]) == pytest.approx(1)


def test_rows_of_one_source_are_as_near_to_held_out_rows() -> None:
    found = nearness(normal(2000, 0), normal(2000, 1), normal(2000, 2), [X, Y])
    assert found.nearer_to_training == pytest.approx(0.5, abs=0.04)
    assert found.membership == pytest.approx(0.5, abs=0.04)
    assert found.distance == pytest.approx(found.held_out_distance, rel=0.1)
    assert found.closer == pytest.approx(0.5, abs=0.03)
    assert found.closer_error == pytest.approx(0.0091, abs=1e-4)
    assert found.verdict == "as far"
    assert nearness(normal(2000, 0) * 2, normal(2000, 1), normal(2000, 2), [X, Y]).verdict == "farther"


def test_copies_of_training_rows_are_nearer_to_them() -> None:
    training, held_out = normal(300, 1), normal(300, 2)
    found = nearness(training, training, held_out, [X, Y])
    assert found.nearer_to_training == 1
    assert found.membership == 1
    assert found.distance == pytest.approx(0, abs=1e-6)
    assert (found.closer, found.verdict) == (1, "nearer")


def test_identical_tables_are_as_near_to_both() -> None:
    training = normal(300, 1)
    found = nearness(training, training, training[::-1], [X, Y])
    assert found.nearer_to_training == 0.5
    assert found.membership == pytest.approx(0.5, abs=1e-6)


def test_more_training_rows_are_no_nearer_by_their_number() -> None:
    points = normal(1000, 0)
    assert nearer_share(points, normal(4000, 1), normal(500, 2)) == pytest.approx(0.5, abs=0.05)
    assert nearer_share(points, normal(500, 1), normal(4000, 2)) == pytest.approx(0.5, abs=0.05)


def test_copies_are_counted() -> None:
    training = np.array([[1, np.nan], [2, 0.0], [3, 5]])
    rows = np.array([[1, np.nan], [2, -0.0], [2, 0.0], [3, np.nan], [4, 5]])
    assert copies(rows, training) == 3
