"""What training maximises: functions of `Terms`, one value for each observation, (B,), in nats.

    elbo                         E_q[log p(x|z)] − β · KL(q(z|x) ‖ p(z))
    importance_weighted          log (1/K) Σ_k w_k,  w = p(x, z) / q(z|x)

β = 1 gives bounds of log p(x). β < 1 happens during warm-up; a value at β ≠ 1 is no bound, and no report
shows it as one.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from backstory.vae import Terms

Objective = Callable[..., Tensor]


def elbo(terms: Terms, beta: float = 1.0) -> Tensor:
    """The evidence lower bound, averaged over the K draws (Kingma & Welling 2014, eq. 7).

    The KL term is in closed form where the posterior and the prior have one. β scales it (Higgins et al.
    2017, eq. 4).
    """
    return terms.log_likelihood.mean(0) - beta * terms.kl


def importance_weighted(terms: Terms, beta: float = 1.0) -> Tensor:
    """The importance-weighted bound with K draws (Burda et al. 2016, eq. 8): a log of a mean.

    At β ≠ 1 the ratio p(z)/q(z|x) is raised to β, so that K = 1 is the β-ELBO with a sampled KL.
    """
    log_weight = terms.log_likelihood + beta * (terms.log_prior - terms.log_posterior)
    return torch.logsumexp(log_weight, 0) - math.log(len(log_weight))


OBJECTIVES: dict[str, Objective] = {"elbo": elbo, "iwae": importance_weighted}
