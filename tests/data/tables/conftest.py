"""Tables with columns of every kind."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mixed import mixed_table


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return mixed_table(1000, 0)


@pytest.fixture
def csv(frame, tmp_path) -> Path:
    frame.to_csv(tmp_path / "mixed.csv", index=False)
    return tmp_path / "mixed.csv"


def make_grids(rows: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    hours = (np.arange(24) - 11.5) / 6.92
    return pd.DataFrame(
        {
            "hour": rng.choice(hours, rows),
            "year": rng.choice([2001, 2005, 2024], rows),
            "pack": rng.choice([0, 6, 12, 24], rows),
            "count": rng.choice([0, 1, 2, 3, 90], rows, p=[0.3, 0.3, 0.2, 0.15, 0.05]),
            "age": rng.integers(18, 36, rows),
            "dose": np.round(rng.random(rows), 1),
            "free": rng.random(rows),
        }
    )


@pytest.fixture
def grids() -> Callable[..., pd.DataFrame]:
    """Makes a table in which some columns have few different numbers."""
    return make_grids
