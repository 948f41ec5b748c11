"""The tail of importance weights: known tails, and what no chunk changes."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from backstory.data.observation import Observation
from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.inference import importance as likelihood
from backstory.inference.importance import importance_sampling, tail_warning
from backstory.inference.pareto import Largest, generalised_pareto_k, pareto_k, tail_size, threshold
from backstory.inference.target import Evidenced


@pytest.mark.parametrize("k", [-0.5, 0.1, 0.3, 0.7, 1.0, 1.5])
@pytest.mark.parametrize("scale", [1e-6, 2.3])
def test_the_shape_of_generalised_pareto_draws(k, scale):
    x = stats.genpareto(k, scale=scale).rvs((300, 400), random_state=np.random.default_rng(0))
    fitted = generalised_pareto_k(torch.from_numpy(np.sort(x, 1)))
    assert float(fitted.mean()) == pytest.approx(k, abs=0.03)
    if k > 0:  # the asymptotic error of the maximum-likelihood estimate is (1 + k) / √n (Smith 1987)
        assert float(fitted.std()) == pytest.approx((1 + k) / 20, rel=0.25)


def test_the_fit_is_near_the_maximum_of_the_likelihood():
    x = np.sort(stats.genpareto(0.4).rvs((10, 300), random_state=np.random.default_rng(1)), 1)
    fitted = generalised_pareto_k(torch.from_numpy(x))
    best = [stats.genpareto.fit(row, floc=0)[0] for row in x]
    np.testing.assert_allclose(fitted, best, atol=0.03)


@pytest.mark.parametrize("alpha", [1.2, 2.0, 4.0])
def test_weights_with_a_power_tail(alpha):
    """Weights u^(−1/α) are Pareto: α moments, k = 1/α; the prior moves the estimate a little towards ½."""
    k = 10_000
    u = np.random.default_rng(0).uniform(size=(200, k))
    size = tail_size(k)
    largest = torch.from_numpy(-np.log(u) / alpha).topk(size + 1).values
    expected = (size / alpha + 5) / (size + 10)
    assert float(pareto_k(largest).mean()) == pytest.approx(expected, abs=0.02)


def test_a_constant_does_not_matter_nor_does_the_order():
    largest = torch.randn(5, 100, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(pareto_k(largest.flip(1) - 5_000), pareto_k(largest))


def test_edges():
    assert torch.isnan(pareto_k(torch.zeros(3, 10, dtype=torch.float64))).all()  # nine excesses
    assert (pareto_k(torch.zeros(3, 50, dtype=torch.float64)) == 0).all()  # no tail
    one = torch.zeros(1, 50, dtype=torch.float64)
    one[0, 7] = 2_000  # one weight outweighs everything
    assert float(pareto_k(one)) > 1
    wide = torch.linspace(-9_000, 0, 50).double()[None]
    assert float(pareto_k(wide)) > 1
    assert torch.isfinite(pareto_k(torch.full((1, 50), -math.inf, dtype=torch.float64))).all()


def test_tail_sizes_and_thresholds():
    assert [tail_size(k) for k in (1, 10, 100, 225, 5_000)] == [1, 2, 20, 45, 213]
    assert threshold(100) == 0.5
    assert threshold(10**6) == 0.7
    assert threshold(1) == 0


@pytest.mark.parametrize("pieces", [1, 7, 50, 333])
def test_the_largest_are_kept_whatever_the_pieces(pieces):
    values = torch.randn(1_000, 4, generator=torch.Generator().manual_seed(0)).double()
    largest = Largest(4, 20, values.device)
    for part in values.split(pieces):
        largest.add(part)
        assert largest.kept.shape[1] <= 20
    torch.testing.assert_close(largest.values().sort().values, values.T.sort().values[:, -20:])


@pytest.mark.parametrize("chunk", [1, 30, None])
def test_evidence_tells_the_tail_of_its_weights(small_vae, levels, chunk, monkeypatch):
    vae, x, samples = small_vae(), levels(), 150
    monkeypatch.setattr(likelihood, "BLOCK", 10)
    e = importance_sampling(vae, [x], samples, torch.Generator().manual_seed(0), chunk)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        q = vae.encode(x)
        z = torch.stack([q.sample(1, generator)[0] for _ in range(samples)])
        weights = vae.terms_at(x, q, z).log_weight.T
    torch.testing.assert_close(e.pareto_k, pareto_k(weights.topk(tail_size(samples) + 1).values))


def test_a_narrow_proposal_is_noticed_and_a_good_one_is_not(linear_gaussian):
    exact = linear_gaussian(rows=50)

    def evidence(width: float):
        # The weights of N(0, 1) from N(0, s²), s² < ½, have no variance: k = 1 − s²
        q = exact.vae.encode(exact.x)
        narrow = DiagonalGaussian(q.mean, q.log_std + math.log(width))
        return likelihood.target_evidence(
            Evidenced(exact.vae, Observation(exact.x), narrow), 2_000, torch.Generator().manual_seed(0)
        )

    good, bad = evidence(1.1), evidence(0.3)
    assert tail_warning(good) is None
    assert float(good.pareto_k.mean()) < 0.4
    assert float(bad.pareto_k.mean()) > 0.75
    warning = tail_warning(bad)
    assert warning is not None
    assert "of 50 observations" in warning
    assert "`method` auto" in warning
    assert "\n" not in warning
