"""The model and its record of terms: axes, masks, and the linear case in which everything is exact."""

import math

import pytest
import torch

from backstory.data.schema import Schema
from backstory.distributions.delta import Delta
from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.models import build
from backstory.models.defaults import resolve
from backstory.objectives.bounds import elbo, importance_weighted
from backstory.options import ModelOptions

LIKELIHOODS = {
    "bernoulli": Schema(kind="images", shape=(8, 8), dtype="uint8", levels=2, maximum=1),
    "categorical": Schema(kind="images", shape=(5, 7), dtype="uint8", levels=6, maximum=5),
    "logistic": Schema(kind="images", shape=(8, 9, 3), dtype="uint8", levels=256, maximum=255),
    "gaussian": Schema(kind="array", shape=(11,), dtype="float32"),
    "gaussian-fixed": Schema(kind="images", shape=(9, 8), dtype="float32", maximum=1.0),
    "gaussian-per-entry": Schema(kind="table", shape=(3,), dtype="float64", columns=("a", "b", "c")),
    "gaussian-predicted": Schema(kind="array", shape=(2, 2, 2, 2), dtype="float64"),
    "student": Schema(kind="table", shape=(3,), dtype="float64", columns=("a", "b", "c")),
}
NETWORKS = ["mlp", "residual", "plain", "linear", "conv", "resnet"]


def model(likelihood, network="mlp", **options):
    schema = LIKELIHOODS[likelihood]
    sigma = 0.2 if likelihood == "gaussian-fixed" else None
    values = {"latent": 3, "hidden": None if network in ("conv", "resnet", "linear") else (8, 8), **options}
    schema, resolved = resolve(
        schema, ModelOptions(likelihood=likelihood, network=network, sigma=sigma, **values)
    )
    return schema, build.build(schema, resolved)


def data(schema, rows=4):
    generator = torch.Generator().manual_seed(0)
    if schema.levels is None:
        return torch.rand((rows, *schema.shape), generator=generator)
    return torch.randint(schema.levels, (rows, *schema.shape), generator=generator).float()


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("samples", [1, 6])
@pytest.mark.parametrize(
    ("network", "likelihood"),
    [
        (n, l)
        for n in NETWORKS
        for l, schema in LIKELIHOODS.items()
        if n not in ("conv", "resnet") or schema.kind == "images"
    ],
)
def test_every_likelihood_with_every_network(likelihood, network, samples, rows):
    schema, vae = model(likelihood, network)
    x = data(schema, rows)
    terms = vae.terms(x, samples=samples)
    assert terms.z.shape == (samples, rows, 3)
    for name in ("log_likelihood", "log_prior", "log_posterior", "log_weight"):
        assert getattr(terms, name).shape == (samples, rows), name
        assert torch.isfinite(getattr(terms, name)).all(), name
    assert terms.kl.shape == (rows,)
    assert terms.kl_per_unit.shape == (rows, 3)
    assert (terms.kl >= 0).all()
    p = vae.decode(terms.z)
    assert p.mean.shape == p.sample().shape == (samples, rows, *schema.shape)
    elbo(terms).mean().backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        # A rectified unit may be silent for one row
        assert rows == 1 or (parameter.grad != 0).any(), name


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_likelihood_is_a_sum_over_entries_and_never_a_mean(likelihood):
    """Two copies of an observation side by side have twice the log-likelihood."""
    schema, vae = model(likelihood)
    x, z = data(schema), torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0))
    once = vae.decode(z).log_prob(x)
    features = vae.decoder(z[0])
    twice_schema = schema.model_copy(update={"shape": (2, *schema.shape), "kind": "array", "columns": None})
    sigma = 0.2 if likelihood == "gaussian-fixed" else None
    bounded = vae.head.full is not None if likelihood.startswith("gaussian") else None
    options = ModelOptions(
        likelihood=likelihood, sigma=sigma, bounded=bounded, latent=3, network="mlp", hidden=()
    )
    head = build.build(twice_schema.model_copy(update={"kind": schema.kind}), options).head
    doubled = torch.stack([features, features], 2)
    twice = head(doubled).log_prob(torch.stack([x, x], 1))
    torch.testing.assert_close(twice, 2 * once[0])


