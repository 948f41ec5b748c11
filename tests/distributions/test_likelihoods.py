"""Every likelihood against the truth: total mass, torch.distributions, its own samples, masks, levels."""

import itertools
import math

import numpy as np
import pytest
import torch
from likelihoods import (
    ALL,
    BATCHES,
    CONTINUOUS,
    DISCRETE,
    DRAWS,
    EVERY,
    EVERY_DISCRETE,
    EVERY_HEAD,
    EVERY_IGNORABLE,
    HEADS,
    IGNORABLE,
    SHAPES,
    data_like,
    make,
    only,
)
from scipy import stats
from torch import Tensor

from backstory.distributions.base import DataDistribution, soft_clamp
from backstory.distributions.bernoulli import BernoulliHead
from backstory.distributions.categorical import CategoricalHead

# -- the protocol -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_record_answers_the_whole_protocol(name):
    head, p, _ = make(name, (3,))
    for member in (m for m in dir(DataDistribution) if not m.startswith("_")):
        if member != "level_log_probs" or p.levels:
            assert hasattr(p, member), member
    assert (head.shape, p.event_dims) == ((3,), 1)


@pytest.mark.parametrize("name", HEADS)
def test_heads_are_built_alike(name):
    """From the shape of x and the location and scale of the data, by keyword, and options of their own."""
    own = {"levels": DISCRETE[name][1]} if name in DISCRETE and name != "bernoulli" else {}
    head = type(HEADS[name]((2, 3)))((2, 3), shift=torch.zeros(2, 3), scale=torch.ones(2, 3), **own)
    assert head(torch.zeros(5, *head.features_shape)).mean.shape == (5, 2, 3)


# -- total mass ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize(("name", "shape"), EVERY_DISCRETE, ids=str)
def test_probabilities_of_all_levels_sum_to_one(name, shape, batch):
    levels = DISCRETE[name][1]
    _, p, _ = make(name, shape, batch)
    for entry in range(math.prod(shape)):
        mask = only(shape, entry)
        total = sum(
            p.log_prob(torch.full((batch[-1], *shape), float(level), dtype=torch.float64), mask).exp()
            for level in range(levels)
        )
        assert total.shape == batch
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "logistic", "logistic-mixture"])
def test_probabilities_of_all_configurations_sum_to_one(name):
    levels = DISCRETE[name][1]
    _, p, _ = make(name, (2,), (1,))
    every = torch.tensor(list(itertools.product(range(levels), repeat=2)), dtype=torch.float64)
    total = sum(p.log_prob(x[None]).exp() for x in every)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("sigma", CONTINUOUS)
def test_densities_integrate_to_one(sigma, shape, batch):
    _, p, _ = make(sigma, shape, batch)
    step = 0.25  # standard deviations; the trapezoid rule is exact to many digits for a Gaussian
    t = torch.arange(-10, 10, step, dtype=torch.float64).view(-1, *[1] * (len(batch) + len(shape)))
    for entry in range(math.prod(shape)):
        density = p.log_prob(p.mean + p.std * t, only(shape, entry)).exp()
        total = density.sum(0) * step * p.std.flatten(len(batch))[..., entry]
        assert total.shape == batch
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)


# -- against torch.distributions ----------------------------------------------------------------------------


@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize(("name", "shape"), EVERY_HEAD, ids=str)
def test_agrees_with_torch_distributions(name, batch, shape):
    head, p, features = make(name, shape, batch)
    x = data_like(p, batch, shape)
    expected = reference_log_prob(name, head, features, x)
    while expected.dim() > len(batch):
        expected = expected.sum(-1)
    torch.testing.assert_close(p.log_prob(x), expected, rtol=1e-6, atol=1e-6)
    assert p.mean.shape == (*batch, *shape)
    assert p.sample().shape == (*batch, *shape)


