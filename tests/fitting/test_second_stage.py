"""A p(z) that is fitted to the codes after training: it is kept where it helps, and everything uses it."""

import numpy as np
import pandas as pd
import pytest
import torch
from interrupting import interrupted_at
from sklearn.datasets import load_digits

import backstory
from backstory import InputError
from backstory.cli.main import main
from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.fitting import second_stage
from backstory.fitting.second_stage import FITS, energy_distance, fitted_diffusion, held_out_elbos
from backstory.models.priors import FlowPrior, Mixture, StandardNormal

SMALL = {"hidden": (16,), "epochs": 2, "latent": 3, "progress": False, "device": "cpu", "compile": False}
MODULES = {"flow": FlowPrior, "mixture": Mixture}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(second_stage, "EPOCHS", 10)
    monkeypatch.setattr(second_stage, "STEPS", 300)
    monkeypatch.setattr(second_stage, "COMPONENTS", (2, 5))


def digits():
    return load_digits().images[:300].astype(np.uint8)


@pytest.fixture(scope="module")
def ring() -> DiagonalGaussian:
    """Codes of 2,000 rows that lie around a circle, each with a deviation of 0.2."""
    angle = 2 * np.pi * np.random.default_rng(0).random(2_000)
    mean = 3 * torch.from_numpy(np.stack([np.cos(angle), np.sin(angle)], 1)).float()
    return DiagonalGaussian(mean, torch.full_like(mean, 0.2).log())


@pytest.mark.parametrize("name", FITS)
def test_the_density_is_near_the_aggregate_posterior_on_new_codes(ring, name, monkeypatch):
    """The true density of a ring with N(0, 0.2² I) around it has the highest mean, −its entropy."""
    monkeypatch.setattr(second_stage, "EPOCHS", 40)
    monkeypatch.setattr(second_stage, "STEPS", 1_500)
    monkeypatch.setattr(second_stage, "COMPONENTS", (5, 20, 50))
    train, chosen_on = ring.select(slice(0, 1_600)), ring.select(slice(1_600, 1_800))
    prior, options = FITS[name](train, chosen_on, 0)
    z = ring.select(slice(1_800, 2_000)).sample(20, torch.Generator().manual_seed(5))
    angle = torch.linspace(0, 2 * torch.pi, 2_001)[:-1]
    circle = 3 * torch.stack([angle.cos(), angle.sin()], 1)
    parts = DiagonalGaussian(circle, torch.full_like(circle, 0.2).log()).log_prob(z.unsqueeze(-2))
    best = float((parts.logsumexp(-1) - np.log(2_000)).mean())
    with torch.no_grad():
        found = float(prior().log_prob(z).mean())
        gaussian = float(StandardNormal(2)().log_prob(z).mean())
    assert gaussian < best - 2
    assert best - 0.6 < found < best + 0.05
    assert options.name == name
    twin, _ = FITS[name](train, chosen_on, 0)
    for one, other in zip(prior.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)


def test_elbos_of_two_priors_are_those_of_the_model_with_each():
    model = backstory.fit(digits(), **SMALL)
    held_out = model_rows(model)
    other = Mixture(3, 2)
    with torch.no_grad():
        other.means.mul_(0.3)
    before, after = held_out_elbos(model, held_out, other)
    assert before == pytest.approx(model.evaluate(held_out.values, 500).elbo, abs=0.5)
    model.vae.prior_module = other
    assert held_out_elbos(model, held_out, other) == (after, after)
    assert after == pytest.approx(model.evaluate(held_out.values, 500).elbo, abs=0.5)


def model_rows(model):
    return backstory.load(digits(), schema=model.schema).stored.take(model.splits.validation)


