"""Objectives with terms of the aggregate posterior q(z) = (1/N) Σ_n q(z|x_n)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.errors import InputError
from backstory.models.vae import Terms
from backstory.objectives.bounds import elbo
from backstory.objectives.registry import at_least, density, factorised, objective, path


@dataclass(frozen=True)
class Decomposition:
    """KL(q(z|x) ‖ p(z)) in three parts that sum to it, each (B,), nats (Chen et al. 2018, eq. 2).

    Attributes:
        mutual_information: log q(z|x) − log q(z), averaged over the draws; I(x; z) in expectation.
        total_correlation: log q(z) − Σ_d log q(z_d).
        unit_kl: Σ_d log q(z_d) − log p(z); Σ_d KL(q(z_d) ‖ p(z_d)) for a prior of independent units.
    """

    mutual_information: Tensor
    total_correlation: Tensor
    unit_kl: Tensor


@objective("tcvae", path, density, factorised)
def decomposed_elbo(
    terms: Terms, beta: float = 1.0, rows: int | None = None, *, alpha: float, gamma: float
) -> Tensor:
    """The β-TCVAE objective (Chen et al. 2018, eq. 4); with α = β = γ = 1 the sampled ELBO.

    Args:
        beta: factor of the total correlation.
        alpha: factor of the mutual information.
        gamma: factor of the units' KL.
        rows: N, the number of rows that the batch was drawn from; by default the batch is all of them.
    """
    parts = decompose(terms, rows)
    cost = alpha * parts.mutual_information + beta * parts.total_correlation + gamma * parts.unit_kl
    return terms.log_likelihood.mean(0) - cost


def decompose(terms: Terms, rows: int | None = None) -> Decomposition:
    """The three parts of the KL, with q(z) and q(z_d) estimated from the batch."""
    log_joint, log_units = aggregate_log_density(terms, rows)
    log_product = log_units.sum(-1)
    return Decomposition(
        (terms.log_posterior - log_joint).mean(0),
        (log_joint - log_product).mean(0),
        (log_product - terms.log_prior).mean(0),
    )


def aggregate_log_density(terms: Terms, rows: int | None = None) -> tuple[Tensor, Tensor]:
    """log q(z), (K, B), and log q(z_d), (K, B, D), estimated from the batch in place of all N rows.

    The estimates of the densities themselves are unbiased for a batch of distinct rows. Draws are treated one
    at a time, because each needs (B, B, D) numbers.
    """
    diagonal = terms.posterior.diagonal()
    assert diagonal is not None
    mean, log_std = diagonal
    weights = stratified_weights(len(mean), rows or len(mean)).log().to(terms.z)
    units = DiagonalGaussian(mean.unsqueeze(-1), log_std.unsqueeze(-1))  # distributions of one dimension each
    joint, marginal = [], []
    for z in terms.posterior.own(terms.z):
        log_q = units.log_prob(z[:, None, :, None])  # (draw's row, row, D)
        joint.append(torch.logsumexp(weights + log_q.sum(-1), 1))
        marginal.append(torch.logsumexp(weights.unsqueeze(-1) + log_q, 1))
    return torch.stack(joint), torch.stack(marginal)


def stratified_weights(batch: int, rows: int) -> Tensor:
    """Weights (B, B) of the rows of a batch in place of all N rows, for a z that comes from one of its rows.

    That row has the weight 1/N; the others share the rest evenly. This is minibatch stratified sampling
    (Chen et al. 2018, appendix C.2), averaged over the row that has the odd weight there: the expectation is
    the same, the variance is smaller, and the order of the rows does not matter.

    >>> stratified_weights(3, 6)[0]
    tensor([0.1667, 0.4167, 0.4167])
    """
    if rows < batch:
        raise InputError(f"rows has to be at least the size of the batch, {batch}, got {rows}")
    if batch == 1:
        return torch.ones(1, 1)
    return torch.full((batch, batch), (1 - 1 / rows) / (batch - 1)).fill_diagonal_(1 / rows)


@objective("mmd", path)
def info_vae(
    terms: Terms,
    beta: float = 1.0,
    generator: torch.Generator | None = None,
    *,
    weight: float,
    width: float,
) -> Tensor:
    """The InfoVAE objective with the maximum mean discrepancy (Zhao et al. 2019, eq. 6).

    β is the paper's 1 − α and `weight` its α + λ − 1. With β = 0, or for a plain autoencoder, it is a
    Wasserstein autoencoder (Tolstikhin et al. 2018, algorithm 2).

    Args:
        weight: nats for each unit of MMD².
        width: of the kernel, see `mmd`.
        generator: source of the prior's draws, on the device of z.
    """
    at_least("weight", weight, 0)
    return elbo(terms, beta) - weight * mmd(terms, width, generator)


def mmd(terms: Terms, width: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """Each row's part of MMD²(q(z), p(z)), (B,); the mean over the batch is an unbiased estimate.

        MMD² = E k(z, z') + E k(u, u') − 2 E k(z, u),   z, z' ~ q(z),  u, u' ~ p(z)
        k(a, b) = exp(−‖a − b‖² / (2 D width²))

    Pairs of a draw with itself are left out (the U-statistic, Gretton et al. 2012, eq. 3), so the estimate
    may be negative. Between draws of N(0, I) ‖a − b‖² is 2D on average, so `width` means the same for every
    D. A batch of one row has no pairs; its discrepancy is 0.

    Args:
        width: of the kernel.
        generator: source of the prior's draws u, on the device of z.

    Raises:
        InputError: the width is not positive.
    """
    if not width > 0:
        raise InputError(f"width has to be positive, got {width:g}")
    rows = terms.z.shape[1]
    if rows == 1:
        return torch.zeros_like(terms.log_likelihood[0])
    z, u = terms.posterior.own(terms.z), terms.prior.own(terms.prior.sample(rows, generator))
    to_others = _mean_of_others(_kernel(z, z, width))
    prior = _mean_of_others(_kernel(u, u, width)).mean()
    return (to_others + prior - 2 * _kernel(z, u, width).mean(-1)).mean(0)


def _kernel(a: Tensor, b: Tensor, width: float) -> Tensor:
    """k of all pairs, (*, A, B), of (*, A, D) and (*, B, D)."""
    square = a.square().sum(-1).unsqueeze(-1) + b.square().sum(-1).unsqueeze(-2) - 2 * a @ b.mT
    return torch.exp(square / (-2 * a.shape[-1] * width**2))


def _mean_of_others(k: Tensor) -> Tensor:
    """Mean over the last axis, without the diagonal."""
    return (k.sum(-1) - k.diagonal(dim1=-2, dim2=-1)) / (k.shape[-1] - 1)
