"""Dependent columns in all estimators, compared with quadrature over z and sums over rows."""

import itertools
import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from backstory.data.tables.partition import partition
from backstory.distributions.autoregressive import AutoregressiveHead, Shares
from backstory.distributions.auxiliary import Auxiliary
from backstory.distributions.quantities import Marginals, Quantity
from backstory.errors import InputError
from backstory.inference.annealing import Annealing, annealed, bidirectional
from backstory.inference.damaged import observe
from backstory.inference.effort import Effort
from backstory.inference.gap import GapSettings, inference_gap
from backstory.inference.generate import reconstruct, sample
from backstory.inference.importance import importance_sampling
from backstory.inference.moments import posterior_moments, prior_moments
from backstory.inference.operators import Mask, Noise
from backstory.inference.requests import RestorationRequest as Request
from backstory.inference.restore import restore
from backstory.inference.scoring import log_evidence, look
from backstory.models.networks.column_transformer import ColumnTransformer
from backstory.models.networks.mlp import MLP
from backstory.models.networks.row_features import ColumnInputs
from backstory.models.posteriors import DiagonalPosterior
from backstory.models.priors import Mixture, StandardNormal
from backstory.models.vae import VAE, Inputs
from backstory.objectives.bounds import importance_weighted

COLUMNS = (Quantity("binary", 2), Quantity("categorical", 3), Quantity("binary", 2))
ROWS = torch.tensor(list(itertools.product(range(2), range(3), range(2))), dtype=torch.float64)
NETWORK = partial(ColumnTransformer, width=8, layers=1, heads=2)
GAPS = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [1, 1, 0]]).bool()
X = torch.where(GAPS, ROWS[[1, 4, 9, 6]], math.nan)
EFFORT = Effort(proposals=4000, steps=60, chains=64, temperatures=20, transitions=40, leapfrog=3)


