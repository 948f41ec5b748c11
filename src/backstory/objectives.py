"""What training maximises: functions of `Terms`, one value for each observation, (B,), in nats.

With K draws z_k ~ q(z|x), log w = log p(x|z) + β (log p(z) − log q(z|x)) and w̃_k = w_k / Σ_j w_j:

    elbo                   (1/K) Σ_k log p(x|z_k) − β KL(q(z|x) ‖ p(z))           KL in closed form
    elbo-sampled           (1/K) Σ_k log w_k
    free-bits              (1/K) Σ_k log p(x|z_k) − β Σ_d max(λ, KL_d)
    capacity               (1/K) Σ_k log p(x|z_k) − γ |KL − C|
    iwae                   log (1/K) Σ_k w_k
    miwae                  (1/M) Σ_m log (1/K) Σ_k w_mk                           M · K draws
    renyi                  1/(1 − α) · log (1/K) Σ_k w_k^(1 − α)
    stl, score             the value of the ELBO, other gradients
    dreg                   the value of iwae, another gradient
    tcvae                  (1/K) Σ_k log p(x|z_k) − α I(x; z) − β TC(z) − γ Σ_d KL(q(z_d) ‖ p(z_d))
    mmd                    (1/K) Σ_k log p(x|z_k) − β KL − λ MMD²(q(z), p(z))

At β = 1 all but capacity and renyi with α < 0 are lower bounds of log p(x), in expectation for mmd, whose
estimate of MMD² is unbiased. β < 1 happens during warm-up; a value at β ≠ 1 is no bound, and no report shows
it as one.

Gradients. A draw z = μ(x) + σ(x)·ε takes the encoder's gradient along two ways: the path, through z, and the
score, through the parameters of log q(z|x) at a fixed z. Two functions act on them, and change neither a
value nor the terms that they are given:

    without_score(terms)            no gradient along the score: q(z|x) is a detached copy
    scale_path(value, z, factor)    the gradient along the path times a factor

Sticking the landing is without_score; the doubly reparameterised gradient is without_score, with w̃ as the
factor of the path; the score-function gradient has the factor 0, and the score times what came of the draw
in its place. `scale_path` goes back from the value to z once more and keeps the graph, which `torch.compile`
allows with `torch._functorch.config.donated_buffer = False`.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeAlias

import torch
from torch import Tensor

from backstory.distributions import Delta, DiagonalGaussian
from backstory.errors import InputError
from backstory.vae import Terms

Objective = Callable[..., Tensor]
Check = Callable[[Terms, str], None]
P = ParamSpec("P")
OfTerms: TypeAlias = Callable[Concatenate[Terms, P], Tensor]

OBJECTIVES: dict[str, Objective] = {}
SUPPLIED = ("beta", "warmup", "rows", "generator")  # arguments that training gives to those who name them
NOT_COMPILED = ("dreg", "score", "mmd")  # they differentiate inside, or draw
MANY_DRAWS = ("iwae", "miwae", "dreg", "renyi")  # with one draw they are the sampled ELBO


def objective(name: str, *checks: Check) -> Callable[[OfTerms[P]], OfTerms[P]]:
    """Enter a function into OBJECTIVES, and check first that its terms have what it needs."""

    def decorate(function: OfTerms[P]) -> OfTerms[P]:
        @wraps(function)
        def checked(terms: Terms, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
            for check in checks:
                check(terms, name)
            return function(terms, *args, **kwargs)

        OBJECTIVES[name] = checked
        return checked

    return decorate


def arguments(name: str) -> list[str]:
    """What an objective takes besides its terms.

    >>> arguments("renyi")
    ['beta', 'alpha']
    """
    return list(inspect.signature(OBJECTIVES[name]).parameters)[1:]


# ---------------------------------------------------------------------------------------------------------
# What an objective needs of its terms


def path(terms: Terms, name: str) -> None:
    """Draws that carry the encoder's gradient."""
    if torch.is_grad_enabled() and terms.posterior.mean.requires_grad and not terms.z.requires_grad:
        raise InputError(
            f"objective {name} differentiates through z, but these draws of z carry no gradient (they are "
            "discrete, or were made under no_grad); draw z by reparameterisation, or use objective score"
        )