def reference_log_prob(name, head, features, x) -> Tensor:
    """log p of each entry, written independently of the package."""
    first = features.select(features.dim() - 1 - len(head.shape), 0)
    if name == "bernoulli":
        return torch.distributions.Bernoulli(logits=first).log_prob(x)
    if name == "categorical":
        logits = features.movedim(features.dim() - 1 - len(head.shape), -1)
        return torch.distributions.Categorical(logits=logits).log_prob(x.expand(first.shape))
    if name == "logistic-mixture":
        axis = features.dim() - 1 - len(head.shape)
        logits, raw, log_scales = features.unflatten(axis, (3, -1)).movedim(axis + 1, -1).unbind(axis)
        locations = 3.0 + 1.5 * (raw + torch.linspace(-1.5, 1.5, 3).double())
        each = _discretised(x.unsqueeze(-1), locations, 1.5 * soft_clamp(log_scales, -7, 4).exp(), 7)
        return (torch.log_softmax(logits, -1) + each).logsumexp(-1)
    if name.startswith("logistic"):
        second = features.select(features.dim() - 1 - len(head.shape), 1)
        location = head.shift + head.log_scale.exp() * first
        scale = head.log_scale.exp() * soft_clamp(second, -7, 4).exp()
        return _discretised(x, location, scale, head.levels)
    mean = -3.0 + head.log_scale.exp() * first
    if name == "student":
        second, third = (features.select(features.dim() - 1 - len(head.shape), i) for i in (1, 2))
        scale = head.log_scale.exp() * soft_clamp(second, -7, 4).exp()
        return torch.distributions.StudentT(3 + torch.nn.functional.softplus(third), mean, scale).log_prob(x)
    if name == "laplace":
        scale = features.select(features.dim() - 1 - len(head.shape), 1)
        return torch.distributions.Laplace(
            mean, head.log_scale.exp() * soft_clamp(scale, -7, 4).exp()
        ).log_prob(x)
    if name == "fixed":
        std = head.log_value.exp()
    elif name == "predicted":
        std = (
            head.log_scale.exp()
            * soft_clamp(features.select(features.dim() - 1 - len(head.shape), 1), -7, 4).exp()
        )
    else:
        std = head.log_scale.exp() * soft_clamp(head.log_sigma, -7, 4).exp()
    return torch.distributions.Normal(mean, std).log_prob(x)


def _discretised(x, location, scale, levels) -> Tensor:
    upper, lower = (x + 0.5 - location) / scale, (x - 0.5 - location) / scale
    # F(u) − F(l) = F(−l) − F(−u): the side where neither is close to 1
    flip = lower > 0
    upper, lower = torch.where(flip, -lower, upper), torch.where(flip, -upper, lower)
    inside = upper.sigmoid().log() + torch.log1p(-torch.sigmoid(lower) / torch.sigmoid(upper))
    edge = torch.where((x == 0) ^ flip, upper.sigmoid(), 1 - lower.sigmoid()).log()
    return torch.where((x > 0) & (x < levels - 1), inside, edge)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (130,), (8, 17)], ids=str)
@pytest.mark.parametrize("name", HEADS)
def test_the_density_is_the_same_with_and_without_a_gradient(name, shape):
    head, p, features = make(name, shape, (2, 4))
    x = data_like(p, (2, 4), shape)
    with_gradient = head(features.clone().requires_grad_()).log_prob(x)
    assert with_gradient.requires_grad
    torch.testing.assert_close(with_gradient.detach(), p.log_prob(x), rtol=1e-12, atol=1e-10)
    everything = torch.ones(x.shape, dtype=torch.bool)
    torch.testing.assert_close(p.log_prob(x, everything), p.log_prob(x), rtol=1e-12, atol=1e-10)


# -- samples and means --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DISCRETE)
def test_samples_match_the_probabilities(name, generator):
    levels = DISCRETE[name][1]
    _, one, features = make(name, (2,), (1,), seed=4)
    p = HEADS[name]((2,)).double()(features.expand(DRAWS, *features.shape[1:]))
    x = p.sample(generator)
    values = torch.arange(levels, dtype=torch.float64)
    for entry in range(2):
        log_prob = [one.log_prob(torch.full((1, 2), float(v)).double(), only((2,), entry)) for v in values]
        probability = torch.cat(log_prob).exp()
        counts = torch.bincount(x[:, entry].long(), minlength=levels).double()
        assert len(counts) == levels
        keep = probability * DRAWS > 5
        observed = torch.cat([counts[keep], counts[~keep].sum()[None]])
        expected = torch.cat([probability[keep], probability[~keep].sum()[None]]) * DRAWS
        statistic = float(((observed - expected).square() / expected.clamp(min=1e-9)).sum())
        assert stats.chi2.sf(statistic, int(keep.sum()) - 1) > 1e-3
        # The mean is the exact expectation of the levels
        assert float(p.mean[0, entry]) == pytest.approx(float((probability * values).sum()), abs=1e-9)


