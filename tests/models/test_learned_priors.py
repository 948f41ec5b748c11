"""Priors that are learned with the model: their densities, and every answer of a model that has one."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy import stats

import backstory
from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.full_gaussian import FullGaussian
from backstory.distributions.mixture import EvenMixture, GaussianMixture
from backstory.errors import InputError
from backstory.inference.annealing import Annealing, annealed
from backstory.inference.importance import importance_sampling
from backstory.inference.moments import prior_moments
from backstory.models.priors import ExemplarPrior, FlowPrior
from backstory.options import ModelOptions
from backstory.training.trainer import Trainer

PRIORS = {
    "flow": {"transforms": 3, "flow_width": 8},
    "vamp": {"pseudo_inputs": 4},
    "exemplar": {"exemplars": 5},
}


@pytest.fixture(params=PRIORS)
def choice(request):
    return {"prior": request.param, **PRIORS[request.param]}


def perturbed(vae, seed=0):
    """Weights of p(z) that are far from those at the start."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in vae.prior_module.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=source, dtype=parameter.dtype)
    return vae


def grid(latent, half=12.0, points=601):
    axis = torch.linspace(-half, half, points, dtype=torch.float64)
    return torch.cartesian_prod(*[axis] * latent).reshape(-1, latent), float(axis[1] - axis[0])


@pytest.mark.parametrize("latent", [1, 2])
def test_density_integrates_to_one_and_draws_follow_it(small_vae, choice, latent, generator):
    vae = perturbed(small_vae(latent=latent, **choice))
    with torch.no_grad():
        p, (points, step) = vae.prior(), grid(latent)
        mass = p.log_prob(points).exp() * step**latent
        assert abs(float(mass.sum()) - 1) < 1e-3
        z = p.sample(4_000, generator)
        each = prior_moments(p, vae.device)
    mean = mass @ points
    std = (mass @ points.square() - mean.square()).sqrt()
    torch.testing.assert_close(z.mean(0), mean, atol=5 * float(std.max()) / 4_000**0.5, rtol=0)
    torch.testing.assert_close(z.std(0), std, atol=0, rtol=0.1)
    torch.testing.assert_close(each.std, std, atol=0, rtol=0.3)
    axis, _ = grid(1)
    for unit in range(latent):
        marginal = (
            mass.reshape([len(axis)] * latent).movedim(unit, 0).flatten(1).sum(1) if latent > 1 else mass
        )
        middle = marginal.cumsum(0) - marginal / 2
        found = stats.kstest(z[:, unit].numpy(), np.interp, args=(axis[:, 0].numpy(), middle.numpy()))
        assert found.pvalue > 1e-3


def test_a_flow_begins_as_the_standard_normal_and_its_map_is_inverted(generator):
    prior = FlowPrior(5).double()
    z = torch.randn(7, 3, 5, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        prior().log_prob(z), DiagonalGaussian(prior.zeros, prior.zeros).log_prob(z), rtol=0, atol=1e-12
    )
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.normal_(std=0.3, generator=generator)
        p = prior()
        torch.testing.assert_close(p.transport(z[0])[0], p.transport(z)[0, 0])
        jacobian = torch.func.vmap(torch.func.jacrev(p.transport))(z[0])
        u = DiagonalGaussian(prior.zeros, prior.zeros).log_prob(z[0])
        torch.testing.assert_close(p.log_prob(p.transport(z[0])), u - torch.linalg.slogdet(jacobian)[1])
        torch.testing.assert_close(p.tempered(0.0, 2), p.transport(torch.zeros(2, 5).double()))


def test_a_vamp_prior_is_the_mixture_of_its_posteriors(small_vae):
    vae = small_vae(prior="vamp", pseudo_inputs=4)
    q = vae.posterior(vae.encoder(vae.prior_module.pseudo_inputs))
    z = torch.randn(6, 5, 3, dtype=torch.float64)
    expected = torch.logsumexp(q.log_prob(z.unsqueeze(-2)), -1) - math.log(4)
    assert isinstance(vae.prior(), GaussianMixture)
    torch.testing.assert_close(vae.prior().log_prob(z), expected)
    mixed = EvenMixture(q)
    torch.testing.assert_close(mixed.log_prob(z), expected)
    torch.testing.assert_close(mixed.moments(), vae.prior().moments())


