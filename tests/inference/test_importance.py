"""Importance sampling: the exact case, and an estimate that no chunk size changes."""

import math

import pytest
import torch

from backstory.errors import InputError
from backstory.inference import importance as likelihood
from backstory.inference.importance import importance_sampling
from backstory.inference.memory import pairs_at_once

K = 250
FIELDS = ("log_evidence", "standard_error", "ess", "elbo", "reconstruction", "kl")


def estimate(vae, x, samples=K, seed=0, chunk=None, batch=None):
    generator = torch.Generator().manual_seed(seed)
    return importance_sampling(vae, x.split(batch or len(x)), samples, generator, chunk)


CHUNKS = [(1, 1), (1, 7), (1, 100), (7, 3), (7, 7), (7, 100), (7, 700), (7, 10**6), (2, 1)]


@pytest.mark.parametrize("prior", ["normal", "mixture"])
@pytest.mark.parametrize(("rows", "chunk"), CHUNKS)
def test_chunks_do_not_change_the_estimate(small_vae, levels, rows, chunk, prior):
    vae, x = small_vae(prior=prior), levels(rows)
    whole, chunked = estimate(vae, x, chunk=rows * K), estimate(vae, x, chunk=chunk)
    assert chunked.samples == K
    for name in FIELDS:
        torch.testing.assert_close(getattr(chunked, name), getattr(whole, name), rtol=1e-9, atol=1e-9)
        assert getattr(chunked, name).shape == (rows,)
        assert getattr(chunked, name).dtype == torch.float64


@pytest.mark.parametrize("chunk", [5, 40, None])
def test_the_estimate_is_that_of_its_formulas(small_vae, levels, chunk):
    vae, x = small_vae(), levels()
    evidence = estimate(vae, x, chunk=chunk)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        q = vae.encode(x)
        z = torch.stack([q.sample(1, generator)[0] for _ in range(K)])
        terms = vae.terms_at(x, q, z)
    w = (terms.log_weight - terms.log_weight.max(0).values).exp()
    torch.testing.assert_close(evidence.log_evidence, w.mean(0).log() + terms.log_weight.max(0).values)
    torch.testing.assert_close(evidence.ess, w.sum(0).square() / w.square().sum(0))
    # The delta method: s(w) / (√K w̄)
    torch.testing.assert_close(evidence.standard_error, w.std(0) / (math.sqrt(K) * w.mean(0)))
    torch.testing.assert_close(evidence.elbo, terms.log_weight.mean(0))
    torch.testing.assert_close(evidence.kl, terms.kl)
    torch.testing.assert_close(evidence.reconstruction, evidence.elbo + evidence.kl)
    assert (evidence.log_evidence > terms.log_weight.mean(0)).all()  # a log of a mean, not a mean of logs


@pytest.mark.parametrize("samples", [1, 2, 250])
def test_linear_gaussian_evidence_is_exact_for_any_number_of_draws(linear_gaussian, samples):
    exact = linear_gaussian()
    evidence = estimate(exact.vae, exact.x, samples)
    torch.testing.assert_close(evidence.log_evidence, exact.log_evidence, rtol=0, atol=1e-9)
    torch.testing.assert_close(evidence.ess, torch.full_like(evidence.ess, samples))
    if samples > 1:
        assert (evidence.standard_error < 1e-6).all()


def test_a_wrong_posterior_gives_elbo_below_evidence_below_truth(linear_gaussian):
    wrong = linear_gaussian(rows=200, encoder_error=0.1)
    previous = -math.inf
    for samples in (1, 10, 100, 4000):
        evidence = estimate(wrong.vae, wrong.x, samples)
        mean = float(evidence.log_evidence.mean())
        error = float(evidence.standard_error.square().sum().sqrt()) / 200 if samples > 1 else 0.1
        assert mean > previous
        assert mean < float(wrong.log_evidence.mean()) + 3 * error
        previous = mean
    assert float(evidence.elbo.mean()) < mean - 0.1
    assert mean == pytest.approx(float(wrong.log_evidence.mean()), abs=3 * error + 1e-3)
    away = (evidence.log_evidence - wrong.log_evidence).abs() / evidence.standard_error
    assert (away < 2).double().mean() > 0.9


