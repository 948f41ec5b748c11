"""Pixels with dependent channels, compared with sums over all values of a pixel."""

import itertools
import math

import pytest
import torch

import backstory
from backstory import Blur, Downscale, Mask, Noise
from backstory.distributions.logistic_mixture import LogisticMixtureHead
from backstory.errors import InputError

LEVELS = 4
PIXELS = torch.tensor(list(itertools.product(range(LEVELS), repeat=3)), dtype=torch.float64)


def make(shape=(1, 2, 3), levels=LEVELS, batch=(2,), seed=0, components=3, rows=None):
    """A distribution in double precision at random features; the same one `rows` times, if they are given."""
    middle = (levels - 1) / 2
    head = LogisticMixtureHead(shape, levels, middle, middle / 1.5, components).double()
    generator = torch.Generator().manual_seed(seed)
    features = 1.5 * torch.randn((*batch, *head.features_shape), generator=generator, dtype=torch.float64)
    return head(features if rows is None else features.expand(rows, *head.features_shape))


def probabilities(p):
    """P of all values of each pixel, (64, *batch, H, W)."""
    return torch.stack([p.entries(x.expand(1, 1, 3)).sum(-1).exp() for x in PIXELS])


def weighted(probabilities, values):
    return (probabilities.unsqueeze(-1) * values).sum(0)


def every(p):
    return PIXELS.view(-1, *[1] * (p.mean.dim() - 1), 3)


# -- the density ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [(2,), (2, 3)])
def test_probabilities_of_a_pixel_sum_to_one(batch):
    total = probabilities(make(batch=batch)).sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)


def test_channels_depend_on_each_other():
    p = make()
    joint = probabilities(p)
    red = torch.stack([joint[PIXELS[:, 0] == level].sum(0) for level in range(LEVELS)])
    green = torch.stack([joint[PIXELS[:, 1] == level].sum(0) for level in range(LEVELS)])
    both = torch.stack([joint[(PIXELS[:, 0] == 0) & (PIXELS[:, 1] == level)].sum(0) for level in range(4)])
    assert (both - red[0] * green).abs().max() > 0.01


def test_the_locations_move_with_the_channels_before():
    """One component: G is a logistic around its location plus the slope times R − shift."""
    head = LogisticMixtureHead((1, 1, 3), 256, 100.0, 50.0, 1).double()
    features = torch.tensor([0.0, 0.2, -0.4, 0.1, -1.0, -1.5, -2.0, 0.5, -0.3, 2.0]).double().view(10, 1, 1)
    x = torch.tensor([110.0, 90.0, 84.0]).double()
    slopes = torch.tensor([0.5, -0.3, 2.0]).tanh()
    locations = [110.0, 80.0 + slopes[0] * 10, 105.0 + slopes[1] * 10 + slopes[2] * -10]
    for c, log_scale in enumerate((-1.0, -1.5, -2.0)):
        scale = 50 * math.exp(log_scale)
        upper, lower = (torch.sigmoid((x[c] + e - locations[c]) / scale) for e in (0.5, -0.5))
        entry = head(features).entries(x.view(1, 1, 3))[0, 0, c]
        # the soft clamp moves log s a little
        assert float(entry) == pytest.approx(float(torch.log(upper - lower)), abs=0.01)


@pytest.mark.parametrize("raw", [-100.0, -30.0, 0.0, 30.0, 100.0])
def test_values_and_gradients_are_finite_at_extreme_parameters(raw):
    head = LogisticMixtureHead((4, 4, 3), 256, 128.0, 64.0)
    features = torch.full((2, *head.features_shape), raw, requires_grad=True)
    x = torch.randint(0, 256, (2, 4, 4, 3), generator=torch.Generator().manual_seed(0)).float()
    value = head(features).log_prob(x)
    (gradient,) = torch.autograd.grad(value.sum(), features)
    assert torch.isfinite(value).all()
    assert torch.isfinite(gradient).all()