@pytest.mark.parametrize("name", FITS)
def test_a_run_keeps_the_better_prior_and_everything_uses_it(name, tmp_path, capsys):
    options = {**SMALL, "beta": 0.05, "epochs": 8, "progress": True}  # codes far from N(0, I)
    model = backstory.fit(digits(), tmp_path / "run", prior_after=name, **options)
    stage = model.summary["second_stage"]
    assert stage["kept"]
    assert stage["elbo_after"] > stage["elbo_before"] + 1
    printed = " ".join(capsys.readouterr().err.split())
    assert f"prior {name} fitted to the codes" in printed
    assert f"held-out elbo {stage['elbo_after']:.2f} nats, with prior normal" in printed
    assert isinstance(model.vae.prior_module, MODULES[name])
    plain = backstory.fit(digits(), **{**options, "progress": False})
    for part, value in plain.vae.encoder.state_dict().items():
        assert torch.equal(model.vae.encoder.state_dict()[part], value)
    x = digits()[:5]
    opened = backstory.open(tmp_path / "run", "cpu")
    assert opened.options.prior.name == name
    np.testing.assert_array_equal(opened.sample(4, seed=1), model.sample(4, seed=1))
    assert not np.array_equal(opened.sample(4, seed=1), plain.sample(4, seed=1))
    with_it, without = (m.log_evidence(x, 50).log_evidence for m in (opened, plain))
    assert float((with_it - without).mean()) > 1
    y = backstory.Mask(np.arange(64).reshape(1, 8, 8).repeat(5, 0) > 20)
    assert np.isfinite(opened.restore(x, y, 2, "importance", proposals=50).mean).all()


def test_a_worse_prior_is_not_kept(monkeypatch):
    def far(codes, chosen_on, seed):
        prior = Mixture(3, 1)
        torch.nn.init.constant_(prior.means, 50.0)
        return prior, second_stage.MixturePrior(components=1)

    monkeypatch.setitem(second_stage.FITS, "mixture", far)
    model = backstory.fit(digits(), prior_after="mixture", **SMALL)
    stage = model.summary["second_stage"]
    assert not stage["kept"]
    assert stage["elbo_after"] < stage["elbo_before"]
    assert isinstance(model.vae.prior_module, StandardNormal)
    assert model.options.prior.name == "normal"


@pytest.mark.parametrize("name", FITS)
def test_a_run_that_was_cut_off_ends_as_if_nothing_had_happened(name, tmp_path, monkeypatch):
    options = {**SMALL, "prior_after": name, "beta": 0.05, "epochs": 4}
    whole = backstory.fit(digits(), **options)
    with interrupted_at(25, monkeypatch):
        model = backstory.fit(digits(), tmp_path / "run", checkpoint_every=1e6, **options)
    assert model.summary["stopped"] == "interrupted"
    assert isinstance(model.vae.prior_module, StandardNormal)
    backstory.fit(digits(), tmp_path / "run", resume=True, progress=False)
    again = backstory.open(tmp_path / "run", "cpu")
    assert again.summary["second_stage"] == whole.summary["second_stage"]
    for part, value in whole.vae.state_dict().items():
        assert torch.equal(again.vae.state_dict()[part], value), part
    backstory.fit(digits(), tmp_path / "run", resume=True, prior_after=name, progress=False)  # finished


# -- a diffusion --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_draws_of_a_diffusion_are_near_new_codes(ring, monkeypatch):
    monkeypatch.setattr(second_stage, "STEPS", 1_500)
    diffusion, _ = fitted_diffusion(ring.select(slice(0, 1_600)), ring.select(slice(1_600, 1_800)), 0)
    generator = torch.Generator().manual_seed(3)
    z = ring.select(slice(0, 2_000)).sample(1, generator)[0]
    with torch.no_grad():
        drawn = diffusion().sample(2_000, generator)
        cold = diffusion().tempered(0.0, 4, generator)
    gaussian = z.mean(0) + z.std(0) * torch.randn(2_000, 2, generator=generator)
    assert energy_distance(drawn, z) < 0.1 * energy_distance(gaussian, z)
    assert float((drawn.norm(dim=1) - 3).abs().mean()) < 0.5
    assert torch.equal(cold, diffusion.mean.expand(4, 2))


def test_the_energy_distance_of_two_samples_is_that_of_scipy():
    from scipy.stats import energy_distance as of_lines

    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (3_000, 1)), rng.normal(1, 2, (3_000, 1))
    found = energy_distance(torch.tensor(a), torch.tensor(b))
    assert found == pytest.approx(of_lines(a[:, 0], b[:, 0]) ** 2, abs=2e-3)  # with pairs of one with itself
    assert abs(energy_distance(torch.tensor(a[:1_500]), torch.tensor(a[1_500:]))) < 5e-3


