"""Objectives against their formulas and exact evidence, their gradients against each other's means."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from backstory.distributions.delta import Delta
from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.gaussian import Gaussian
from backstory.distributions.mixture import GaussianMixture
from backstory.errors import InputError
from backstory.models.vae import Terms
from backstory.objectives import aggregate
from backstory.objectives import bounds as objectives
from backstory.objectives import gradients as gradient_tools
from backstory.objectives.bounds import elbo, importance_weighted
from backstory.objectives.registry import OBJECTIVES, arguments


def terms(samples=4, rows=3, latent=2, seed=0):
    """A record of terms with arbitrary numbers."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    q = DiagonalGaussian(randn(rows, latent), 0.3 * randn(rows, latent))
    p = DiagonalGaussian(torch.zeros(latent).double(), torch.zeros(latent).double())
    return Terms(10 * randn(samples, rows), q.sample(samples, generator), q, p)


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0])
def test_elbo_is_reconstruction_minus_beta_kl(beta):
    t = terms()
    q = t.posterior
    kl = 0.5 * (q.std.square() + q.mean.square() - 1 - 2 * q.std.log()).sum(-1)
    torch.testing.assert_close(elbo(t, beta=beta), t.log_likelihood.mean(0) - beta * kl)


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0])
def test_importance_weighted_is_the_log_of_a_mean(beta):
    t = terms()
    weight = t.log_likelihood.exp() * (t.log_prior.exp() / t.log_posterior.exp()) ** beta
    torch.testing.assert_close(importance_weighted(t, beta=beta), weight.mean(0).log())


@pytest.mark.parametrize("beta", [0.25, 1.0])
def test_importance_weighted_with_one_draw_is_the_sampled_elbo(beta):
    t = terms(samples=1)
    sampled = t.log_likelihood[0] + beta * (t.log_prior - t.log_posterior)[0]
    torch.testing.assert_close(importance_weighted(t, beta=beta), sampled)


def value(name, t, **given):
    """An objective's values, the prior's draws of `mmd` always the same."""
    if "generator" in arguments(name):
        given["generator"] = torch.Generator().manual_seed(9)
    return OBJECTIVES[name](t, **given)


def chosen(t, draws=slice(None), rows=slice(None)):
    """The same record with its draws or rows in another order, or some of them."""
    q = DiagonalGaussian(t.posterior.mean[rows], t.posterior.log_std[rows])
    return Terms(t.log_likelihood[draws][:, rows], t.z[draws][:, rows], q, t.prior)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_one_value_for_each_observation_whatever_the_draws(name):
    assert value(name, terms(samples=6, rows=5)).shape == (5,)
    t = terms()
    copies = Terms(t.log_likelihood.repeat(3, 1), t.z.repeat(3, 1, 1), t.posterior, t.prior)
    torch.testing.assert_close(value(name, copies), value(name, t))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_order_of_draws_does_not_matter_and_rows_keep_their_values(name):
    t = terms(samples=4, rows=5)
    torch.testing.assert_close(value(name, chosen(t, draws=[2, 0, 3, 1])), value(name, t))
    order = [3, 1, 0, 4, 2]
    torch.testing.assert_close(value(name, chosen(t, rows=order)), value(name, t)[order])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_single_row_has_a_value(name):
    t = terms(samples=2, rows=1)
    t.posterior.mean.requires_grad_()
    t = replace(t, z=t.posterior.mean + 1.0 * t.z)
    (gradient,) = torch.autograd.grad(value(name, t).sum(), t.posterior.mean)
    assert torch.isfinite(value(name, t)).all()
    assert torch.isfinite(gradient).all()


def test_huge_log_weights_do_not_overflow():
    t = terms()
    for offset in (-1e5, 1e5):
        far = Terms(t.log_likelihood + offset, t.z, t.posterior, t.prior)
        torch.testing.assert_close(importance_weighted(far), importance_weighted(t) + offset)