def test_the_density_is_traced_into_one_graph():
    head = LogisticMixtureHead((4, 5, 3), 256, 128.0, 64.0)
    x = torch.randint(0, 256, (2, 4, 5, 3), generator=torch.Generator().manual_seed(0)).float()
    features = torch.randn(2, *head.features_shape, generator=torch.Generator().manual_seed(1))
    traced = torch.compile(lambda f, x: head(f).log_prob(x), backend="eager", fullgraph=True)
    torch.testing.assert_close(traced(features, x), head(features).log_prob(x))


# -- mean, variance and draws -------------------------------------------------------------------------------


def test_moments_of_few_levels_are_sums_over_all_values():
    p = make()
    joint = probabilities(p)
    mean = weighted(joint, every(p))
    torch.testing.assert_close(p.mean, mean)
    torch.testing.assert_close(p.variance, weighted(joint, (every(p) - mean).square()))


def test_moments_of_many_levels_are_near_the_sums_over_all_values():
    p = make((1, 1, 2), 256, (10,), components=4)
    levels = torch.arange(256.0).double()
    x = torch.cartesian_prod(levels, levels).view(-1, 1, 1, 1, 2)
    joint = p.entries(x).sum(-1).exp()
    mean = (joint.unsqueeze(-1) * x).sum(0)
    std = (joint.unsqueeze(-1) * (x - mean).square()).sum(0).sqrt()
    assert ((p.mean - mean).abs() < 0.03 * std).all()
    torch.testing.assert_close(p.variance.sqrt(), std, rtol=0.03, atol=0.2)
    rough_mean, rough_variance = p.rough_moments
    assert ((rough_mean - mean).abs() < 0.12 * std).all()
    torch.testing.assert_close(rough_variance.sqrt(), std, rtol=0.17, atol=0.2)


def test_rough_moments_are_exact_away_from_the_outer_levels():
    """Narrow logistics around the middle: all is linear."""
    head = LogisticMixtureHead((1, 4, 3), 256, 128.0, 5.0, 2).double()
    features = torch.randn((3, *head.features_shape), generator=torch.Generator().manual_seed(0)).double()
    p = head(0.5 * features)
    for rough, moment in zip(p.rough_moments, p.moments, strict=True):
        torch.testing.assert_close(rough, moment, rtol=5e-3, atol=0.05)


@pytest.mark.parametrize("levels", [4, 256])
def test_draws_have_the_moments(levels, generator):
    p = make(levels=levels, batch=(1,), seed=3)
    x = make(levels=levels, batch=(1,), seed=3, rows=40_000).sample(generator)
    assert ((x == x.round()) & (x >= 0) & (x <= levels - 1)).all()
    error = 5 / math.sqrt(len(x)) + 0.03 * (levels > 4)  # moments of many levels are not exact
    assert ((x.mean(0) - p.mean[0]).abs() < error * x.std(0)).all()
    torch.testing.assert_close(x.std(0), p.variance[0].sqrt(), rtol=0.06, atol=0.01)


def test_draws_have_the_probabilities_of_whole_pixels(generator):
    p = make((1, 1, 3), batch=(1,), seed=5, rows=40_000)
    assert_frequencies(p.sample(generator), probabilities(make((1, 1, 3), batch=(1,), seed=5)))


def assert_frequencies(draws, expected):
    """The draws, (N, 1, W, 3), have the probabilities (64, 1, 1, W) of whole pixels."""
    index = (draws * torch.tensor([16.0, 4.0, 1.0])).sum(-1).long()
    share = torch.stack([(index == i).double().mean(0) for i in range(len(PIXELS))])
    error = (expected[:, 0] / len(draws)).sqrt()
    assert ((share - expected[:, 0]).abs() < 5 * error + 1e-4).all()