@pytest.fixture(scope="module")
def vae():
    """A model with one unit of z and random weights, in double precision."""
    known, zeros, ones = Marginals.blank(3), torch.zeros(3), torch.ones(3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        inputs = ColumnInputs(COLUMNS, known, zeros, ones)
        edges = partition([(column, ROWS[:, j].numpy()) for j, column in enumerate(COLUMNS)])
        head = AutoregressiveHead(COLUMNS, edges, NETWORK, 8, Shares.suited(False))
        for parameter in head.parameters():
            parameter.data = 1.5 * torch.randn_like(parameter) / parameter.shape[-1] ** 0.5
        encoder = torch.nn.Sequential(
            ColumnInputs(COLUMNS, known, zeros, ones), MLP((inputs.outputs,), (2, 1), (8,))
        )
        decoder = MLP((1,), head.features_shape, ())
        decoder.layers[-1].weight.data *= 2
        around = Inputs(zeros, ones, incomplete=True)
        return VAE(encoder, decoder, head, StandardNormal(1), DiagonalPosterior(1), around).double().eval()


@pytest.fixture(scope="module")
def evidence(vae):
    """log p(x) by quadrature over z; columns of `first` come first."""
    z = torch.linspace(-8, 8, 801, dtype=torch.float64)
    weight = vae.prior_module().log_prob(z.unsqueeze(-1)) + math.log(16 / 800)

    @torch.no_grad()
    def exact(x, first=(False, False, False)):
        codes = torch.cat((z.unsqueeze(-1), z.new_zeros(len(z), vae.head.auxiliary)), -1)
        p = vae.decode(codes[:, None].expand(-1, len(x), -1))
        p = replace(p, first=torch.tensor(first).expand(len(z), len(x), -1))
        return (p.log_prob(x, ~x.isnan()) + weight[:, None]).logsumexp(0)

    return exact


def near(estimate, error, truth, times=5.0):
    assert ((estimate - truth).abs() < times * error + 1e-4).all(), (estimate, truth, error)


# -- the evidence -----------------------------------------------------------------------------------------


def test_the_evidence_of_all_rows_adds_up_to_one(evidence):
    assert evidence(ROWS).exp().sum().item() == pytest.approx(1)


def test_importance_sampling_averages_over_codes(vae, evidence):
    found = importance_sampling(vae, [X], 8_000, torch.Generator().manual_seed(0))
    near(found.log_evidence, found.standard_error, evidence(X))


def test_the_importance_weighted_bound_lies_between_the_elbo_and_the_evidence(vae, evidence):
    x = X.repeat_interleave(4000, 0)
    values = []
    with torch.no_grad():
        for draws in (1, 5, 25):
            terms = vae.terms(x, draws, torch.Generator().manual_seed(draws))
            values.append(importance_weighted(terms).unflatten(0, (4, -1)).mean(1))
    assert (values[0] < values[1]).all()
    assert (values[1] < values[2]).all()
    assert (values[2] < evidence(X) + 0.01).all()


@pytest.mark.parametrize("start", ["posterior", "prior"])
def test_annealing_agrees(vae, evidence, start):
    how = Annealing(chains=600, steps=8, start=start)
    found = annealed(vae, [X], how, seed=1).mean
    near(found.value, found.standard_error, evidence(X))


def test_a_bracket_lies_around_the_evidence_of_simulated_rows(vae):
    found = bidirectional(vae, 60, Annealing(chains=16, steps=8), seed=0)
    assert found.gap > -3 * found.gap_error


def test_scores_are_estimates_of_the_evidence(vae, evidence):
    value = log_evidence(vae, X, samples=20_000)
    torch.testing.assert_close(value, evidence(X), atol=0.03, rtol=0)
    found = look(vae, X).surprise
    assert torch.equal(found.isnan(), ~GAPS)


def test_the_gap_is_that_of_codes(vae, evidence):
    found = inference_gap(
        vae, [X], GapSettings(steps=40, samples=2000, annealing=Annealing(chains=200, steps=8))
    )
    near(found.evidence, found.standard_error, evidence(X))
    assert (found.optimised_elbo > found.elbo - 0.05).all()


# -- terms ------------------------------------------------------------------------------------------------


def test_densities_of_codes_are_those_of_z_itself(vae):
    terms = vae.terms(X, 6, torch.Generator().manual_seed(0))
    own = vae.latents.own(terms.z)
    assert terms.z.shape == (6, 4, 1 + vae.head.auxiliary)
    torch.testing.assert_close(terms.log_prior, vae.prior_module().log_prob(own))
    torch.testing.assert_close(terms.log_posterior, vae.latents.base(terms.posterior).log_prob(own))
    base = vae.latents.base(terms.posterior)
    exact = 0.5 * (base.std.square() + base.mean.square() - 1) - base.log_std
    torch.testing.assert_close(terms.kl, exact.sum(-1))
    torch.testing.assert_close(terms.kl_per_unit, exact)


def test_keys_are_at_rest_also_where_moments_are_estimates(vae):
    base = Mixture(1, 2)()
    object.__setattr__(base, "moments", lambda: None)
    moments = prior_moments(Auxiliary(base, 3), vae.device)
    assert moments.std[0] > 0
    assert not moments.std[1:].any()
    assert not posterior_moments(vae.encode(X)).std[:, 1:].any()


def test_results_depend_neither_on_chunks_nor_on_company(vae, short_burn_in):

    def estimate(x, **how):
        return importance_sampling(vae, [x], 40, torch.Generator().manual_seed(0), **how).log_evidence

    whole = estimate(X)
    for chunk in (1, 7, 64):
        torch.testing.assert_close(estimate(X, chunk=chunk), whole)
    scores = log_evidence(vae, X)
    chains = annealed(vae, [X], Annealing(chains=4, steps=4)).mean.value
    torch.testing.assert_close(annealed(vae, [X[:1], X[1:]], Annealing(chains=4, steps=4)).mean.value, chains)
    for row in range(4):
        torch.testing.assert_close(log_evidence(vae, X[row : row + 1]), scores[row : row + 1])
    few = Request(draws=5, effort=Effort(proposals=100), method="importance")
    seen = observe(Mask(GAPS), X, (3,), torch.ones(3))
    both = restore(vae, seen, few)
    torch.testing.assert_close(restore(vae, seen, Request(**{**vars(few), "chunk": 3})).draws, both.draws)
    alone = restore(vae, seen.rows(slice(0, 1)), few)
    torch.testing.assert_close(alone.mean, both.mean[:1])
    torch.testing.assert_close(alone.draws, both.draws[:, :1])


# -- draws ------------------------------------------------------------------------------------------------


def shares(drawn):
    return torch.stack([(drawn == row).all(-1).double().mean(0) for row in ROWS])


def test_samples_follow_the_density(vae, evidence):
    n, expected = 40_000, evidence(ROWS).exp()
    drawn = sample(vae, n, generator=torch.Generator().manual_seed(0))
    assert ((shares(drawn) - expected).abs() < 4 * (expected * (1 - expected) / n).sqrt()).all()
    assert sample(vae, 3, mean=True).shape == (3, 3)


def test_reconstructions_have_means_and_draws(vae):
    mean = reconstruct(vae, ROWS)
    assert ((mean >= 0) & (mean <= 2)).all()
    drawn = reconstruct(vae, ROWS, mean=False, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn, drawn.round())


@pytest.mark.parametrize("method", ["importance", "variational", "hmc"])
def test_restored_rows_follow_their_conditional_distribution(vae, evidence, method):
    seen = observe(Mask(GAPS), X, (3,), torch.ones(3))
    found = restore(vae, seen, Request(draws=3000, method=method, effort=EFFORT, seed=2))
    observed_evidence = evidence(X)
    drawn = shares(found.draws)
    for row in range(1, 4):
        agree = ((X[row] == ROWS) | ~GAPS[row]).all(-1)
        whole = ROWS[agree]
        exact = (evidence(whole, GAPS[row].tolist()) - observed_evidence[row]).exp()
        assert exact.sum().item() == pytest.approx(1)
        loose = 0.06 if method == "hmc" else 0.04
        assert (drawn[agree, row] - exact).abs().max() < loose
        missing = (~GAPS[row]).nonzero().flatten().tolist()
        for columns, probs in found.level_probs:
            for k, column in enumerate(columns.tolist()):
                if missing == [column]:
                    assert (probs[row, :, k] - exact).abs().max() < loose
    if method != "hmc":
        torch.testing.assert_close(found.log_evidence[1:], observed_evidence[1:], atol=0.05, rtol=0)


@pytest.mark.parametrize("operator", [Noise(0.2), Mask(GAPS) @ Noise(0.2)])
def test_a_noisy_row_is_refused_with_the_reason(vae, operator):
    seen = observe(operator, torch.nan_to_num(X), (3,), torch.ones(3))
    with pytest.raises(InputError, match="depend on each other given z"):
        restore(vae, seen)
