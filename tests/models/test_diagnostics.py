"""Numbers about the use of codes."""

import math

import pytest
import torch

from backstory.models.diagnostics import bits_per_dim, code_use, collapse_warning


def test_active_units_by_the_variance_of_their_means(generator):
    means = torch.randn(1000, 4, generator=generator) * torch.tensor([1.0, 0.2, 0.05, 0.0]) + 3
    kl = torch.rand(1000, 4, generator=generator)
    use = code_use(means, kl)
    assert use.active.tolist() == [True, True, False, False]
    assert use.active_units == 2
    torch.testing.assert_close(use.kl_per_unit, kl.mean(0))
    assert code_use(means, None).kl_per_unit is None


def test_batches_are_joined_to_what_all_rows_give(generator):
    means = torch.randn(1003, 3, generator=generator) * 0.1 + torch.tensor([0.0, 1e3, -5.0])
    means[:500] += 0.5  # the batches differ
    kl = torch.rand(1003, 3, generator=generator)
    use = None
    for part in (slice(0, 1), slice(1, 500), slice(500, 1000), slice(1000, 1003)):
        use = code_use(means[part], kl[part], use)
    assert use.rows == 1003
    torch.testing.assert_close(use.mean, means.double().mean(0).float())
    torch.testing.assert_close(use.variance, means.double().var(0, correction=0).float(), rtol=2e-4, atol=0)
    torch.testing.assert_close(use.kl_per_unit, kl.mean(0))


def test_one_observation_has_no_active_unit():
    assert code_use(torch.ones(1, 3), None).active_units == 0


@pytest.mark.parametrize(
    ("kl", "active", "collapsed"), [(5.0, 3, False), (0.0, 0, True), (0.01, 1, True), (5.0, 0, True)]
)
def test_collapse_is_said_in_words(kl, active, collapsed):
    warning = collapse_warning(kl, active, 8)
    assert (warning is not None) == collapsed
    if warning is not None:
        assert f"{active} of 8 units" in warning
        assert "try " in warning
        assert "\n" not in warning
        assert "with 0 of 1 unit active" in (collapse_warning(kl, 0, 1) or "")


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_a_uniform_distribution_has_log2_levels_bits(levels):
    assert bits_per_dim(-12 * math.log(levels), 12) == pytest.approx(math.log2(levels), abs=1e-12)