def test_importance_weighted_rises_with_draws_towards_the_evidence(linear_gaussian):
    wrong = linear_gaussian(rows=1, encoder_error=0.15)
    x = wrong.x.expand(4_000, -1)
    generator = torch.Generator().manual_seed(0)
    means, errors = [], []
    for samples in (1, 3, 10, 100):
        with torch.no_grad():
            value = importance_weighted(wrong.vae.terms(x, samples=samples, generator=generator))
        means.append(float(value.mean()))
        errors.append(float(value.std()) / math.sqrt(len(x)))
    with torch.no_grad():
        bound = elbo(wrong.vae.terms(x, samples=10, generator=generator))
    truth = float(wrong.log_evidence)
    assert means[0] == pytest.approx(float(bound.mean()), abs=5 * errors[0])
    for i in range(3):
        assert means[i] < means[i + 1] + 3 * math.hypot(errors[i], errors[i + 1])
    assert means[0] < means[1] - 5 * errors[0]
    assert means[-1] < truth + 3 * errors[-1]
    assert means[-1] == pytest.approx(truth, abs=0.1)


def test_gradient_of_the_elbo_is_that_of_its_closed_form(linear_gaussian):
    """At the exact posterior the bound's gradient with respect to the decoder is that of the evidence."""
    exact = linear_gaussian(rows=50)
    bias = exact.vae.decoder.layers[-1].bias
    terms_ = exact.vae.terms(exact.x, samples=400, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(elbo(terms_).mean(), bias)
    centred = (exact.x - exact.mean).mean(0)
    expected = torch.linalg.solve(exact.covariance, centred) * exact.vae.scale
    torch.testing.assert_close(gradient, expected, rtol=0.05, atol=0.05)


# -- values -----------------------------------------------------------------------------------------------


def sampled(t, beta=1.0):
    return (t.log_likelihood + beta * (t.log_prior - t.log_posterior)).mean(0)


@pytest.mark.parametrize("name", ["elbo-sampled", "stl"])
@pytest.mark.parametrize("beta", [0.25, 1.0])
def test_value_is_the_sampled_elbo(name, beta):
    torch.testing.assert_close(value(name, terms(), beta=beta), sampled(terms(), beta))


def test_values_of_the_estimators_are_those_of_their_bounds():
    for beta in (0.25, 1.0):
        t = terms()
        torch.testing.assert_close(value("score", t, beta=beta), elbo(t, beta=beta))
        torch.testing.assert_close(value("dreg", t, beta=beta), importance_weighted(t, beta=beta))
        mixed = replace(t, prior=mixture())
        torch.testing.assert_close(value("score", mixed, beta=beta), sampled(mixed, beta))


def mixture(latent=2):
    means = torch.linspace(-1, 1, 3 * latent, dtype=torch.float64).view(3, latent)
    return GaussianMixture(torch.tensor([0.2, 0.5, 0.3]).double().log(), means, 0.1 * means)


@pytest.mark.parametrize("name", ["elbo-sampled", "stl", "iwae", "miwae", "dreg", "renyi", "tcvae"])
def test_with_one_draw_all_are_the_sampled_elbo(name):
    t = terms(samples=1)
    torch.testing.assert_close(value(name, t), sampled(t))


def test_renyi_goes_from_the_evidence_bound_to_the_elbo():
    t = terms(samples=7)
    weight = t.log_weight.exp()
    torch.testing.assert_close(value("renyi", t, alpha=0.0), importance_weighted(t))
    torch.testing.assert_close(value("renyi", t, alpha=1.0), sampled(t))
    torch.testing.assert_close(value("renyi", t, alpha=0.4), weight.pow(0.6).mean(0).log() / 0.6)
    torch.testing.assert_close(value("renyi", t, alpha=2.0), -weight.pow(-1.0).mean(0).log())
    alphas = [-2.0, 0.0, 0.5, 1.0, 3.0]  # the bound falls as α rises
    values = torch.stack([value("renyi", t, alpha=alpha) for alpha in alphas])
    assert (values[:-1] > values[1:]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_renyi_close_to_one_is_close_to_the_elbo(dtype):
    t = terms()
    t = Terms(t.log_likelihood.to(dtype) - 100, t.z, t.posterior, t.prior)
    for step in (1e-3, 1e-6, -1e-9):
        expected = sampled(t) + step * t.log_weight.var(0, unbiased=False) / 2
        torch.testing.assert_close(value("renyi", t, alpha=1 - step), expected, atol=1e-2, rtol=0)


def test_renyi_on_the_linear_gaussian_model(linear_gaussian):
    """E_q[w^(1−α)] of Gaussians, integrated on a grid."""
    wrong = linear_gaussian(rows=3, encoder_error=0.1, latent=1)
    q = wrong.vae.encode(wrong.x)
    grid = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    z = q.mean + q.std * grid[:, None, None]
    with torch.no_grad():
        log_w = wrong.vae.terms_at(wrong.x, q, z).log_weight
        t = wrong.vae.terms(wrong.x, samples=20_000, generator=torch.Generator().manual_seed(0))
        for alpha in (-0.5, 0.0, 0.5, 0.9):
            log_density = (-0.5 * grid.square() - 0.5 * math.log(2 * math.pi))[:, None]
            moment = torch.trapezoid(torch.exp((1 - alpha) * log_w + log_density), grid, dim=0)
            torch.testing.assert_close(
                value("renyi", t, alpha=alpha), moment.log() / (1 - alpha), atol=0.05, rtol=0
            )


def test_miwae_averages_bounds_of_consecutive_draws():
    t = terms(samples=6)
    bounds = [importance_weighted(chosen(t, draws=slice(i, i + 2))) for i in (0, 2, 4)]
    torch.testing.assert_close(value("miwae", t, averages=3), torch.stack(bounds).mean(0))
    torch.testing.assert_close(value("miwae", t, averages=1), importance_weighted(t))
    torch.testing.assert_close(value("miwae", t, averages=6), sampled(t))


@pytest.mark.parametrize("averages", [0, 4, 1.5, -2])
def test_miwae_refuses_averages_that_do_not_divide_the_draws(averages):
    with pytest.raises(InputError, match=r"averages has to be a whole number that divides .*, 6, got"):
        value("miwae", terms(samples=6), averages=averages)


def test_free_bits_counts_no_unit_below_the_threshold():
    t = terms(rows=5)
    kl = t.kl_per_unit
    low, high = sorted(kl.mean(0).tolist())
    reconstruction = t.log_likelihood.mean(0)
    torch.testing.assert_close(value("free-bits", t, threshold=0.0), elbo(t))
    torch.testing.assert_close(value("free-bits", t, threshold=high + 1), reconstruction - 2 * (high + 1))
    between = (low + high) / 2
    mean = value("free-bits", t, threshold=between, beta=0.5).mean()
    torch.testing.assert_close(mean, reconstruction.mean() - 0.5 * (between + high))
    assert (value("free-bits", t, threshold=between) <= elbo(t) + between).all()


def test_free_bits_of_levels_count_no_level_below_the_threshold(small_vae):
    vae = small_vae(hierarchy=(3, 2), latent=5)
    for weights in vae.parameters():
        weights.data.add_(0.3 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(1)))
    x = torch.randint(0, 5, (6, 3, 4), generator=torch.Generator().manual_seed(0)).double()
    t = vae.terms(x, samples=4, generator=torch.Generator().manual_seed(0))
    of_levels = t.kl_given.split((2, 3), -1)  # from the top down
    kl = torch.stack([part.sum(-1) for part in of_levels], -1)
    torch.testing.assert_close(t.kl_of_levels, kl)
    torch.testing.assert_close(value("free-bits", t, threshold=0.0), elbo(t))
    low, high = sorted(kl.mean(0).tolist())
    between, reconstruction = (low + high) / 2, t.log_likelihood.mean(0)
    torch.testing.assert_close(value("free-bits", t, threshold=high + 1), reconstruction - 2 * (high + 1))
    mean = value("free-bits", t, threshold=between).mean()
    torch.testing.assert_close(mean, reconstruction.mean() - between - high)


def test_free_bits_has_no_gradient_below_the_threshold():
    t = terms(rows=5)
    t.posterior.mean.requires_grad_()
    t = replace(t, z=t.posterior.mean + t.posterior.std)
    kl = t.kl_per_unit.mean(0)
    threshold = float(kl.detach().mean())
    (gradient,) = torch.autograd.grad(value("free-bits", t, threshold=threshold).sum(), t.posterior.mean)
    for unit in range(2):
        expected = torch.zeros(5).double() if kl[unit] < threshold else -t.posterior.mean[:, unit]
        torch.testing.assert_close(gradient[:, unit], expected)


def test_capacity_holds_the_kl():
    t = terms()
    reconstruction, kl = t.log_likelihood.mean(0), t.kl
    for warmup in (0.0, 0.5, 1.0):
        expected = reconstruction - 3 * (kl - warmup * 1.5).abs()
        torch.testing.assert_close(value("capacity", t, gamma=3.0, capacity=1.5, warmup=warmup), expected)
    torch.testing.assert_close(value("capacity", t, gamma=2.0, capacity=0.0), elbo(t, beta=2.0))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("free-bits", {"threshold": -1.0}),
        ("capacity", {"capacity": -1.0}),
        ("capacity", {"gamma": -1.0}),
        ("mmd", {"weight": -1.0}),
        ("mmd", {"width": 0.0}),
        ("tcvae", {"rows": 2}),
    ],
)
def test_refused_arguments(name, given):
    with pytest.raises(InputError, match=rf"{next(iter(given))} has to be .*, got"):
        value(name, terms(), **given)


