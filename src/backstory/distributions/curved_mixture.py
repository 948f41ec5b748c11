"""Continuous columns: a mixture of K Gaussians, with point masses at some values of x, the atoms.

With the location m and scale s of a column, u = (x − m)/s, and y = asinh(u) for a curved column, else y = u,

    log p(x) = log Σ_k w_k N(y; μ_k, σ_k²) − log s − ½ log(1 + u²)       curved, x is no atom
    log p(x) = log Σ_k w_k N(y; μ_k, σ_k²) − log s                       straight, x is no atom
    log p(x) = log v_a                                                   x is atom a

where the weights v and w of a column add up to one (Johnson 1949, the system S_U). Moments of a curved column
follow from

    E[sinh y] = e^(σ²/2) sinh μ,    E[sinh² y] = (e^(2σ²) cosh 2μ − 1)/2
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from backstory.distributions.base import LOG_2PI, ByMoments, Head, log_softmax, soft_clamp
from backstory.distributions.categorical import Categorical
from backstory.distributions.inflated import NEVER, padded_atoms
from backstory.distributions.noise import Generators, randn
from backstory.distributions.quantities import Marginals, Quantity

COMPONENTS = 3  # K
MOST = 15.0  # the largest |μ|: asinh of more than a million scales
LOG_STD_LOW, LOG_STD_HIGH = -4.0, 0.7  # bounds of log σ


@dataclass(frozen=True)
class CurvedMixture(ByMoments):
    """A mixture of Gaussians of y, and point masses.

    The density is with respect to the Lebesgue measure, and to the counting measure at the atoms.

    Attributes:
        log_weights: log v of the A atoms and log w of the K components, (*batch, A + K, C).
        means, log_stds: μ and log σ, (*batch, K, C).
        marginals: m, s, and which columns are curved.
        atoms: (A, C); NaN where a column has fewer.
    """

    log_weights: Tensor
    means: Tensor
    log_stds: Tensor
    marginals: Marginals
    atoms: Tensor
    event_dims: int = 1

    def entry_log_probs(self, x: Tensor) -> Tensor:
        m, s, curved, _ = self.marginals
        many, is_atom = len(self.atoms), x.unsqueeze(-2) == self.atoms
        u = (x - m) / s
        y = torch.where(curved, torch.asinh(u), u)
        slope = -s.log() - torch.where(curved, 0.5 * torch.log1p(u.square()), 0.0)
        distance = (y.unsqueeze(-2) - self.means) * torch.exp(-self.log_stds)
        components = -0.5 * (distance.square() + LOG_2PI) - self.log_stds
        density = torch.logsumexp(self.log_weights[..., many:, :] + components, -2) + slope
        mass = torch.where(is_atom, self.log_weights[..., :many, :], NEVER).amax(-2)
        return torch.where(is_atom.any(-2), mass, density)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance, (*batch, C) each."""
        m, s, curved, _ = self.marginals
        many, weights = len(self.atoms), self.log_weights.exp()
        variance = torch.exp(2 * self.log_stds)
        bent = torch.exp(variance / 2) * torch.sinh(self.means)
        first = torch.where(curved, bent, self.means)
        bent = (torch.exp(2 * variance) * torch.cosh(2 * self.means) - 1) / 2
        second = torch.where(curved, bent, variance + self.means.square())
        u = torch.where(self.atoms.isnan(), 0.0, (self.atoms - m) / s)
        first = (weights[..., many:, :] * first).sum(-2) + (weights[..., :many, :] * u).sum(-2)
        second = (weights[..., many:, :] * second).sum(-2) + (weights[..., :many, :] * u.square()).sum(-2)
        return m + s * first, (s.square() * (second - first.square())).clamp(min=0)

    def sample(self, generator: Generators = None) -> Tensor:
        m, s, curved, _ = self.marginals
        many = len(self.atoms)
        chosen = Categorical(self.log_weights, 1).sample(generator).long().unsqueeze(-2)
        component = (chosen - many).clamp(min=0)
        mean, log_std = (part.gather(-2, component).squeeze(-2) for part in (self.means, self.log_stds))
        y = mean + log_std.exp() * randn(mean.shape, mean, generator)
        x = m + s * torch.where(curved, torch.sinh(y), y)
        atoms = self.atoms.expand(*x.shape[:-1], -1, -1).gather(-2, chosen.clamp(max=many - 1)).squeeze(-2)
        return torch.where(chosen.squeeze(-2) < many, atoms, x)


class CurvedMixtureHead(Head):
    """Likelihood of continuous columns; the decoder's output is the logits of v and w, then μ and log σ.

    Args:
        marginals: of the columns; the first atom of each is among them.
        more: further atoms, (A − 1, C).
        components: K.
    """

    location: Tensor
    scale: Tensor
    curved: Tensor
    atom: Tensor
    more: Tensor
    start: Tensor

    def __init__(self, marginals: Marginals, more: Tensor | None = None, components: int = COMPONENTS):
        columns = len(marginals.location)
        more = torch.zeros(0, columns) if more is None else more
        super().__init__((columns,), (1 + len(more) + 3 * components, columns))
        self.components = components
        self.register_buffer("more", more, persistent=False)
        for name, value in marginals._asdict().items():
            self.register_buffer(name, value.clone())
        # Components start at different means: equal ones would have equal gradients and never separate.
        start = torch.linspace(-1, 1, components + 2)[1:-1].unsqueeze(-1)
        self.register_buffer("start", start, persistent=False)

    @classmethod
    def of_columns(cls, quantities: Sequence[Quantity], marginals: Marginals) -> "CurvedMixtureHead":
        return cls(marginals, padded_atoms([quantity.atoms[1:] for quantity in quantities]))

    def forward(self, features: Tensor) -> CurvedMixture:
        atoms = torch.cat((self.atom.unsqueeze(0), self.more))
        weights, means, log_stds = features.split(
            [len(atoms) + self.components, self.components, self.components], -2
        )
        absent = F.pad(atoms.isnan(), (0, 0, 0, self.components))
        weights = torch.where(absent, NEVER, weights)
        marginals = Marginals(self.location, self.scale, self.curved, self.atom)
        return CurvedMixture(
            log_softmax(weights, -2),
            (means + self.start).clamp(-MOST, MOST),
            soft_clamp(log_stds, LOG_STD_LOW, LOG_STD_HIGH),
            marginals,
            atoms,
        )
