"""The objectives of training: functions of `Terms`, with one value for each observation, (B,), in nats.

With K draws z_k ~ q(z|x), log w = log p(x|z) + β (log p(z) − log q(z|x)) and w̃_k = w_k / Σ_j w_j:

    elbo                   (1/K) Σ_k log p(x|z_k) − β KL(q(z|x) ‖ p(z))           KL in closed form
    elbo-sampled           (1/K) Σ_k log w_k
    free-bits              (1/K) Σ_k log p(x|z_k) − β Σ_d max(λ, KL_d)            d a unit, or a level of z
    capacity               (1/K) Σ_k log p(x|z_k) − γ |KL − C|
    iwae                   log (1/K) Σ_k w_k
    miwae                  (1/M) Σ_m log (1/K) Σ_k w_mk                           M · K draws
    renyi                  1/(1 − α) · log (1/K) Σ_k w_k^(1 − α)
    stl, score             the value of the ELBO, with other gradients
    dreg                   the value of iwae, with another gradient
    tcvae                  (1/K) Σ_k log p(x|z_k) − α I(x; z) − β TC(z) − γ Σ_d KL(q(z_d) ‖ p(z_d))
    mmd                    (1/K) Σ_k log p(x|z_k) − β KL − λ MMD²(q(z), p(z))

At β = 1 all but capacity and renyi with α < 0 are lower bounds of log p(x); mmd is one in expectation,
because its estimate of MMD² is unbiased. β is below 1 during the warm-up. A value at β ≠ 1 is no bound, and
no report shows it as one.

Gradients. The encoder's gradient passes a draw z = μ(x) + σ(x)·ε in two ways: by the path, through z, and by
the score, through the parameters of log q(z|x) at a fixed z. Two functions (`objectives.gradients`) change
these, and leave every value and their arguments as they are:

    without_score(terms)            no gradient by the score: q(z|x) is a detached copy
    scale_path(value, z, factor)    the gradient by the path times a factor

Sticking the landing is without_score. The doubly reparameterised gradient is without_score, with w̃ as the
factor of the path. The score-function gradient has the factor 0 for the path, and the score times the reward
of the draw in its place. `scale_path` runs a further backward pass from the value to z and keeps the graph,
which `torch.compile` allows with `torch._functorch.config.donated_buffer = False`.
"""

import torch
from torch import Tensor

from backstory.errors import InputError
from backstory.models.vae import Terms
from backstory.objectives.gradients import scale_path, without_score
from backstory.objectives.registry import at_least, closed_form, density, objective, path


def log_weight(terms: Terms, beta: float = 1.0) -> Tensor:
    """log w = log p(x|z) + β (log p(z) − log q(z|x)), (K, B)."""
    return terms.log_likelihood + beta * (terms.log_prior - terms.log_posterior)


def log_mean_exp(a: Tensor, dim: int = 0) -> Tensor:
    """log of the mean of exp(a) along an axis, without overflow, and exact if all of `a` is close to zero.

    >>> log_mean_exp(torch.tensor([1e-6, 3e-6])), log_mean_exp(torch.tensor([1e6, 1e6]))
    (tensor(2.0000e-06), tensor(1000000.))
    """
    top = a.detach().amax(dim, keepdim=True)
    return top.squeeze(dim) + torch.log1p(torch.expm1(a - top).mean(dim))


@objective("elbo", path)
def elbo(terms: Terms, beta: float = 1.0) -> Tensor:
    """The evidence lower bound, averaged over the K draws (Kingma & Welling 2014, eq. 7).

    The KL term is in closed form where the posterior and the prior have one. β scales it (Higgins et al.
    2017, eq. 4).
    """
    return terms.log_likelihood.mean(0) - beta * terms.kl


@objective("elbo-sampled", path, density)
def sampled_elbo(terms: Terms, beta: float = 1.0) -> Tensor:
    """The evidence lower bound with the KL estimated from the draws (Kingma & Welling 2014, eq. 6)."""
    return log_weight(terms, beta).mean(0)