def test_a_model_with_a_diffusion_draws_and_refuses_densities(tmp_path):
    options = {**SMALL, "beta": 0.05, "epochs": 8}
    model = backstory.fit(digits(), tmp_path / "run", prior_after="diffusion", **options)
    stage = model.summary["second_stage"]
    assert stage["kept"]
    assert stage["distance_after"] < stage["distance_before"]
    opened, x = backstory.open(tmp_path / "run", "cpu"), digits()[:4]
    assert opened.options.prior.name == "diffusion"
    np.testing.assert_array_equal(opened.sample(4, seed=1), model.sample(4, seed=1))
    assert opened.sample(3, mean=True, temperature=0.5, seed=0).shape == (3, 8, 8)
    assert opened.encode(x).mean.shape == (4, 3)
    assert opened.reconstruct(x).shape == (4, 8, 8)
    y = np.where(np.arange(8) > 3, np.nan, x.astype(np.float32))
    for ask in (
        opened.log_evidence,
        opened.evaluate,
        lambda x: opened.restore(y),
        lambda x: opened.score(x, x),
        opened.score,  # which has no rows to compare with either
    ):
        with pytest.raises(InputError, match=r"prior diffusion draws z and has no density p\(z\)"):
            ask(x)


def test_a_plain_autoencoder_takes_a_diffusion():
    model = backstory.fit(digits(), prior_after="diffusion", posterior="delta", **SMALL)
    assert model.summary["second_stage"]["kept"]
    assert model.sample(3, seed=0).shape == (3, 8, 8)
    pair = backstory.fit(digits(), prior_after="diffusion", ensemble=2, beta=0.05, **SMALL)
    assert pair.sample(4, seed=0).shape == (4, 8, 8)


def test_a_diffusion_cannot_be_trained_with():
    with pytest.raises(InputError, match="prior diffusion has no density, which training needs"):
        backstory.fit(digits(), prior="diffusion", **SMALL)


def test_members_of_an_ensemble_have_priors_of_their_own():
    both = backstory.fit(digits(), ensemble=2, prior_after="mixture", beta=0.05, **SMALL)
    first, second = (member.vae.prior_module for member in both.members)
    assert isinstance(first, Mixture)
    assert isinstance(second, Mixture)
    assert first.means.shape != second.means.shape or not torch.equal(first.means, second.means)
    assert np.isfinite(both.score(digits()[:3], reference=digits()[:50]).log_evidence).all()


def test_codes_beside_auxiliary_coordinates_and_conditions():
    """A table whose columns depend on each other given z, and p(x|c)."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=150)
    frame = pd.DataFrame(
        {"a": z, "b": np.where(z + rng.normal(size=150) > 0, "x", "y"), "c": rng.random(150)}
    )
    model = backstory.fit(
        frame, prior_after="mixture", likelihood="autoregressive", embedding=8, heads=2, layers=1, **SMALL
    )
    assert "second_stage" in model.summary
    assert len(model.sample(3, seed=0)) == 3
    model = backstory.fit(frame, prior_after="flow", given="b", likelihood="joint", **SMALL)
    assert "second_stage" in model.summary


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"posterior": "delta"}, "prior_after flow compares ELBOs, which posterior delta does not have"),
        ({"validation": 0}, "prior_after flow needs rows held out of training"),
    ],
)
def test_a_second_stage_that_cannot_be_is_refused_at_once(options, says, tmp_path):
    with pytest.raises(InputError, match=says):
        backstory.fit(digits(), tmp_path / "run", prior_after="flow", **{**SMALL, **options})
    assert not (tmp_path / "run").exists()


def test_the_command_line_names_its_values(tmp_path, capsys):
    assert main(["fit", "digits", "-o", str(tmp_path / "run"), "--prior-after", "difusion"]) == 2
    assert "flow" in capsys.readouterr().err
