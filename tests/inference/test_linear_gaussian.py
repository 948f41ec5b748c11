"""Closed forms of the linear-Gaussian model, by brute force with full covariance matrices."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.decomposition import PCA

from backstory.errors import InputError
from backstory.inference.linear_gaussian import LinearGaussian, ppca_optimum


def random_model(entries=7, latent=3, seed=0):
    """W's columns are not orthogonal and every entry has a noise of its own."""
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(entries, latent)), rng.normal(size=entries)
    variance = rng.uniform(0.1, 2, entries)
    model = LinearGaussian(*map(torch.from_numpy, (weight, bias, variance)), (entries,))
    return model, torch.from_numpy(rng.normal(size=(25, entries)) * 2)


def joint(model):
    """Mean and covariance of (z, x)."""
    w, latent = model.weight.numpy(), model.weight.shape[1]
    cov = np.block([[np.eye(latent), w.T], [w, model.covariance.numpy()]])
    return np.concatenate([np.zeros(latent), model.bias.numpy()]), cov


@pytest.mark.parametrize(("entries", "latent"), [(6, 2), (4, 1), (9, 5)])
def test_it_is_read_off_a_vae(linear_gaussian, entries, latent):
    exact = linear_gaussian(entries=entries, latent=latent)
    model = LinearGaussian.of(exact.vae)
    torch.testing.assert_close(model.bias, exact.mean)
    torch.testing.assert_close(model.covariance, exact.covariance)
    torch.testing.assert_close(model.log_evidence(exact.x), exact.log_evidence)
    posterior = model.posterior(exact.x)
    torch.testing.assert_close(posterior.mean, exact.posterior_mean)
    expected = torch.diag(exact.posterior_std.square()).expand(len(exact.x), -1, -1)
    torch.testing.assert_close(posterior.covariance, expected)
    assert exact.vae.shift.dtype == torch.float64  # the model itself is as it was


def test_reading_it_off_a_single_precision_model_loses_nothing(linear_gaussian):
    exact = linear_gaussian()
    low = LinearGaussian.of(exact.vae.float())
    assert exact.vae.shift.dtype == torch.float32
    torch.testing.assert_close(low.covariance, exact.covariance, rtol=1e-6, atol=0)
    assert low.log_evidence(exact.x.float()).dtype == torch.float64


@pytest.mark.parametrize("sigma", ["gaussian", "gaussian-fixed", "gaussian-per-entry"])
@pytest.mark.parametrize("network", ["linear", "plain"])
def test_any_affine_decoder_with_a_constant_sigma_will_do(small_vae, sigma, network):
    hidden = {} if network == "linear" else {"hidden": ()}
    options = {"likelihood": sigma, "network": network, "hidden": None, **hidden}
    vae = small_vae(**options, **({"sigma": 0.1} if sigma == "gaussian-fixed" else {}))
    model = LinearGaussian.of(vae)
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        p = vae.decode(z)
    torch.testing.assert_close(p.mean.flatten(1), z @ model.weight.T + model.bias)
    torch.testing.assert_close(p.std.flatten(1), model.variance.sqrt().expand(5, -1))
    x = p.mean + 0.1
    expected = stats.multivariate_normal(model.bias.numpy(), model.covariance.numpy()).logpdf(x.flatten(1))
    np.testing.assert_allclose(model.log_evidence(x), expected)


def test_evidence_and_posterior_are_those_of_the_joint_gaussian():
    model, x = random_model()
    mean, cov = joint(model)
    expected = stats.multivariate_normal(mean[3:], cov[3:, 3:]).logpdf(x.numpy())
    np.testing.assert_allclose(model.log_evidence(x), expected)
    gain = cov[:3, 3:] @ np.linalg.inv(cov[3:, 3:])
    posterior = model.posterior(x)
    np.testing.assert_allclose(posterior.mean, (x.numpy() - mean[3:]) @ gain.T)
    np.testing.assert_allclose(posterior.covariance[4], cov[:3, :3] - gain @ cov[3:, :3], atol=1e-12)


def test_observed_entries_alone_count():
    model, x = random_model()
    mean, cov = joint(model)
    observed = torch.from_numpy(np.random.default_rng(1).uniform(size=x.shape) < 0.5)
    observed[0], observed[1] = True, False
    values = torch.where(observed, x, math.nan)
    evidence, posterior = model.log_evidence(values, observed), model.posterior(values, observed)
    for i, row in enumerate(observed.numpy()):
        seen = 3 + np.flatnonzero(row)
        if len(seen) == 0:
            assert float(evidence[i]) == pytest.approx(0, abs=1e-12)
            np.testing.assert_allclose(posterior.mean[i], 0, atol=1e-12)
            np.testing.assert_allclose(posterior.covariance[i], np.eye(3), atol=1e-12)
            continue
        part = stats.multivariate_normal(mean[seen], cov[np.ix_(seen, seen)])
        assert float(evidence[i]) == pytest.approx(part.logpdf(x[i].numpy()[row]))
        gain = cov[:3, seen] @ np.linalg.inv(cov[np.ix_(seen, seen)])
        np.testing.assert_allclose(posterior.mean[i], gain @ (x[i].numpy()[row] - mean[seen]))
        np.testing.assert_allclose(posterior.covariance[i], np.eye(3) - gain @ cov[seen, :3], atol=1e-12)
    whole = torch.ones_like(observed)
    torch.testing.assert_close(model.log_evidence(x, whole), model.log_evidence(x))
    torch.testing.assert_close(model.posterior(x, whole).covariance, model.posterior(x).covariance)