@objective("free-bits", path, density, closed_form)
def free_bits(terms: Terms, beta: float = 1.0, *, threshold: float) -> Tensor:
    """The ELBO in which a unit's KL counts as λ while its batch mean is below λ (Kingma et al. 2016, eq. 15).

    The batch mean is compared with λ, so a unit below it has no gradient from its KL at all. The mean of the
    values is that of eq. 15 with one unit per group, or with a level per group where z has levels.

    Args:
        threshold: λ, nats for each unit, or for each level of z.
    """
    at_least("threshold", threshold, 0)
    kl = terms.kl_of_levels if terms.kl_per_unit is None else terms.kl_per_unit
    assert kl is not None
    spent = torch.where(kl.mean(0) > threshold, kl, threshold)
    return terms.log_likelihood.mean(0) - beta * spent.sum(-1)


@objective("capacity", path, density)
def controlled_capacity(terms: Terms, warmup: float = 1.0, *, gamma: float, capacity: float) -> Tensor:
    """The likelihood with a KL that is held at a given capacity (Burgess et al. 2018, eq. 8).

    Args:
        gamma: γ, the cost of each nat between the KL and the capacity. The likelihood is in nats for the
            whole observation, so γ is far smaller than in papers that average over pixels.
        capacity: C at the end of the warm-up, nats for each observation.
        warmup: current fraction of C; training raises it from 0 to 1.
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
    observations of the batch. It does not depend on the draw, so the gradient has no bias (Kool et al. 2019).
    The KL is differentiated in closed form; if it has none, r is log w. No gradient passes through z, which
    may be discrete.
    """
    exact = terms.kl_per_unit is not None
    reward = terms.log_likelihood if exact else log_weight(without_score(terms), beta)
    advantage = (reward - baseline(reward)).detach()
    score = advantage * terms.posterior.log_prob(terms.z.detach())
    value = (scale_path(reward, terms.z, 0.0) + score - score.detach()).mean(0)
    return value - beta * terms.kl if exact else value


def baseline(reward: Tensor) -> Tensor:
    """Mean of the other entries, (K, B): over the draws if there are several, else over the batch."""
    axis = 0 if len(reward) > 1 else 1
    others = reward.shape[axis] - 1
    return (reward.sum(axis, keepdim=True) - reward) / others if others else torch.zeros_like(reward)


@objective("iwae", path, density)
def importance_weighted(terms: Terms, beta: float = 1.0) -> Tensor:
    """The importance-weighted bound with K draws (Burda et al. 2016, eq. 8): the log of a mean.

    At β ≠ 1 the ratio p(z)/q(z|x) is raised to the power β, so that K = 1 is the β-ELBO with a sampled KL.
    """
    return log_mean_exp(log_weight(terms, beta))


@objective("miwae", path, density)
def multiply_importance_weighted(terms: Terms, beta: float = 1.0, *, averages: float) -> Tensor:
    """The mean of M importance-weighted bounds of K draws each (MIWAE; Rainforth et al. 2018).

    Args:
        averages: M, which divides the number of draws, M · K.
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

    The encoder's gradient is Σ_k w̃_k² ∂log w_k/∂z_k ∂z_k/∂φ; the decoder's is that of the bound. At β ≠ 1 the
    same derivation gives w̃_k (1 − β + β w̃_k) in place of w̃_k².
    """
    a = log_weight(without_score(terms), beta)
    share = torch.softmax(a, 0).detach()
    return log_mean_exp(scale_path(a, terms.z, 1 - beta + beta * share))


@objective("renyi", path, density)
def renyi(terms: Terms, beta: float = 1.0, *, alpha: float) -> Tensor:
    """The variational Rényi bound (Li & Turner 2016, sec. 3; its estimate in sec. 4.1).

    α = 1 is the sampled ELBO, and α = 0 the importance-weighted bound. With α < 0 the limit for large K is an
    upper bound of log p(x).
    """
    a, power = log_weight(terms, beta), 1 - alpha
    return a.mean(0) if power == 0 else log_mean_exp(power * a) / power
