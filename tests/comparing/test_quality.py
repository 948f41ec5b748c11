"""Shapes and pairs against numbers made by hand, and against SDMetrics where it is installed."""

import warnings

import numpy as np
import pandas as pd
import pytest

from backstory.comparing.quality import average, pairs, shapes
from backstory.data.tables.columns import Column

X, Y = Column(name="x", kind="continuous"), Column(name="y", kind="continuous")
TOWN = Column(name="town", kind="categorical", levels=("a", "b", "c"), cells="text")
SIZE = Column(name="size", kind="ordinal", levels=("S", "M"), cells="text")
EMPTY = np.nan


def rows(*columns: list[float]) -> np.ndarray:
    return np.array(columns, float).T


def test_identical_tables_are_alike_in_all() -> None:
    table = rows([1, 2, 3, EMPTY], [1, 0, 2, 4], [0, 1, 2, EMPTY])
    columns = [X, Y, TOWN]
    assert shapes(table, table, columns) == {"x": 1, "y": 1, "town": 1}
    assert pairs(table, table, columns) == {("x", "y"): 1, ("x", "town"): 1, ("y", "town"): 1}


def test_a_shifted_column_has_the_known_distance() -> None:
    x = np.arange(10.0)[:, None]
    for shift in range(11):
        assert shapes(x, x + shift, [X])["x"] == pytest.approx(1 - shift / 10)


def test_empty_numbers_are_left_out_of_shapes() -> None:
    assert shapes(rows([0, 1, EMPTY, EMPTY]), rows([1, 0, 0, 1]), [X]) == {"x": 1}
    assert np.isnan(shapes(rows([EMPTY, EMPTY]), rows([1, 2]), [X])["x"])


def test_an_empty_level_is_a_level() -> None:
    # shares ½, ¼, 0 and ¼ empty against ¼, ¼, ½ and none: ½ (¼ + 0 + ½ + ¼) = ½
    assert shapes(rows([0, 0, 1, EMPTY]), rows([0, 1, 2, 2]), [TOWN])["town"] == pytest.approx(0.5)


def test_pairs_of_numbers_compare_correlations() -> None:
    up, down = rows([0, 1, 2, 3], [0, 2, 4, 6]), rows([0, 1, 2, 3], [6, 4, 2, 0])
    flat = rows([0, 1, 2, 3], [1, -1, -1, 1])
    assert pairs(up, down, [X, Y])["x", "y"] == pytest.approx(0)
    assert pairs(up, flat, [X, Y])["x", "y"] == pytest.approx(0.5)
    assert np.isnan(pairs(up, rows([0, 1, 2, 3], [5, 5, 5, 5]), [X, Y])["x", "y"])


def test_pairs_of_levels_compare_contingency_tables() -> None:
    same, crossed = rows([0, 0, 1, 1], [0, 0, 1, 1]), rows([0, 0, 1, 1], [0, 1, 0, 1])
    assert pairs(same, crossed, [TOWN, SIZE])["town", "size"] == pytest.approx(0.5)
    assert shapes(same, crossed, [TOWN, SIZE]) == {"town": 1, "size": 1}


def test_numbers_beside_levels_are_cut_into_ten_bins() -> None:
    # 0 … 99 in ten bins and one of the highest number; the levels change sides in one bin of ten
    x, real = np.arange(100.0), np.repeat([0.0, 1.0], 50)
    other = np.where((x >= 40) & (x < 50), 1.0, real)
    score = pairs(rows(x, real), rows(x, other), [X, TOWN])["x", "town"]
    assert score == pytest.approx(1 - 10 / 100, abs=0.011)


def test_scores_that_do_not_exist_are_left_out_of_means() -> None:
    assert average([1, EMPTY, 0.5]) == 0.75
    assert np.isnan(average([EMPTY]))


def test_they_are_those_of_sdmetrics() -> None:
    reports = pytest.importorskip("sdmetrics.reports.single_table._properties")
    rng, columns = np.random.default_rng(0), [X, Y, TOWN, SIZE]

    def table(count: int, slope: float) -> np.ndarray:
        x = rng.standard_t(3, count)
        y = np.where(rng.random(count) < 0.1, np.nan, slope * x + rng.normal(size=count))
        town = np.clip(np.rint(x + 1), 0, 2)
        return rows(x, y, town, rng.integers(0, 2, count))

    def frame(values: np.ndarray) -> pd.DataFrame:
        named = pd.DataFrame(values, columns=[column.name for column in columns])
        return named.assign(town=named["town"].map(dict(enumerate("abc"))))

    real, synthetic = table(400, 1.0), table(300, -0.5)
    kinds = {c.name: {"sdtype": "numerical" if c.levels is None else "categorical"} for c in columns}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = []
        for name in ("ColumnShapes", "ColumnPairTrends"):
            report = getattr(reports, name)()
            report.num_rows_subsample = None
            report.get_score(frame(real), frame(synthetic), {"columns": kinds})
            theirs.append(report.details["Score"].tolist())
    assert [*shapes(real, synthetic, columns).values()] == pytest.approx(theirs[0], abs=1e-6)
    assert [*pairs(real, synthetic, columns).values()] == pytest.approx(theirs[1], abs=1e-6)