def density(terms: Terms, name: str) -> None:
    """A density q(z|x)."""
    if isinstance(terms.posterior, Delta):
        raise InputError(
            f"objective {name} needs a density q(z|x), which a plain autoencoder (posterior delta) does not "
            "have; use objective elbo or mmd, or posterior gaussian"
        )


def closed_form(terms: Terms, name: str) -> None:
    """KL(q(z|x) ‖ p(z)) of each unit in closed form."""
    if terms.kl_per_unit is None:
        raise InputError(
            f"objective {name} needs the KL of each latent unit in closed form, which this pair of posterior "
            f"and prior ({type(terms.posterior).__name__}, {type(terms.prior).__name__}) does not have; "
            "use prior normal, or another objective"
        )


def factorised(terms: Terms, name: str) -> None:
    """A q(z|x) with independent units."""
    if not isinstance(terms.posterior, DiagonalGaussian):
        raise InputError(
            f"objective {name} needs the density of each latent unit on its own, which a posterior of type "
            f"{type(terms.posterior).__name__} does not have; use posterior gaussian"
        )


def at_least(name: str, value: float, lowest: float) -> None:
    """InputError for an argument that is too small."""
    if not value >= lowest:
        raise InputError(f"{name} has to be at least {lowest:g}, got {value:g}")


# ---------------------------------------------------------------------------------------------------------
# Weights and gradients


def log_weight(terms: Terms, beta: float = 1.0) -> Tensor:
    """log w = log p(x|z) + β (log p(z) − log q(z|x)), (K, B)."""
    return terms.log_likelihood + beta * (terms.log_prior - terms.log_posterior)


def log_mean_exp(a: Tensor, dim: int = 0) -> Tensor:
    """log of the mean of exp(a) along an axis: no overflow, and exact where all of `a` is close to zero.

    >>> log_mean_exp(torch.tensor([1e-6, 3e-6])), log_mean_exp(torch.tensor([1e6, 1e6]))
    (tensor(2.0000e-06), tensor(1000000.))
    """
    top = a.detach().amax(dim, keepdim=True)
    return top.squeeze(dim) + torch.log1p(torch.expm1(a - top).mean(dim))


def without_score(terms: Terms) -> Terms:
    """The same terms with a detached q(z|x), whose gradient reaches the encoder through z alone."""
    q: Any = terms.posterior
    return replace(
        terms, posterior=replace(q, **{field.name: getattr(q, field.name).detach() for field in fields(q)})
    )


def scale_path(value: Tensor, z: Tensor, factor: Tensor | float) -> Tensor:
    """The same value, whose gradient through z is multiplied by `factor`, all other gradients unchanged.

    Args:
        value: (K, B), each entry a function of its own draw.
        z: (K, B, D).
        factor: (K, B), a constant.
    """
    if not (torch.is_grad_enabled() and z.requires_grad and value.requires_grad):
        return value
    (slope,) = torch.autograd.grad(value.sum(), z, retain_graph=True)
    return value + (factor - 1) * (slope * (z - z.detach())).sum(-1)


# ---------------------------------------------------------------------------------------------------------
# The ELBO and its relatives


@objective("elbo", path)
def elbo(terms: Terms, beta: float = 1.0) -> Tensor:
    """The evidence lower bound, averaged over the K draws (Kingma & Welling 2014, eq. 7).

    The KL term is in closed form where the posterior and the prior have one. β scales it (Higgins et al.
    2017, eq. 4).
    """
    return terms.log_likelihood.mean(0) - beta * terms.kl


@objective("elbo-sampled", path, density)
def sampled_elbo(terms: Terms, beta: float = 1.0) -> Tensor:
    """The evidence lower bound with its KL from the draws too (Kingma & Welling 2014, eq. 6)."""
    return log_weight(terms, beta).mean(0)


@objective("free-bits", path, density, closed_form)
def free_bits(terms: Terms, beta: float = 1.0, threshold: float = 0.125) -> Tensor:
    """The ELBO in which a unit's KL counts as λ while its batch mean is below λ (Kingma et al. 2016, eq. 15).

    The maximum is taken of the batch mean, so a unit below the threshold has no gradient from its KL at all;
    the mean of the values is that of eq. 15, with each unit a group of its own.

    Args:
        threshold: λ, nats for each unit.
    """
    at_least("threshold", threshold, 0)
    kl = terms.kl_per_unit
    assert kl is not None
    spent = torch.where(kl.mean(0) > threshold, kl, threshold)
    return terms.log_likelihood.mean(0) - beta * spent.sum(-1)


