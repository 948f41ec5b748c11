"""The logistic distribution as normals, against SciPy and sums over levels."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from backstory.distributions.logistic import DiscretisedLogistic
from backstory.distributions.normal_scales import Rounded, log_normal_between, logistic_as_normals


@pytest.mark.parametrize(("far", "error"), [(5, 2e-3), (40, 5e-3), (60, 0.3)])
def test_the_log_density_is_the_logistics(far, error):
    log_weight, std = map(np.array, logistic_as_normals())
    t = np.linspace(-far, far, 401)
    parts = stats.norm.logpdf(t[:, None], scale=std) + log_weight
    away = np.logaddexp.reduce(parts, axis=1) - stats.logistic.logpdf(t)
    assert np.abs(away).max() < error
    assert np.exp(log_weight).sum() == pytest.approx(1)


def test_moments_are_those_of_the_sum_over_levels():
    generator = torch.Generator().manual_seed(0)
    location = 300 * torch.rand(4, 50, generator=generator) - 20
    scale = torch.exp(4 * torch.rand(4, 50, generator=generator) - 0.5)  # 0.6 to 33 levels
    exact = DiscretisedLogistic(location, scale.log(), 256, 1)
    mean, variance = Rounded(location, scale, 256).moments()
    torch.testing.assert_close(mean, exact.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(variance.sqrt(), exact.variance.sqrt(), atol=0.15, rtol=0.02)


def test_few_levels_are_enumerated():
    few, many = (DiscretisedLogistic(torch.zeros(3), torch.zeros(3), levels, 1) for levels in (17, 256))
    assert few.rounded is None
    assert many.rounded is not None


@pytest.mark.parametrize(("a", "b"), [(-1.0, 2.0), (20.0, 21.0), (-31.0, -30.0), (-50.0, 50.0)])
def test_the_mass_between_two_points(a, b):
    low, high = (b, a) if a < 0 else (-a, -b)
    truth = stats.norm.logcdf(low) + math.log1p(-math.exp(stats.norm.logcdf(high) - stats.norm.logcdf(low)))
    if abs(a) != abs(b):
        assert float(log_normal_between(torch.tensor(a), torch.tensor(b))) == pytest.approx(truth, rel=1e-5)
    else:
        assert float(log_normal_between(torch.tensor(a), torch.tensor(b))) == pytest.approx(0, abs=1e-6)
