"""The discretised logistic at extreme parameters."""

import pytest
import torch

from backstory.distributions.logistic import DiscretisedLogisticHead


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
