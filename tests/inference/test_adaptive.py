"""Each observation gets the cheapest estimate that will do, and no more."""

import numpy as np
import pytest
import torch

import backstory
from backstory.data.observation import Observation
from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.errors import InputError
from backstory.inference import adaptive
from backstory.inference.adaptive import FIRST, FITS, Plan, adaptive_evidence, usual_budget
from backstory.inference.importance import tail_warning
from backstory.inference.memory import pair_bytes
from backstory.inference.requests import EvidenceRequest
from backstory.inference.target import Evidenced


class Shifted:
    """A linear-Gaussian model with an encoder that is off by so many standard deviations, by row."""

    def __init__(self, exact, by, width=1.0):
        self.vae, self.exact, encode = exact.vae, exact, exact.vae.encode

        def wrong(observation):
            q, rows = encode(observation), Observation.of(observation).x
            off = torch.tensor([by[int((exact.x == row).all(1).nonzero()[0])] for row in rows])
            return DiagonalGaussian(q.mean + off[:, None] * q.std, q.log_std + np.log(width))

        self.vae.encode = wrong

    def evidence(self, rows=slice(None), size=8, **options):
        x = self.exact.x[rows]
        request = EvidenceRequest.of("auto", None, 0, **options)
        generator = torch.Generator().manual_seed(0)
        return adaptive_evidence(self.vae, x.split(size), len(x), request, generator)


def test_rows_with_a_good_posterior_cost_the_first_draws_alone(linear_gaussian):
    exact = linear_gaussian(rows=12)
    found = Shifted(exact, [0.0] * 12).evidence()
    assert found.methods == ("is",) * 12
    assert found.samples == FIRST
    assert found.method == "auto"
    torch.testing.assert_close(found.log_evidence, exact.log_evidence, atol=1e-3, rtol=0)


def test_rows_with_a_poor_posterior_get_a_proposal_of_their_own(linear_gaussian):
    exact = linear_gaussian(rows=12)
    off = [0.0, 3.0, 0.0, 2.5] * 3
    found = Shifted(exact, off).evidence()
    assert found.methods == tuple("variational" if shift else "is" for shift in off)
    assert found.counts() == {"is": 6, "variational": 6}
    away = (found.log_evidence - exact.log_evidence).abs()
    assert (away < 5 * found.standard_error + 1e-3).all()
    assert float(found.standard_error.max()) < 0.16
    assert tail_warning(found) is None


def test_chains_follow_where_weights_of_the_fit_are_poor(linear_gaussian, monkeypatch):
    exact = linear_gaussian(rows=4)
    monkeypatch.setattr(adaptive, "ENOUGH", FITS[0].proposals + 1.0)  # more than any weights are worth
    found = Shifted(exact, [3.0] * 4).evidence()
    assert found.methods == ("ais",) * 4
    assert torch.isfinite(found.acceptance).all()
    away = (found.log_evidence - exact.log_evidence).abs()
    assert (away < 5 * found.standard_error + 1e-2).all()


def test_no_more_is_spent_on_what_is_out_of_reach(linear_gaussian):
    exact = linear_gaussian(rows=4)
    found = Shifted(exact, [0.0, 600.0, 0.0, 0.0]).evidence()
    assert found.methods[1] == "is"
    assert float(found.pareto_k[1]) > adaptive.HOPELESS
    warning = tail_warning(found)
    assert warning is not None
    assert "1 of 4 observations" in warning
    assert "`budget`" in warning


def test_results_do_not_depend_on_batches_beyond_the_first_draws(linear_gaussian):
    wrong = Shifted(linear_gaussian(rows=6), [3.0] * 6)
    whole = wrong.evidence(size=6)
    assert whole.methods == ("variational",) * 6
    for cut in (wrong.evidence(size=4), wrong.evidence(size=6, chunk=7)):
        torch.testing.assert_close(cut.log_evidence, whole.log_evidence, atol=1e-5, rtol=0)


def test_one_row(linear_gaussian):
    exact = linear_gaussian(rows=1)
    found = Shifted(exact, [3.0]).evidence()
    assert found.log_evidence.shape == (1,)
    assert found.methods == ("variational",)


@pytest.mark.parametrize(
    ("budget", "fit", "chains"),
    [(FIRST, None, False), (800, FITS[1], False), (2_000, FITS[0], False), (40_000, FITS[0], True)],
)
def test_a_budget_decides_how_far_it_goes(budget, fit, chains):
    plan = Plan.within(budget, units=8)
    assert plan.fit == fit
    assert (plan.annealing is not None) == chains


def test_many_rows_of_a_costly_network_get_less(linear_gaussian):
    vae = linear_gaussian(rows=1).vae
    assert usual_budget(vae, 10) == 40_000
    many = 10 * adaptive.WORK // pair_bytes(vae)
    assert usual_budget(vae, many) == pytest.approx(0.1)


def test_the_default_of_evaluate(caplog):
    x = np.random.default_rng(0).normal(size=(60, 4)) @ np.diag([1, 2, 3, 4]) + 5
    model = backstory.fit(x, network="linear", likelihood="gaussian", latent=2, epochs=3, progress=False)
    truth = model.evaluate(x, method="exact")
    found = model.evaluate(x)
    assert found.method == "auto"
    assert sum(found.methods.values()) == 60
    assert found.log_evidence == pytest.approx(truth.log_evidence, abs=5 * found.standard_error + 1e-3)
    asked = model.evaluate(x, 50)
    assert (asked.method, asked.samples, asked.methods) == ("is", 50, {"is": 60})
    assert model.evaluate(x, method="variational").methods == {"variational": 60}
    assert model.evaluate(x, budget=1).methods == {"is": 60}
    for wrong in ({"budget": 0}, {"budget": 5, "samples": 3}, {"budget": 5, "method": "ais"}):
        with pytest.raises(InputError, match="budget"):
            model.evaluate(x, **wrong)


def test_the_target_takes_a_fitted_posterior(linear_gaussian):
    exact = linear_gaussian(rows=3)
    request = EvidenceRequest.of("variational", 2_000, 0)
    found = adaptive.fitted_evidence(exact.vae, [exact.x], request, torch.Generator().manual_seed(0))
    assert found.samples == 2_000
    assert len(Evidenced(exact.vae, Observation(exact.x))) == 3
    torch.testing.assert_close(found.log_evidence, exact.log_evidence, atol=2e-2, rtol=0)
