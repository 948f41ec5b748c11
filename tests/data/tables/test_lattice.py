"""Draws lie on the lattice of their column, and columns without one have none."""

import numpy as np
import pandas as pd
import pytest

import backstory
from backstory.data.load import load
from backstory.data.tables.lattice import Lattice

RNG = np.random.default_rng(0)
N = 500
DAY = pd.Timestamp("2024-01-01")
COLUMNS = {
    "twentieths": (RNG.integers(20, 400, N) * 0.05).round(2),
    "halves": RNG.integers(3, 190, N) / 2,
    "prices": RNG.integers(1, 90, N) + RNG.choice([0.49, 0.95], N),
    "nines": RNG.integers(100, 3000, N) * 10.0 + 9,
    "minutes": DAY + pd.to_timedelta(RNG.integers(0, 40_000, N), "min"),
    "quarters": DAY + pd.to_timedelta(15 * RNG.integers(0, 4000, N), "min"),
    "working": pd.bdate_range("2020-01-01", periods=1500)[RNG.integers(0, 1500, N)],
    "mondays": DAY + pd.to_timedelta(7 * RNG.integers(0, 200, N), "D"),
}
OTHERS = {
    "cents": RNG.normal(9, 3, N).round(2),
    "whole": RNG.integers(0, 90_000, N),
    "seconds": DAY + pd.to_timedelta(RNG.integers(0, 10**6, N), "s"),
    "measured": RNG.normal(size=N),
}
IS_ON = {
    "twentieths": lambda x: np.isclose(x * 20, np.rint(x * 20)),
    "halves": lambda x: x * 2 % 1 == 0,
    "prices": lambda x: (x % 1).round(2).isin([0.49, 0.95]),
    "nines": lambda x: x % 10 == 9,
    "minutes": lambda x: x.dt.second == 0,
    "quarters": lambda x: (x.dt.minute % 15 == 0) & (x.dt.second == 0),
    "working": lambda x: (x.dt.day_of_week < 5) & (x.dt.normalize() == x),
    "mondays": lambda x: (x.dt.day_of_week == 0) & (x.dt.normalize() == x),
}


@pytest.mark.parametrize("likelihood", ["joint", "autoregressive"])
def test_draws_and_filled_cells_lie_on_the_lattice(likelihood):
    frame = pd.DataFrame(COLUMNS)
    model = backstory.fit(
        frame, likelihood=likelihood, hidden=(16,), latent=2, epochs=2, progress=False, seed=0
    )
    drawn = model.sample(200, seed=0)
    for name, is_on in IS_ON.items():
        assert is_on(frame[name]).all()
        assert is_on(drawn[name]).all(), name
        assert drawn[name].nunique() > 20


def test_columns_without_a_lattice_have_none():
    data = load(pd.DataFrame(OTHERS), relations=False)
    assert [column.lattice for column in data.schema.kinds] == [None] * len(OTHERS)
    few = load(pd.DataFrame(COLUMNS).iloc[:8], relations=False)
    assert not any(column.lattice for column in few.schema.kinds)


def test_one_number_off_the_lattice_is_enough():
    numbers = np.append(COLUMNS["twentieths"], 3.01)
    assert load(pd.DataFrame({"x": numbers})).schema.kinds[0].lattice is None


def test_the_nearest_number_may_be_in_the_next_period():
    lattice = Lattice(period=1, endings=(0.25, 0.5))
    np.testing.assert_allclose(
        lattice.nearest(np.array([[2.95, 2.8], [-0.6, 0.5]])), [[3.25, 2.5], [-0.5, 0.5]]
    )
