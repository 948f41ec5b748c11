"""Annealing: against the exact evidence, in both directions, however it is cut or interrupted."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from backstory.data.observation import Observation
from backstory.errors import InputError
from backstory.inference import annealing as ais
from backstory.inference import finished_rows as store
from backstory.inference.annealing import SCHEDULES, Annealing, annealed, bidirectional
from backstory.inference.hmc import TARGET_ACCEPTANCE, Rows
from backstory.inference.importance import LogMean, target_evidence
from backstory.inference.linear_gaussian import LinearGaussian
from backstory.inference.target import Evidenced


def settings(**changes):
    return Annealing(**{"chains": 16, "steps": 40, "leapfrog": 3, **changes})


@pytest.mark.parametrize(("entries", "latent"), [(4, 1), (6, 2), (9, 5)])
def test_annealing_finds_the_exact_evidence_from_either_start(linear_gaussian, entries, latent):
    rows = 40
    exact = linear_gaussian(rows=rows, encoder_error=0.15, entries=entries, latent=latent)
    for start in ais.STARTS:
        result = annealed(exact.vae, [exact.x], settings(start=start, steps=60)).mean
        error = float(result.standard_error.square().sum().sqrt()) / rows
        away = float((result.value - exact.log_evidence).mean())
        assert error < 0.1
        assert abs(away) < 4 * error + error**2 * rows  # the error of the mean, and the log's own bias
        outside = (result.value - exact.log_evidence).abs() > 4 * result.standard_error
        assert outside.double().mean() <= 0.1


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_works(linear_gaussian, schedule):
    exact = linear_gaussian(rows=20, encoder_error=0.1)
    result = annealed(exact.vae, [exact.x], settings(schedule=schedule, start="prior")).mean
    away = float((result.value - exact.log_evidence).mean())
    assert abs(away) < 0.15


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 37])
def test_schedules_rise_from_zero_to_one(schedule, steps):
    betas = Annealing(steps=steps, schedule=schedule).betas
    assert betas[0] == 0
    assert betas[-1] == 1
    assert len(betas) == steps + 1
    assert all(a < b for a, b in pairwise(betas))


def test_schedules_are_slow_where_they_should_be():
    increments = {
        s: torch.tensor(Annealing(steps=100, schedule=s).betas, dtype=torch.float64).diff() for s in SCHEDULES
    }
    torch.testing.assert_close(increments["linear"], torch.full((100,), 0.01).double())
    ratios = increments["geometric"][1:] / increments["geometric"][:-1]
    torch.testing.assert_close(ratios, torch.full((99,), ais.GEOMETRIC_RATIO ** (1 / 100)).double())
    torch.testing.assert_close(increments["sigmoid"], increments["sigmoid"].flip(0))
    assert increments["sigmoid"][0] < 0.1 * increments["sigmoid"][50]


@pytest.mark.parametrize("start", ais.STARTS)
def test_one_step_is_importance_sampling(small_vae, levels, start):
    vae, x = small_vae(), levels()
    result = annealed(vae, [x], settings(steps=1, start=start, chains=300))
    assert torch.isnan(result.acceptance).all()
    with torch.no_grad():
        proposal = vae.encode(x)
        if start == "prior":
            proposal = type(proposal)(torch.zeros_like(proposal.mean), torch.zeros_like(proposal.mean))
        other = target_evidence(
            Evidenced(vae, Observation(x), proposal), 20_000, torch.Generator().manual_seed(1)
        )
    away = (result.mean.value - other.log_evidence).abs()
    assert (away < 5 * (result.mean.standard_error + other.standard_error)).all()


@pytest.mark.parametrize(
    ("likelihood", "prior"),
    [
        ("bernoulli", "normal"),
        ("categorical", "mixture"),
        ("logistic", "normal"),
        ("gaussian-predicted", "mixture"),
    ],
)
def test_annealing_and_importance_sampling_agree_for_every_likelihood(small_vae, levels, likelihood, prior):
    vae, x = small_vae(likelihood=likelihood, prior=prior), levels(4)
    x = (x > 2).double() if likelihood == "bernoulli" else x
    with torch.no_grad():
        q = vae.encode(x)
        wide = type(q)(q.mean, q.log_std + 0.5)
    reference = target_evidence(
        Evidenced(vae, Observation(x), wide), 20_000, torch.Generator().manual_seed(0)
    )
    for start in ais.STARTS:
        result = annealed(vae, [x], settings(start=start, leapfrog=2)).mean
        allowed = 5 * (result.standard_error + reference.standard_error) + 0.02
        assert ((result.value - reference.log_evidence).abs() < allowed).all()


@pytest.mark.parametrize("start", ais.STARTS)
def test_the_bracket_holds_the_truth_and_narrows(linear_gaussian, start):
    vae = linear_gaussian(rows=1, encoder_error=0.1).vae
    n, gaps = 60, []
    x = ais._simulate(vae, n, 0)[1].x
    truth = LinearGaussian.of(vae).log_evidence(x)
    for steps in (4, 40):
        bracket = bidirectional(vae, n, settings(steps=steps, start=start))
        for side, sign in ((bracket.lower, -1), (bracket.upper, 1)):
            away = sign * (side - truth)
            assert float(away.mean()) > -3 * float(away.std()) / math.sqrt(n)
        assert bracket.gap == pytest.approx(float((bracket.upper - bracket.lower).mean()))
        assert bracket.gap > -3 * bracket.gap_error
        gaps.append(bracket.gap)
    assert gaps[1] < gaps[0]
    assert gaps[1] < 0.2


def test_the_bracket_of_a_nonlinear_model_closes(small_vae):
    vae = small_vae(likelihood="bernoulli")
    bracket = bidirectional(vae, 30, settings(steps=60, leapfrog=2, start="prior"))
    assert bracket.gap == pytest.approx(0, abs=3 * bracket.gap_error + 0.1)
    assert bracket.lower.dtype == torch.float64
    assert (bracket.lower_error > 0).all()
    assert (bracket.upper_error > 0).all()


def test_reverse_weights_average_to_the_inverse_of_the_evidence(linear_gaussian):
    """E[w] = 1 / p(x), not only a bound: over draws of the posterior for one x."""
    exact = linear_gaussian(rows=1, encoder_error=0.1)
    x = exact.x.expand(400, -1)
    posterior = LinearGaussian.of(exact.vae).posterior(exact.x)
    g = torch.Generator().manual_seed(0)
    z = (
        posterior.mean
        + torch.randn(400, 2, generator=g).double() @ torch.linalg.cholesky(posterior.covariance[0]).mT
    )
    run = ais.Chains(Evidenced(exact.vae, Observation(x)), Rows(0, range(400)), settings(chains=1, steps=20))
    log_weight, _ = run.reverse(z)
    estimate = LogMean.of(log_weight.T)
    assert float(estimate.value) == pytest.approx(
        -float(exact.log_evidence), abs=4 * float(estimate.standard_error)
    )


def test_steps_are_found_by_other_chains_and_then_stay(small_vae, levels, monkeypatch):
    vae, x = small_vae(), levels(3)
    used = []
    transition = ais.transition

    def spy(density, at, beta, trajectory, noise):
        used.append((at.z.shape[0], beta, trajectory.step.clone()))
        return transition(density, at, beta, trajectory, noise)

    monkeypatch.setattr(ais, "transition", spy)
    how = settings(chains=7, steps=120)
    results = [annealed(vae, [x], how)]
    burn, count = [u for u in used if u[0] == ais.ADAPTATION_CHAINS], [u for u in used if u[0] == 7]
    assert len(burn) == len(count) == 119
    for (_, beta, step), (_, other_beta, other) in zip(burn, count, strict=True):
        assert beta == other_beta
        assert torch.equal(step, other)
    assert not torch.equal(burn[0][2], burn[-1][2])  # adapted
    # A different run that counts, the same burn-in, the same steps: they do not depend on the run's chains
    used.clear()
    monkeypatch.setattr(ais, "FORWARD", 17)
    results.append(annealed(vae, [x], how))
    assert all(torch.equal(a[2], b[2]) for a, b in zip(burn, used, strict=False))
    assert not torch.equal(results[0].log_weight, results[1].log_weight)


def test_acceptance_is_near_its_target(small_vae, levels):
    result = annealed(small_vae(), [levels(5)], settings(steps=150, leapfrog=2))
    assert float(result.acceptance.mean()) == pytest.approx(TARGET_ACCEPTANCE, abs=0.12)


@pytest.mark.parametrize(("batch", "chunk"), [(1, 40), (3, 1), (3, 12), (7, 16), (7, 10_000)])
def test_batches_do_not_change_the_result(small_vae, levels, batch, chunk, short_burn_in):
    vae, x = small_vae(), levels()
    how = settings(chains=5, steps=6)
    whole = annealed(vae, [x], how, seed=3)
    cut = annealed(vae, x.split(batch), replace(how, chunk=chunk), seed=3)
    torch.testing.assert_close(cut.log_weight, whole.log_weight, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(cut.acceptance, whole.acceptance, rtol=1e-6, atol=1e-6)
    assert cut.log_weight.shape == (5, 7)


def test_no_more_is_decoded_at_once_than_fits(small_vae, levels, monkeypatch, short_burn_in):
    vae = small_vae()
    monkeypatch.setattr(ais, "pairs_at_once", lambda vae, gradient: 4 * 3)
    sizes, progress = [], []
    vae.decoder.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    annealed(vae, [levels()], settings(chains=4, steps=3), advance=progress.append)
    assert max(sizes) == 12
    assert sum(progress) == pytest.approx(7)


class Interrupted(Exception):
    pass


def test_an_interrupted_run_resumes_to_the_same_result(small_vae, levels, tmp_path, short_burn_in):
    vae, x, file = small_vae(), levels(), tmp_path / "rows.safetensors"
    how = settings(chains=4, steps=5)
    expected = annealed(vae, x.split(4), replace(how, chunk=8), seed=1)

    def stop_after(rows):
        done = 0.0

        def advance(amount):
            nonlocal done
            done += amount
            if done > rows:
                raise Interrupted

        return advance

    for rows in (2.5, 1.0, 4.4):
        with pytest.raises(Interrupted):
            annealed(vae, x.split(4), replace(how, chunk=8), seed=1, resume=file, advance=stop_after(rows))
    settings_of = {name: value for name, value in how.__dict__.items() if name != "chunk"}
    stored = store.RowStore(file, vae, {"method": "ais", **settings_of, "seed": 1})
    assert 2 <= stored.count < 7
    progress = []
    calls = []
    hook = vae.decoder.register_forward_pre_hook(lambda module, args: calls.append(1))
    result = annealed(vae, x.split(4), replace(how, chunk=8), seed=1, resume=file, advance=progress.append)
    assert torch.equal(result.log_weight, expected.log_weight)
    assert torch.equal(result.acceptance, expected.acceptance)
    assert sum(progress) == pytest.approx(7)
    calls.clear()
    again = annealed(vae, x.split(4), how, seed=1, resume=file)
    assert not calls
    assert torch.equal(again.log_weight, expected.log_weight)
    hook.remove()
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    fewer = annealed(vae, [x[:3]], how, seed=1, resume=file)
    assert torch.equal(fewer.log_weight, expected.log_weight[:, :3])


def test_a_file_of_something_else_is_refused(small_vae, levels, tmp_path, short_burn_in):
    vae, x, file = small_vae(), levels(2), tmp_path / "rows"
    how = settings(chains=2, steps=2)
    annealed(vae, [x], how, resume=file)
    for changes, says in [
        ({"annealing": settings(chains=2, steps=3)}, "steps 2, now it is 3"),
        ({"seed": 1}, "seed 0, now it is 1"),
        ({"vae": small_vae(seed=1)}, "with model"),
        ({"batches": [x.flip(0)]}, "other rows"),
    ]:
        arguments = {"vae": vae, "batches": [x], "annealing": how, "resume": file, **changes}
        with pytest.raises(InputError, match=says):
            annealed(**arguments)
    file.write_bytes(b"no tensors")
    with pytest.raises(InputError, match="not a file of finished rows"):
        annealed(vae, [x], how, resume=file)


def test_neither_the_model_nor_the_global_state_is_touched(small_vae, levels, short_burn_in):
    vae = small_vae(prior="mixture")
    state = torch.get_rng_state()
    annealed(vae, [levels(2)], settings(chains=2, steps=3, start="prior"))
    bidirectional(vae, 2, settings(chains=2, steps=3))
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.requires_grad and p.grad is None for p in vae.parameters())


def test_a_decoder_that_breaks_down_far_away_does_no_harm(small_vae, levels):
    vae, x = small_vae(likelihood="gaussian"), levels(3)
    clean = annealed(vae, [x], settings(start="prior"))

    def broken(module, inputs, features):
        return torch.where(inputs[0][:, :1, None, None].abs() > 4, math.nan, features)

    vae.decoder.register_forward_hook(broken)
    result = annealed(vae, [x], settings(start="prior"))
    assert torch.isfinite(result.mean.value).all()
    assert float((result.mean.value - clean.mean.value).abs().max()) < 1.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"chains": 0}, "chains has to be at least 1 .* got 0"),
        ({"steps": 0}, "steps has to be at least 1"),
        ({"leapfrog": -1}, "leapfrog has to be at least 1 .* got -1"),
        ({"schedule": "geometry"}, "did you mean 'geometric'"),
        ({"start": "q"}, "start is one of posterior, prior"),
    ],
)
def test_what_cannot_be_is_refused(changes, says):
    with pytest.raises(InputError, match=says):
        settings(**changes)


def test_an_autoencoder_is_refused(small_vae, levels):
    vae = small_vae(posterior="delta")
    with pytest.raises(InputError, match="plain autoencoder has no distribution"):
        annealed(vae, [levels()], settings())
    with pytest.raises(InputError, match="plain autoencoder has no distribution"):
        bidirectional(vae, 3)
    with pytest.raises(InputError, match="at least 1, got 0"):
        bidirectional(small_vae(), 0)
