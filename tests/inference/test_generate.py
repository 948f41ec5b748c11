"""Samples and reconstructions."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

import backstory
from backstory.errors import InputError
from backstory.inference import generate
from backstory.models.priors import Mixture


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def test_samples_have_the_distribution_of_the_model(linear_gaussian):
    exact, n = linear_gaussian(), 20_000
    x = generate.sample(exact.vae, n, generator=source())
    std = exact.covariance.diagonal().sqrt()
    assert ((x.mean(0) - exact.mean).abs() < 5 * std / math.sqrt(n)).all()
    covariance = x.T.cov()
    allowed = 6 * torch.outer(std, std) / math.sqrt(n)
    assert ((covariance - exact.covariance).abs() < allowed).all()


def test_means_are_no_samples(linear_gaussian):
    """E[x|z] varies with z alone: its covariance lacks the noise of x."""
    exact, n = linear_gaussian(), 20_000
    x = generate.sample(exact.vae, n, mean=True, generator=source())
    noise = torch.diag((0.4 * exact.vae.scale).square())
    std = exact.covariance.diagonal().sqrt()
    assert ((x.T.cov() - (exact.covariance - noise)).abs() < 6 * torch.outer(std, std) / math.sqrt(n)).all()
    z = exact.vae.prior().tempered(1.0, n, source())
    torch.testing.assert_close(x, exact.vae.decode(z).mean.detach())


@pytest.mark.parametrize("prior", ["normal", "mixture"])
@pytest.mark.parametrize("n", [1, 5, generate.BATCH + 1])
def test_samples_are_levels(small_vae, prior, n):
    x = generate.sample(small_vae(prior=prior), n, generator=source())
    assert x.shape == (n, 3, 4)
    assert set(x.unique().tolist()) <= {0, 1, 2, 3, 4}


def test_the_same_seed_gives_the_same_sample(small_vae):
    vae = small_vae()
    state = torch.get_rng_state()
    assert torch.equal(
        generate.sample(vae, 600, generator=source(1)), generate.sample(vae, 600, generator=source(1))
    )
    assert not torch.equal(
        generate.sample(vae, 5, generator=source(1)), generate.sample(vae, 5, generator=source(2))
    )
    assert torch.equal(state, torch.get_rng_state())


def test_draws_with_their_means_are_the_draws_and_the_means(small_vae):
    vae, n = small_vae(), generate.BATCH + 3
    x, means = generate.sample_with_means(vae, n, generator=source())
    assert torch.equal(x, generate.sample(vae, n, generator=source()))
    assert torch.equal(means, generate.sample(vae, n, mean=True, generator=source()))


@pytest.mark.parametrize("prior", ["normal", "mixture"])
def test_temperature_scales_the_prior(small_vae, prior):
    vae = small_vae(prior=prior)
    centre = vae.prior().mean.detach()
    with torch.no_grad():
        at = {t: vae.prior().tempered(t, 9, source()) - centre for t in (0.0, 0.5, 1.0)}
    assert (at[0.0] == 0).all()
    torch.testing.assert_close(at[0.5], 0.5 * at[1.0])
    cold = generate.sample(vae, 4, mean=True, temperature=0, generator=source())
    torch.testing.assert_close(cold, vae.decode(centre).mean.detach().expand(4, 3, 4))


def test_reconstruction_is_the_mean_at_the_posterior_mean(linear_gaussian):
    exact = linear_gaussian()
    x = generate.reconstruct(exact.vae, exact.x)
    torch.testing.assert_close(x, exact.vae.decode(exact.posterior_mean).mean.detach())
    assert torch.equal(x, generate.reconstruct(exact.vae, exact.x))


def test_reconstruction_draws(linear_gaussian):
    """x → z → x leaves the distribution of x as it was when q(z|x) = p(z|x)."""
    exact, n = linear_gaussian(rows=20_000), 20_000
    x = generate.reconstruct(exact.vae, exact.x, mean=False, generator=source())
    std = exact.covariance.diagonal().sqrt()
    assert ((x.mean(0) - exact.mean).abs() < 7 * std / math.sqrt(n)).all()
    assert ((x.T.cov() - exact.covariance).abs() < 8 * torch.outer(std, std) / math.sqrt(n)).all()


def test_a_plain_autoencoder_has_nothing_to_sample_from(small_vae):
    vae = small_vae(posterior="delta")
    with pytest.raises(InputError, match=r"plain autoencoder.*nothing to sample from.*`prior` mixture"):
        generate.sample(vae, 4)
    vae.prior_module = Mixture(3, 2).double()
    assert generate.sample(vae, 4, generator=source()).shape == (4, 3, 4)


@pytest.mark.parametrize("bad", [{"n": 0}, {"n": -3}, {"n": 2, "temperature": -0.1}])
def test_numbers_out_of_range(small_vae, bad):
    with pytest.raises(InputError, match=r"(has to be|expected) .*, got -?[\d.]+"):
        generate.sample(small_vae(), **bad)


def test_draws_outside_a_set_are_drawn_again(linear_gaussian):
    """p(x | |x_0 - mean| < std) of a Gaussian: the truncated normal's mean square, 0.2911 variances."""
    exact, n = linear_gaussian(), 20_000
    mean, std, generator = exact.mean, exact.covariance.diagonal().sqrt(), source()

    def draw(rows):
        return generate.sample(exact.vae, len(rows), generator=generator)

    x = draw(torch.arange(n))
    inside = generate.sample_within(draw, lambda x: ((x - mean) / std)[:, 0].abs() < 1, x)
    u = ((inside - mean) / std)[:, 0]
    assert (u.abs() < 1).float().mean() > 0.9999
    assert u.square().mean().item() == pytest.approx(0.2911, abs=0.005)
    kept = ((x - mean) / std)[:, 0].abs() < 1
    assert torch.equal(inside[kept], x[kept])
    never = generate.sample_within(draw, lambda x: torch.zeros(len(x), dtype=torch.bool), x)
    assert never.shape == x.shape


@pytest.mark.parametrize("likelihood", ["joint", "autoregressive"])
def test_estimates_of_levels_are_the_most_probable_ones(likelihood):
    rng = np.random.default_rng(0)
    towns = rng.permutation(["Ayr"] * 120 + ["Bern"] * 6 + ["Cork"] * 74)  # the mean is nearest to Bern
    frame = pd.DataFrame({"town": towns, "x": rng.normal(size=200).round(3)})
    model = backstory.fit(frame, likelihood=likelihood, latent=1, hidden=(4,), epochs=8, progress=False)
    assert set(model.reconstruct(frame)["town"]) <= {"Ayr", "Cork"}
    assert set(model.sample(50, mean=True, seed=0)["town"]) <= {"Ayr", "Cork"}
