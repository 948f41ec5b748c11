"""Every distribution against the truth: total mass, torch.distributions, its own samples, masks."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from backstory.distributions.base import soft_clamp, soft_clamp_inverse
from backstory.distributions.bernoulli import BernoulliHead
from backstory.distributions.categorical import CategoricalHead
from backstory.distributions.delta import Delta
from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.gaussian import GaussianHead
from backstory.distributions.logistic import DiscretisedLogisticHead
from backstory.distributions.mixture import GaussianMixture
from backstory.distributions.student import StudentTHead

DISCRETE = {
    "bernoulli": (lambda shape: BernoulliHead(shape), 2),
    "categorical": (lambda shape: CategoricalHead(shape, 5), 5),
    "logistic": (lambda shape: DiscretisedLogisticHead(shape, 7, shift=3.0, scale=1.5), 7),
    "logistic-256": (lambda shape: DiscretisedLogisticHead(shape, 256, shift=90.0, scale=60.0), 256),
}
CONTINUOUS = {
    sigma: (lambda shape, sigma=sigma: GaussianHead(shape, sigma, shift=-3.0, scale=2.5, value=0.7))
    for sigma in ("fixed", "learned", "per-entry", "predicted")
}
STUDENT = {"student": lambda shape: StudentTHead(shape, shift=-3.0, scale=2.5)}
HEADS = {**{name: make for name, (make, _) in DISCRETE.items()}, **CONTINUOUS, **STUDENT}
SHAPES = [(3,), (2, 3), (2, 2, 3)]
BATCHES = [(4,), (2, 4)]


def make(name, shape, batch=(4,), seed=0, spread=1.5):
    """A head in double precision with random parameters, and its distribution at random features."""
    generator = torch.Generator().manual_seed(seed)
    head = HEADS[name](shape).double()
    for parameter in head.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    features = spread * torch.randn((*batch, *head.features_shape), generator=generator, dtype=torch.float64)
    with torch.no_grad():
        return head, head(features), features


def only(shape, index):
    """A mask that observes a single entry."""
    mask = torch.zeros(math.prod(shape), dtype=torch.bool)
    mask[index] = True
    return mask.view(shape)


def data_like(name, distribution, batch, shape, seed=1):
    """One draw for each row of a batch (B,), as data comes."""
    x = distribution.sample(torch.Generator().manual_seed(seed))
    return x.reshape(-1, *shape)[: batch[-1]]


# -- total mass -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", DISCRETE)
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


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "logistic"])
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


@pytest.mark.parametrize("spread", [0.3, 1.5, 5.0])
def test_student_is_that_of_scipy(spread):
    _, p, _ = make("student", (2, 3), (40,), spread=spread)
    theirs = stats.t(p.degrees.numpy(), p.mean.numpy(), p.log_scale.exp().numpy())
    x = p.sample(torch.Generator().manual_seed(1))
    torch.testing.assert_close(p.log_prob(x), torch.from_numpy(theirs.logpdf(x.numpy()).sum((1, 2))))
    torch.testing.assert_close(p.variance, torch.from_numpy(theirs.var()))
    ranks = theirs.cdf(torch.stack([p.sample(torch.Generator().manual_seed(s)) for s in range(99)]).numpy())
    assert stats.kstest(ranks.ravel(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("raw_scale", [-30.0, -3.0, 0.0, 3.0, 30.0])
@pytest.mark.parametrize("raw_location", [-100.0, -1.0, 0.0, 0.3, 100.0])
def test_discretised_logistic_at_extreme_parameters(raw_location, raw_scale):
    levels = 256
    head = DiscretisedLogisticHead((1,), levels, shift=128.0, scale=64.0).double()
    features = torch.tensor([[[raw_location], [raw_scale]]], dtype=torch.float64)
    x = torch.arange(levels, dtype=torch.float64)[:, None, None]
    log_prob = head(features).log_prob(x)
    assert torch.isfinite(log_prob).all()
    assert float(log_prob.exp().sum()) == pytest.approx(1, abs=1e-11)
    # In single precision, as in training: finite values and gradients for every level
    single = DiscretisedLogisticHead((1,), levels, shift=128.0, scale=64.0)
    inputs = features.float().requires_grad_()
    values = single(inputs).log_prob(x.float())
    assert torch.isfinite(values).all()
    torch.testing.assert_close(values, log_prob.float(), rtol=1e-3, atol=1e-3)
    (gradient,) = torch.autograd.grad(values.sum(), inputs)
    assert torch.isfinite(gradient).all()


def test_discretised_logistic_keeps_the_tail_of_its_edge_cells():
    head = DiscretisedLogisticHead((1,), 4, shift=0.0, scale=1.0).double()
    p = head(torch.tensor([[[-20.0], [0.0]]], dtype=torch.float64))
    assert float(p.log_prob(torch.zeros(1, 1).double()).exp()) == pytest.approx(1, abs=1e-8)
    above = head(torch.tensor([[[20.0], [0.0]]], dtype=torch.float64))
    assert float(above.log_prob(torch.full((1, 1), 3.0).double()).exp()) == pytest.approx(1, abs=1e-6)


# -- against torch.distributions --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize("name", HEADS)
def test_agrees_with_torch_distributions(name, batch, shape):
    head, p, features = make(name, shape, batch)
    x = data_like(name, p, batch, shape)
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
    if name.startswith("logistic"):
        second = features.select(features.dim() - 1 - len(head.shape), 1)
        location = head.shift + head.log_scale.exp() * first
        scale = head.log_scale.exp() * soft_clamp(second, -7, 4).exp()
        upper, lower = (x + 0.5 - location) / scale, (x - 0.5 - location) / scale
        # F(u) − F(l) = F(−l) − F(−u): the side where neither is close to 1
        flip = lower > 0
        upper, lower = torch.where(flip, -lower, upper), torch.where(flip, -upper, lower)
        inside = upper.sigmoid().log() + torch.log1p(-torch.sigmoid(lower) / torch.sigmoid(upper))
        edge = torch.where((x == 0) ^ flip, upper.sigmoid(), 1 - lower.sigmoid()).log()
        return torch.where((x > 0) & (x < head.levels - 1), inside, edge)
    mean = -3.0 + head.log_scale.exp() * first
    if name == "student":
        second, third = (features.select(features.dim() - 1 - len(head.shape), i) for i in (1, 2))
        scale = head.log_scale.exp() * soft_clamp(second, -7, 4).exp()
        return torch.distributions.StudentT(3 + torch.nn.functional.softplus(third), mean, scale).log_prob(x)
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


@pytest.mark.parametrize("shape", [(3,), (2, 3), (130,), (8, 17)], ids=str)
@pytest.mark.parametrize("name", HEADS)
def test_the_density_is_the_same_with_and_without_a_gradient(name, shape):
    head, p, features = make(name, shape, (2, 4))
    x = data_like(name, p, (2, 4), shape)
    with_gradient = head(features.clone().requires_grad_()).log_prob(x)
    assert with_gradient.requires_grad
    torch.testing.assert_close(with_gradient.detach(), p.log_prob(x), rtol=1e-12, atol=1e-10)
    everything = torch.ones(x.shape, dtype=torch.bool)
    torch.testing.assert_close(p.log_prob(x, everything), p.log_prob(x), rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("spread", [1e-3, 1.0, 30.0, 1e4])
def test_bernoulli_in_single_precision(spread, generator):
    logits = spread * torch.randn(5, 1, 300, generator=generator)
    x = (torch.rand(5, 300, generator=generator) < 0.5).float()
    head = BernoulliHead((300,))
    exact = head(logits.double()).log_prob(x.double())
    before = logits.clone()
    for features in (logits, logits.clone().requires_grad_()):
        torch.testing.assert_close(head(features).log_prob(x).detach().double(), exact, rtol=1e-5, atol=1e-3)
    assert torch.equal(logits, before)  # nothing is computed in the place of the parameters


# -- samples and means ------------------------------------------------------------------------------------

DRAWS = 20_000


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


@pytest.mark.parametrize("name", HEADS)
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


# -- masks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize("name", HEADS)
def test_a_mask_keeps_the_observed_entries_alone(name, batch, shape, generator):
    _, p, _ = make(name, shape, batch)
    x = data_like(name, p, batch, shape)
    mask = torch.rand(x.shape, generator=generator) < 0.5
    parts = torch.stack([p.log_prob(x, only(shape, entry)) for entry in range(math.prod(shape))], -1)
    torch.testing.assert_close(parts.sum(-1), p.log_prob(x), rtol=1e-10, atol=1e-10)
    expected = (parts * mask.flatten(1)).sum(-1)
    torch.testing.assert_close(p.log_prob(x, mask), expected, rtol=1e-10, atol=1e-10)
    assert torch.equal(p.log_prob(x, torch.zeros_like(mask)), torch.zeros(batch, dtype=torch.float64))


@pytest.mark.parametrize("missing", [math.nan, math.inf, -7.0, 1e9])
@pytest.mark.parametrize("name", HEADS)
def test_unobserved_values_reach_neither_value_nor_gradient(name, missing, generator):
    head, p, features = make(name, (5,), (2, 4))
    x = data_like(name, p, (2, 4), (5,))
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


# -- units ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1e-3, 0.5, 255.0])
@pytest.mark.parametrize("sigma", CONTINUOUS)
def test_rescaled_data_shifts_the_gaussian_density(sigma, factor):
    shape = (2, 3)
    _, p, features = make(sigma, shape)
    x = data_like(sigma, p, (4,), shape)
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


BOUNDS = [(-7.0, 4.0), (-9.0, 5.0), (-7.0, 7.0)]


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_soft_clamp_is_bounded_monotone_and_the_identity_inside(low, high):
    raw = torch.linspace(low - 60, high + 60, 4001, dtype=torch.float64)
    y = soft_clamp(raw, low, high)
    assert (y >= low).all()
    assert (y <= high).all()
    assert (y.diff() >= 0).all()
    middle = (low + high) / 2
    near = torch.linspace(middle - 1, middle + 1, 11, dtype=torch.float64)
    torch.testing.assert_close(soft_clamp(near, low, high), near, rtol=0, atol=0.02)
    wide = torch.linspace(-5, 5, 11, dtype=torch.float64)
    torch.testing.assert_close(soft_clamp(wide, -60.0, 60.0), wide, rtol=0, atol=1e-12)
    far = soft_clamp(torch.tensor([-1e9, 1e9, -1e30, 1e30]), low, high)
    torch.testing.assert_close(far, torch.tensor([low, high, low, high]))


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_soft_clamp_has_an_inverse(low, high):
    value = torch.linspace(low + 0.01, high - 0.01, 101, dtype=torch.float64)
    torch.testing.assert_close(soft_clamp(soft_clamp_inverse(value, low, high), low, high), value)
    outside = soft_clamp_inverse(torch.tensor([low - 5, high + 5]), low, high)
    torch.testing.assert_close(soft_clamp(outside, low, high), torch.tensor([low, high]), rtol=0, atol=2e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_soft_clamp_never_has_a_dead_gradient(low, high, dtype):
    raw = torch.linspace(low - 60, high + 60, 1001, dtype=dtype, requires_grad=True)
    (gradient,) = torch.autograd.grad(soft_clamp(raw, low, high).sum(), raw)
    assert torch.isfinite(gradient).all()
    assert (gradient > 0).all()
    assert (gradient <= 1).all()


# -- distributions of codes -------------------------------------------------------------------------------


def codes(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(rows=5, latent=3, seed=0):
    return DiagonalGaussian(codes(rows, latent, seed=seed), 0.5 * codes(rows, latent, seed=seed + 1))


def mixture(components=4, latent=2, seed=0):
    log_weights = torch.log_softmax(codes(components, seed=seed), 0)
    means, log_stds = (
        2 * codes(components, latent, seed=seed + 1),
        0.4 * codes(components, latent, seed=seed + 2),
    )
    return GaussianMixture(log_weights, means, log_stds)


def torch_normal(q):
    return torch.distributions.Independent(torch.distributions.Normal(q.mean, q.std), 1)


def standard(latent=3):
    return DiagonalGaussian(torch.zeros(latent).double(), torch.zeros(latent).double())


def test_diagonal_gaussian_agrees_with_torch(generator):
    q = gaussian()
    z = q.sample(7, generator)
    assert z.shape == (7, 5, 3)
    torch.testing.assert_close(q.log_prob(z), torch_normal(q).log_prob(z))


def test_diagonal_gaussian_samples(generator):
    q = gaussian()
    z = q.sample(DRAWS, generator)
    assert ((z.mean(0) - q.mean).abs() < 5 * q.std / math.sqrt(DRAWS)).all()
    assert stats.kstest(((z - q.mean) / q.std)[:, 2, 1].numpy(), "norm").pvalue > 1e-3
    noise = codes(4, 5, 3, seed=9)
    torch.testing.assert_close(q.transport(noise), q.mean + q.std * noise)
    torch.testing.assert_close(q.select(slice(1, 3)).mean, q.mean[1:3])


def test_reparameterised_draws_carry_the_gradient():
    mean, log_std = torch.zeros(2, 3, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    z = DiagonalGaussian(mean, log_std).sample(4)
    gradients = torch.autograd.grad(z.sum(), [mean, log_std])
    torch.testing.assert_close(gradients[0], torch.full((2, 3), 4.0))
    torch.testing.assert_close(gradients[1], z.detach().sum(0))


def test_closed_form_kl_is_that_of_torch():
    q = gaussian()
    for p in (
        DiagonalGaussian(torch.zeros(3).double(), torch.zeros(3).double()),
        gaussian(1, seed=7),
        gaussian(seed=7),
    ):
        expected = torch.distributions.kl_divergence(
            torch.distributions.Normal(q.mean, q.std), torch.distributions.Normal(p.mean, p.std)
        )
        torch.testing.assert_close(q.kl_per_unit(p), expected)


def test_closed_form_kl_equals_monte_carlo(generator):
    q, p = gaussian(), gaussian(seed=7)
    z = q.sample(DRAWS, generator)
    difference = q.log_prob(z) - p.log_prob(z)
    error = difference.std(0) / math.sqrt(DRAWS)
    assert ((difference.mean(0) - q.kl_per_unit(p).sum(-1)).abs() < 5 * error).all()


def test_kl_is_zero_between_equals_and_positive_elsewhere():
    q = gaussian()
    torch.testing.assert_close(q.kl_per_unit(q), torch.zeros(5, 3).double())
    assert (q.kl_per_unit(gaussian(seed=7)) > 0).all()


def test_the_point_posterior_has_no_kl():
    q = Delta(codes(5, 2))
    for prior in (standard(2), mixture()):
        assert torch.equal(q.kl_per_unit(prior), torch.zeros(5, 2).double())
    z = q.sample(3)
    assert torch.equal(z, q.mean.expand(3, 5, 2))
    assert torch.equal(q.log_prob(z), torch.zeros(3, 5).double())
    assert torch.equal(q.std, torch.zeros(5, 2).double())


def test_kl_to_a_mixture_has_no_closed_form():
    assert gaussian(latent=2).kl_per_unit(mixture()) is None


def test_mixture_integrates_to_one():
    p = mixture()
    axis = torch.arange(-16, 16, 0.05, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    total = p.log_prob(grid).exp().sum() * 0.05**2
    assert float(total) == pytest.approx(1, abs=1e-8)
    assert p.log_prob(grid[:6].view(2, 3, 2)).shape == (2, 3)


def test_mixture_agrees_with_torch(generator):
    p = mixture()
    expected = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=p.log_weights),
        torch.distributions.Independent(torch.distributions.Normal(p.means, p.log_stds.exp()), 1),
    )
    z = p.sample(50, generator)
    torch.testing.assert_close(p.log_prob(z), expected.log_prob(z))
    torch.testing.assert_close(p.mean, expected.mean)
    torch.testing.assert_close(p.std, expected.stddev)


def test_a_narrow_component_far_away_loses_no_digits(generator):
    """Its squares are large, and cancel."""
    log_weights = torch.log_softmax(torch.zeros(2), 0)
    p = GaussianMixture(log_weights, torch.full((2, 64), 30.0), torch.full((2, 64), -6.0))
    z = (30 + math.exp(-6) * torch.randn(20, 64, generator=generator)).requires_grad_()
    exact = DiagonalGaussian(p.means[0].double(), p.log_stds[0].double()).log_prob(z.double())
    torch.testing.assert_close(p.log_prob(z).double(), exact, rtol=1e-6, atol=1e-6)
    gradients = [torch.autograd.grad(value.sum(), z)[0] for value in (p.log_prob(z), exact)]
    torch.testing.assert_close(*gradients)


def test_mixture_samples_match_its_density(generator):
    p = mixture(latent=1)
    z = p.sample(DRAWS, generator)[:, 0].numpy()

    def cdf(x):
        parts = [
            math.exp(w) * stats.norm.cdf(x, float(m), math.exp(s))
            for w, m, s in zip(p.log_weights, p.means, p.log_stds, strict=True)
        ]
        return sum(parts)

    assert stats.kstest(z, cdf).pvalue > 1e-3


@pytest.mark.parametrize("sigma", ["learned", "per-entry", "predicted"])
def test_the_floor_adds_its_variance(sigma):
    plain = GaussianHead((3,), sigma, scale=2.0).double()
    floored = GaussianHead((3,), sigma, scale=2.0, floor=0.3).double()
    floored.load_state_dict(plain.state_dict())
    features = torch.linspace(-9, 4, 4 * plain.features_shape[0] * 3).double()
    features = features.view(4, *plain.features_shape)
    expected = plain(features).variance + (0.3 * 2.0) ** 2
    torch.testing.assert_close(floored(features).variance, expected)