def test_standard_error_is_the_spread_over_repetitions(linear_gaussian):
    wrong = linear_gaussian(rows=1, encoder_error=0.05)
    evidence = estimate(wrong.vae, wrong.x.expand(2_000, -1), 400)
    spread = float(evidence.log_evidence.std())
    assert float(evidence.standard_error.mean()) == pytest.approx(spread, rel=0.1)


def test_a_single_draw(small_vae, levels):
    vae, x = small_vae(), levels()
    evidence = estimate(vae, x, 1)
    assert torch.isnan(evidence.standard_error).all()
    torch.testing.assert_close(evidence.ess, torch.ones(7).double())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        expected = vae.terms(x, generator=generator).log_weight[0]
    torch.testing.assert_close(evidence.log_evidence, expected)


@pytest.mark.parametrize("samples", [1, 2, 17, 250])
def test_effective_sample_size_is_between_one_and_k(small_vae, levels, samples):
    ess = estimate(small_vae(), levels(30), samples).ess
    assert (ess > 1 - 1e-9).all()
    assert (ess < samples + 1e-9).all()


@pytest.mark.parametrize("chunk", [1, 5, 90, None])
def test_weights_are_averaged_over_draws_and_not_over_observations(small_vae, levels, chunk, monkeypatch):
    vae, x = small_vae(), levels()
    order = torch.tensor([3, 1, 6, 0, 2, 5, 4])
    straight = estimate(vae, x, 30, chunk=chunk)
    noise = likelihood._noise
    monkeypatch.setattr(likelihood, "_noise", lambda *args: noise(*args)[:, order])
    permuted = estimate(vae, x[order], 30, chunk=chunk)
    for name in FIELDS:
        torch.testing.assert_close(getattr(permuted, name), getattr(straight, name)[order])


def test_batches_are_joined_in_order(linear_gaussian):
    exact = linear_gaussian(rows=23)
    seen = []
    generator = torch.Generator().manual_seed(0)
    evidence = importance_sampling(exact.vae, exact.x.split(5), 3, generator, advance=seen.append)
    torch.testing.assert_close(evidence.log_evidence, exact.log_evidence, rtol=0, atol=1e-9)
    assert seen == [5, 5, 5, 5, 3]


def test_no_more_is_decoded_at_once_than_the_chunk(small_vae, levels):
    vae, x = small_vae(), levels()
    sizes = []
    vae.decoder.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    estimate(vae, x, chunk=20)
    assert max(sizes) <= 20
    assert sum(sizes) == 7 * K
    sizes.clear()
    estimate(vae, x, chunk=3)
    assert max(sizes) <= 3
    assert sum(sizes) == 7 * K


def test_memory_does_not_grow_with_the_number_of_draws(small_vae, levels):
    vae, x = small_vae(), levels(2)
    sizes, pairs = [], pairs_at_once(vae)
    vae.decoder.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    estimate(vae, x, samples=60_000)
    assert max(sizes) <= pairs
    assert sum(sizes) == 2 * 60_000


def test_far_away_data_stays_finite(linear_gaussian):
    exact = linear_gaussian()
    evidence = estimate(exact.vae, exact.x + 1e3)
    for name in FIELDS:
        assert torch.isfinite(getattr(evidence, name)).all(), name


def test_what_has_no_answer_is_refused(small_vae, levels):
    with pytest.raises(InputError, match="at least 1, got 0"):
        estimate(small_vae(), levels(), 0)
    with pytest.raises(InputError, match="plain autoencoder has no distribution"):
        estimate(small_vae(posterior="delta"), levels())


def test_no_gradient_history_is_kept(small_vae, levels):
    assert not estimate(small_vae(), levels()).log_evidence.requires_grad