def test_a_mixture_of_posteriors_with_correlations(generator):
    parts = FullGaussian(torch.tensor([[0.0, 1.0], [3.0, 0.0]]), torch.tensor([[[1.0, 0], [0.8, 0.2]]] * 2))
    p, z = EvenMixture(parts), torch.randn(4, 3, 2, generator=generator)
    each = [
        torch.distributions.MultivariateNormal(m, scale_tril=r)
        for m, r in zip(parts.mean, parts.root, strict=True)
    ]
    expected = torch.logsumexp(torch.stack([e.log_prob(z) for e in each]), 0) - math.log(2)
    torch.testing.assert_close(p.log_prob(z), expected)
    drawn = p.sample(20_000, generator)
    torch.testing.assert_close(drawn.mean(0), p.moments().mean, atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.std(0), p.moments().std, atol=0.05, rtol=0)
    assert p.tempered(0.0, 3, generator).std(0).max() == 0


def test_estimates_agree_with_quadrature(small_vae, levels, choice, generator):
    """A model with one latent unit, whose log p(x) is an integral over a line."""
    vae, x = perturbed(small_vae(latent=1, **choice)), levels(4)
    with torch.no_grad():
        z, step = grid(1, points=4001)
        joint = vae.log_likelihood(x, z.unsqueeze(1).expand(-1, 4, -1)) + vae.prior().log_prob(z).unsqueeze(1)
        exact = torch.logsumexp(joint, 0) + math.log(step)
        q = vae.encode(x)
        near = q.transport(z.unsqueeze(1).expand(-1, 4, -1))
        log_weight = vae.log_likelihood(x, near) + vae.prior().log_prob(near) - q.log_prob(near)
        elbo = torch.softmax(-0.5 * z.square(), 0).T @ log_weight
        error = log_weight.std(0) / 20_000**0.5
    found = importance_sampling(vae, [x], 20_000, generator)
    assert (found.log_evidence - exact).abs().max() < 0.05
    assert ((found.elbo - elbo).abs() < 5 * error).all()
    terms = vae.terms(x, 2_000, generator)
    torch.testing.assert_close(terms.log_weight.mean(0), terms.log_likelihood.mean(0) - terms.kl)
    chains = annealed(vae, [x], Annealing(chains=32, steps=40)).mean
    assert ((chains.value - exact).abs() < 5 * chains.standard_error + 0.02).all()


def test_copies_and_weights(small_vae, levels, choice):
    vae, x = perturbed(small_vae(**choice)), levels(3)
    names = list(vae.state_dict())
    assert len(names) == len({v.data_ptr() for v in vae.state_dict().values()})
    assert not [name for name in names if "prior_module.encoder" in name]
    other = small_vae(seed=5, **choice)
    other.load_state_dict(vae.state_dict())
    copied = copy.deepcopy(vae)
    z = torch.randn(2, 3, 3, dtype=torch.float64)
    with torch.no_grad():
        before = vae.prior().log_prob(z)
        for twin in (other, copied):
            assert torch.equal(twin.prior().log_prob(z), before)
        for parameter in copied.parameters():
            parameter.zero_()
        assert torch.equal(vae.prior().log_prob(z), before)
        assert not torch.equal(copied.prior().log_prob(z), before)
        assert vae.float().prior().log_prob(z.float()).dtype == torch.float32
    vae.double().terms(x).log_weight.sum().backward()
    assert all(p.grad is not None for p in vae.prior_module.parameters())


