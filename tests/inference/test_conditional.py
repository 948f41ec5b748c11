"""p(y|z) and p(x|z, y), against Gaussians with full covariance matrices and sums over all levels."""

import numpy as np
import pytest
import torch
from scipy import stats

from backstory.distributions.bernoulli import Bernoulli
from backstory.distributions.categorical import Categorical
from backstory.distributions.gaussian import Gaussian
from backstory.distributions.logistic import DiscretisedLogistic
from backstory.distributions.self_masked import SelfMasked
from backstory.distributions.table_row import Joint
from backstory.inference.conditional import (
    Conditioned,
    Kept,
    Levels,
    back_projection,
    condition,
)
from backstory.inference.damaged import damage, observe
from backstory.inference.operators import Blur, Downscale, Linear, Mask, Noise

SHAPE = (3, 4)


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def partly(rows=2, shape=SHAPE, seed=3):
    return torch.rand(rows, *shape, generator=torch.Generator().manual_seed(seed)) < 0.6


MIX = numbers(5, 12, seed=9)
PER_ENTRY = 0.1 + numbers(*SHAPE, seed=8).abs()
OPERATORS = {
    "noise": Noise(0.3),
    "noise of each entry": Noise(PER_ENTRY),
    "noise and mask": Mask(partly()) @ Noise(0.3),
    "downscale": Downscale(2),
    "downscale with noise": Noise(0.1) @ Downscale(3),
    "downscale, partly seen": Mask(partly(shape=(2, 2))) @ Noise(0.1) @ Downscale(2),
    "blur": Noise(0.2) @ Blur(0.9),
    "blur, one mask": Mask(partly()[0]) @ Noise(0.2) @ Blur(0.9),
    "blur, partly seen": Mask(partly()) @ Noise(0.2) @ Blur(0.9),
    "blur, noise of each entry": Noise(PER_ENTRY) @ Blur(0.9),
    "blur and downscale": Noise(0.2) @ Downscale(2) @ Blur(0.9),
    "linear": Noise(0.2) @ Linear(lambda x: x.flatten(1) @ MIX.T),
}
LOG_STD = {
    "one": torch.tensor(-0.7).double(),
    "per entry": numbers(*SHAPE, seed=4) * 0.3,
    "of z": numbers(3, 2, *SHAPE, seed=5) * 0.3,
}


@pytest.mark.parametrize("spread", LOG_STD)
@pytest.mark.parametrize("name", OPERATORS)
def test_a_gaussian_is_conditioned_as_the_joint_gaussian_says(name, spread):
    """Three codes for each of two rows; each compared with the full covariance of x and y."""
    p = Gaussian(numbers(3, 2, *SHAPE), LOG_STD[spread], 2)
    y = damage(OPERATORS[name], numbers(2, *SHAPE, seed=1), generator=torch.Generator().manual_seed(2))
    seen = observe(OPERATORS[name], y, SHAPE)
    given = condition(p, seen.prepared(p.constant_variance))
    a = seen.linear.forward(torch.eye(12).double().reshape(-1, *SHAPE)).flatten(1).T
    noise = torch.diag(seen.sigma.expand(seen.linear.out).flatten().square())
    for k in range(3):
        for row in range(2):
            kept = seen.observed[row].flatten()
            b, m, s = a[kept], p.mean[k, row].flatten(), torch.diag(p.variance[k, row].flatten())
            c = b @ s @ b.T + noise[kept][:, kept]
            gain = torch.linalg.solve(c, b @ s).T
            r = y[row].flatten()[kept] - b @ m
            log_prob = stats.multivariate_normal(np.zeros(len(r)), c.numpy()).logpdf(r.numpy())
            torch.testing.assert_close(float(given.log_evidence[k, row]), float(log_prob))
            torch.testing.assert_close(given.mean[k, row].flatten(), m + gain @ r)
            torch.testing.assert_close(given.variance[k, row].flatten(), (s - gain @ b @ s).diagonal())