@objective("capacity", path, density)
def controlled_capacity(
    terms: Terms, gamma: float = 10.0, capacity: float = 25.0, warmup: float = 1.0
) -> Tensor:
    """The likelihood at a KL that is held at a given capacity (Burgess et al. 2018, eq. 8).

    Args:
        gamma: γ, the price of a nat away from the capacity; the likelihood counts in nats for the whole
            observation, so it is far smaller than in papers that average over pixels.
        capacity: C, final, nats for each observation.
        warmup: fraction of C that holds now; training raises it from 0 to 1.
    """
    at_least("gamma", gamma, 0)
    at_least("capacity", capacity, 0)
    return terms.log_likelihood.mean(0) - gamma * (terms.kl - warmup * capacity).abs()


@objective("stl", path, density)
def sticking_the_landing(terms: Terms, beta: float = 1.0) -> Tensor:
    """The sampled ELBO without the score, whose mean is zero (Roeder et al. 2017, sec. 3).

    The gradient's variance vanishes where q(z|x) = p(z|x).
    """
    return sampled_elbo(without_score(terms), beta)


@objective("score", density)
def score_function(terms: Terms, beta: float = 1.0) -> Tensor:
    """The ELBO with the encoder's gradient by the score function (Williams 1992; Ranganath et al. 2014).

        ∇ E_q[r] = E_q[(r − b) ∇ log q(z|x)],   r = log p(x|z)

    b is the mean of r over the other draws of the observation, or with a single draw over the other
    observations of the batch: it does not depend on the draw, so the gradient has no bias (Kool et al.
    2019). The KL is differentiated in closed form; without one, r is log w. Nothing is
    differentiated through z, which may be discrete.
    """
    exact = terms.kl_per_unit is not None
    reward = terms.log_likelihood if exact else log_weight(without_score(terms), beta)
    advantage = (reward - baseline(reward)).detach()
    score = advantage * terms.posterior.log_prob(terms.z.detach())
    value = (scale_path(reward, terms.z, 0.0) + score - score.detach()).mean(0)
    return value - beta * terms.kl if exact else value


def baseline(reward: Tensor) -> Tensor:
    """Mean of the other entries, along the draws where there are several, else along the batch, (K, B)."""
    axis = 0 if len(reward) > 1 else 1
    others = reward.shape[axis] - 1
    return (reward.sum(axis, keepdim=True) - reward) / others if others else torch.zeros_like(reward)


# ---------------------------------------------------------------------------------------------------------
# Bounds from several weights


@objective("iwae", path, density)
def importance_weighted(terms: Terms, beta: float = 1.0) -> Tensor:
    """The importance-weighted bound with K draws (Burda et al. 2016, eq. 8): a log of a mean.

    At β ≠ 1 the ratio p(z)/q(z|x) is raised to β, so that K = 1 is the β-ELBO with a sampled KL.
    """
    return log_mean_exp(log_weight(terms, beta))


@objective("miwae", path, density)
def multiply_importance_weighted(terms: Terms, beta: float = 1.0, averages: float = 1) -> Tensor:
    """The mean of M importance-weighted bounds of K draws each (MIWAE; Rainforth et al. 2018).

    Args:
        averages: M, which divides the number of draws; K is what remains.
    """
    a, draws = log_weight(terms, beta), len(terms.z)
    if averages < 1 or averages % 1 or draws % averages:
        raise InputError(
            f"averages has to be a whole number that divides the number of draws, {draws}, got {averages:g}"
        )
    return log_mean_exp(a.unflatten(0, (int(averages), -1)), 1).mean(0)


@objective("dreg", path, density)
def doubly_reparameterised(terms: Terms, beta: float = 1.0) -> Tensor:
    """The importance-weighted bound with doubly reparameterised gradients (Tucker et al. 2019, eq. 8).

    The encoder's gradient is Σ_k w̃_k² ∂log w_k/∂z_k ∂z_k/∂φ, the decoder's is that of the bound. At β ≠ 1
    the same derivation gives w̃_k (1 − β + β w̃_k) in place of w̃_k².
    """
    a = log_weight(without_score(terms), beta)
    share = torch.softmax(a, 0).detach()
    return log_mean_exp(scale_path(a, terms.z, 1 - beta + beta * share))