@pytest.mark.parametrize("sigma", CONTINUOUS)
def test_samples_match_the_density(sigma, generator):
    head, _, features = make(sigma, (2,), (1,))
    with torch.no_grad():
        p = head(features.expand(DRAWS, *features.shape[1:]))
        x = p.sample(generator).numpy()
    for entry in range(2):
        normal = stats.norm(float(p.mean[0, entry]), float(p.std[0, entry]))
        assert stats.kstest(x[:, entry], normal.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(x.T)[0, 1]) < 5 / math.sqrt(DRAWS)


@pytest.mark.parametrize("name", HEADS)
def test_means_of_samples(name, generator):
    head, _, features = make(name, (2, 2), (1,), seed=2)
    p = head(features.expand(DRAWS, *features.shape[1:]))
    x = p.sample(generator).detach()
    error = x.std(0) / math.sqrt(DRAWS)
    assert ((x.mean(0) - p.mean[0]).abs() < 5 * error + 1e-9).all()


@pytest.mark.parametrize("name", ALL)
def test_samples_are_those_of_the_generator(name):
    _, p, _ = make(name, (3,))
    state = torch.get_rng_state()
    first = p.sample(torch.Generator().manual_seed(3))
    torch.testing.assert_close(first, p.sample(torch.Generator().manual_seed(3)), rtol=0, atol=0)
    assert not torch.equal(first, p.sample(torch.Generator().manual_seed(4)))
    assert torch.equal(state, torch.get_rng_state())


def test_certain_levels_are_always_drawn(generator):
    logits = torch.full((1000, 4, 1), -60.0)
    logits[:, 2] = 60.0
    assert (CategoricalHead((1,), 4)(logits).sample(generator) == 2).all()
    assert (BernoulliHead((1,))(torch.full((1000, 1, 1), 80.0)).sample(generator) == 1).all()
    assert (BernoulliHead((1,))(torch.full((1000, 1, 1), -80.0)).sample(generator) == 0).all()


# -- masks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize(("name", "shape"), EVERY_IGNORABLE, ids=str)
def test_a_mask_keeps_the_observed_entries_alone(name, shape, batch, generator):
    _, p, _ = make(name, shape, batch)
    x = data_like(p, batch, shape)
    mask = torch.rand(x.shape, generator=generator) < 0.5
    parts = torch.stack([p.log_prob(x, only(shape, entry)) for entry in range(math.prod(shape))], -1)
    torch.testing.assert_close(parts.sum(-1), p.log_prob(x), rtol=1e-10, atol=1e-10)
    expected = (parts * mask.flatten(1)).sum(-1)
    torch.testing.assert_close(p.log_prob(x, mask), expected, rtol=1e-10, atol=1e-10)
    assert torch.equal(p.log_prob(x, torch.zeros_like(mask)), torch.zeros(batch, dtype=torch.float64))


@pytest.mark.parametrize("missing", [math.nan, math.inf, -7.0, 1e9])
@pytest.mark.parametrize("name", ALL)
def test_unobserved_values_reach_neither_value_nor_gradient(name, missing, generator):
    head, p, features = make(name, (5,), (2, 4))
    x = data_like(p, (2, 4), (5,))
    mask = torch.rand(x.shape, generator=generator) < 0.6
    results = []
    for filler in (0.0, missing):
        inputs = features.clone().requires_grad_()
        log_prob = head(inputs).log_prob(torch.where(mask, x, filler), mask)
        gradients = torch.autograd.grad(log_prob.sum(), [inputs, *head.parameters()])
        results.append([log_prob.detach(), *gradients])
    for clean, dirty in zip(*results, strict=True):
        assert torch.isfinite(dirty).all()
        assert torch.equal(clean, dirty)


