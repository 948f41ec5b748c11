"""The inference gap: the loss of the ELBO through the form of q(z|x), and through the encoder.

    log p(x) − ELBO(q) = [log p(x) − ELBO(q*)] + [ELBO(q*) − ELBO(q)]
                            approximation            amortisation

q is the encoder's posterior, and q* the diagonal Gaussian with the highest ELBO for the observation (Cremer
et al. 2018, "Inference suboptimality in variational autoencoders"). A large approximation gap calls for a
richer posterior, a large amortisation gap for a larger encoder.

q* is the limit of Adam on μ* = μ + σ·a and log σ* = log σ + b from a = b = 0 (`inference.variational`). Both
ELBOs are then estimated with other draws, and log p(x) by annealing from q*. (Importance sampling with q* as
the proposal would underestimate log p(x), and so the gap, because q* is too narrow where it is not p(z|x).)
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from backstory.data.observation import Observation
from backstory.distributions.latent import Posterior
from backstory.distributions.noise import randn
from backstory.errors import InputError
from backstory.inference.annealing import Annealing, Chains
from backstory.inference.hmc import Rows, mixed_seed
from backstory.inference.importance import LogMean, check_samples, target_evidence
from backstory.inference.memory import pairs_at_once
from backstory.inference.target import Evidenced, Target, check_density
from backstory.inference.variational import diagonal_fit
from backstory.models.vae import VAE

ANNEALING = Annealing(chains=16, steps=100, leapfrog=3)
DRAWS = 200  # stream of noise, other than those of annealing


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


@dataclass(frozen=True)
class GapSettings:
    """How the gaps are estimated.

    Attributes:
        samples: K, draws of z with which both ELBOs are estimated.
        steps: of Adam.
        draws: of z for each step and observation.
        lr: the highest step, in units of the encoder's σ.
        annealing: how the evidence is estimated.
    """

    samples: int = 1000
    steps: int = 300
    draws: int = 8
    lr: float = 0.1
    annealing: Annealing = ANNEALING

    def __post_init__(self) -> None:
        check_samples(self.samples)
        for name, value in {"steps": self.steps, "draws": self.draws}.items():
            if value < 1:
                raise InputError(f"{name} has to be at least 1, got {value}")


def inference_gap(
    vae: VAE,
    batches: Iterable[Observation | Tensor],
    settings: GapSettings | None = None,
    seed: int = 0,
    advance: Callable[[int], None] = lambda rows: None,
) -> Gap:
    """Split log p(x) − ELBO into the approximation and the amortisation gap.

    Args:
        vae: the model.
        batches: B observations at a time.
        settings: by default those of `GapSettings`.
        seed: of every draw.
        advance: called with the number of finished observations.

    Raises:
        InputError: the model is a plain autoencoder, or a number is below 1.
    """
    check_density(vae)
    settings = settings or GapSettings()
    generator = torch.Generator(vae.device).manual_seed(mixed_seed(seed, DRAWS))
    side_by_side = max(settings.draws, settings.annealing.chains)
    rows, first, parts = max(1, pairs_at_once(vae, gradient=True) // side_by_side), 0, []
    for batch in map(Observation.of, batches):
        for part in batch.split(rows):
            target = Evidenced(vae, part)
            q = optimise_posterior(target, settings.steps, settings.draws, settings.lr, generator)
            best = Evidenced(vae, part, q)
            elbos = [target_evidence(t, settings.samples, generator).elbo for t in (target, best)]
            chains = Chains(best, Rows(seed, range(first, first + len(part))), settings.annealing)
            evidence = LogMean.of(chains.forward()[0])
            parts.append((evidence.value, evidence.standard_error, *elbos))
            first += len(part)
            advance(len(part))
    return Gap(*(torch.cat(part) for part in zip(*parts, strict=True)))


def optimise_posterior(
    target: Target,
    steps: int = 300,
    draws: int = 8,
    lr: float = 0.1,
    generator: torch.Generator | None = None,
) -> Posterior:
    """q*, the diagonal Gaussian with the highest ELBO for each observation, fitted from `target.start`."""
    latents, centre = target.vae.latents, target.posterior.centre
    start = target.start()
    noise = (randn((draws, *centre.shape), centre, generator) for _ in range(steps))
    best: Posterior = latents.lift(diagonal_fit(target, start, start.std, noise, steps, lr))
    return best
