"""The likelihoods of columns against SciPy and quadrature, and their product over a row."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from backstory.distributions.columns import Marginals, Quantity
from backstory.distributions.curved_mixture import CurvedMixtureHead
from backstory.distributions.joint import Joint, JointHead
from backstory.distributions.negative_binomial import NegativeBinomialHead
from backstory.models.networks.columns import ColumnInputs

ROW = (
    Quantity("continuous"),
    Quantity("count"),
    Quantity("categorical", 4),
    Quantity("binary", 2),
    Quantity("date"),
    Quantity("ordinal", 5),
    Quantity("categorical", 3),
    Quantity("categorical", 4),
    Quantity("grid", 3, (-1.5, 0.25, 7.0)),
    Quantity("grid", 5, (-2.0, -1.9, 0.0, 0.1, 3.0)),
)


def marginals(columns, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 3, columns), rng.uniform(0.2, 5, columns), rng.random(columns) < 0.5
    atom = np.where(rng.random(columns) < 0.5, values[0] + 0.5, np.nan)
    return Marginals(*map(torch.from_numpy, (*values, atom)))


def mixture(rows=3, columns=6, spread=0.7, seed=0):
    head = CurvedMixtureHead(marginals(columns)).double()
    generator = torch.Generator().manual_seed(seed)
    return head(spread * torch.randn((rows, *head.features_shape), generator=generator, dtype=torch.float64))


def joint(rows=4, seed=0, dtype=torch.float64):
    head = JointHead(ROW, marginals(len(ROW))).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    return head(torch.randn((rows, *head.features_shape), generator=generator, dtype=dtype))


def row_of(p: Joint, seed=1):
    return p.sample(torch.Generator().manual_seed(seed))


# -- continuous columns -----------------------------------------------------------------------------------


def test_a_curved_mixture_has_mass_one_and_its_moments():
    p = mixture()
    m, s, curved, atom = p.marginals
    assert curved.any()
    assert (~curved).any()
    assert atom.isnan().any()
    assert (~atom.isnan()).any()
    mass_of_atom = p.log_weights[:, 0].exp()
    assert (mass_of_atom[:, atom.isnan()] == 0).all()
    for row in range(3):
        for column in range(6):
            one = Marginals(*(part[column : column + 1] for part in p.marginals))
            single = type(p)(
                *(part[row, :, column : column + 1] for part in (p.log_weights, p.means, p.log_stds)), one
            )

            def moment(
                t, order, single=single, scale=float(s[column]), middle=float(m[column]), bent=curved[column]
            ):
                # x = m + s sinh(t) spreads the heavy tails over a moderate range
                x = middle + scale * (math.sinh(t) if bent else t)
                slope = scale * (math.cosh(t) if bent else 1)
                return math.exp(single.log_prob(torch.tensor([x], dtype=torch.float64))) * slope * x**order

            point = float(mass_of_atom[row, column])
            value = float(torch.nan_to_num(atom[column]))
            found = [
                integrate.quad(moment, -30, 30, args=(k,), limit=500)[0] + point * value**k for k in range(3)
            ]
            assert found[0] == pytest.approx(1, abs=1e-6)
            assert float(p.mean[row, column]) == pytest.approx(found[1], rel=1e-5, abs=1e-6)
            assert float(p.variance[row, column]) == pytest.approx(found[2] - found[1] ** 2, rel=1e-4)


def test_draws_of_a_curved_mixture_follow_its_density():
    p = mixture(rows=1)
    draws = torch.cat([p.sample(torch.Generator().manual_seed(seed)) for seed in range(4000)])
    atom = p.marginals.atom
    for column in range(6):
        x = draws[:, column].numpy()
        share = (x == float(atom[column])).mean()
        expected = float(p.log_weights[0, 0, column].exp())
        assert share == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 4000) + 1e-9)
        m, s, curved, _ = (part[column] for part in p.marginals)
        y = (torch.from_numpy(x[x != float(atom[column])]) - m) / s
        y = torch.asinh(y) if curved else y
        weights = p.log_weights[0, 1:, column].exp() / (1 - p.log_weights[0, 0, column].exp())
        parts = stats.norm(p.means[0, :, column].numpy(), p.log_stds[0, :, column].exp().numpy())
        ranks = (weights.numpy() * parts.cdf(y.numpy()[:, None])).sum(1)
        assert stats.kstest(ranks, "uniform").pvalue > 1e-4


def test_a_mixture_stays_finite_far_away():
    head = CurvedMixtureHead(marginals(6))
    features = (1e3 * torch.randn(8, *head.features_shape)).requires_grad_()
    p = head(features)
    for x in (torch.full((8, 6), 1e6), torch.full((8, 6), -1e6), head.atom.nan_to_num(0).expand(8, 6)):
        (gradient,) = torch.autograd.grad(p.log_prob(x).sum(), features, retain_graph=True)
        assert torch.isfinite(p.log_prob(x)).all()
        assert torch.isfinite(gradient).all()
    assert torch.isfinite(p.mean).all()


# -- counts -----------------------------------------------------------------------------------------------


def test_counts_are_those_of_scipy():
    head = NegativeBinomialHead(
        marginals(5)._replace(location=torch.tensor([0.0, 1, 2, 3, 5])).of(torch.arange(5))
    )
    features = torch.randn(50, 2, 5, generator=torch.Generator().manual_seed(0)).double()
    p = head.double()(features)
    r, mean = p.log_size.exp().numpy(), p.mean.numpy()
    theirs = stats.nbinom(r, r / (r + mean))
    x = p.sample(torch.Generator().manual_seed(1))
    np.testing.assert_allclose(p.log_prob(x).numpy(), theirs.logpmf(x.numpy()).sum(-1), rtol=1e-9)
    np.testing.assert_allclose(p.variance.numpy(), theirs.var(), rtol=1e-9)
    draws = torch.stack([p.sample(torch.Generator().manual_seed(s)) for s in range(500)]).numpy()
    z = (draws.mean(0) - mean) / np.sqrt(theirs.var() / 500)
    assert np.abs(z).max() < 6
    assert z.std() < 1.3


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
    draws = torch.cat([row_of(p, seed) for seed in range(20_000)])
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
