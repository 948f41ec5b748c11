"""The Gaussian nearest to p(z|y) for each observation, by gradients of the ELBO.

    L(q) = E_q[log p(y|z)] − KL(q ‖ p(z))

`diagonal_fit` maximises L over Gaussians with independent dimensions by Adam, with fresh reparameterised
draws at each step and a step size that falls to zero along a cosine (Cremer et al. 2018, "Inference
suboptimality in variational autoencoders").

`full_fit` goes on from there with correlations, by natural gradients: the mean μ and the precision Λ go a
share ρ of the way to

    Λ ← (1 − ρ) Λ + ρ (Λ_prior + E_q[−∇² log p(y|z)])
    μ ← μ + ρ Λ⁻¹ (E_q[∇ log p(y|z)] − Λ_prior (μ − μ_prior))

in each round, so that the fixed point is the best of all Gaussians (Opper & Archambeau 2009; Khan & Lin
2017, for a Gaussian prior that has the moments of p(z)). The expected Hessian is the linear regression of the
gradient on z ~ q (Salimans & Knowles 2013), with negative eigenvalues set to zero; a step of μ is at most two
deviations long.

Both fit z itself. Auxiliary coordinates (`distributions.auxiliary`) keep their noise.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.full_gaussian import FullGaussian
from backstory.distributions.latent import Moments
from backstory.inference.moments import prior_moments
from backstory.inference.target import Target, frozen, terms_at
from backstory.training.adam import Adam

GRADIENTS_PER_DIMENSION = 4  # from which an expected Hessian is regressed
DAMPING, FARTHEST = 0.7, 2.0  # ρ, and the longest step of μ in deviations


def diagonal_fit(
    target: Target,
    start: DiagonalGaussian,
    unit: Tensor,
    noise: Iterator[Tensor],
    steps: int,
    lr: float = 0.1,
) -> DiagonalGaussian:
    """The diagonal Gaussian of z itself with the highest ELBO for each observation.

    Args:
        target: p(z) p(y|z).
        start: where the fit begins.
        unit: of the steps of the mean, (B, units).
        noise: standard normal numbers for each step, (K, B, D).
        steps: of Adam.
        lr: the highest step, in units.
    """
    shift, widen = (torch.zeros_like(unit).requires_grad_() for _ in "12")
    optimiser = Adam([shift, widen])

    def current() -> DiagonalGaussian:
        return DiagonalGaussian(start.mean + unit * shift, start.log_std + widen)

    for step in range(steps):
        optimiser.lr = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        q = target.vae.latents.lift(current())
        with target.vae.one_pass():
            terms = terms_at(target, q, q.transport(next(noise)))
            loss = (terms.kl - terms.log_likelihood.mean(0)).sum()
        gradients = torch.autograd.grad(loss, [shift, widen])
        shift.grad, widen.grad = (part.nan_to_num(0, 0, 0) for part in gradients)
        optimiser.update()
    with torch.no_grad():
        return current()


def full_fit(
    target: Target, start: DiagonalGaussian, noise: Iterator[Tensor], rounds: int, draws: int
) -> FullGaussian:
    """The Gaussian of z itself, with correlations, that natural gradients lead to.

    Args:
        target: p(z) p(y|z).
        start: where the rounds begin.
        noise: standard normal numbers for each round, (G, B, D), G half the number of gradients.
        rounds: how many.
        draws: codes whose gradients are computed at once.
    """
    mean, factor = start.mean, torch.diag_embed(1 / start.std)
    prior = Moments(*map(target.vae.latents.own, prior_moments(target.prior, target.vae.device)))
    with frozen(target.vae):
        for index in range(rounds):
            share = DAMPING if index else 1.0
            mean, factor = _natural_step(target, prior, (mean, factor), next(noise), share, draws)
    return FullGaussian.of_precision(mean, factor)


def _natural_step(
    target: Target, p: Moments, at: tuple[Tensor, Tensor], half: Tensor, share: float, draws: int
) -> tuple[Tensor, Tensor]:
    """Mean and precision factor after a round in which the precision goes a share of the way to the new one.

    `p` are the moments of p(z), `at` the mean and the precision factor before the round.
    With z = μ + L⁻ᵀ ε, the expected Hessian is the linear regression of L⁻¹ ∇ log p(y|z) on ε.
    """
    latents, (mean, factor) = target.vae.latents, at
    q, e = latents.lift(FullGaussian.of_precision(mean, factor)), torch.cat([half, -half])
    gradient = torch.cat([_gradient(target, q.transport(some)) for some in e.split(2 * draws)])
    e, gradient = (latents.own(part).transpose(0, 1).double() for part in (e, gradient))
    wide, prior = factor.double(), p.std.double() ** -2
    white = torch.linalg.solve_triangular(wide, gradient.mT, upper=False).mT
    hessian = torch.linalg.solve(e.mT @ e, e.mT @ white)
    values, vectors = torch.linalg.eigh(-0.5 * (hessian + hessian.mT))
    told = wide @ (vectors * values.clamp(min=0).unsqueeze(-2)) @ vectors.mT @ wide.mT
    precision = (1 - share) * wide @ wide.mT + share * (told + torch.diag_embed(prior))
    new = torch.linalg.cholesky(precision)
    slope = gradient.mean(1) - prior * (mean - p.mean).double()
    step = torch.cholesky_solve(slope.unsqueeze(-1), new)
    deviations = (new.mT @ step).norm(dim=-2, keepdim=True)
    step = DAMPING * step * (FARTHEST / deviations).clamp(max=1)
    return mean + step.squeeze(-1).to(mean), new.to(mean)


def _gradient(target: Target, z: Tensor) -> Tensor:
    """∇ log p(y|z), zero where it is not finite."""
    z = z.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(target.log_likelihood(z).sum(), z)
    return gradient.nan_to_num(0, 0, 0)
