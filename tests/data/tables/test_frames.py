"""Stored values as frames."""

import numpy as np
import pandas as pd
import torch

from backstory.data.load import load
from backstory.data.tables.frames import to_frame


def test_cells_come_back(frame, csv) -> None:
    data = load(csv)
    back = to_frame(data.values, data.schema)
    rare = ~frame["country"].isin(data.schema.kinds[0].levels) & frame["country"].notna()
    assert (back.loc[rare, "country"] == "other").all()
    frame = frame.assign(country=frame["country"].mask(rare, "other"))
    for name in back:
        left, right = back[name].astype(object), frame[name].astype(object)
        assert (left.isna() == right.isna()).all(), name
        if name in ("last_seen", "balance", "current", "phase"):
            continue
        assert (left.dropna() == right.dropna()).all(), name
    assert (back["last_seen"] == frame["last_seen"]).all()  # to the second
    np.testing.assert_array_equal(back["balance"], frame["balance"])


def test_types_of_a_frame_come_back(frame) -> None:
    typed = pd.DataFrame(
        {
            "size": pd.Categorical(["S", "L", "M"] * 10, ["S", "M", "L"], ordered=True),
            "color": pd.Categorical(["red", "blue", None] * 10),
            "when": pd.date_range("2020-01-01 12:34:56", periods=30, freq="h"),
            "flag": pd.array([True, None, False] * 10, "boolean"),
            "small": np.arange(30, dtype=np.float32) / 4,
        }
    )
    data = load(typed)
    kinds = [c.kind for c in data.schema.kinds]
    assert kinds == ["ordinal", "binary", "date", "binary", "continuous"]
    back = to_frame(data.values, data.schema)
    assert list(back["size"].cat.categories) == ["S", "M", "L"]
    assert back["size"].cat.ordered
    for name in typed:
        assert (back[name].astype(object).dropna() == typed[name].astype(object).dropna()).all(), name
    assert back["small"].dtype == np.float32


def test_draws_of_a_grid_are_its_numbers_in_double_precision(grids) -> None:
    schema = load(grids()).schema
    x = schema.prepare(torch.as_tensor(load(grids()).values))
    np.testing.assert_array_equal(schema.restore(x)[:, :3], grids().to_numpy()[:, :3])