def test_draws_are_those_of_the_generator(small_vae, levels):
    vae, x = small_vae(), levels()
    state = torch.get_rng_state()
    a, b, c = (vae.terms(x, samples=4, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(a.z, b.z)
    assert torch.equal(a.log_likelihood, b.log_likelihood)
    assert not torch.equal(a.z, c.z)
    assert torch.equal(state, torch.get_rng_state())


def test_axes_are_draws_then_observations(small_vae, levels):
    """Permuting the observations permutes the second axis of everything, and nothing else."""
    vae, x = small_vae(), levels()
    noise = torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(0)).double()
    order = torch.tensor([3, 1, 6, 0, 2, 5, 4])
    q, permuted = vae.encode(x), vae.encode(x[order])
    first = vae.terms_at(x, q, q.transport(noise))
    second = vae.terms_at(x[order], permuted, permuted.transport(noise[:, order]))
    for name in ("log_likelihood", "log_prior", "log_posterior"):
        torch.testing.assert_close(getattr(first, name)[:, order], getattr(second, name))
    torch.testing.assert_close(first.kl[order], second.kl)
    one = vae.terms_at(x[2:3], q.select(slice(2, 3)), q.transport(noise)[4:5, 2:3])
    torch.testing.assert_close(one.log_weight[0, 0], first.log_weight[4, 2])


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_decode_of_codes_with_any_batch_axes(likelihood):
    schema, vae = model(likelihood)
    z = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    means = vae.decode(z).mean
    assert means.shape == (2, 5, *schema.shape)
    torch.testing.assert_close(vae.decode(z[1]).mean, means[1])
    torch.testing.assert_close(vae.decode(z[1, 2]).mean, means[1, 2])
    x = data(schema, 5)
    torch.testing.assert_close(vae.decode(z[1, 2]).log_prob(x[2]), vae.decode(z).log_prob(x)[1, 2])


def test_encode_is_not_a_draw(small_vae, levels):
    vae, x = small_vae(), levels()
    assert torch.equal(vae.encode(x).mean, vae.encode(x).mean)
    assert isinstance(vae.encode(x), DiagonalGaussian)


def test_a_row_without_an_observed_entry_has_no_likelihood(small_vae, levels):
    vae, x = small_vae(incomplete=True), levels()
    assert (vae.terms(torch.full_like(x, math.nan), 2).log_likelihood == 0).all()
    assert torch.isfinite(vae.terms(x, 2).log_likelihood).all()


@pytest.mark.parametrize("network", ["mlp", "conv", "resnet"])
def test_the_encoder_is_told_what_is_there(network):
    schema, vae = model("gaussian-fixed", network, incomplete=True)
    x = data(schema)
    q = vae.encode(x)
    hole = x.clone()
    hole[0, 2, 3] = math.nan
    hole[1, 2, 3] = x[1, 2, 3]
    other = vae.encode(hole)
    assert (other.mean[0] != q.mean[0]).all()
    assert torch.equal(other.mean[1:], q.mean[1:])
    average = hole.clone()
    average[0, 2, 3] = float(vae.shift)  # what stands in its place in the encoder's input
    assert (vae.encode(average).mean[0] != other.mean[0]).all()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_nan_is_a_mask(likelihood):
    schema, vae = model(likelihood, incomplete=True)
    x = data(schema)
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.6
    terms = vae.terms(torch.where(mask, x, math.nan), 3, torch.Generator().manual_seed(0))
    elbo(terms).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in vae.parameters())
    with torch.no_grad():  # the entries that are missing may hold anything
        expected = vae.decode(terms.z).log_prob(torch.where(mask, x, 1.0), mask)
    assert torch.equal(terms.log_likelihood.detach(), expected)


def test_the_encoder_sees_standardised_values():
    schema, vae = model("gaussian")
    seen = []
    vae.encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    vae.shift.fill_(5.0)
    vae.scale.fill_(2.0)
    x = data(schema)
    vae.encode(x)
    torch.testing.assert_close(seen[0], (x - 5) / 2)


