"""What inference of z needs of a batch, and all that it needs: log p(z|c) and log p(y|z, c).

Importance sampling, variational fits, annealing and chains are written once each, on a `Target`. The evidence
log p(x) is the target in which y is x (`Evidenced`); restoration, imputation and conditional densities have
a damaged y (`inference.restore.Restored`).
"""

from functools import cached_property
from typing import Protocol, Self

import torch
from torch import Tensor

from backstory.data.observation import Observation
from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.diffusion import NO_DENSITY
from backstory.distributions.latent import Posterior, Prior
from backstory.errors import InputError
from backstory.inference.moments import matched
from backstory.models.vae import VAE, Terms


class Target(Protocol):
    """p(z) p(y|z) of B observations y.

    Attributes:
        vae: the model.
        posterior: the encoder's q(z|y).
    """

    vae: VAE
    posterior: Posterior

    @property
    def prior(self) -> Prior:
        """p(z), or p(z|c) of the observations, computed once for all of them."""
        ...

    def __len__(self) -> int:
        """B."""
        ...

    def rows(self, rows: slice | Tensor) -> Self:
        """The target of some of the observations."""
        ...

    def log_likelihood(self, z: Tensor) -> Tensor:
        """log p(y|z), (K, B) in nats, for packed codes (K, B, D)."""
        ...

    def start(self) -> DiagonalGaussian:
        """The Gaussian of z itself at which a variational fit begins."""
        ...


class Evidenced:
    """The target whose evidence is log p(x): y is x.

    Args:
        vae: the model.
        observation: B observations.
        posterior: another q(z|x) than the encoder's.
    """

    def __init__(self, vae: VAE, observation: Observation, posterior: Posterior | None = None):
        self.vae, self.observation = vae, observation
        with torch.no_grad():
            self.posterior = posterior or vae.encode(observation)

    @cached_property
    @torch.no_grad()
    def prior(self) -> Prior:
        return self.vae.prior(self.observation.given)

    def __len__(self) -> int:
        return len(self.observation)

    def rows(self, rows: slice | Tensor) -> "Evidenced":
        some = Evidenced(self.vae, self.observation.rows(rows), self.posterior.select(rows))
        some.prior = self.prior.of_rows(rows)
        return some

    def log_likelihood(self, z: Tensor) -> Tensor:
        return self.vae.log_likelihood(self.observation, z)

    def start(self) -> DiagonalGaussian:
        return matched(self.vae.latents.base(self.posterior))


def terms_at(target: Target, posterior: Posterior, z: Tensor) -> Terms:
    """What `Terms` says of a target at codes z, (K, B, D), that were drawn from `posterior`."""
    return Terms(target.log_likelihood(z), z, posterior, target.prior)


def check_density(vae: VAE) -> None:
    """InputError unless the model has a p(x) whose density can be estimated."""
    check_distribution(vae)
    if not getattr(vae.prior_module, "has_density", True):
        raise InputError(NO_DENSITY)


def check_distribution(vae: VAE) -> None:
    """InputError for a plain autoencoder."""
    if vae.is_autoencoder:
        raise InputError(
            "a plain autoencoder has no distribution of z and so no p(x); train with posterior gaussian"
        )


class frozen:
    """A context in which gradients of z flow through the model and none are kept for its parameters."""

    def __init__(self, vae: VAE):
        self.parameters = [p for p in vae.parameters() if p.requires_grad]

    def __enter__(self) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(False)

    def __exit__(self, *_: object) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(True)
