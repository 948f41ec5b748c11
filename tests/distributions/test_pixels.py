"""Pixels that depend on each other given z, against all images of a few levels."""

import itertools
import math

import pytest
import torch

from backstory import InputError
from backstory.distributions.bernoulli import BernoulliHead
from backstory.distributions.logistic import DiscretisedLogisticHead
from backstory.distributions.logistic_mixture import LogisticMixtureHead
from backstory.distributions.pixels import PixelsHead
from backstory.models.networks.masked_conv import PixelNetwork

CASES = {
    "logistic": (lambda: DiscretisedLogisticHead((2, 3), 3, 1.0, 0.8), 3),
    "bernoulli": (lambda: BernoulliHead((2, 3)), 2),
    "mixture": (lambda: LogisticMixtureHead((2, 3), 3, 1.0, 0.8, 2), 3),
    "colour-mixture": (lambda: LogisticMixtureHead((1, 2, 3), 3, 1.0, 0.8, 2), 3),
    "colour": (lambda: DiscretisedLogisticHead((2, 1, 2), 4, 1.5, 1.0), 4),
}


@pytest.fixture(params=CASES)
def case(request):
    """p(x|z) for two codes, and all images of its shape."""
    make, levels = CASES[request.param]
    own, generator = make(), torch.Generator().manual_seed(1)
    network = PixelNetwork(own.shape, 3, own.features_shape, width=5, layers=1)
    for weights in network.parameters():
        weights.data = 0.7 * torch.randn(weights.shape, generator=generator)
    head = PixelsHead(own, network, 3, 1.0, 1.0).double()
    with torch.no_grad():
        p = head(torch.randn(2, *head.features_shape, generator=generator).double())
        numel = math.prod(own.shape)
        images = torch.tensor(list(itertools.product(range(levels), repeat=numel))).double()
        yield p, images.view(-1, 1, *own.shape)


def test_probabilities_of_all_images_sum_to_one(case):
    p, images = case
    torch.testing.assert_close(p.log_prob(images).exp().sum(0), torch.ones(2).double())
    torch.testing.assert_close(p.entries(images).flatten(2).sum(-1), p.log_prob(images))


def test_draws_have_these_probabilities(case):
    p, images = case
    draws = type(p)(p.maps.expand(20_000, *p.maps.shape), p.head).sample(torch.Generator().manual_seed(0))
    for code in range(2):
        exact = p.log_prob(images)[:, code].exp()
        weights = images.max() + 1
        powers = weights ** torch.arange(draws[0, 0].numel() - 1, -1, -1).double()
        share = torch.bincount((draws[:, code].flatten(1) @ powers).long(), minlength=len(images)) / 20_000
        assert (share - exact).abs().sum() < 3 * (len(images) / 20_000) ** 0.5


def test_moments_are_those_of_all_images(case):
    p, images = case
    weights = p.log_prob(images).exp().view(*images.shape[:1], 2, *[1] * p.event_dims)
    mean = (weights * images).sum(0)
    variance = (weights * images.square()).sum(0) - mean.square()
    # from 8 draws of the pixels before; the first pixel has none before it
    torch.testing.assert_close(p.mean.flatten(1)[:, 0], mean.flatten(1)[:, 0])
    torch.testing.assert_close(p.variance.flatten(1)[:, 0], variance.flatten(1)[:, 0])
    assert (p.mean - mean).abs().max() < 0.6 * variance.max().sqrt()


def test_later_pixels_given_the_first_ones(case):
    p, images = case
    observed = torch.zeros(p.head.shape, dtype=torch.bool)
    observed[0, 0] = True
    x = torch.where(observed, images[-2], torch.nan)
    agree = torch.where(observed, images == images[-2], True).flatten(1).all(1)
    log_joint = p.log_prob(images[agree])
    log_observed, missing = p.observe(x, observed)
    torch.testing.assert_close(log_observed, log_joint.logsumexp(0))
    drawn = missing.sample(torch.Generator().manual_seed(0))
    assert torch.equal(drawn[:, observed], images[-2].expand_as(drawn)[:, observed])
    assert not missing.mean.isnan().any()


def test_missing_pixels_before_observed_ones_are_refused(case):
    p, images = case
    observed = torch.ones(p.head.shape, dtype=torch.bool)
    observed[0, 0] = False
    with pytest.raises(InputError, match="row by row, got one before"):
        p.log_prob(images, observed)
    with pytest.raises(InputError, match="no closed form; train a model with"):
        p.missing_given(images[0], observed)


def test_pixels_without_some_channels_are_refused():
    own = DiscretisedLogisticHead((2, 2, 3), 4)
    head = PixelsHead(own, PixelNetwork(own.shape, 1, own.features_shape, 4, 1), 1, 0.0, 1.0)
    observed = torch.ones(2, 2, 3, dtype=torch.bool)
    observed[1, 1, 2] = False
    with pytest.raises(InputError, match="pixels with all their channels"):
        head(torch.zeros(1, 1, 2, 2)).log_prob(torch.zeros(1, 2, 2, 3), observed)


def test_draws_do_not_depend_on_other_images():
    own = DiscretisedLogisticHead((4, 4), 9, 4.0, 2.0)
    network = PixelNetwork(own.shape, 2, own.features_shape, width=6, layers=2)
    for weights in network.parameters():
        weights.data = 0.5 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(3))
    p = PixelsHead(own, network, 2, 4.0, 2.0)(torch.randn(5, 2, 4, 4))
    u = torch.rand(5, 4, 4)
    together = p._blank._draw(u)
    for i in range(5):
        alone = type(p)(p.maps[i : i + 1], p.head)
        assert torch.equal(alone._blank._draw(u[i : i + 1]), together[i : i + 1])
