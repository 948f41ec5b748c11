"""The Gaussian whose dimensions are correlated, N(μ, R Rᵀ) with a triangular root R.

    z = μ + R ε,   log N(z) = −½ ‖R⁻¹(z − μ)‖² − Σ_d log|R_dd| − ½ D log 2π

Beside a Gaussian p(z) = N(m, diag(s²)) with independent dimensions its KL divergence has a closed form:

    KL = ½ Σ_d [(Σ_j R_dj² + (μ_d − m_d)²) / s_d² − 1] + Σ_d (log s_d − log|R_dd|)
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from backstory.distributions.base import LOG_2PI, full_precision
from backstory.distributions.latent import Moments, Posterior, Prior


@dataclass(frozen=True)
class FullGaussian(Posterior):
    """N(mean, root rootᵀ) of each of B rows.

    Attributes:
        mean: μ, (B, D).
        root: R, (B, D, D), lower triangular, or upper triangular if `upper`.
        upper: which of the two.

    >>> q = FullGaussian(torch.zeros(1, 2), torch.tensor([[[1.0, 0.0], [0.6, 0.8]]]))
    >>> q.covariance
    tensor([[[1.0000, 0.6000],
             [0.6000, 1.0000]]])
    """

    mean: Tensor
    root: Tensor
    upper: bool = False

    @classmethod
    def of_covariance(cls, mean: Tensor, covariance: Tensor) -> "FullGaussian":
        """From means (B, D) and covariances (B, D, D)."""
        return cls(mean, torch.linalg.cholesky(covariance))

    @classmethod
    def of_precision(cls, mean: Tensor, factor: Tensor) -> "FullGaussian":
        """From means (B, D) and lower Cholesky factors L of the precision Λ = L Lᵀ, (B, D, D): R = L⁻ᵀ."""
        identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
        return cls(mean, torch.linalg.solve_triangular(factor.mT, identity, upper=True), True)

    @property
    def covariance(self) -> Tensor:
        """R Rᵀ, (B, D, D)."""
        return self.root @ self.root.mT

    @property
    def centre(self) -> Tensor:
        return self.mean

    def moments(self) -> Moments:
        return Moments(self.mean, self.root.norm(dim=-1))

    def transport(self, noise: Tensor) -> Tensor:
        """z = μ + R ε, for noise (K, B, D)."""
        with full_precision(noise):
            return self.mean + (noise.transpose(0, 1) @ self.root.mT).transpose(0, 1)

    def whiten(self, z: Tensor) -> Tensor:
        """The noise, (K, B, D), that becomes z."""
        columns = (z - self.mean).movedim(0, -1)
        return torch.linalg.solve_triangular(self.root, columns, upper=self.upper).movedim(-1, 0)

    def wider(self, times: float) -> "FullGaussian":
        """The same with larger deviations."""
        return FullGaussian(self.mean, self.root * times, self.upper)

    def log_prob(self, z: Tensor) -> Tensor:
        """log N(z) in nats, (K, B, D) or (B, D) to (K, B) or (B,)."""
        draws = z if z.dim() == self.mean.dim() + 1 else z.unsqueeze(0)
        log_prob = -0.5 * (self.whiten(draws).square().sum(-1) + LOG_2PI * z.shape[-1]) - self._log_scale
        return log_prob.reshape(z.shape[:-1])

    def kl(self, prior: Prior) -> Tensor | None:
        other = prior.diagonal()
        if other is None:
            return None
        mean, log_std = other
        spread = self.root.square().sum(-1) + (self.mean - mean).square()
        return (0.5 * (spread * torch.exp(-2 * log_std) - 1) + log_std).sum(-1) - self._log_scale

    @property
    def _log_scale(self) -> Tensor:
        """log|det R|, (B,)."""
        return self.root.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
