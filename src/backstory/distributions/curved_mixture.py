"""Continuous columns: a mixture of K Gaussians, with a point mass at one value of x, the atom.

With the location m and scale s of a column, u = (x − m)/s, and y = asinh(u) for a curved column, else y = u,

    log p(x) = log Σ_k w_k N(y; μ_k, σ_k²) − log s − ½ log(1 + u²)       curved, x is not the atom
    log p(x) = log Σ_k w_k N(y; μ_k, σ_k²) − log s                       straight, x is not the atom
    log p(x) = log w_0                                                   x is the atom

(Johnson 1949, the system S_U). Moments of a curved column follow from

    E[sinh y] = e^(σ²/2) sinh μ,    E[sinh² y] = (e^(2σ²) cosh 2μ − 1)/2
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from backstory.distributions.base import LOG_2PI, Entrywise, Head, log_softmax, randn, soft_clamp
from backstory.distributions.categorical import Categorical
from backstory.distributions.quantities import Marginals, Quantity

COMPONENTS = 3  # K
MOST = 15.0  # the largest |μ|: asinh of more than a million scales
LOG_STD_LOW, LOG_STD_HIGH = -4.0, 0.7  # bounds of log σ


@dataclass(frozen=True)
class CurvedMixture(Entrywise):
    """A mixture of Gaussians of y, and a point mass.

    The density is with respect to the Lebesgue measure, and to the counting measure at the atom.

    Attributes:
        log_weights: log w of the atom and the K components, (*batch, 1 + K, C).
        means, log_stds: μ and log σ, (*batch, K, C).
        marginals: m, s, which columns are curved, and the atoms (NaN for none).
    """

    log_weights: Tensor
    means: Tensor
    log_stds: Tensor
    marginals: Marginals
    event_dims: int = 1

    def entry_log_probs(self, x: Tensor) -> Tensor:
        m, s, curved, atom = self.marginals
        u = (x - m) / s
        y = torch.where(curved, torch.asinh(u), u)
        slope = -s.log() - torch.where(curved, 0.5 * torch.log1p(u.square()), 0.0)
        distance = (y.unsqueeze(-2) - self.means) * torch.exp(-self.log_stds)
        components = -0.5 * (distance.square() + LOG_2PI) - self.log_stds
        density = torch.logsumexp(self.log_weights[..., 1:, :] + components, -2) + slope
        return torch.where(x == atom, self.log_weights[..., 0, :], density)

    @property
    def mean(self) -> Tensor:
        return self.moments[0]

    @property
    def variance(self) -> Tensor:
        return self.moments[1]

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance, (*batch, C) each."""
        m, s, curved, atom = self.marginals
        variance, weights = torch.exp(2 * self.log_stds), self.log_weights.exp()
        bent = torch.exp(variance / 2) * torch.sinh(self.means)
        first = torch.where(curved, bent, self.means)
        bent = (torch.exp(2 * variance) * torch.cosh(2 * self.means) - 1) / 2
        second = torch.where(curved, bent, variance + self.means.square())
        u = torch.where(atom.isnan(), 0.0, (atom - m) / s)
        first = (weights[..., 1:, :] * first).sum(-2) + weights[..., 0, :] * u
        second = (weights[..., 1:, :] * second).sum(-2) + weights[..., 0, :] * u.square()
        return m + s * first, (s.square() * (second - first.square())).clamp(min=0)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        m, s, curved, atom = self.marginals
        chosen = Categorical(self.log_weights, 1).sample(generator).long().unsqueeze(-2)
        component = (chosen - 1).clamp(min=0)
        mean, log_std = (part.gather(-2, component).squeeze(-2) for part in (self.means, self.log_stds))
        y = mean + log_std.exp() * randn(tuple(mean.shape), mean, generator)
        x = m + s * torch.where(curved, torch.sinh(y), y)
        return torch.where(chosen.squeeze(-2) == 0, atom, x)


class CurvedMixtureHead(Head):
    """Likelihood of continuous columns; the decoder's output is the mixtures' logits of w, μ and log σ."""

    location: Tensor
    scale: Tensor
    curved: Tensor
    atom: Tensor
    start: Tensor

    def __init__(self, marginals: Marginals, components: int = COMPONENTS):
        columns = len(marginals.location)
        super().__init__((columns,), (1 + 3 * components, columns))
        self.components = components
        for name, value in marginals._asdict().items():
            self.register_buffer(name, value.clone())
        # Components start at different means: equal ones would have equal gradients and never separate.
        start = torch.linspace(-1, 1, components + 2)[1:-1].unsqueeze(-1)
        self.register_buffer("start", start, persistent=False)

    @classmethod
    def of_columns(cls, quantities: Sequence[Quantity], marginals: Marginals) -> "CurvedMixtureHead":
        return cls(marginals)

    def forward(self, features: Tensor) -> CurvedMixture:
        weights, means, log_stds = features.split([1 + self.components, self.components, self.components], -2)
        first = torch.arange(1 + self.components, device=features.device).unsqueeze(-1) == 0
        weights = torch.where(first & self.atom.isnan(), -1e30, weights)
        marginals = Marginals(self.location, self.scale, self.curved, self.atom)
        return CurvedMixture(
            log_softmax(weights, -2),
            (means + self.start).clamp(-MOST, MOST),
            soft_clamp(log_stds, LOG_STD_LOW, LOG_STD_HIGH),
            marginals,
        )
