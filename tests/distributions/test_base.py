"""Soft bounds: values, inverse and gradients."""

import pytest
import torch

from backstory.distributions.base import soft_clamp, soft_clamp_inverse

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
