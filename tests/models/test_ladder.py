"""A ladder beside closed forms: without activation functions all of it is one linear-Gaussian model."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from backstory import InputError
from backstory.data.schema import Schema
from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.full_gaussian import FullGaussian
from backstory.inference.annealing import Annealing, annealed
from backstory.inference.importance import importance_sampling
from backstory.inference.linear_gaussian import LinearGaussian
from backstory.models.build import build
from backstory.models.defaults import resolve
from backstory.models.vae import VAE
from backstory.options import ModelOptions

SIGMA = 0.5
ENTRIES = 64


def images(height=8, width=8, colours=()):
    return Schema(
        kind="images",
        shape=(height, width, *colours),
        dtype="uint8",
        maximum=255,
        levels=256,
        presentation="exact",
    )


def ladder(latent="1x4x4,2", seed=0, schema=None, **options):
    usual = {"likelihood": "gaussian-fixed", "sigma": SIGMA / 255, "bounded": False, "width": 4}
    asked = ModelOptions(latent=latent, network="ladder", **usual, **options)
    schema, resolved = resolve(schema or images(), asked)
    return build(schema, resolved, seed)


@torch.no_grad()
def random(module, seed=0, scale=0.3):
    """Double precision, and weights that matter at every layer."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        fan = parameter[0].numel() if parameter.dim() > 1 else 4
        parameter.copy_(scale * torch.randn(parameter.shape, generator=generator) / math.sqrt(fan) * 2)
    return module.double()


def without_activations(module):
    for part in module.modules():
        for name, child in part.named_children():
            if isinstance(child, nn.SiLU):
                setattr(part, name, nn.Identity())
    return module


@dataclass(frozen=True)
class Affine:
    """A ladder that is a linear-Gaussian model, in double precision.

    Attributes:
        vae: the model.
        x: data of it, (6, 8, 8).
        flat: the same p(x) as a model of the noise u, z = map u + shift.
        map, shift: (D, D) and (D,).
    """

    vae: VAE
    x: Tensor
    flat: LinearGaussian
    map: Tensor
    shift: Tensor

    def posterior(self, x):
        """p(z|x)."""
        u = self.flat.posterior(x)
        covariance = self.map @ u.covariance @ self.map.T
        return FullGaussian.of_covariance(u.mean @ self.map.T + self.shift, covariance)


@torch.no_grad()
def affine(latent="1x4x4,2"):
    vae = random(without_activations(ladder(latent)))
    for level in vae.posterior.top_down.levels:  # the deviations are constant
        for head in (level.prior, level.correction):
            if head is not None:
                half = len(head[-1].weight) // 2
                head[-1].weight[half:] = 0
    vae.head.log_value.fill_(math.log(SIGMA))
    units = vae.latents.units
    noise = torch.cat([torch.zeros(1, units), torch.eye(units)]).double()
    z = vae.posterior.top_down(noise, draw=True).z
    transport, shift = (z[1:] - z[0]).T, z[0]
    means = vae.decode(torch.cat([shift[None], shift + torch.eye(units)])).mean.flatten(1)
    weight, bias = (means[1:] - means[0]).T, means[0]
    variance = torch.full((ENTRIES,), SIGMA**2).double()
    flat = LinearGaussian(weight @ transport, bias, variance, (8, 8))
    generator = torch.Generator().manual_seed(0)
    x = vae.decode(vae.prior().sample(6, generator)).sample(generator)
    return Affine(vae, x, flat, transport, shift)


def closed(mean, root):
    return torch.distributions.MultivariateNormal(mean, root @ root.mT)


# -- closed forms -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("latent", ["1x4x4,2", "1x4x4,2x4x4,3,2", "2x4x4", "5", "3,2"])
@torch.no_grad()
def test_prior_and_posterior_are_gaussians_with_the_map_of_their_noise(latent):
    model = affine(latent)
    p, q = model.vae.prior(), model.vae.encode(model.x[:3])
    z = torch.randn(5, 3, model.vae.latents.units, generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(p.log_prob(z), closed(model.shift, model.map).log_prob(z))
    units = z.shape[-1]
    noise = torch.cat([torch.zeros(1, units), torch.eye(units)]).double()[:, None].expand(-1, 3, -1)
    drawn = q.transport(noise)
    root = (drawn[1:] - drawn[0]).permute(1, 2, 0)
    truth = closed(drawn[0], root)
    torch.testing.assert_close(q.centre, drawn[0])
    torch.testing.assert_close(q.log_prob(z), truth.log_prob(z))
    draws = q.sample(4_000, torch.Generator().manual_seed(0))
    exact = torch.distributions.kl_divergence(truth, closed(model.shift, model.map))
    by_draw = q.kl_given(p, draws).sum(-1)
    assert ((by_draw.mean(0) - exact).abs() < 5 * by_draw.std(0) / math.sqrt(4_000) + 1e-6).all()


@pytest.mark.parametrize("latent", ["1x4x4,2", "1x4x4,1x4x4,3,2"])
@torch.no_grad()
def test_terms_are_the_evidence_at_every_draw_of_the_exact_posterior(latent):
    model = affine(latent)
    exact = model.flat.log_evidence(model.x)
    truth = model.posterior(model.x)
    z = truth.sample(7, torch.Generator().manual_seed(0))
    terms = model.vae.terms_at(model.x, truth, z)
    torch.testing.assert_close(terms.log_weight, exact.expand(7, -1))


@pytest.mark.slow
def test_annealing_finds_the_evidence_and_importance_sampling_a_bound():
    model = affine()
    exact = model.flat.log_evidence(model.x)
    for start in ("posterior", "prior"):
        result = annealed(model.vae, [model.x], Annealing(chains=16, steps=150, start=start)).mean
        assert ((result.value - exact).abs() < 5 * result.standard_error + 0.1).all()
    assert (importance_sampling(model.vae, [model.x], 200).elbo < exact).all()


@torch.no_grad()
def test_one_level_is_the_flat_model_to_the_bit():
    vae = random(ladder("5"))
    x = 255 * torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    q, p = vae.encode(x), vae.prior()
    noise = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(1)).double()
    z = q.transport(noise)
    (level,) = q.conditionals(z)
    flat = DiagonalGaussian(level.mean[0], level.log_std[0])
    normal = DiagonalGaussian(torch.zeros(5).double(), torch.zeros(5).double())
    assert torch.equal(z, flat.transport(noise))
    assert torch.equal(q.log_prob(z), flat.log_prob(z))
    assert torch.equal(p.log_prob(z), normal.log_prob(z))
    assert torch.equal(
        vae.terms(x, noise=noise).kl, flat.kl_per_unit(normal).expand(4, -1, -1).mean(0).sum(-1)
    )


