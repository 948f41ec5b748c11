"""The inference gap: what the ELBO loses to the form of q(z|x) and to the encoder.

    log p(x) − ELBO(q) = [log p(x) − ELBO(q*)] + [ELBO(q*) − ELBO(q)]
                            approximation            amortisation

q is the encoder's, q* the diagonal Gaussian with the highest ELBO for the observation (Cremer et al. 2018,
"Inference suboptimality in variational autoencoders"). A large approximation gap asks for a richer posterior;
a large amortisation gap for a larger encoder.

q* is found by Adam on μ* = μ + σ·a and log σ* = log σ + b from a = b = 0, many observations at once, with
fresh reparameterised draws at each step and a step size that falls to zero along a cosine. Both ELBOs are
then estimated with other draws, and log p(x) by annealing from q*. (As a proposal for importance sampling q*
would be too narrow wherever it is not the posterior: what it loses would be missing from the gap.)
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from backstory.distributions.base import Posterior
from backstory.distributions.gaussian import DiagonalGaussian
from backstory.errors import InputError
from backstory.inference.annealing import Annealing, Chains
from backstory.inference.hmc import mixed_seed
from backstory.inference.importance import (
    LogMean,
    batch_evidence,
    check_density,
    check_samples,
    entries_at_once,
)
from backstory.models.vae import VAE

ANNEALING = Annealing(chains=16, steps=100, leapfrog=3)
DRAWS = 200  # stream of noise, apart from those of annealing


@dataclass(frozen=True)
class Gap:
    """The gaps of each observation, (N,) of float64, nats.

    Attributes:
        evidence: log p(x), by annealed importance sampling from q*.
        standard_error: of the evidence.
        elbo: of the encoder's q.
        optimised_elbo: of q*.
    """

    evidence: Tensor
    standard_error: Tensor
    elbo: Tensor
    optimised_elbo: Tensor

    @property
    def approximation(self) -> Tensor:
        """log p(x) − ELBO(q*)."""
        return self.evidence - self.optimised_elbo

    @property
    def amortisation(self) -> Tensor:
        """ELBO(q*) − ELBO(q)."""
        return self.optimised_elbo - self.elbo


def inference_gap(
    vae: VAE,
    batches: Iterable[Tensor],
    steps: int = 300,
    draws: int = 8,
    samples: int = 1000,
    lr: float = 0.1,
    annealing: Annealing = ANNEALING,
    seed: int = 0,
    advance: Callable[[int], None] = lambda rows: None,
) -> Gap:
    """Split log p(x) − ELBO into the approximation and the amortisation gap.

    Args:
        vae: the model; InputError if it is a plain autoencoder.
        batches: x in the model's units, (B, *shape) at a time.
        steps: of Adam.
        draws: of z for each step and observation.
        samples: K, with which both ELBOs are estimated.
        lr: the highest step, in units of the encoder's σ.
        annealing: how the evidence is found.
        seed: of every draw.
        advance: called with the number of observations finished.
    """
    check_density(vae)
    check_samples(samples)
    for name, value in {"steps": steps, "draws": draws}.items():
        if value < 1:
            raise InputError(f"{name} has to be at least 1, got {value}")
    generator = torch.Generator(vae.shift.device).manual_seed(mixed_seed(seed, DRAWS))
    pairs = entries_at_once(vae.shift.device) // math.prod(vae.features_shape)
    rows, first, parts = max(1, pairs // max(draws, annealing.chains)), 0, []
    for batch in batches:
        for x in batch.split(rows):
            with torch.no_grad():
                q = vae.encode(x)
            best = optimise_posterior(vae, x, q, steps, draws, lr, generator)
            elbos = [batch_evidence(vae, x, p, samples, generator).elbo for p in (q, best)]
            chains = Chains(vae, x, range(first, first + len(x)), annealing, seed, posterior=best)
            evidence = LogMean.of(chains.forward()[0])
            parts.append((evidence.value, evidence.standard_error, *elbos))
            first += len(x)
            advance(len(x))
    return Gap(*(torch.cat(part) for part in zip(*parts, strict=True)))


def optimise_posterior(
    vae: VAE,
    x: Tensor,
    q: Posterior,
    steps: int = 300,
    draws: int = 8,
    lr: float = 0.1,
    generator: torch.Generator | None = None,
) -> DiagonalGaussian:
    """The diagonal Gaussian with the highest ELBO for each observation, from the encoder's q on."""
    shift, widen = torch.zeros_like(q.mean).requires_grad_(), torch.zeros_like(q.mean).requires_grad_()
    optimiser = torch.optim.Adam([shift, widen], lr=lr)

    def current() -> DiagonalGaussian:
        return DiagonalGaussian(q.mean + q.std * shift, q.std.log() + widen)

    for step in range(steps):
        optimiser.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        posterior = current()
        terms = vae.terms_at(x, posterior, posterior.sample(draws, generator))
        loss = (terms.kl - terms.log_likelihood.mean(0)).sum()
        shift.grad, widen.grad = torch.autograd.grad(loss, [shift, widen])
        optimiser.step()
    with torch.no_grad():
        return current()
