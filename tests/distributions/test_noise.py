"""Noise for the draws of rows that have a generator each."""

import pytest
import torch
from likelihoods import ALL, make

from backstory.distributions.noise import RowGenerators, gamma, poisson, rand, randn
from backstory.inference.hmc import mixed_seed


def generators(rows: range) -> RowGenerators:
    return RowGenerators([torch.Generator().manual_seed(mixed_seed(0, row)) for row in rows])


LIKE = torch.zeros((), dtype=torch.float64)


@pytest.mark.parametrize(
    "noise",
    [
        lambda rows, own: randn((3, rows, 2), LIKE, own),
        lambda rows, own: rand((3, rows, 2), LIKE, own),
        lambda rows, own: gamma(torch.full((3, rows, 2), 2.5), own),
        lambda rows, own: poisson(torch.full((3, rows, 2), 2.5), own),
    ],
    ids=["randn", "rand", "gamma", "poisson"],
)
def test_noise_of_a_row_is_the_same_beside_others(noise):
    together = noise(5, generators(range(5)))
    assert together.shape == (3, 5, 2)
    for row in range(5):
        assert torch.equal(noise(1, generators(range(row, row + 1)))[:, 0], together[:, row])
    assert len(together.unique()) > 3


@pytest.mark.parametrize("name", ALL)
def test_every_likelihood_draws_a_row_alike_beside_others(name):
    head, p, features = make(name, (3,), (4, 5))
    drawn = p.sample(generators(range(5)))
    assert drawn.shape == (4, 5, 3)
    for row in (0, 3):
        alone = head(features[:, row : row + 1]).sample(generators(range(row, row + 1)))
        torch.testing.assert_close(alone[:, 0], drawn[:, row])
    assert not torch.equal(drawn[:, 0], drawn[:, 1])
