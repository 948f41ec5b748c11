"""Counts against SciPy."""

import numpy as np
import torch
from likelihoods import marginals
from scipy import stats

from backstory.distributions.negative_binomial import NegativeBinomialHead


def test_counts_are_those_of_scipy():
    head = NegativeBinomialHead(
        marginals(5)._replace(location=torch.tensor([0.0, 1, 2, 3, 5])).of(torch.arange(5))
    )
    features = torch.randn(50, 2, 5, generator=torch.Generator().manual_seed(0)).double()
    p = head.double()(features)
    r, mean = p.log_size.exp().numpy(), p.mean.numpy()
    theirs = stats.nbinom(r, r / (r + mean))
    x = p.sample(torch.Generator().manual_seed(1))
    np.testing.assert_allclose(p.log_prob(x).numpy(), theirs.logpmf(x.numpy()).sum(-1), rtol=1e-9)
    np.testing.assert_allclose(p.variance.numpy(), theirs.var(), rtol=1e-9)
    draws = torch.stack([p.sample(torch.Generator().manual_seed(s)) for s in range(500)]).numpy()
    z = (draws.mean(0) - mean) / np.sqrt(theirs.var() / 500)
    assert np.abs(z).max() < 6
    assert z.std() < 1.3