@objective("renyi", path, density)
def renyi(terms: Terms, beta: float = 1.0, alpha: float = 0.5) -> Tensor:
    """The variational Rényi bound (Li & Turner 2016, sec. 3; its estimate, sec. 4.1).

    α = 1 is the sampled ELBO, α = 0 the importance-weighted bound; α < 0 bounds log p(x) from above as K
    grows.
    """
    a, power = log_weight(terms, beta), 1 - alpha
    return a.mean(0) if power == 0 else log_mean_exp(power * a) / power


# ---------------------------------------------------------------------------------------------------------
# Terms of the aggregate posterior q(z) = (1/N) Σ_n q(z|x_n)


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
    terms: Terms, beta: float = 1.0, alpha: float = 1.0, gamma: float = 1.0, rows: int | None = None
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
    """log q(z), (K, B), and log q(z_d), (K, B, D), with the batch in the place of all N rows.

    The densities under the logs are unbiased for a batch of distinct rows; one draw at a time, because
    (B, B, D) numbers are held for each.
    """
    q = terms.posterior
    assert isinstance(q, DiagonalGaussian)
    weights = stratified_weights(len(q.mean), rows or len(q.mean)).log().to(terms.z)
    units = DiagonalGaussian(q.mean.unsqueeze(-1), q.log_std.unsqueeze(-1))  # distributions of one unit each
    joint, marginal = [], []
    for z in terms.z:
        log_q = units.log_prob(z[:, None, :, None])  # (draw's row, row, D)
        joint.append(torch.logsumexp(weights + log_q.sum(-1), 1))
        marginal.append(torch.logsumexp(weights.unsqueeze(-1) + log_q, 1))
    return torch.stack(joint), torch.stack(marginal)


def stratified_weights(batch: int, rows: int) -> Tensor:
    """Weights (B, B) with which a batch stands for all N rows where z comes from one of its own.

    That row has its own 1/N; the others share the rest evenly. It is the mean of minibatch stratified
    sampling (Chen et al. 2018, appendix C.2) over which of the others gets the odd weight there: the
    expectation is the same, the variance smaller, and the order of the rows does not matter.

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
    weight: float = 100.0,
    width: float = 1.0,
    generator: torch.Generator | None = None,
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
    """Each row's part of MMD²(q(z), p(z)), (B,), whose mean over the batch is the unbiased estimate.

        MMD² = E k(z, z') + E k(u, u') − 2 E k(z, u),   z, z' ~ q(z),  u, u' ~ p(z)
        k(a, b) = exp(−‖a − b‖² / (2 D width²))

    Pairs of a draw with itself are left out (the U-statistic, Gretton et al. 2012, eq. 3), so that the
    estimate may be negative. ‖a − b‖² is 2D on average between draws of N(0, I), whatever D. A batch of one
    row has no pairs, and zero discrepancy.
    """
    if not width > 0:
        raise InputError(f"width has to be positive, got {width:g}")
    rows = terms.z.shape[1]
    if rows == 1:
        return torch.zeros_like(terms.log_likelihood[0])
    u = terms.prior.sample(rows, generator)
    to_others = _mean_of_others(_kernel(terms.z, terms.z, width))
    prior = _mean_of_others(_kernel(u, u, width)).mean()
    return (to_others + prior - 2 * _kernel(terms.z, u, width).mean(-1)).mean(0)


def _kernel(a: Tensor, b: Tensor, width: float) -> Tensor:
    """k of all pairs, (*, A, B), of (*, A, D) and (*, B, D)."""
    square = a.square().sum(-1).unsqueeze(-1) + b.square().sum(-1).unsqueeze(-2) - 2 * a @ b.mT
    return torch.exp(square / (-2 * a.shape[-1] * width**2))


def _mean_of_others(k: Tensor) -> Tensor:
    """Means along the last axis without the diagonal."""
    return (k.sum(-1) - k.diagonal(dim1=-2, dim2=-1)) / (k.shape[-1] - 1)
