"""The mixture of continuous columns against quadrature and its own samples."""

import math

import numpy as np
import pytest
import torch
from likelihoods import marginals
from scipy import integrate, stats

from backstory.distributions.curved_mixture import CurvedMixtureHead
from backstory.distributions.quantities import Marginals


def mixture(rows=3, columns=6, spread=0.7, seed=0):
    more = torch.tensor([[7.0, math.nan], [-4.0, 11.0]]).repeat(1, columns // 2)
    head = CurvedMixtureHead(marginals(columns), more).double()
    generator = torch.Generator().manual_seed(seed)
    return head(spread * torch.randn((rows, *head.features_shape), generator=generator, dtype=torch.float64))


def test_a_curved_mixture_has_mass_one_and_its_moments():
    p = mixture()
    m, s, curved, atom = p.marginals
    assert curved.any()
    assert (~curved).any()
    assert atom.isnan().any()
    assert (~atom.isnan()).any()
    many = len(p.atoms)
    assert many == 3
    masses = p.log_weights[:, :many].exp()
    assert (masses[:, p.atoms.isnan()] == 0).all()
    for row in range(3):
        for column in range(6):
            one = Marginals(*(part[column : column + 1] for part in p.marginals))
            single = type(p)(
                *(part[row, :, column : column + 1] for part in (p.log_weights, p.means, p.log_stds)),
                one,
                p.atoms[:, column : column + 1],
            )

            def moment(
                t, order, single=single, scale=float(s[column]), middle=float(m[column]), bent=curved[column]
            ):
                # x = m + s sinh(t) spreads the heavy tails over a moderate range
                x = middle + scale * (math.sinh(t) if bent else t)
                slope = scale * (math.cosh(t) if bent else 1)
                return math.exp(single.log_prob(torch.tensor([x], dtype=torch.float64))) * slope * x**order

            points, values = masses[row, :, column], p.atoms[:, column].nan_to_num(0.0)
            found = [
                integrate.quad(moment, -30, 30, args=(k,), limit=500)[0] + float((points * values**k).sum())
                for k in range(3)
            ]
            assert found[0] == pytest.approx(1, abs=1e-6)
            assert float(p.mean[row, column]) == pytest.approx(found[1], rel=1e-5, abs=1e-6)
            assert float(p.variance[row, column]) == pytest.approx(found[2] - found[1] ** 2, rel=1e-4)


def test_draws_of_a_curved_mixture_follow_its_density():
    p = mixture(rows=1)
    draws = torch.cat([p.sample(torch.Generator().manual_seed(seed)) for seed in range(4000)])
    many = len(p.atoms)
    for column in range(6):
        x, atoms = draws[:, column].numpy(), p.atoms[:, column].numpy()
        for atom, log_weight in zip(atoms, p.log_weights[0, :many, column], strict=True):
            share, expected = (x == atom).mean(), float(log_weight.exp())
            error = math.sqrt(expected * (1 - expected) / 4000)
            assert share == pytest.approx(expected, abs=4 * error + 1e-9)
        m, s, curved, _ = (part[column] for part in p.marginals)
        y = (torch.from_numpy(x[~np.isin(x, atoms)]) - m) / s
        y = torch.asinh(y) if curved else y
        weights = torch.softmax(p.log_weights[0, many:, column], 0)
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
