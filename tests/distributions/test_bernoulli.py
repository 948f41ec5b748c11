"""The Bernoulli likelihood in single precision."""

import pytest
import torch

from backstory.distributions.bernoulli import BernoulliHead


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
