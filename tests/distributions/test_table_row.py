"""The likelihood of a row of a table: columns, levels, grids and moments; and the inputs of its encoder."""

import math

import torch
from likelihoods import ROW, marginals

from backstory.distributions.table_row import Joint, JointHead
from backstory.models.networks.row_features import ColumnInputs


def joint(rows=4, seed=0, dtype=torch.float64, times=1):
    head = JointHead(ROW, marginals(len(ROW))).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn((rows, *head.features_shape), generator=generator, dtype=dtype)
    return head(features.repeat_interleave(times, 0))


def row_of(p: Joint, seed=1):
    return p.sample(torch.Generator().manual_seed(seed))


# -- rows -------------------------------------------------------------------------------------------------


def test_a_row_is_the_sum_of_its_columns():
    p = joint()
    x = row_of(p)
    entries = p.entries(x)
    assert entries.shape == x.shape
    torch.testing.assert_close(p.log_prob(x), entries.sum(-1))
    for column in range(len(ROW)):
        mask = torch.arange(len(ROW)) == column
        torch.testing.assert_close(p.log_prob(x, mask.expand_as(x)), entries[:, column])
        holes = torch.where(mask, x, math.nan)
        torch.testing.assert_close(p.log_prob(holes, ~holes.isnan()), entries[:, column])


def test_probabilities_of_levels_are_those_of_the_row():
    p = joint()
    x = row_of(p)
    seen = []
    for columns, probs in p.level_probs:
        torch.testing.assert_close(probs.sum(-2), torch.ones_like(probs[:, 0]))
        for k, column in enumerate(columns.tolist()):
            seen.append(column)
            for level in range(ROW[column].levels):
                there = x.clone()
                there[:, column] = level
                torch.testing.assert_close(p.entries(there)[:, column].exp(), probs[:, level, k])
    assert sorted(seen) == [2, 3, 5, 6, 7]


def test_a_grid_has_mass_one_on_its_numbers_and_draws_no_others():
    p = joint()

    def at(column, value):
        x = row_of(p)
        x[:, column] = value
        return p.entries(x)[:, column]

    for column in (8, 9):
        values = torch.tensor(ROW[column].values, dtype=torch.float64)
        entries = torch.stack([at(column, v) for v in values])
        torch.testing.assert_close(entries.exp().sum(0), torch.ones_like(entries[0]))
        torch.testing.assert_close((entries.exp() * values[:, None]).sum(0), p.mean[:, column])
        torch.testing.assert_close(at(column, values[-1] + 40), entries[-1])
        drawn = torch.stack([row_of(p, seed)[:, column] for seed in range(50)])
        assert set(drawn.flatten().tolist()) <= set(values.float().double().tolist())


def test_moments_of_a_row_are_those_of_its_draws():
    p = joint(rows=1)
    draws = row_of(joint(rows=1, times=20_000))
    light = [1, 2, 3, 5, 6, 7, 8, 9]  # heavy tails converge too slowly
    error = 5 * draws.std(0) / math.sqrt(20_000)
    assert ((draws.mean(0) - p.mean[0]).abs() < error)[light].all()
    torch.testing.assert_close(draws.var(0)[light], p.variance[0, light], rtol=0.1, atol=1e-3)


def test_batches_of_draws_and_rows():
    head = JointHead(ROW, marginals(len(ROW)))
    p = head(torch.zeros(7, 4, *head.features_shape))
    x = row_of(joint(dtype=torch.float32)).float()
    assert p.log_prob(x).shape == (7, 4)
    assert p.mean.shape == p.variance.shape == p.sample().shape == (7, 4, len(ROW))
    assert p.entries(x).shape == (7, 4, len(ROW))


# -- the encoder's side -----------------------------------------------------------------------------------


def test_moments_of_numbers_are_mean_and_variance_and_levels_have_none():
    p = joint()
    mean, variance = p.moments
    numbers = [
        j for j, quantity in enumerate(ROW) if quantity.kind in ("continuous", "date", "count", "grid")
    ]
    torch.testing.assert_close(mean[:, numbers], p.mean[:, numbers])
    torch.testing.assert_close(variance[:, numbers], p.variance[:, numbers])
    others = [j for j in range(len(ROW)) if j not in numbers]
    assert not mean[:, others].any()
    assert not variance[:, others].any()


def test_what_was_not_observed_is_not_seen():
    known, shift, scale = marginals(len(ROW)), torch.zeros(len(ROW)), torch.ones(len(ROW))
    inputs = ColumnInputs(ROW, known, shift, scale).double()
    x = row_of(joint())
    there = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    seen = inputs(torch.stack((torch.where(there, x, 0), there.double()), -1))
    assert seen.shape == (4, inputs.outputs)
    other = torch.where(there, x, row_of(joint(), 2))
    assert torch.equal(inputs(torch.stack((other, there.double()), -1)), seen)
    assert (inputs(torch.stack((torch.zeros_like(x), torch.zeros_like(x)), -1)) == 0).all()


def test_columns_are_seen_in_their_own_units():
    known = marginals(len(ROW))
    shift, scale = torch.full((len(ROW),), 3.0), torch.full((len(ROW),), 2.0)
    x = row_of(joint())
    plain = ColumnInputs(ROW, known, torch.zeros(len(ROW)), torch.ones(len(ROW))).double()
    moved = ColumnInputs(ROW, known, shift, scale).double()
    ones = torch.ones_like(x)
    torch.testing.assert_close(moved(torch.stack(((x - 3) / 2, ones), -1)), plain(torch.stack((x, ones), -1)))
