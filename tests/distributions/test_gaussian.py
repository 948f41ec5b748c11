"""The Gaussian likelihood in the units of the data, and its bounds."""

import math

import pytest
import torch
from likelihoods import CONTINUOUS, data_like, make

from backstory.distributions.gaussian import GaussianHead


@pytest.mark.parametrize("factor", [1e-3, 0.5, 255.0])
@pytest.mark.parametrize("sigma", CONTINUOUS)
def test_rescaled_data_shifts_the_gaussian_density(sigma, factor):
    shape = (2, 3)
    _, p, features = make(sigma, shape)
    x = data_like(p, (4,), shape)
    head = GaussianHead(shape, sigma, shift=-3.0, scale=2.5, value=0.7).double()
    scaled = GaussianHead(shape, sigma, shift=-3.0 * factor, scale=2.5 * factor, value=0.7 * factor).double()
    change = scaled(features).log_prob(x * factor) - head(features).log_prob(x)
    torch.testing.assert_close(change, torch.full_like(change, -6 * math.log(factor)), rtol=1e-5, atol=1e-4)


def test_gaussian_in_the_units_of_each_column():
    shift, scale = torch.tensor([10.0, -2.0]), torch.tensor([100.0, 0.1])
    head = GaussianHead((2,), "learned", shift, scale)
    p = head(torch.zeros(1, 1, 2))
    std = p.std.detach()
    torch.testing.assert_close(p.mean[0], shift)
    torch.testing.assert_close(std[0] / std[0, 0], scale / scale[0])
    assert float(std[0, 0]) == pytest.approx(100, rel=0.03)


def test_the_mean_of_a_gaussian_may_be_bounded():
    head = GaussianHead((3,), shift=-3.0, scale=2.5, full=16.0)
    raw = torch.tensor([-1e3, 0.0, 1e3])
    torch.testing.assert_close(head(raw.view(1, 1, 3)).mean, torch.tensor([[0.0, 8.0, 16.0]]))


@pytest.mark.parametrize("sigma", ["learned", "per-entry"])
def test_the_deviation_of_a_gaussian_is_bounded(sigma):
    head = GaussianHead((3,), sigma, scale=2.0)
    for raw, bound in ((-1e3, math.exp(-7)), (1e3, math.exp(4))):
        torch.nn.init.constant_(head.log_sigma, raw)
        assert float(head(torch.zeros(1, 1, 3)).std.detach().max()) == pytest.approx(2 * bound, rel=1e-4)


@pytest.mark.parametrize("sigma", ["learned", "per-entry", "predicted"])
def test_the_floor_adds_its_variance(sigma):
    plain = GaussianHead((3,), sigma, scale=2.0).double()
    floored = GaussianHead((3,), sigma, scale=2.0, floor=0.3).double()
    floored.load_state_dict(plain.state_dict())
    features = torch.linspace(-9, 4, 4 * plain.features_shape[0] * 3).double()
    features = features.view(4, *plain.features_shape)
    expected = plain(features).variance + (0.3 * 2.0) ** 2
    torch.testing.assert_close(floored(features).variance, expected)
