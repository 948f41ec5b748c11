"""R̂ and the effective sample size of chains are those of ArviZ."""

import math

import numpy as np
import pytest
import torch

from backstory.inference.convergence import convergence


def chains(case: str, draws: int) -> np.ndarray:
    """Four chains of one unit and observation, (draws, 4, 1, 1)."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(draws, 4, 1, 1))
    memory = {"slow": 0.9, "opposite": -0.5}.get(case, 0.0)
    for step in range(1, draws):
        z[step] += memory * z[step - 1]
    if case == "apart":
        z[:, 0] += 3
    if case == "wider":
        z[:, 0] *= 5
    if case == "drifting":
        z += np.linspace(0, 3, draws)[:, None, None, None]
    if case == "heavy":
        z = z / rng.normal(size=z.shape)
    return np.round(z) if case == "equal" else z


# By arviz_stats 0.8.0: array_stats.rhat(z, method="rank") and array_stats.ess(z, method="bulk")
@pytest.mark.parametrize(
    ("case", "draws", "r_hat", "ess"),
    [
        ("independent", 100, 0.9962343762176011, 391.99344223570824),
        ("slow", 100, 1.1547844472137743, 19.147737008254886),
        ("slow", 11, 1.5645689703371246, 14.039402411967782),
        ("opposite", 100, 0.9997157782069982, 1040.823996531185),
        ("apart", 100, 1.467249187921659, 8.585084521260859),
        ("wider", 100, 1.234879008874446, 360.2236266975854),
        ("drifting", 100, 1.2066251370578314, 14.399044510394242),
        ("heavy", 100, 1.003355050623084, 383.85245468298353),
        ("equal", 100, 0.9975172613711657, 372.34639754491366),
    ],
)
def test_the_figures_are_those_of_arviz(case, draws, r_hat, ess):
    found = [float(value) for value in convergence(torch.from_numpy(chains(case, draws)))]
    # ArviZ orders the two draws nearest to the median by rounding; here they are equal
    assert found == [pytest.approx(r_hat, rel=3e-4), pytest.approx(ess, rel=1e-9)]


def test_the_worst_unit_decides_r_hat_and_the_median_unit_the_sample_size():
    cases = ["independent", "slow", "apart", "opposite", "heavy"]
    z = torch.from_numpy(np.concatenate([chains(case, 100) for case in cases], -1))
    each = [convergence(z[..., unit : unit + 1]) for unit in range(len(cases))]
    r_hat, ess = convergence(z)
    assert float(r_hat) == max(float(value) for value, _ in each)
    assert float(ess) == sorted(float(value) for _, value in each)[2]


def test_rows_do_not_affect_each_other():
    z = torch.from_numpy(np.concatenate([chains(case, 100) for case in ("slow", "apart")], 2))
    for row, case in enumerate(("slow", "apart")):
        expected = convergence(torch.from_numpy(chains(case, 100)))
        torch.testing.assert_close([value[row] for value in convergence(z)], [v[0] for v in expected])


def test_draws_that_do_not_vary_have_not_converged():
    r_hat, _ = convergence(torch.zeros(10, 4, 1, 2))
    assert float(r_hat) == math.inf
