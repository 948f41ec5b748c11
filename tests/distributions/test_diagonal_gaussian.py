"""The KL of two Gaussians with independent dimensions has the derivatives of its formula."""

import pytest
import torch

from backstory.distributions.diagonal_gaussian import DiagonalGaussian


@pytest.mark.parametrize("learned", [False, True])
def test_the_derivatives_of_the_kl_are_those_of_its_formula(learned):
    """For a fixed prior, and for one with parameters that are shared by the rows."""
    generator = torch.Generator().manual_seed(0)

    def parameters(*shape, needed=True):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_(needed)

    q = [parameters(5, 3), parameters(5, 3)]
    p = [parameters(3, needed=learned), parameters(3, needed=learned)]
    kl = DiagonalGaussian(*q).kl_per_unit(DiagonalGaussian(*p))
    log_ratio = q[1] - p[1]
    expected = 0.5 * (torch.exp(2 * log_ratio) + ((q[0] - p[0]) / p[1].exp()) ** 2 - 1) - log_ratio
    torch.testing.assert_close(kl, expected)
    weight = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    wanted = [*q, *p] if learned else q
    found = torch.autograd.grad(kl, wanted, weight)
    for a, b in zip(found, torch.autograd.grad(expected, wanted, weight), strict=True):
        torch.testing.assert_close(a, b)
