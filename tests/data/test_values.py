"""Stored values from anything that people pass, in batches."""

import numpy as np
import pytest
import torch

import backstory
from backstory import InputError
from backstory.data.values import BATCH, Batches, stored_rows

CPU = torch.device("cpu")


def batches(values: np.ndarray, incomplete: bool = False) -> Batches:
    schema = backstory.load(np.random.default_rng(0).normal(size=(20, 2))).schema
    return Batches(stored_rows(values, schema), schema, incomplete, CPU)


@pytest.mark.parametrize("rows", [1, BATCH, BATCH + 1, 2 * BATCH + 3])
def test_all_rows_come_once_and_in_order(rows):
    values = np.arange(2.0 * rows).reshape(rows, 2)
    drawn = [batch.x for batch in batches(values).draw(torch.Generator().manual_seed(0))]
    assert all(0 < len(x) <= BATCH for x in drawn)
    np.testing.assert_allclose(torch.cat(drawn), values, rtol=1e-6)
    assert len(batches(values)) == rows


@pytest.mark.parametrize(
    ("value", "incomplete", "got"),
    [(np.nan, False, "NaN or infinity"), (np.inf, False, "NaN or infinity"), (np.inf, True, "got infinity")],
)
def test_entries_that_no_model_takes(value, incomplete, got):
    values = np.zeros((3, 2))
    values[1, 1] = value
    with pytest.raises(InputError, match=got):
        list(batches(values, incomplete).draw(torch.Generator()))


def test_a_model_for_incomplete_data_takes_nan():
    values = np.array([[0.0, np.nan]])
    (batch,) = batches(values, incomplete=True).draw(torch.Generator())
    assert torch.isnan(batch.x[0, 1])
    assert batch.x[0, 0] == 0