def test_log_mean_exp():
    a = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    expected = torch.logsumexp(a, 0) - math.log(5)
    torch.testing.assert_close(objectives.log_mean_exp(a), expected)
    torch.testing.assert_close(
        torch.autograd.grad(objectives.log_mean_exp(a).sum(), a), torch.autograd.grad(expected.sum(), a)
    )


# -- the aggregate posterior ------------------------------------------------------------------------------


def test_the_three_parts_sum_to_the_kl():
    t = terms(samples=2000)
    parts = aggregate.decompose(t, rows=30)
    total = parts.mutual_information + parts.total_correlation + parts.unit_kl
    torch.testing.assert_close(total, (t.log_posterior - t.log_prior).mean(0))
    torch.testing.assert_close(total, t.kl, atol=0.15, rtol=0)
    torch.testing.assert_close(value("tcvae", t, rows=30), sampled(t))
    weighted = 0.5 * parts.mutual_information + 6 * parts.total_correlation + 2 * parts.unit_kl
    torch.testing.assert_close(
        value("tcvae", t, alpha=0.5, beta=6.0, gamma=2.0, rows=30), t.log_likelihood.mean(0) - weighted
    )


def test_a_batch_of_all_rows_gives_the_aggregate_posterior_itself():
    t = terms(rows=6, latent=2)
    q = t.posterior
    weights = torch.full((6,), 1 / 6).double().log()
    log_joint, log_units = aggregate.aggregate_log_density(t)
    torch.testing.assert_close(log_joint, GaussianMixture(weights, q.mean, q.log_std).log_prob(t.z))
    for d in range(2):
        unit = GaussianMixture(weights, q.mean[:, d : d + 1], q.log_std[:, d : d + 1])
        torch.testing.assert_close(log_units[..., d], unit.log_prob(t.z[..., d : d + 1]))