@pytest.mark.parametrize(
    ("prior", "name"), [("flow", "layers"), ("vamp", "pseudo_inputs"), ("exemplar", "means")]
)
def test_fit_and_every_question(prior, name, tmp_path, short_burn_in):
    """A short run through fit, saved, reopened, and all that can be asked of it."""
    model = backstory.fit("digits", prior=prior, epochs=1, latent=3, hidden=(16,), progress=False)
    model.save(tmp_path / "run")
    again = backstory.open(tmp_path / "run")
    assert any(name in key for key in again.vae.state_dict())
    x = model.sample(5, seed=0)
    np.testing.assert_array_equal(x, again.sample(5, seed=0))
    cool = [m.sample(5, temperature=0.5, seed=1) for m in (model, again)]
    np.testing.assert_array_equal(*cool)
    assert model.encode(x).mean.shape == (5, 3)
    for method, how in (("is", {"samples": 20}), ("ais", {"samples": 3, "steps": 3})):
        values, alone = (model.log_evidence(rows, method=method, **how) for rows in (x[:2], x[:1]))
        assert torch.isfinite(values.log_evidence).all()
        if method == "ais":
            torch.testing.assert_close(values.log_evidence[:1], alone.log_evidence, rtol=1e-4, atol=1e-4)
    assert np.isfinite(model.score(x, reference=x).log_evidence).all()


def test_tables_with_gaps_are_filled(choice):
    """Restoration by models whose encoder reads a mask beside the values."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 3))
    x[rng.random(x.shape) < 0.2] = np.nan
    model = backstory.fit(x, epochs=1, latent=2, hidden=(8,), progress=False, **choice)
    y = x[np.isnan(x).any(1)][:3]
    for method in ("encoder", "importance", "variational"):
        both, alone = (model.restore(rows, method=method, draws=2, seed=1) for rows in (y, y[:1]))
        assert np.isfinite(both.mean).all()
        np.testing.assert_allclose(both.mean[:1], alone.mean, rtol=1e-3, atol=1e-3)


def test_a_plain_autoencoder_has_no_learned_prior(choice):
    with pytest.raises(InputError, match=f"prior {choice['prior']} is learned through"):
        backstory.fit("digits", posterior="delta", epochs=1, progress=False, **choice)
    assert ModelOptions(**choice).prior.name == choice["prior"]


def test_an_exemplar_prior_is_the_mixture_of_gaussians_around_its_codes(generator):
    p = ExemplarPrior(2, 6)()
    z = torch.randn(3, 4, 2, generator=generator)
    each = [torch.distributions.Normal(m, p.log_std.exp()).log_prob(z).sum(-1) for m in p.means]
    expected = torch.logsumexp(torch.stack(each), 0) - math.log(6)
    torch.testing.assert_close(p.log_prob(z), expected)
    left = p.leaving_out(torch.tensor([0, 5, -1, 2])).log_prob(z)
    for row, own in enumerate([0, 5, None, 2]):
        others = [value[:, row] for m, value in enumerate(each) if m != own]
        torch.testing.assert_close(
            left[:, row], torch.logsumexp(torch.stack(others), 0) - math.log(len(others))
        )


def test_exemplars_are_codes_of_training_rows(tmp_path, monkeypatch):
    options = {"prior": "exemplar", "exemplars": 200, "latent": 3, "hidden": (16,), "progress": False}
    model = backstory.fit("digits", tmp_path / "whole", epochs=3, **options)
    data = backstory.load("digits")
    codes = model.encode(data.values[model.splits.train]).mean
    table = model.vae.prior_module.means
    assert table.shape == (200, 3)
    distances = torch.cdist(table, codes, compute_mode="donot_use_mm_for_euclid_dist")
    assert float(distances.min(1).values.max()) < 1e-4  # of the weights that are kept
    assert math.isfinite(model.evaluate(data.subset(model.rows(data, "test")[:50]), 50).log_evidence)

    step, taken = Trainer._step, []

    def interrupted(self, *args):
        taken.append(1)
        if len(taken) == 30:
            raise KeyboardInterrupt
        step(self, *args)

    monkeypatch.setattr(Trainer, "_step", interrupted)
    backstory.fit("digits", tmp_path / "cut", epochs=3, checkpoint_every=1e-9, **options)
    monkeypatch.setattr(Trainer, "_step", step)
    again = backstory.fit("digits", tmp_path / "cut", resume=True, progress=False)
    for name, value in model.vae.state_dict().items():
        assert torch.equal(value, again.vae.state_dict()[name]), name


def test_there_are_no_more_exemplars_than_training_rows():
    x = np.random.default_rng(0).normal(size=(60, 3))
    model = backstory.fit(x, prior="exemplar", epochs=1, latent=2, hidden=(8,), progress=False)
    assert model.options.prior.exemplars == len(model.splits.train) == 54
