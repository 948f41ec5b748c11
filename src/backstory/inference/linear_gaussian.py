"""The exact linear-Gaussian model: evidence and posterior of a VAE whose decoder is affine, in closed form.

    z ~ N(0, I),   x = b + W z + ε,   ε ~ N(0, diag(v))
    p(x)   = N(b, W Wᵀ + diag(v))
    p(z|x) = N(A⁻¹ g, A⁻¹),   A = I + Wᵀ diag(1/v) W,   g = Wᵀ diag(1/v) (x − b)
    log p(x) = −½ [ Σ (x − b)²/v + Σ log 2πv − gᵀ A⁻¹ g + log |A| ]

(Tipping & Bishop 1999, "Probabilistic principal component analysis", with a variance for each entry, as in
factor analysis). If some entries are missing, the same holds with these left out of every sum. With
conditions c, which the decoder takes beside z, only the bias depends on them: b(c) = b + V c. x is in the
model's units, and all numbers are float64. The tests compare the estimators with this model.
"""

import copy
import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from backstory.distributions.full_gaussian import FullGaussian
from backstory.errors import InputError, counted
from backstory.inference.target import check_density
from backstory.models.priors import StandardNormal
from backstory.models.vae import VAE


class GaussianMoments(NamedTuple):
    """Mean, (N, M), and covariance, (N, M, M), of a Gaussian that may be singular."""

    mean: Tensor
    covariance: Tensor