def test_one_unit_has_no_total_correlation():
    parts = aggregate.decompose(terms(latent=1))
    torch.testing.assert_close(parts.total_correlation, torch.zeros(3).double())


def test_information_of_codes_that_cannot_be_confused_is_log_n():
    t = terms(rows=5)
    q = DiagonalGaussian(torch.arange(5.0).double()[:, None] * torch.tensor([100.0, -100.0]), t.z[0] * 0)
    apart = Terms(t.log_likelihood, q.sample(4, torch.Generator().manual_seed(0)), q, t.prior)
    parts = aggregate.decompose(apart)
    torch.testing.assert_close(parts.mutual_information, torch.full((5,), math.log(5)).double())
    # Each unit alone tells the row, so both together are log N short of their sum
    torch.testing.assert_close(parts.total_correlation, torch.full((5,), math.log(5)).double())


def test_independent_units_over_the_data_have_no_total_correlation():
    """A grid of codes: q(z) is a product."""
    points = torch.tensor(list(itertools.product([-2.0, 0.5, 3.0], [-1.0, 4.0]))).double()
    q = DiagonalGaussian(points, torch.full_like(points, -0.5))
    z = q.sample(3, torch.Generator().manual_seed(0))
    parts = aggregate.decompose(Terms(torch.zeros(3, 6).double(), z, q, terms().prior))
    torch.testing.assert_close(parts.total_correlation, torch.zeros(6).double())


