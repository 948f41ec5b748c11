"""The mixture of Gaussians of one σ around M exemplars, as a prior of z."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from backstory.distributions.base import LOG_2PI
from backstory.distributions.latent import Moments, Prior, spread_around
from backstory.distributions.noise import randn


@dataclass(frozen=True)
class ExemplarMixture(Prior):
    """(1/M) Σ_m N(means_m, σ² I).

    Attributes:
        means: (M, D).
        log_std: log σ, a number.
        left_out: the exemplar that is left out of the density of each of B rows, (B,), −1 for none; None if
            none is left out of any.
    """

    means: Tensor
    log_std: Tensor
    left_out: Tensor | None = None

    def leaving_out(self, own: Tensor) -> "ExemplarMixture":
        """The same for B rows, each without its own exemplar."""
        return replace(self, left_out=own)

    def log_prob(self, z: Tensor) -> Tensor:
        """Squared distances by matrix products, in float64 for what cancels."""
        exact = z.dtype if z.device.type == "mps" else torch.float64  # mps has no float64
        wide, means = z.to(exact), self.means.to(exact)
        squares = wide.square().sum(-1, keepdim=True) - 2 * wide @ means.mT + means.square().sum(-1)
        log_std = self.log_std.to(exact)
        exponents = -0.5 * squares * torch.exp(-2 * log_std)
        count = torch.full((), len(means), device=z.device)
        if self.left_out is not None:
            mine = torch.arange(len(means), device=z.device) == self.left_out.unsqueeze(-1)
            exponents = exponents.masked_fill(mine, -math.inf)
            count = count - (self.left_out >= 0).int()
        log_sum = torch.logsumexp(exponents, -1)
        constant = z.shape[-1] * (log_std + 0.5 * LOG_2PI)
        return (log_sum - count.to(exact).log() - constant).to(z.dtype)

    def sample(self, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """(samples, D)."""
        index = torch.randint(len(self.means), (samples,), generator=generator, device=self.means.device)
        noise = randn((samples, self.means.shape[-1]), self.means, generator)
        return self.means[index] + self.log_std.exp() * noise

    def moments(self) -> Moments:
        spread = self.means.var(0, correction=0)
        return Moments(self.means.mean(0), (spread + torch.exp(2 * self.log_std)).sqrt())

    def tempered(
        self, temperature: float | Tensor, samples: int, generator: torch.Generator | None = None
    ) -> Tensor:
        return spread_around(self.means.mean(0), self.sample(samples, generator), temperature)
