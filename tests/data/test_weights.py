"""Rows come as often as their weights say."""

import numpy as np
import torch

from backstory.data.shuffle import ShuffledRows
from backstory.data.stored import StoredRows
from backstory.data.weights import drawn_by_weight


def test_each_row_comes_in_proportion_to_its_weight():
    weights, generator = torch.tensor([0.5, 1.0, 2.0, 0.1, 4.4]), torch.Generator().manual_seed(0)
    counts = np.stack([drawn_by_weight(weights, generator).bincount(minlength=5) for _ in range(4000)])
    expected = 5 * weights / weights.sum()
    np.testing.assert_allclose(counts.mean(0), expected, atol=0.03)
    assert (abs(counts - expected.numpy()) < 1).all()
    assert drawn_by_weight(torch.full((7,), 0.3), generator).sort().values.tolist() == list(range(7))


def test_an_epoch_has_the_rows_that_the_weights_say():
    rows = StoredRows(np.arange(4.0)[:, None], weights=np.array([1.0, 3.0, 2.0, 2.0]))
    shuffled = ShuffledRows(rows.take(np.array([0, 1])), 2, torch.device("cpu"))
    counts = sum(shuffled.order(torch.Generator().manual_seed(k)).bincount(minlength=2) for k in range(200))
    assert abs(counts[1] / 400 - 0.75) < 0.05