@pytest.mark.parametrize(("batch", "rows"), [(1, 1), (1, 50), (4, 4), (4, 5), (128, 60_000)])
def test_stratified_weights_sum_to_one(batch, rows):
    weights = aggregate.stratified_weights(batch, rows)
    torch.testing.assert_close(weights.sum(1), torch.ones(batch))
    assert (weights > 0).all()
    if batch > 1:
        torch.testing.assert_close(weights.diagonal(), torch.full((batch,), 1 / rows))


def test_minibatches_are_unbiased_for_the_aggregate_posterior():
    """The mean over every batch that holds a row is q(z) at that row's draw."""
    t = terms(rows=6)
    exact = aggregate.aggregate_log_density(t)
    batches = [(0, *others) for others in itertools.combinations(range(1, 6), 2)]
    parts = [aggregate.aggregate_log_density(chosen(t, rows=list(rows)), rows=6) for rows in batches]
    for i in range(2):
        mean = torch.stack([part[i][:, 0].exp() for part in parts]).mean(0)
        torch.testing.assert_close(mean, exact[i][:, 0].exp())


def gaussian_kernel_mean(mean, variance, latent, width=1.0):
    """E exp(−‖d‖² / (2 D width²)) for d ~ N(mean, variance · I)."""
    bandwidth = latent * width**2
    scale = bandwidth / (bandwidth + variance)
    return scale ** (latent / 2) * math.exp(-latent * mean**2 / (2 * (bandwidth + variance)))


@pytest.mark.parametrize("width", [0.5, 1.0])
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.8, 1.0), (0.0, 0.3), (1.0, 2.0)])
def test_mmd_of_gaussians(mean, std, width):
    latent, generator = 3, torch.Generator().manual_seed(0)
    q = DiagonalGaussian(
        torch.full((500, latent), mean).double(), torch.full((500, latent), std).double().log()
    )
    prior, zeros = terms(latent=latent).prior, torch.zeros(2, 500).double()
    estimates = [
        aggregate.mmd(Terms(zeros, q.sample(2, generator), q, prior), width, generator) for _ in range(20)
    ]
    exact = (
        gaussian_kernel_mean(0.0, 2 * std**2, latent, width)
        + gaussian_kernel_mean(0.0, 2.0, latent, width)
        - 2 * gaussian_kernel_mean(mean, 1 + std**2, latent, width)
    )
    assert float(torch.stack(estimates).mean()) == pytest.approx(exact, abs=0.015)
    assert (exact > 0.02) == ((mean, std) != (0.0, 1.0))


def test_mmd_is_unbiased():
    """Small batches of draws of the prior itself: zero on average, where pairs with itself would show."""
    generator = torch.Generator().manual_seed(0)
    prior = terms().prior
    q = DiagonalGaussian(torch.zeros(4, 2).double(), torch.zeros(4, 2).double())
    zeros = torch.zeros(1, 4).double()
    values = [
        float(aggregate.mmd(Terms(zeros, q.sample(1, generator), q, prior), 1.0, generator).mean())
        for _ in range(500)
    ]
    assert abs(sum(values)) / 500 < 4 * torch.tensor(values).std() / math.sqrt(500)


def test_info_vae_is_the_elbo_without_weight_and_a_likelihood_for_an_autoencoder():
    t = terms()
    torch.testing.assert_close(value("mmd", t, weight=0.0, beta=0.3), elbo(t, beta=0.3))
    point = Terms(t.log_likelihood, t.z, Delta(t.posterior.mean), t.prior)
    penalty = aggregate.mmd(t, 1.0, torch.Generator().manual_seed(9))
    torch.testing.assert_close(value("mmd", point, weight=7.0), t.log_likelihood.mean(0) - 7 * penalty)


# -- gradients --------------------------------------------------------------------------------------------


