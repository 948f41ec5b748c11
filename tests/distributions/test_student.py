"""Student's t against SciPy."""

import pytest
import torch
from likelihoods import make
from scipy import stats


@pytest.mark.parametrize("spread", [0.3, 1.5, 5.0])
def test_student_is_that_of_scipy(spread):
    _, p, _ = make("student", (2, 3), (40,), spread=spread)
    theirs = stats.t(p.degrees.numpy(), p.mean.numpy(), p.log_scale.exp().numpy())
    x = p.sample(torch.Generator().manual_seed(1))
    torch.testing.assert_close(p.log_prob(x), torch.from_numpy(theirs.logpdf(x.numpy()).sum((1, 2))))
    torch.testing.assert_close(p.variance, torch.from_numpy(theirs.var()))
    ranks = theirs.cdf(torch.stack([p.sample(torch.Generator().manual_seed(s)) for s in range(99)]).numpy())
    assert stats.kstest(ranks.ravel(), "uniform").pvalue > 1e-3