def test_evidence_is_joint_over_posterior():
    """log p(x) = log p(x|z) + log p(z) − log p(z|x) at any z."""
    model, x = random_model()
    z = torch.randn(4, 25, 3, generator=torch.Generator().manual_seed(0)).double()
    likelihood = torch.distributions.Normal(z @ model.weight.T + model.bias, model.variance.sqrt())
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    value = likelihood.log_prob(x).sum(-1) + prior - model.posterior(x).log_prob(z)
    torch.testing.assert_close(value, model.log_evidence(x).expand(4, -1))


@pytest.mark.parametrize("q", [0, 1, 3, 5])
def test_the_optimum_is_that_of_probabilistic_pca(q):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)) + 3
    optimum = ppca_optimum(torch.from_numpy(data), q)
    value = float(optimum.log_evidence(torch.from_numpy(data)).mean())
    values = np.linalg.eigvalsh(np.cov(data.T, bias=True))[::-1]
    noise = values[q:].mean()
    expected = -0.5 * (
        6 * math.log(2 * math.pi) + np.log(values[:q]).sum() + (6 - q) * math.log(noise) + 6
    )  # Tipping & Bishop 1999, eq. 5 at eqs. 7 and 8
    assert value == pytest.approx(expected)
    if q:
        fitted = PCA(q).fit(data)  # whose covariance divides by N − 1
        fitted.explained_variance_ *= 299 / 300
        fitted.noise_variance_ *= 299 / 300
        assert value == pytest.approx(fitted.score(data), rel=1e-6)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        moved = LinearGaussian(
            optimum.weight + 0.02 * torch.randn(6, q, generator=generator),
            optimum.bias + 0.02 * torch.randn(6, generator=generator),
            optimum.variance * float(torch.exp(0.1 * torch.randn(1, generator=generator))),
            (6,),
        )
        assert float(moved.log_evidence(torch.from_numpy(data)).mean()) < value


def test_the_shape_of_an_observation_is_kept():
    data = torch.randn(50, 2, 3, generator=torch.Generator().manual_seed(0))
    optimum = ppca_optimum(data, 2)
    assert optimum.log_evidence(data).shape == (50,)
    assert optimum.posterior(data, data > 0).covariance.shape == (50, 2, 2)
    with pytest.raises(InputError, match=r"expected observations of shape .*got \(50, 6\)"):
        optimum.log_evidence(data.flatten(1))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"likelihood": "categorical"}, "its likelihood is not Gaussian"),
        ({"likelihood": "gaussian-predicted", "network": "linear"}, "its σ depends on z"),
        ({"likelihood": "gaussian"}, "its decoder is not affine"),
        ({"likelihood": "gaussian", "network": "linear", "prior": "mixture"}, "not a standard normal"),
        ({"likelihood": "gaussian", "network": "linear", "posterior": "delta"}, "plain autoencoder"),
    ],
)
def test_other_models_are_refused_with_the_reason(small_vae, options, says):
    hidden = {} if options.get("network") != "linear" else {"hidden": None}
    with pytest.raises(InputError, match=says):
        LinearGaussian.of(small_vae(**options, **hidden))


@pytest.mark.parametrize(("q", "says"), [(-1, "between 0 and 2"), (3, "got 3"), (1, "no variance beyond 1")])
def test_no_optimum(q, says):
    data = torch.randn(20, 1) * torch.tensor([1.0, 2.0, -1.0])
    with pytest.raises(InputError, match=says):
        ppca_optimum(data, q)


def test_the_restored_x_is_that_of_the_joint_gaussian():
    """Of masks, the missing entries by the classical regression; of maps, by brute force over x and y."""
    model, x = random_model()
    v, keep = model.covariance, torch.tensor([0, 2, 5])
    gap = torch.tensor([1, 3, 4, 6])
    found = model.restored(x[:, keep], torch.eye(7).double()[keep])
    torch.testing.assert_close(found.mean[:, keep], x[:, keep])
    regression = v[gap][:, keep] @ torch.linalg.inv(v[keep][:, keep])
    expected = model.bias[gap] + (x[:, keep] - model.bias[keep]) @ regression.T
    torch.testing.assert_close(found.mean[:, gap], expected)
    covariance = v[gap][:, gap] - regression @ v[keep][:, gap]
    torch.testing.assert_close(found.covariance[3][gap][:, gap], covariance)
    torch.testing.assert_close(found.covariance[0][keep], torch.zeros(3, 7).double(), atol=1e-10, rtol=0)

    a, sigma = torch.from_numpy(np.random.default_rng(5).normal(size=(2, 7))), 0.7
    precision = torch.linalg.inv(v) + a.T @ a / sigma**2  # Bayes in information form
    mean = torch.linalg.solve(
        precision, torch.linalg.solve(v, model.bias)[:, None] + a.T @ x[:, :2].T / sigma**2
    )
    found = model.restored(x[:, :2], a, sigma)
    torch.testing.assert_close(found.mean, mean.T)
    torch.testing.assert_close(found.covariance[0], torch.linalg.inv(precision))