def replicas(rows, samples, spread=1.0, seed=0, prior=None):
    """A linear-Gaussian model of one x, `rows` times over, each with parameters of its own.

    The gradient of a sum over rows then holds independent estimates of one observation's gradient: of the
    posterior's mean and log deviation, and of the decoder's bias. `spread` = 0 is the exact posterior.
    """
    generator = torch.Generator().manual_seed(seed)
    w = torch.tensor([[1.2, 0.0], [0.0, 0.8], [0.0, 0.0]]).double()
    x, sigma = torch.tensor([0.7, -1.1, 0.4]).double(), 0.5
    precision = w.square().sum(0) / sigma**2 + 1
    mean, log_std = (x @ w) / sigma**2 / precision, -0.5 * precision.log()
    offset = spread * torch.tensor([0.3, -0.2]).double()
    mean = (mean + offset).expand(rows, 2).clone().requires_grad_()
    log_std = (log_std + spread * 0.2).expand(rows, 2).clone().requires_grad_()
    bias = torch.zeros(rows, 3).double().requires_grad_()
    q = DiagonalGaussian(mean, log_std)
    z = q.sample(samples, generator)
    likelihood = Gaussian(z @ w.T + bias, torch.tensor(sigma).double().log(), 1)
    zeros = torch.zeros(2).double()
    t = Terms(likelihood.log_prob(x), z, q, prior or DiagonalGaussian(zeros, zeros))
    return t, {"mean": mean, "log_std": log_std, "bias": bias}


def gradients(name, t, leaves, **given):
    """Each row's gradient estimate for each leaf."""
    found = torch.autograd.grad(value(name, t, **given).sum(), list(leaves.values()), retain_graph=True)
    return dict(zip(leaves, found, strict=True))


def assert_same_mean(a, b, errors=4.5):
    for name in a:
        spread = (a[name].var(0) / len(a[name]) + b[name].var(0) / len(b[name])).sqrt()
        assert ((a[name].mean(0) - b[name].mean(0)).abs() <= errors * spread + 1e-9).all(), name


ROWS = 20_000


@pytest.mark.parametrize("prior", [None, mixture()], ids=["normal", "mixture"])
@pytest.mark.parametrize("beta", [0.3, 1.0])
@pytest.mark.parametrize(
    ("name", "reference", "samples"),
    [
        ("elbo-sampled", "elbo", 1),
        ("stl", "elbo", 1),
        ("score", "elbo", 1),
        ("score", "elbo", 4),
        ("dreg", "iwae", 1),
        ("dreg", "iwae", 4),
        ("tcvae", "elbo", 2),
    ],
)
def test_gradient_is_that_of_its_reference_on_average(name, reference, samples, beta, prior):
    if name == "tcvae":
        beta = 1.0  # with another it is another objective
        t, leaves = replicas(300, samples, prior=prior)
    else:
        t, leaves = replicas(ROWS, samples, prior=prior)
    other, others = replicas(ROWS, samples, seed=1, prior=prior)
    assert_same_mean(gradients(name, t, leaves, beta=beta), gradients(reference, other, others, beta=beta))


def test_gradient_of_the_elbo_against_its_closed_form():
    t, leaves = replicas(ROWS, 1)
    w, x, sigma2 = torch.tensor([1.2, 0.8]).double(), torch.tensor([0.7, -1.1]).double(), 0.25
    mean, log_std = leaves["mean"][0].detach(), leaves["log_std"][0].detach()
    exact = {
        "mean": (x - w * mean) * w / sigma2 - mean,
        "log_std": 1 - (1 + w.square() / sigma2) * torch.exp(2 * log_std),
    }
    for name in ("elbo", "elbo-sampled", "stl", "score"):
        found = gradients(name, t, leaves)
        assert_same_mean(
            {key: found[key] for key in exact}, {key: g.expand(2, 2) for key, g in exact.items()}
        )


def test_gradient_of_the_importance_weighted_bound_rises_to_that_of_the_evidence():
    """With many draws the decoder's gradient is that of log p(x), and the encoder's vanishes."""
    t, leaves = replicas(50, 4000)
    w = torch.tensor([[1.2, 0.0], [0.0, 0.8], [0.0, 0.0]]).double()
    covariance = w @ w.T + 0.25 * torch.eye(3).double()
    exact = torch.linalg.solve(covariance, torch.tensor([0.7, -1.1, 0.4]).double())
    for name in ("iwae", "dreg"):
        found = gradients(name, t, leaves)
        torch.testing.assert_close(found["bias"].mean(0), exact, atol=0.02, rtol=0)
        assert found["mean"].mean(0).abs().max() < 0.02


