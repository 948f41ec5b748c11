"""A mixture of diagonal Gaussians as q(z|x), whose draws carry the gradient of all its parameters.

    q(z|x) = Σ_m π_m N(μ_m, diag(σ_m²))

A draw takes its component from the first number of its noise, ε_1. The components share out (0, 1) by their
weights; the component is the one whose part has Φ(ε_1), and the place within the part becomes the noise of
the first dimension. So z has the density q. But z jumps where the component changes: this map has no gradient
for π.

The gradient is that of a smooth map with the same distribution (Figurnov et al. 2018, "Implicit
reparameterization gradients", sec. 3 and eq. 6). With F_d(z; φ) = P(z_d' < z_d | z_1 … z_(d−1)), F(z; φ) is
uniform for z ~ q. Holding it fixed gives

    ∂z/∂φ = −(∂F/∂z)⁻¹ ∂F/∂φ,    F_d = Σ_m w_md Φ_md,   w_md ∝ π_m ∏_(j<d) N(z_j; μ_mj, σ_mj²)

with Φ_md = Φ((z_d − μ_md) / σ_md). ∂F/∂z is lower triangular: q(z_d | z_1 … z_(d−1)) on the diagonal, and

    ∂F_d/∂z_j = Σ_m w_md (Φ_md − F_d) ∂log N(z_j; μ_mj, σ_mj²)/∂z_j        for j < d
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from backstory.distributions.base import LOG_2PI, full_precision
from backstory.distributions.latent import Moments, Posterior


@dataclass(frozen=True)
class MixturePosterior(Posterior):
    """Mixtures of M Gaussians of B rows.

    Attributes:
        log_weights: log π, (B, M).
        means, log_stds: μ and log σ, (B, M, D).
    """

    log_weights: Tensor
    means: Tensor
    log_stds: Tensor

    @property
    def centre(self) -> Tensor:
        return self.moments().mean

    def moments(self) -> Moments:
        weights = self.log_weights.exp().unsqueeze(-1)
        mean = (weights * self.means).sum(1)
        spread = (self.means - mean.unsqueeze(1)).square() + torch.exp(2 * self.log_stds)
        return Moments(mean, (weights * spread).sum(1).sqrt())

    def log_prob(self, z: Tensor) -> Tensor:
        return torch.logsumexp(self.log_weights + self._each(z).sum(-1), -1)

    def transport(self, noise: Tensor) -> Tensor:
        """z with the density q for standard normal noise; its gradient is that of the parameters alone."""
        with torch.no_grad():
            z = self._drawn(noise)
        if not (torch.is_grad_enabled() and self.means.requires_grad):
            return z
        with full_precision(noise):
            return z - self._implicit(z)

    def _drawn(self, noise: Tensor) -> Tensor:
        precise = torch.float32 if noise.device.type == "mps" else torch.float64
        weights = self.log_weights.to(precise).softmax(-1)
        edges = F.pad(weights.cumsum(-1)[..., :-1], (1, 0))  # where the part of each component begins
        uniform = torch.special.ndtr(noise[..., 0].to(precise))
        component = (uniform.unsqueeze(-1) >= edges[..., 1:]).sum(-1)
        rows = torch.arange(noise.shape[-2], device=noise.device)
        within = (uniform - edges[rows, component]) / weights[rows, component]
        limit = torch.finfo(precise).eps
        first = torch.special.ndtri(within.clamp(limit, 1 - limit)).to(noise.dtype)
        own = torch.cat((first.unsqueeze(-1), noise[..., 1:]), -1)
        return self.means[rows, component] + self.log_stds[rows, component].exp() * own

    def _implicit(self, z: Tensor) -> Tensor:
        """Zero, whose gradient is −∂z/∂φ."""
        y, each = self._standardised(z), self._each(z)
        before = F.pad(each.cumsum(-1)[..., :-1], (1, 0))
        weights = torch.softmax(self.log_weights.unsqueeze(-1) + before, -2)
        below = torch.special.ndtr(y)
        uniform = (weights * below).sum(-2)
        with torch.no_grad():
            slopes = -y * torch.exp(-self.log_stds)
            jacobian = (weights * (below - uniform.unsqueeze(-2))).mT @ slopes  # (*, B, D, D)
            density = (weights * each.exp()).sum(-2).clamp_min(torch.finfo(z.dtype).tiny)
            rows = torch.tril(jacobian / density.unsqueeze(-1), -1) + torch.eye(z.shape[-1]).to(z)
        change = ((uniform - uniform.detach()) / density).unsqueeze(-1)
        return torch.linalg.solve_triangular(rows, change, upper=False).squeeze(-1)

    def _standardised(self, z: Tensor) -> Tensor:
        return (z.unsqueeze(-2) - self.means) * torch.exp(-self.log_stds)

    def _each(self, z: Tensor) -> Tensor:
        """log N(z_d; μ_md, σ_md²), (*, B, M, D)."""
        return -0.5 * (self._standardised(z).square() + LOG_2PI) - self.log_stds