@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize(("name", "shape"), EVERY, ids=str)
def test_entries_sum_to_the_density(name, shape, batch, generator):
    _, p, _ = make(name, shape, batch)
    x = data_like(p, batch, shape)
    mask = torch.rand(x.shape, generator=generator) < 0.5
    for observed in (None, mask, torch.ones_like(mask), torch.zeros_like(mask)):
        given = x if observed is None else torch.where(observed, x, math.nan)
        entries = p.entries(given, observed)
        assert entries.shape == (*batch, *shape)
        total = entries.flatten(len(batch)).sum(-1)
        torch.testing.assert_close(p.log_prob(given, observed), total, rtol=1e-10, atol=1e-10)
        if observed is not None and not p.informative_mask:
            assert not entries[(~observed).expand_as(entries)].any()
    everything = p.entries(x)
    torch.testing.assert_close(p.entries(x, mask)[..., mask], everything[..., mask], rtol=0, atol=0)


# -- missing entries ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "shape"), EVERY_IGNORABLE, ids=str)
def test_observed_entries_say_nothing_of_independent_missing_ones(name, shape, generator):
    _, p, _ = make(name, shape)
    x = data_like(p, (4,), shape)
    missing = p.missing_given(x, torch.rand(x.shape, generator=generator) < 0.5)
    torch.testing.assert_close(missing.mean, p.mean)
    torch.testing.assert_close(missing.variance, p.variance)
    draws = (q.sample(torch.Generator().manual_seed(1)) for q in (missing, p))
    assert torch.equal(*draws)


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "logistic", "logistic-mixture"])
def test_missing_entries_have_the_conditional_of_the_joint_probabilities(name, generator):
    """P(x_1, x_2 | z) of all configurations, divided by the sum over x_2."""
    levels = DISCRETE[name][1]
    _, p, _ = make(name, (2,), (1,))
    for first in range(levels):
        rows = torch.tensor([[first, second] for second in range(levels)], dtype=torch.float64)
        joint = torch.cat([p.log_prob(x[None]) for x in rows]).exp()
        probability, values = joint / joint.sum(), rows[:, 1]
        missing = p.missing_given(rows[:1], torch.tensor([[True, False]]))
        mean = (probability * values).sum()
        torch.testing.assert_close(missing.mean[0, 1], mean)
        torch.testing.assert_close(missing.variance[0, 1], (probability * (values - mean).square()).sum())


# -- levels and moments -----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize(("name", "shape"), EVERY_DISCRETE, ids=str)
def test_probabilities_of_levels_are_those_of_the_density(name, shape, batch):
    _, p, _ = make(name, shape, batch)
    levels = DISCRETE[name][1]
    probs = p.level_log_probs.exp()
    assert p.levels == levels
    assert probs.shape == (levels, *batch, *shape)
    torch.testing.assert_close(probs.sum(0), torch.ones_like(probs[0]))
    values = torch.arange(levels).double().view(-1, *[1] * p.mean.dim())
    torch.testing.assert_close((probs * values).sum(0), p.mean)
    torch.testing.assert_close((probs * (values - p.mean).square()).sum(0), p.variance)
    for level in range(levels):
        torch.testing.assert_close(p.entries(torch.full(shape, float(level)).double()).exp(), probs[level])


@pytest.mark.parametrize("name", [name for name in ALL if name not in DISCRETE])
def test_other_data_have_no_levels_of_the_whole(name):
    _, p, _ = make(name, (10,))
    assert p.levels == 0
    assert bool(p.level_probs) == (name == "joint")


@pytest.mark.parametrize("name", [name for name in ALL if name != "joint"])
def test_moments_are_mean_and_variance(name):
    _, p, _ = make(name, (3,))
    for moment, expected in zip(p.moments, (p.mean, p.variance), strict=True):
        torch.testing.assert_close(moment, expected)


@pytest.mark.parametrize("name", ALL)
def test_a_constant_variance_is_the_variance_for_every_code(name):
    _, p, _ = make(name, (3,))
    constant = name in ("fixed", "learned", "per-entry")
    assert (p.constant_variance is not None) == constant
    if constant:
        torch.testing.assert_close(p.constant_variance.expand_as(p.mean), p.variance)
    assert p.is_gaussian == (name in CONTINUOUS)


@pytest.mark.parametrize("name", ALL)
def test_only_a_mask_that_depends_on_x_refuses_noise(name):
    _, p, _ = make(name, (3,))
    assert p.informative_mask == (name not in IGNORABLE)
    assert (p.refuses_noise is not None) == (name not in IGNORABLE)
