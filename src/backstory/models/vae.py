"""The model.

    z ~ p(z)                      prior()
    x ~ p(x|z)                    decode(z)
    q(z|x) ≈ p(z|x)               encode(x)
    z = μ(x) + σ(x)·ε, ε ~ N(0,I) the reparameterisation (Kingma & Welling 2014, eq. 4)

and the one record that every objective, bound and diagnostic is computed from:

    log p(x|z), log p(z), log q(z|x), z       terms(x)

Axes are (K, B) throughout: K draws of z for each of B observations. Units are nats per observation.

Of x some entries may be missing. With x_o those that were observed, everything above holds with x_o in place
of x: p(x_o|z) is the product over them alone, and q(z|x_o) is told which they are (Mattei & Frellsen 2019).
That is right as long as what is missing does not depend on its own value.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from backstory.distributions.base import CodeDistribution, DataDistribution, Posterior
from backstory.distributions.delta import Delta
from backstory.distributions.kl import kl_per_unit


@dataclass(frozen=True)
class Terms:
    """What one pass through the model says about a batch.

    Attributes:
        log_likelihood: log p(x|z), (K, B), nats summed over the observed entries of an observation.
        z: the draws of q(z|x), (K, B, D).
        posterior: q(z|x), B distributions.
        prior: p(z).
    """

    log_likelihood: Tensor
    z: Tensor
    posterior: Posterior
    prior: CodeDistribution

    @property
    def log_prior(self) -> Tensor:
        """log p(z), (K, B); zero in the autoencoder's limit, whose KL term is zero by definition."""
        if isinstance(self.posterior, Delta):
            return torch.zeros_like(self.log_likelihood)
        return self.prior.log_prob(self.z)

    @property
    def log_posterior(self) -> Tensor:
        """log q(z|x), (K, B)."""
        return self.posterior.log_prob(self.z)

    @property
    def log_weight(self) -> Tensor:
        """log w = log p(x, z) − log q(z|x), (K, B): its mean is the ELBO, log-mean-exp the evidence."""
        return self.log_likelihood + self.log_prior - self.log_posterior

    @property
    def kl_per_unit(self) -> Tensor | None:
        """KL(q(z|x) ‖ p(z)) for each unit, (B, D), where the pair has a closed form."""
        return kl_per_unit(self.posterior, self.prior)

    @property
    def kl(self) -> Tensor:
        """KL(q(z|x) ‖ p(z)), (B,): in closed form where there is one, else its estimate from the draws."""
        per_unit = self.kl_per_unit
        if per_unit is not None:
            return per_unit.sum(-1)
        return (self.log_posterior - self.log_prior).mean(0)


class VAE(nn.Module):
    """A latent-variable model p(x|z)p(z) with an inference network q(z|x).

    Args:
        encoder: module from standardised x, (B, *shape), to (B, 2, latent).
        decoder: module from z, (B, latent), to (B, *head.features_shape).
        head: the likelihood, from the decoder's output to p(x|z).
        prior: module whose call gives p(z).
        posterior: module from the encoder's features to q(z|x), see `models.posteriors`.
        shift, scale: the encoder sees (x − shift) / scale; broadcast against the shape of x.
        incomplete: entries of x may be NaN, which is missing. The encoder's input then has a further axis of
            two, (B, *shape, 2), or twice the channels of an image: y, and 1 where it was observed, else 0.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        head: nn.Module,
        prior: nn.Module,
        posterior: Any,
        shift: Tensor | float = 0.0,
        scale: Tensor | float = 1.0,
        incomplete: bool = False,
    ):
        super().__init__()
        self.encoder, self.decoder, self.head, self.prior_module = encoder, decoder, head, prior
        self.posterior, self.incomplete = posterior, incomplete
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32))
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))

    @property
    def features_shape(self) -> tuple[int, ...]:
        """Shape of the decoder's output for one z."""
        shape: Any = self.head.features_shape
        return tuple(shape)

    @property
    def is_autoencoder(self) -> bool:
        """Whether q(z|x) is a point, so that there is no distribution of z and no evidence."""
        return not self.posterior.has_density

    def prior(self) -> CodeDistribution:
        """p(z)."""
        distribution: CodeDistribution = self.prior_module()
        return distribution

    def observed(self, x: Tensor) -> Tensor | None:
        """Which entries of x are there, of the shape of x; None where the model is for whole x."""
        return ~torch.isnan(x) if self.incomplete else None

    def encode(self, x: Tensor, observed: Tensor | None = None) -> Posterior:
        """q(z|x) for x of shape (B, *shape); entries that were not observed are taken as average ones."""
        observed = self.observed(x) if observed is None else observed
        y = (x - self.shift) / self.scale
        if observed is not None:
            y = torch.where(observed, y, 0.0)
        if self.incomplete:
            assert observed is not None
            y = torch.stack((y, observed.to(y.dtype)), -1)
            y = y.flatten(3) if y.dim() > 4 else y  # the channels of an image
        posterior: Posterior = self.posterior(self.encoder(y).to(y.dtype))  # networks may compute in bfloat16
        return posterior

    def kl(self, posterior: CodeDistribution) -> Tensor | None:
        """KL(posterior ‖ p(z)), (B,), where the pair has a closed form."""
        per_unit = kl_per_unit(posterior, self.prior())
        return per_unit if per_unit is None else per_unit.sum(-1)

    def decode(self, z: Tensor) -> DataDistribution:
        """p(x|z) for z of shape (*, D), one distribution for each."""
        features = self.decoder(z.reshape(-1, z.shape[-1])).to(z.dtype)
        distribution: DataDistribution = self.head(features.reshape(*z.shape[:-1], *features.shape[1:]))
        return distribution

    def log_likelihood(self, x: Tensor, z: Tensor, observed: Tensor | None = None) -> Tensor:
        """log p(x|z) of the observed entries of x, (K, B), for codes (K, B, D)."""
        observed = self.observed(x) if observed is None else observed
        return self.decode(z).log_prob(x, observed)

    def terms(
        self,
        x: Tensor,
        observed: Tensor | None = None,
        samples: int = 1,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> Terms:
        """Draw `samples` codes for each observation and weigh them.

        Args:
            x: (B, *shape), in the model's units (`Schema.prepare`).
            observed: (B, *shape) of bool; the likelihood is that of the observed entries. Without it, all
                are, or those that are not NaN if the model is for incomplete data.
            samples: K.
            generator: source of the draws, on the device of x.
            noise: ε of the draws, (samples, B, D), standard normal, where it was drawn before.
        """
        observed = self.observed(x) if observed is None else observed
        posterior = self.encode(x, observed)
        z = posterior.sample(samples, generator) if noise is None else posterior.transport(noise)
        return self.terms_at(x, posterior, z, observed)

    def terms_at(self, x: Tensor, posterior: Posterior, z: Tensor, observed: Tensor | None = None) -> Terms:
        """The terms at given codes z, (K, B, D)."""
        return Terms(self.log_likelihood(x, z, observed), z, posterior, self.prior())