@pytest.mark.parametrize(("name", "plain", "samples"), [("stl", "elbo-sampled", 1), ("dreg", "iwae", 5)])
def test_variance_falls_near_the_optimum_and_vanishes_at_it(name, plain, samples):
    t, leaves = replicas(4000, samples, spread=0.1)
    better, worse = gradients(name, t, leaves), gradients(plain, t, leaves)
    for key in ("mean", "log_std"):
        assert (better[key].var(0) < 0.2 * worse[key].var(0)).all()
    torch.testing.assert_close(better["bias"], worse["bias"])  # the decoder's gradient is the same
    t, leaves = replicas(100, samples, spread=0.0)
    better = gradients(name, t, leaves)
    for key in ("mean", "log_std"):
        assert better[key].abs().max() < 1e-9
        assert gradients(plain, t, leaves)[key].abs().max() > 0.1


def test_more_draws_and_their_baseline_lower_the_variance_of_the_score_function():
    few, many = (gradients("score", *replicas(4000, samples))["mean"].var(0) for samples in (2, 8))
    assert (many < few / 3).all()
    pathwise = gradients("elbo", *replicas(4000, 8))["mean"].var(0)
    assert (pathwise < many).all()
    t, leaves = replicas(4000, 8)
    score = (t.log_likelihood.detach() * t.posterior.log_prob(t.z.detach())).mean(0) - t.kl
    (bare,) = torch.autograd.grad(score.sum(), leaves["mean"])  # without a baseline
    assert (many < bare.var(0)).all()


def test_score_function_needs_no_gradient_of_z():
    t, leaves = replicas(1000, 3)
    expected = gradients("score", t, leaves)
    with torch.no_grad():
        z = t.z.clone()
    w = torch.tensor([[1.2, 0.0], [0.0, 0.8], [0.0, 0.0]]).double()
    x = torch.tensor([0.7, -1.1, 0.4]).double()
    likelihood = Gaussian(z @ w.T + leaves["bias"], torch.tensor(0.5).double().log(), 1)
    found = gradients("score", Terms(likelihood.log_prob(x), z, t.posterior, t.prior), leaves)
    for key in expected:
        torch.testing.assert_close(found[key], expected[key])


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"score"}))
def test_draws_without_a_gradient_are_refused(name):
    t, _ = replicas(3, 2)
    fixed = replace(t, z=t.z.detach())
    with pytest.raises(InputError, match=rf"objective {name} differentiates through z, .* objective score"):
        value(name, fixed)
    with torch.no_grad():
        assert value(name, fixed).shape == (3,)  # a value alone needs no gradient


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"elbo", "mmd"}))
def test_an_autoencoder_has_no_density(name):
    t = terms()
    point = Terms(t.log_likelihood, t.z, Delta(t.posterior.mean), t.prior)
    with pytest.raises(InputError, match=rf"objective {name} needs a density"):
        value(name, point)


def test_free_bits_need_the_kl_of_each_unit():
    with pytest.raises(InputError, match=r"closed form.*`posterior` and `prior`.*prior normal"):
        value("free-bits", replace(terms(), prior=mixture()))


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"free-bits"}))
def test_a_prior_without_a_closed_form_learns_too(name):
    t, leaves = replicas(6, 3, prior=mixture())
    prior = replace(mixture(), means=mixture().means.requires_grad_())
    found = torch.autograd.grad(value(name, replace(t, prior=prior)).mean(), [prior.means, *leaves.values()])
    for gradient in found:
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 0


@pytest.mark.parametrize("beta", [0.4, 1.0])
def test_doubly_reparameterised_through_a_real_model(small_vae, levels, beta):
    """Against the usual implementation: two passes, one with a hook on z."""
    vae, x = small_vae(), levels()
    parameters = list(vae.parameters())

    def terms_():
        return vae.terms(x, samples=5, generator=torch.Generator().manual_seed(0))

    t = terms_()
    found = torch.autograd.grad(value("dreg", t, beta=beta).sum(), parameters)

    t = gradient_tools.without_score(terms_())
    a = t.log_likelihood + beta * (t.log_prior - t.log_posterior)
    share = torch.softmax(a, 0).detach()
    t.z.register_hook(lambda gradient: gradient * (1 - beta + beta * share).unsqueeze(-1))
    expected = torch.autograd.grad((share * a).sum(), parameters)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_leaves_its_terms_as_they_were(name):
    t, leaves = replicas(5, 4)
    before = gradients("elbo", t, leaves)
    gradients(name, t, leaves)
    after = gradients("elbo", t, leaves)
    assert all(torch.equal(before[key], after[key]) for key in before)
