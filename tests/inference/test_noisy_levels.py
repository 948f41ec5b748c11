"""Noise on many levels by normals, against the sum over all levels."""

import pytest
import torch

from backstory.distributions.logistic import DiscretisedLogistic
from backstory.inference.conditional import condition
from backstory.inference.damaged import observe
from backstory.inference.noisy_levels import Levels, NoisyNormals
from backstory.inference.operators import Mask, Noise


def noisy(sigma: float, rows: int = 5, codes: int = 7, entries: int = 40):
    generator = torch.Generator().manual_seed(1)
    log_scale = (4 * torch.rand(rows, entries, generator=generator) - 1).expand(codes, -1, -1)
    location = 290 * torch.rand(rows, entries, generator=generator) - 15
    location = location + 5 * log_scale.exp() * torch.randn(log_scale.shape, generator=generator)
    p = DiscretisedLogistic(location, log_scale, 256, 1)
    y = p.sample(generator)[0] + 255 * sigma * torch.randn(rows, entries, generator=generator)
    y[0, :5] = torch.nan
    seen = observe(Mask(~torch.isnan(y)) @ Noise(sigma), y, (entries,), 255.0)
    return p, seen


@pytest.mark.parametrize("sigma", [0.01, 0.1, 0.5])
def test_density_and_moments_are_those_of_the_sum(sigma):
    p, seen = noisy(sigma)
    fast, exact = condition(p, seen), Levels(p.level_log_probs, seen)
    assert isinstance(fast, NoisyNormals)
    torch.testing.assert_close(fast.log_evidence, exact.log_evidence, atol=0.15, rtol=0)
    torch.testing.assert_close(fast.mean, exact.mean, atol=0.15, rtol=0.002)
    torch.testing.assert_close(fast.variance.sqrt(), exact.variance.sqrt(), atol=0.2, rtol=0.02)


def test_differences_between_codes_are_kept():
    p, seen = noisy(0.1)
    fast, exact = (
        c.log_evidence - c.log_evidence.mean(0) for c in (condition(p, seen), Levels(p.level_log_probs, seen))
    )
    torch.testing.assert_close(fast, exact, atol=0.05, rtol=0)


def test_draws_have_the_moments():
    p, seen = noisy(0.05, rows=2, codes=1, entries=12)
    fast, generator = condition(p, seen), torch.Generator().manual_seed(2)
    draws = torch.stack([fast.sample(generator) for _ in range(4_000)])
    assert torch.equal(draws, draws.round())
    assert float(draws.min()) >= 0
    assert float(draws.max()) <= 255
    error = fast.variance.sqrt() / 4_000**0.5
    assert bool(((draws.mean(0) - fast.mean).abs() < 5 * error + 0.05).all())


def test_gradients_are_finite_where_entries_are_far_off():
    location = torch.tensor([[[-1e4, 1e4, 128.0, 0.0]]], requires_grad=True)
    p = DiscretisedLogistic(location, torch.tensor([[[-3.0, -3.0, -3.0, 5.0]]]), 256, 1)
    y = torch.tensor([[300.0, -60.0, 128.0, 20.0]])
    seen = observe(Noise(0.05), y, (4,), 255.0)
    fast = condition(p, seen)
    fast.log_evidence.sum().backward()
    assert torch.isfinite(location.grad).all()
    assert torch.isfinite(fast.mean).all()
    assert torch.isfinite(fast.sample()).all()


def test_a_sigma_below_a_level_is_summed_exactly():
    p, seen = noisy(0.002)
    assert isinstance(condition(p, seen), Levels)
