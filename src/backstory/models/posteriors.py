"""Posteriors q(z|x): modules from the encoder's features to a distribution of z.

posterior.groups            the groups of z
posterior.features_shape    what the encoder has to return for one observation
posterior(features)         q(z|x), from (B, *features_shape)
"""

import torch
from torch import Tensor, nn

from backstory import options as o
from backstory.distributions.base import soft_clamp
from backstory.distributions.delta import Delta
from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.flow import ConditionalFlow
from backstory.distributions.full_gaussian import FullGaussian
from backstory.distributions.mixture_posterior import MixturePosterior
from backstory.models.latents import LatentGroup
from backstory.models.registry import BUILDERS

LOG_STD_LOW, LOG_STD_HIGH = -9.0, 5.0


class DiagonalPosterior(nn.Module):
    """q(z|x) = N(μ(x), diag(σ(x)²)), as in the original paper (Kingma & Welling 2014, eq. 9)."""

    has_density = True

    def __init__(self, latent: int):
        super().__init__()
        self.groups = (LatentGroup("z", (latent,)),)
        self.features_shape = (2, latent)

    def forward(self, features: Tensor) -> DiagonalGaussian:
        mean, log_std = features.unbind(1)
        return DiagonalGaussian(mean, soft_clamp(log_std, LOG_STD_LOW, LOG_STD_HIGH))


class FullPosterior(nn.Module):
    """q(z|x) = N(μ(x), R(x) R(x)ᵀ), whose dimensions are correlated (Kingma & Welling 2019, sec. 2.5.1).

    R is lower triangular. The encoder returns μ, the raw log diagonal of R, and what is below the diagonal
    row by row: D + D (D + 1) / 2 numbers for D dimensions. A linear-Gaussian model, whose p(z|x) is a
    Gaussian with correlations, is the case in which such a q(z|x) can be exact.
    """

    has_density = True
    rows: Tensor
    columns: Tensor

    def __init__(self, latent: int):
        super().__init__()
        self.groups = (LatentGroup("z", (latent,)),)
        self.features_shape = (latent + latent * (latent + 1) // 2,)
        rows, columns = torch.tril_indices(latent, latent, -1)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, features: Tensor) -> FullGaussian:
        latent = self.groups[0].size
        mean, log_diagonal, below = features.split((latent, latent, len(self.rows)), 1)
        root = torch.diag_embed(soft_clamp(log_diagonal, LOG_STD_LOW, LOG_STD_HIGH).exp())
        root[:, self.rows, self.columns] = below
        return FullGaussian(mean, root)


class Coupling(nn.Module):
    """One layer of T⁻¹: shifts and scales half of z by functions of the other half and of the context.

    (Dinh et al. 2017, "Density estimation using Real NVP", eqs. 7 and 8.) Each direction takes one pass of
    the network. The layer begins as the identity. It is our own because zuko's looks up the halves at each
    call, which cannot be compiled into one graph.

    Args:
        latent, context: D and C.
        width: of the two hidden layers of the network.
        first: whether the first half is changed.
    """

    LOG_SCALE = 3.0  # bound of the log scale

    def __init__(self, latent: int, context: int, width: int, first: bool):
        super().__init__()
        kept, changed = latent // 2, latent - latent // 2
        self.first, self.sizes = first, (changed, kept) if first else (kept, changed)
        last = nn.Linear(width, 2 * changed)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(
            nn.Linear(kept + context, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), last
        )

    def forward(self, points: Tensor, context: Tensor, back: bool = False) -> tuple[Tensor, Tensor]:
        """The points after the layer, or with `back` before it, and the log|det| of its Jacobian there."""
        halves = points.split(self.sizes, -1)
        kept, changed = halves[::-1] if self.first else halves
        inputs = torch.cat((kept, context.expand(*points.shape[:-1], -1)), -1)
        shift, raw = self.network(inputs).to(points.dtype).chunk(2, -1)
        log_scale = soft_clamp(raw, -self.LOG_SCALE, self.LOG_SCALE)
        if back:
            changed = shift + torch.exp(-log_scale) * changed
        else:
            changed = (changed - shift) * torch.exp(log_scale)
        whole = torch.cat((changed, kept) if self.first else (kept, changed), -1)
        return whole, log_scale.sum(-1)


class FlowPosterior(nn.Module):
    """q(z|x) of a Gaussian that coupling layers bend, each of which knows x (Rezende & Mohamed 2015, sec. 4).

    The encoder returns μ and log σ of the Gaussian, and as many numbers that go into every layer (as the
    context of Kingma et al. 2016, "Inverse autoregressive flow", sec. 4; an autoregressive layer would need D
    passes for the density of a z that is given, which annealing and importance sampling ask for).
    """

    has_density = True

    def __init__(self, latent: int, transforms: int = 4, width: int = 64):
        super().__init__()
        self.groups = (LatentGroup("z", (latent,)),)
        self.features_shape = (3, latent)
        self.layers = nn.ModuleList(
            Coupling(latent, latent, width, first=number % 2 == 0) for number in range(transforms)
        )

    def forward(self, features: Tensor) -> ConditionalFlow:
        mean, log_std, context = features.unbind(1)
        log_std = soft_clamp(log_std, LOG_STD_LOW, LOG_STD_HIGH)
        return ConditionalFlow(mean, log_std, context, tuple(self.layers))


class MixedPosterior(nn.Module):
    """q(z|x) = Σ_m π_m(x) N(μ_m(x), diag(σ_m(x)²)), for codes of which x leaves several groups possible."""

    has_density = True

    def __init__(self, latent: int, components: int = 4):
        super().__init__()
        self.groups = (LatentGroup("z", (latent,)),)
        self.features_shape = (components, 2 * latent + 1)

    def forward(self, features: Tensor) -> MixturePosterior:
        latent = self.groups[0].size
        means, log_stds, logits = features.split((latent, latent, 1), -1)
        log_stds = soft_clamp(log_stds, LOG_STD_LOW, LOG_STD_HIGH)
        return MixturePosterior(torch.log_softmax(logits.squeeze(-1), -1), means, log_stds)


class DeltaPosterior(nn.Module):
    """All mass of q(z|x) on μ(x): the zero-variance, zero-KL limit, which makes a plain autoencoder.

    The encoder has the outputs of a VAE, so that both begin with the same weights; σ(x) is not used.
    """

    has_density = False

    def __init__(self, latent: int):
        super().__init__()
        self.groups = (LatentGroup("z", (latent,)),)
        self.features_shape = (2, latent)

    def forward(self, features: Tensor) -> Delta:
        return Delta(features.unbind(1)[0])


BUILDERS[o.GaussianPosterior] = lambda options, setting: DiagonalPosterior(setting.latent)
BUILDERS[o.FullPosterior] = lambda options, setting: FullPosterior(setting.latent)
BUILDERS[o.DeltaPosterior] = lambda options, setting: DeltaPosterior(setting.latent)
BUILDERS[o.FlowPosterior] = lambda options, setting: FlowPosterior(
    setting.latent, options.posterior_transforms, options.posterior_width
)
BUILDERS[o.MixturePosterior] = lambda options, setting: MixedPosterior(
    setting.latent, options.posterior_components
)