@pytest.mark.parametrize("name", ["noise and mask", "blur", "blur, partly seen", "downscale with noise"])
def test_draws_have_the_conditional_mean_and_covariance(name, generator):
    many = 20_000
    p = Gaussian(numbers(2, *SHAPE).expand(many, 2, *SHAPE), LOG_STD["per entry"], 2)
    operator = OPERATORS[name]
    seen = observe(operator, damage(operator, numbers(2, *SHAPE, seed=1), generator=generator), SHAPE)
    given = condition(p, seen.prepared(p.constant_variance))
    x = given.sample(generator)
    spread = given.variance[0].sqrt()
    assert float(((x.mean(0) - given.mean[0]) / spread).abs().max()) < 4.5 / many**0.5
    torch.testing.assert_close(x.std(0), spread, rtol=0.03, atol=1e-3)
    a = seen.linear.forward(x).flatten(2)[:, 1]  # y minus this is what the posterior says of the noise
    b = seen.linear.forward(torch.eye(12).double().reshape(-1, *SHAPE)).flatten(1).T
    kept = seen.observed[1].flatten()
    prior = (b * p.variance[0, 1].flatten()) @ b.T
    c = prior[kept][:, kept] + float(seen.sigma) ** 2 * torch.eye(int(kept.sum())).double()
    expected = prior - prior[:, kept] @ torch.linalg.solve(c, prior[kept])
    torch.testing.assert_close(torch.cov(a.T), expected, atol=0.03 * float(expected.max()), rtol=0.1)


def test_entries_seen_without_noise_are_kept_whatever_the_data(generator):
    mask = partly()
    y = torch.where(mask, 1.0, torch.nan).double()
    seen = observe(Mask(mask), y, SHAPE)
    for p in (
        Bernoulli(numbers(3, 2, *SHAPE), 2),
        Categorical(numbers(3, 2, 4, *SHAPE), 2),
        DiscretisedLogistic(numbers(3, 2, *SHAPE), numbers(3, 2, *SHAPE), 5, 2),
        Gaussian(numbers(3, 2, *SHAPE), torch.tensor(0.0), 2),
    ):
        given = condition(p, seen)
        assert isinstance(given, Kept)
        torch.testing.assert_close(given.log_evidence, p.log_prob(torch.ones(2, *SHAPE).double(), mask))
        inside = mask.expand(3, -1, -1, -1)
        for x in (given.mean, given.sample(generator)):
            assert bool((x[inside] == 1).all())
        assert bool((given.variance[inside] == 0).all())
        torch.testing.assert_close(given.mean[~inside], p.mean[~inside])
        torch.testing.assert_close(given.variance[~inside], p.variance[~inside])


HEADS = {
    "bernoulli": (Bernoulli(numbers(3, 2, *SHAPE) * 2, 2), 2),
    "categorical": (Categorical(numbers(3, 2, 4, *SHAPE), 2), 4),
    "logistic": (DiscretisedLogistic(3 + 2 * numbers(3, 2, *SHAPE), 0.5 * numbers(3, 2, *SHAPE), 6, 2), 6),
}


@pytest.mark.parametrize("head", HEADS)
def test_noise_on_levels_is_a_sum_over_the_levels_of_each_entry(head, generator):
    p, levels = HEADS[head]
    mask, sigma = partly(), 0.8
    y = 1 + numbers(2, *SHAPE, seed=1)
    given = condition(p, observe(Mask(mask) @ Noise(sigma), y, SHAPE))
    assert isinstance(given, Levels)
    probability = p.level_log_probs.exp()
    torch.testing.assert_close(probability.sum(0), torch.ones(3, 2, *SHAPE).double())
    values = torch.arange(levels).double().view(-1, 1, 1, 1, 1)
    torch.testing.assert_close((probability * values).sum(0), p.mean)
    torch.testing.assert_close((probability * values.square()).sum(0) - p.mean.square(), p.variance)
    likelihood = torch.from_numpy(stats.norm(values.numpy(), sigma).pdf(y.numpy()))
    joint = probability * torch.where(mask, likelihood, 1.0)
    torch.testing.assert_close(given.log_evidence, joint.sum(0).log().sum((-2, -1)))
    posterior = joint / joint.sum(0)
    mean = (posterior * values).sum(0)
    torch.testing.assert_close(given.mean, mean)
    torch.testing.assert_close(given.variance, (posterior * values.square()).sum(0) - mean.square())
    draws = torch.stack([given.sample(generator) for _ in range(2000)])
    for level in range(levels):
        share = (draws == level).double().mean(0)
        assert float((share - posterior[level]).abs().max()) < 5 * 0.5 / 2000**0.5