@dataclass(frozen=True)
class LinearGaussian:
    """x = b + W z + ε with z ~ N(0, I) and ε ~ N(0, diag(v)), in float64.

    Attributes:
        weight: W, (M, D), where M is the number of entries of an observation.
        bias: b, (M,), or (N, M) of N observations with conditions.
        variance: v, (M,).
        shape: of one observation.
        effect: V, (M, C), where x = b + V c + W z + ε and c is not given yet, see `given`; else None.
    """

    weight: Tensor
    bias: Tensor
    variance: Tensor
    shape: tuple[int, ...]
    effect: Tensor | None = None

    @classmethod
    def of(cls, vae: VAE) -> "LinearGaussian":
        """W, b, v and V of a model, from its decoder at 0 and at the unit vectors of z and c.

        Raises:
            InputError: the model is not linear-Gaussian; the sentence gives the reason.
        """
        check_density(vae)
        if not isinstance(vae.prior_module, StandardNormal):
            raise _not_exact("its prior is not a standard normal")
        latent, inputs = vae.latents.size, vae.latents.size + vae.context
        exact = copy.deepcopy(vae).double()
        probes = torch.cat([torch.zeros(1, inputs), torch.eye(inputs), _far(inputs)]).to(exact.shift)
        with torch.no_grad():
            p = exact.decode(probes[:, :latent], probes[:, latent:] if vae.context else None)
        if not p.is_gaussian:
            raise _not_exact("its likelihood is not Gaussian")
        mean, variance = p.mean.flatten(1), p.variance.flatten(1)
        if not torch.allclose(variance, variance[:1].expand_as(variance), rtol=1e-9, atol=0):
            raise _not_exact("its σ depends on z" + (" or on the conditions" if vae.context else ""))
        bias, weight = mean[0], (mean[1 : inputs + 1] - mean[0]).T
        if not torch.allclose(mean, bias + probes @ weight.T, rtol=1e-9, atol=1e-9 * float(mean.abs().max())):
            raise _not_exact("its decoder is not affine")
        effect = weight[:, latent:] if vae.context else None
        return cls(weight[:, :latent], bias, variance[0], tuple(p.mean.shape[1:]), effect)

    def given(self, conditions: Tensor | None) -> "LinearGaussian":
        """The model of p(x|c) for N observations: its bias is b + V c, (N, M).

        Args:
            conditions: c, (N, C); None for a model of p(x), which is returned as it is.
        """
        if (conditions is None) != (self.effect is None):
            known = "none" if conditions is None else f"{conditions.shape[-1]} for each observation"
            wanted = "no conditions" if self.effect is None else counted(self.effect.shape[1], "condition")
            raise InputError(f"expected {wanted} of each observation, as in training, got {known}")
        if conditions is None or self.effect is None:
            return self
        return replace(self, bias=self.bias + conditions.double() @ self.effect.T, effect=None)

    @property
    def covariance(self) -> Tensor:
        """The covariance of p(x), (M, M)."""
        return self.weight @ self.weight.T + torch.diag(self.variance)

    def log_evidence(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """log p of the observed entries of x, (N,), nats.

        Args:
            x: (N, *shape), in the model's units.
            observed: (N, *shape) of bool; None if all entries are observed.
        """
        residual, inverse = self._residual(x, observed)
        precision, pull = self._information(residual, inverse)
        factor = torch.linalg.cholesky(precision)
        explained = (
            torch.linalg.solve_triangular(factor, pull.unsqueeze(-1), upper=False).square().sum((-2, -1))
        )
        log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        noise = torch.where(inverse > 0, torch.log(2 * math.pi * self.variance), 0.0)
        return -0.5 * ((residual.square() * inverse + noise).sum(-1) - explained + log_det)

    def posterior(self, x: Tensor, observed: Tensor | None = None) -> FullGaussian:
        """p(z|x) given the observed entries, with full covariance; arguments as `log_evidence`."""
        precision, pull = self._information(*self._residual(x, observed))
        factor = torch.linalg.cholesky(precision)
        mean = torch.cholesky_solve(pull.unsqueeze(-1), factor).squeeze(-1)
        return FullGaussian.of_precision(mean, factor.expand(*mean.shape, mean.shape[-1]))

    def restored(self, y: Tensor, a: Tensor, sigma: float = 0.0) -> GaussianMoments:
        """Mean and covariance of p(x|y) for a linear observation y = A x + σ ε.

        With V = W Wᵀ + diag(v) and G = V Aᵀ (A V Aᵀ + σ² I)⁻¹, the mean is b + G (y − A b) and the covariance
        V − G A V.

        Args:
            y: (N, entries of y).
            a: A, (entries of y, M); rows of the identity for observed entries of x.
            sigma: σ, in the model's units.
        """
        self._check_given()
        a, v = a.double(), self.covariance
        noisy = a @ v @ a.T + sigma**2 * torch.eye(len(a), dtype=torch.float64, device=a.device)
        gain = torch.linalg.solve(noisy, a @ v).T
        mean = self.bias + (y.double() - self.bias @ a.T) @ gain.T
        return GaussianMoments(mean, (v - gain @ a @ v).expand(len(y), *v.shape))

    def _check_given(self) -> None:
        if self.effect is not None:
            raise InputError(
                "expected the conditions of each observation, because this is a model of p(x|c), got none; "
                "take `given(c)` of it first"
            )

    def _residual(self, x: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor]:
        """x − b and 1/v, both zero at missing entries."""
        if tuple(x.shape[1:]) != self.shape:
            raise InputError(f"expected observations of shape (N, *{self.shape}), got {tuple(x.shape)}")
        self._check_given()
        residual = x.double().flatten(1) - self.bias
        if observed is None:
            return residual, 1 / self.variance
        mask = observed.flatten(1)
        return torch.where(mask, residual, 0.0), torch.where(mask, 1 / self.variance, 0.0)

    def _information(self, residual: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
        """A, (D, D) or (N, D, D), and g, (N, D)."""
        weighted = inverse.unsqueeze(-1) * self.weight
        identity = torch.eye(self.weight.shape[1], dtype=torch.float64, device=self.weight.device)
        return identity + self.weight.T @ weighted, (residual * inverse) @ self.weight


def ppca_optimum(data: Tensor, q: int) -> LinearGaussian:
    """The maximum-likelihood model with q units and one variance for all entries (Tipping & Bishop 1999).

    No linear-Gaussian VAE with q units and one σ has a higher average `log_evidence` on `data`. With λ and U
    the eigenvalues and eigenvectors of the data's covariance (eqs. 7 and 8):

        v = mean of λ_(q+1) … λ_M,    W = U_q (Λ_q − v I)^½

    Args:
        data: (N, *shape), standardised or not. To compare with a model that standardises inside,
            x = shift + scale · y, give y; the log density of x is lower by Σ log scale.
        q: from 0 to M − 1.

    Raises:
        InputError: q is out of range, or no variance is left for the noise.
    """
    flat = data.double().flatten(1)
    entries = flat.shape[1]
    if not 0 <= q < entries:
        size = counted(entries, "entry", "entries")
        raise InputError(f"q has to be between 0 and {entries - 1} for data of {size}, got {q}")
    bias = flat.mean(0)
    covariance = (flat - bias).T @ (flat - bias) / len(flat)
    values, vectors = (part.flip(-1) for part in torch.linalg.eigh(covariance))
    noise = values[q:].mean()
    if noise <= 1e-12 * values[0]:
        raise InputError(
            f"the data has no variance beyond {counted(q, 'component')}, so its likelihood has no maximum"
        )
    weight = vectors[:, :q] * (values[:q] - noise).clamp(min=0).sqrt()
    return LinearGaussian(weight, bias, noise.expand(entries), tuple(data.shape[1:]))


def _far(latent: int) -> Tensor:
    """Codes far from zero, at which a decoder that is affine only near zero is not."""
    return (
        torch.randn(8, latent, generator=torch.Generator().manual_seed(0))
        * torch.logspace(-1, 1.5, 8)[:, None]
    )


def _not_exact(reason: str) -> InputError:
    return InputError(
        f"p(x) has a closed form for linear-Gaussian models alone, and {reason}; "
        "use method is or ais, or fit with network linear and a gaussian likelihood"
    )