# -- where it begins, and how it computes -------------------------------------------------------------------


@torch.no_grad()
def test_a_new_ladder_has_the_standard_normal_at_every_level():
    vae = ladder("1x14x14,2x14x14,4x7x7,4x7x7,16,8", schema=images(28, 28))
    x = 255 * torch.rand(3, 28, 28, generator=torch.Generator().manual_seed(0))
    terms = vae.terms(x, samples=2, generator=torch.Generator().manual_seed(0))
    assert float(terms.kl.abs().max()) == 0
    normal = torch.distributions.Normal(0, 1)
    torch.testing.assert_close(terms.log_prior, normal.log_prob(terms.z).sum(-1))


@pytest.mark.parametrize("samples", [1, 3])
def test_one_context_makes_one_pass_with_the_same_results(samples):
    vae = random(ladder("1x4x4,1x4x4,3"))
    x = 255 * torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    noise = torch.randn(samples, 3, vae.latents.size, generator=torch.Generator().manual_seed(1)).double()
    passes = []
    vae.posterior.top_down.register_forward_hook(lambda *_: passes.append(1))

    def numbers():
        terms = vae.terms(x, noise=noise)
        value = (terms.log_weight - terms.kl).sum()
        return (
            terms.log_weight,
            terms.kl,
            *torch.autograd.grad(value, list(vae.parameters()), materialize_grads=True),
        )

    apart = numbers()
    assert len(passes) > 3
    passes.clear()
    with vae.one_pass():
        together = numbers()
    assert len(passes) == 1
    assert vae.posterior.top_down.known is None
    for a, b in zip(apart, together, strict=True):
        torch.testing.assert_close(a, b)


def test_a_detached_posterior_has_the_same_density_without_a_gradient():
    vae = random(ladder("1x4x4,3"))
    x = 255 * torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    with vae.one_pass():
        q = vae.encode(x)
        z = q.sample(2, torch.Generator().manual_seed(0))
        fixed = q.detach()
        torch.testing.assert_close(fixed.log_prob(z), q.log_prob(z))
        assert not fixed.log_prob(z.detach()).requires_grad
        assert q.log_prob(z.detach()).requires_grad


def test_the_weights_are_saved_once():
    vae = ladder()
    names = list(vae.state_dict())
    assert sum("levels.0.enter.weight" in name for name in names) == 1
    assert len({p.data_ptr() for p in vae.parameters()}) == len(dict(vae.named_parameters()))


@pytest.mark.parametrize(
    ("shape", "latent"),
    [((9, 13), "1x4x6,2"), ((4, 4), "1x4x4,2"), ((30, 17, 3), "2x15x8,1x7x4,3"), ((28, 28), "4x7x7")],
)
@torch.no_grad()
def test_images_of_any_size(shape, latent):
    vae = ladder(latent, schema=images(shape[0], shape[1], shape[2:]))
    x = 255 * torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    terms = vae.terms(x, samples=3, generator=torch.Generator().manual_seed(0))
    assert terms.log_likelihood.shape == (3, 2)
    assert vae.decode(vae.prior().sample(4, torch.Generator().manual_seed(0))).mean.shape == (4, *shape)


def test_groups_keep_their_shapes():
    space = ladder("2x14x14,4x7x7,16", schema=images(28, 28)).latents
    assert [(g.name, g.shape, g.level) for g in space.groups] == [
        ("z3", (16,), 3),
        ("z2", (4, 7, 7), 2),
        ("z1", (2, 14, 14), 1),
    ]


@pytest.mark.parametrize(
    ("latent", "says"),
    [
        ("2x13x13,16", "images of 28 x 28 have feature maps of 14x14 and 7x7 for groups of z, got 2x13x13"),
        ("16,2x7x7", "groups of z go from x upwards, so their feature maps may not grow, got 16,2x7x7"),
        ("2x14x14,0", "at least 1 unit each, got 2x14x14,0"),
        ("2x14,16", "latent has to be whole numbers, such as 64,32, or shapes of images, .*, got '2x14'"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(latent, says):
    with pytest.raises(InputError, match=says):
        ladder(latent, schema=images(28, 28))