@pytest.mark.parametrize("head", HEADS)
def test_a_map_of_levels_takes_them_as_gaussian(head):
    p, _ = HEADS[head]
    seen = observe(Noise(0.3) @ Downscale(2), numbers(2, 2, 2, seed=1), SHAPE)
    given = condition(p, seen.prepared(p.constant_variance))
    assert isinstance(given, Conditioned)
    same = condition(Gaussian(p.mean, 0.5 * p.variance.log(), 2), seen)
    torch.testing.assert_close(given.log_evidence, same.log_evidence)
    torch.testing.assert_close(given.mean, same.mean)


def test_gradients_reach_the_decoder_through_every_case():
    mean = numbers(3, 2, *SHAPE).requires_grad_()
    for operator in OPERATORS.values():
        y = damage(operator, numbers(2, *SHAPE, seed=1))
        for p in (Gaussian(mean, LOG_STD["of z"], 2), Gaussian(mean, LOG_STD["one"], 2), Bernoulli(mean, 2)):
            seen = observe(operator, y, SHAPE).prepared(p.constant_variance)
            (gradient,) = torch.autograd.grad(condition(p, seen).log_evidence.sum(), mean)
            assert bool(torch.isfinite(gradient).all())


def test_the_back_projection_fills_in_averages_and_shrinks_noise():
    mask, y = partly(), numbers(2, *SHAPE)
    shift, scale = torch.tensor(0.5), torch.tensor(2.0)
    filled = back_projection(observe(Mask(mask), y, SHAPE), shift, scale)
    torch.testing.assert_close(filled, torch.where(mask, y, 0.5))
    shrunk = back_projection(observe(Noise(2.0), y, SHAPE), shift, scale)
    torch.testing.assert_close(shrunk, 0.5 + 0.5 * (y - 0.5))
    coarse = observe(Downscale(2), damage(Downscale(2), y), SHAPE)
    torch.testing.assert_close(
        damage(Downscale(2), back_projection(coarse, shift, scale)), coarse.y, atol=1e-3, rtol=1e-3
    )


def test_kept_entries_leave_the_missing_ones_to_the_likelihood(generator):
    """With a mask that depends on x, missing entries have the distribution of x given that it is missing."""
    p = SelfMasked(Gaussian(numbers(3, 2, 4), torch.tensor(0.0), 1), torch.tensor(1.5), torch.tensor(-0.5))
    mask = partly(shape=(4,))
    given = condition(p, observe(Mask(mask), numbers(2, 4), (4,)))
    missing = ~mask.expand(3, -1, -1)
    for moments in (given.moments, (given.mean, given.variance)):
        for moment, expected in zip(moments, p.missing.moments, strict=True):
            torch.testing.assert_close(moment[missing], expected[missing])
    assert given.level_probs == ()


def test_a_row_of_a_table_has_moments_of_its_numbers_and_probabilities_of_its_levels():
    p = Joint(
        (Gaussian(numbers(3, 2, 2), torch.tensor(0.0), 1), Categorical(numbers(3, 2, 4, 1), 1)),
        (torch.tensor([0, 2]), torch.tensor([1])),
        torch.tensor([0, 2, 1]),
    )
    mask, y = torch.tensor([[True, False, False], [False, True, False]]), torch.ones(2, 3).double()
    given = condition(p, observe(Mask(mask), y, (3,)))
    mean, variance = given.moments
    torch.testing.assert_close(mean[:, 0, 2], p.mean[:, 0, 2])
    assert (mean[:, 0, :2] == torch.tensor([1.0, 0.0])).all()
    assert not variance[:, 0, :2].any()
    ((columns, probs),) = given.level_probs
    assert columns.tolist() == [1]
    torch.testing.assert_close(probs, p.parts[1].logits.softmax(-2))
    noisy = condition(p, observe(Noise(0.1), y, (3,)))
    assert noisy.level_probs == ()
    torch.testing.assert_close(noisy.moments, (noisy.mean, noisy.variance))