def test_posterior_deviations_stay_finite(small_vae, levels):
    vae, x = small_vae(), levels()
    with torch.no_grad():
        for raw in (-1e4, 1e4):
            vae.encoder.layers[-1].bias.fill_(raw)
            std = vae.encode(x).std
            assert torch.isfinite(std).all()
            assert (std > 0).all()


# -- bounds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["normal", "mixture"])
def test_analytic_elbo_is_the_sampled_one_in_expectation(prior, small_vae, levels):
    vae, x = small_vae(prior=prior), levels()
    with torch.no_grad():
        terms = vae.terms(x, samples=20_000, generator=torch.Generator().manual_seed(0))
    sampled, error = terms.log_weight.mean(0), terms.log_weight.std(0) / math.sqrt(20_000)
    assert ((elbo(terms) - sampled).abs() < 5 * error).all()
    if prior == "mixture":  # no closed form: the two are the same numbers
        assert terms.kl_per_unit is None
        torch.testing.assert_close(elbo(terms), sampled)


@pytest.mark.parametrize("samples", [1, 3, 50])
def test_linear_gaussian_model_is_exact_for_any_number_of_draws(linear_gaussian, samples):
    exact = linear_gaussian()
    terms = exact.vae.terms(exact.x, samples=samples, generator=torch.Generator().manual_seed(samples))
    # With q(z|x) = p(z|x) every weight is p(x), so the sampled bounds have no variance at all
    expected = exact.log_evidence.expand(samples, -1)
    torch.testing.assert_close(terms.log_weight, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(importance_weighted(terms), exact.log_evidence, rtol=0, atol=1e-9)


def test_linear_gaussian_analytic_elbo(linear_gaussian):
    exact = linear_gaussian()
    with torch.no_grad():
        terms = exact.vae.terms(exact.x, samples=20_000, generator=torch.Generator().manual_seed(0))
    error = terms.log_likelihood.std(0) / math.sqrt(20_000)
    assert ((elbo(terms) - exact.log_evidence).abs() < 5 * error).all()
    assert float((elbo(terms) - exact.log_evidence).mean()) == pytest.approx(0, abs=0.01)


def test_linear_gaussian_posterior(linear_gaussian):
    exact = linear_gaussian()
    q = exact.vae.encode(exact.x)
    torch.testing.assert_close(q.mean, exact.posterior_mean)
    torch.testing.assert_close(q.std, exact.posterior_std.expand_as(q.std))


def test_evidence_is_in_the_units_of_the_data(linear_gaussian):
    """Metres or millimetres: −D log c, with no Jacobian left for the reader."""
    a, b = linear_gaussian(), linear_gaussian()
    b.vae.shift.mul_(1000)
    b.vae.scale.mul_(1000)
    b.vae.head.shift.mul_(1000)
    b.vae.head.log_scale.add_(math.log(1000))
    metres = a.vae.terms(a.x, generator=torch.Generator().manual_seed(0)).log_weight
    millimetres = b.vae.terms(1000 * b.x, generator=torch.Generator().manual_seed(0)).log_weight
    torch.testing.assert_close(millimetres, metres - 6 * math.log(1000))


# -- the plain autoencoder --------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["normal", "mixture"])
def test_autoencoder_is_the_limit_without_variance_or_kl(small_vae, levels, prior):
    vae, x = small_vae(posterior="delta", prior=prior), levels()
    assert vae.is_autoencoder
    terms = vae.terms(x, samples=2)
    assert isinstance(terms.posterior, Delta)
    assert torch.equal(terms.z[0], terms.z[1])
    assert torch.equal(terms.z[0], terms.posterior.mean)
    for zero in (terms.kl, terms.kl_per_unit, terms.log_prior, terms.log_posterior):
        assert (zero == 0).all()
    # The objective is then the likelihood at any β, and its gradient reaches the encoder
    likelihood = vae.decode(terms.posterior.mean).log_prob(x)
    for beta in (0.3, 1.0):
        torch.testing.assert_close(elbo(terms, beta=beta), likelihood)
    likelihood.sum().backward()
    assert (vae.encoder.layers[-1].weight.grad[:3] != 0).any()
