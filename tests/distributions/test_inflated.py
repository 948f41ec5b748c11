"""Counts with point masses: sums over all counts, and draws."""

import pytest
import torch

from backstory.distributions.inflated import InflatedHead
from backstory.distributions.negative_binomial import NegativeBinomialHead
from backstory.distributions.quantities import Marginals


def make(columns=3):
    location, scale = torch.linspace(0.5, 2, columns), torch.ones(columns)
    counts = NegativeBinomialHead(Marginals(location, scale, scale.bool(), scale))
    head = InflatedHead(counts, [(0.0,), (2.0, 40.0), ()]).double()
    features = torch.randn(4, *head.features_shape, generator=torch.Generator().manual_seed(0))
    return head(features.double())


def test_probabilities_add_up_to_one_and_have_the_moments():
    p, x = make(), torch.arange(4000, dtype=torch.float64)
    probs = p.entries(x.view(-1, 1, 1).expand(-1, 4, 3)).exp()
    torch.testing.assert_close(probs.sum(0), torch.ones(4, 3).double(), rtol=0, atol=1e-5)
    mean = (x.view(-1, 1, 1) * probs).sum(0)
    torch.testing.assert_close(p.mean, mean, rtol=1e-3, atol=1e-3)
    variance = (x.view(-1, 1, 1).square() * probs).sum(0) - mean.square()
    torch.testing.assert_close(p.variance, variance, rtol=1e-2, atol=1e-2)


def test_an_atom_is_added_to_the_counts_and_a_column_without_atoms_has_counts_alone():
    p = make()
    there, beside = torch.tensor([0.0, 40.0, 1.0]).double(), torch.tensor([1.0, 39.0, 2.0]).double()
    weights, counts = p.log_weights.exp(), p.counts.entries
    expected = weights[:, 0] * counts(there).exp() + torch.stack(
        (weights[:, 1, 0], weights[:, 2, 1], torch.zeros(4)), -1
    )
    torch.testing.assert_close(p.entries(there).exp(), expected)
    torch.testing.assert_close(p.entries(beside).exp(), weights[:, 0] * counts(beside).exp())
    torch.testing.assert_close(p.entries(beside)[:, 2], counts(beside)[:, 2])


def test_draws_have_the_shares_of_the_atoms():
    p = make()
    draws = torch.stack([p.sample(torch.Generator().manual_seed(seed)) for seed in range(3000)])
    for column, atom in ((0, 0.0), (1, 2.0), (1, 40.0)):
        expected = p.entries(torch.full((4, 3), atom).double()).exp()[:, column]
        share = (draws[:, :, column] == atom).double().mean(0)
        assert share.tolist() == pytest.approx(expected.tolist(), abs=0.03)