# -- parts of x -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [0, 1, 2, 3])
def test_missing_channels_have_the_conditional_of_the_joint_probabilities(known, generator):
    p = make(batch=(1,))
    joint, x = probabilities(p), torch.tensor([3.0, 1.0, 0.0]).double().expand(1, 1, 2, 3)
    observed = (torch.arange(3) < known).expand(1, 1, 2, 3)
    fits = (PIXELS[:, :known] == x[0, 0, 0, :known]).all(-1)
    part = joint * fits.view(-1, 1, 1, 1)
    total = part.sum(0)
    log_prob, missing = p.observe(torch.where(observed, x, math.nan), observed)
    torch.testing.assert_close(log_prob, total.log().sum((-2, -1)), atol=1e-12, rtol=1e-9)
    mean = weighted(part / total, every(p))
    variance = weighted(part / total, (every(p) - mean).square())
    torch.testing.assert_close(missing.mean, mean)
    torch.testing.assert_close(missing.variance, variance)
    many = make(batch=(1,), rows=20_000).missing_given(x[0], observed[0])
    assert_frequencies(many.sample(generator), part / total)


@pytest.mark.parametrize("hidden", [[0], [1], [0, 1], [0, 2]])
def test_a_channel_after_a_missing_one_is_refused(hidden):
    p, x = make(), torch.zeros(2, 1, 2, 3).double()
    observed = torch.ones_like(x, dtype=torch.bool)
    observed[1, 0, 1, hidden] = False
    with pytest.raises(InputError, match="hide whole pixels, or train a model with `likelihood` logistic"):
        p.log_prob(x, observed)


# -- models -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images():
    """Images of a shade of grey each, with a little colour and noise."""
    generator = torch.Generator().manual_seed(0)
    colours = 60 + 140 * torch.rand((200, 1, 1, 1), generator=generator)
    colours = colours + 10 * torch.rand((200, 1, 1, 3), generator=generator)
    noise = 5 * torch.randn((200, 6, 5, 3), generator=generator)
    return (colours + noise).round().clamp(0, 255).byte().numpy()


@pytest.fixture(scope="module")
def model(images):
    return backstory.fit(
        images, likelihood="logistic-mixture", latent=4, epochs=20, lr=0.01, progress=False, seed=0
    )


def test_a_model_answers_all_questions_of_images(model, images):
    assert model.sample(3, seed=0).shape == (3, 6, 5, 3)
    assert model.sample(3, seed=0).dtype == images.dtype
    assert abs(model.reconstruct(images[:50]).astype(float) - images[:50]).mean() < 12
    evaluation = model.evaluate(images[:50], method="is", samples=20)
    assert evaluation.bits_per_dim < 6.5
    scores = model.score(images[:20], reference=images[100:])
    assert (scores.p_value > 0).all()


@pytest.mark.parametrize(
    "operator", [Noise(0.1), Downscale(2), Noise(0.05) @ Blur(0.7)], ids=["noise", "downscale", "blur"]
)
def test_restoration_of_a_damaged_image_comes_near_the_truth(model, images, operator):
    x = images[:2]
    y = model.damage(x, operator, seed=1)
    restored = model.restore(y, operator, method="importance", draws=4, seed=0)
    rmse = ((restored.mean.astype(float) - x) ** 2).mean() ** 0.5
    assert rmse < 12
    assert restored.draws.shape == (4, *x.shape)


def test_restoration_of_missing_pixels(model, images):
    x, seen = images[:2], torch.rand((2, 6, 5, 1), generator=torch.Generator().manual_seed(2)) < 0.5
    seen = seen.expand(2, 6, 5, 3).numpy()
    restored = model.restore(x, Mask(seen), method="importance", draws=4, seed=0)
    assert (restored.mean[seen] == x[seen]).all()
    assert ((restored.mean.astype(float) - x)[~seen] ** 2).mean() ** 0.5 < 12


def test_restoration_of_single_channels(model, images):
    """The last channels of a pixel follow from the first ones; the other way round is refused."""
    seen = torch.ones(2, 6, 5, 3, dtype=torch.bool)
    seen[..., 2] = False
    restored = model.restore(images[:2], Mask(seen.numpy()), method="importance", draws=2, seed=0)
    assert abs(restored.mean.astype(float) - images[:2]).mean() < 6
    with pytest.raises(InputError, match="hide whole pixels"):
        model.restore(images[:2], Mask(seen.flip(-1).numpy()), draws=2, seed=0)
