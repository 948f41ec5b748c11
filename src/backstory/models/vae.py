"""The model.

    z ~ p(z)                      prior()
    x ~ p(x|z)                    decode(z)
    q(z|x) ≈ p(z|x)               encode(x)
    z = μ(x) + σ(x)·ε, ε ~ N(0,I) the reparameterisation (Kingma & Welling 2014, eq. 4)

and the one record that every objective, bound and diagnostic is computed from:

    log p(x|z), log p(z), log q(z|x), z       terms(x)

Axes are (K, B) throughout: K draws of z for each of B observations. Units are nats per observation.
With conditions c, everything holds given c: p(x|z, c) and q(z|x, c), and with prior `conditional` p(z|c).

Entries of x may be missing. With x_o the observed entries, everything above holds with x_o in place of x:
p(x_o|z) is their density alone, and q(z|x_o) knows which they are (Mattei & Frellsen 2019). This is right
if an entry is not missing because of its own value.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from backstory.data.observation import Observation
from backstory.distributions.base import DataDistribution
from backstory.distributions.ladder import once
from backstory.distributions.latent import Posterior, Prior
from backstory.models.latents import LatentSpace
from backstory.models.level_posterior import LevelPosterior, Spread


@dataclass(frozen=True)
class Terms:
    """What one pass through the model says about a batch.

    Attributes:
        log_likelihood: log p(x|z), (K, B), nats summed over the observed entries of an observation.
        z: the draws of q(z|x), (K, B, D).
        posterior: q(z|x), B distributions.
        prior: p(z), or p(z|c) of the B observations.
    """

    log_likelihood: Tensor
    z: Tensor
    posterior: Posterior
    prior: Prior

    @property
    def log_prior(self) -> Tensor:
        """log p(z), (K, B); zero in the autoencoder's limit, whose KL term is zero by definition."""
        if not self.posterior.has_density:
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
        """KL(q(z|x) ‖ p(z)) of each dimension, (B, D), where the pair has a closed form."""
        return self._once("kl_per_unit", lambda: self.posterior.kl_per_unit(self.prior))

    @property
    def kl(self) -> Tensor:
        """KL(q(z|x) ‖ p(z)), (B,): in closed form where there is one, else its estimate from the draws.

        Of z in levels the estimate takes the closed form of each level given those above.
        """
        return self._once("kl", self._kl)

    @property
    def kl_given(self) -> Tensor | None:
        """Of z in levels, the KL of each dimension given the levels above, mean of the draws, (B, D)."""
        return self._once("kl_given", self._kl_given)

    @property
    def kl_of_levels(self) -> Tensor | None:
        """Of z in levels, the KL of each level given those above, mean of the draws, (B, L)."""
        return self._once("kl_of_levels", self._kl_of_levels)

    def _kl_of_levels(self) -> Tensor | None:
        kl = self.posterior.kl_of_levels(self.prior, self.z)
        return None if kl is None else kl.mean(0)

    def _kl_given(self) -> Tensor | None:
        kl = self.posterior.kl_given(self.prior, self.z)
        return None if kl is None else kl.mean(0)

    def _kl(self) -> Tensor:
        per_unit = self.kl_per_unit
        kl = self.posterior.kl(self.prior) if per_unit is None else per_unit.sum(-1)
        if kl is None and self.kl_given is not None:
            return self.kl_given.sum(-1)
        return (self.log_posterior - self.log_prior).mean(0) if kl is None else kl

    def _once(self, name: str, compute: Callable[[], Any]) -> Any:
        """A value that is computed once; the compiler, which takes no cache, joins equal values itself."""
        if torch.compiler.is_compiling():
            return compute()
        known = self.__dict__.setdefault("_known", {})
        if name not in known:
            known[name] = compute()
        return known[name]


class Inputs(nn.Module):
    """The encoder's input: y = (x − shift) / scale.

    Args:
        shift, scale: location and scale of the training data; broadcast against the shape of x.
        incomplete: entries of x may be NaN, which means missing. The encoder's input then has one more axis
            of two, (B, *shape, 2), or twice the channels of an image: y, zero where x is missing, and 1
            where x is observed, else 0.
        context: C, the number of conditions that both networks take; 0 for a model of p(x).
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        shift: Tensor | float = 0.0,
        scale: Tensor | float = 1.0,
        incomplete: bool = False,
        context: int = 0,
    ):
        super().__init__()
        self.incomplete, self.context = incomplete, context
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32))
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))

    def observed(self, x: Tensor) -> Tensor | None:
        """Whether each entry of x is observed, of the shape of x; None in a model for complete x."""
        return ~torch.isnan(x) if self.incomplete else None

    def forward(self, x: Tensor) -> Tensor:
        y = (x - self.shift).div_(self.scale)
        observed = self.observed(x)
        if observed is None:
            return y
        y = torch.stack((torch.where(observed, y, 0.0), observed.to(y.dtype)), -1)
        return y.flatten(3) if y.dim() > 4 else y  # the channels of an image


class VAE(nn.Module):
    """A latent-variable model p(x|z)p(z) with an inference network q(z|x).

    Args:
        encoder: module from `inputs(x)` to features, (B, *posterior.features_shape).
        decoder: module from z, (B, units), to features, (B, *head.features_shape).
        head: the likelihood, from the decoder's features to p(x|z); with `head.auxiliary`, from the features
            and the auxiliary coordinates of the code (`distributions.auxiliary`).
        prior: module whose call gives p(z); with `takes_conditions` it takes c, (B, C), and gives p(z|c).
        posterior: module from the encoder's features to q(z|x), see `models.posteriors`.
        inputs: module from x to the encoder's input.
        levels: q(c|x) of a condition whose level may be missing; None where all conditions are observed.

    With conditions, the encoder takes c as its second argument, and the decoder takes c after z, (B, D + C).
    A decoder with `takes_codes` takes z with all axes, (*, D), and c beside it.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        head: nn.Module,
        prior: nn.Module,
        posterior: Any,
        inputs: Inputs | None = None,
        levels: LevelPosterior | None = None,
    ):
        super().__init__()
        self.inputs, self.levels = inputs or Inputs(), levels
        self.encoder, self.posterior, self.decoder, self.head = encoder, posterior, decoder, head
        self.prior_module = prior
        self.latents = LatentSpace(posterior.groups, getattr(head, "auxiliary", 0))

    @property
    def shift(self) -> Tensor:
        return self.inputs.shift

    @property
    def scale(self) -> Tensor:
        return self.inputs.scale

    @property
    def device(self) -> torch.device:
        return self.inputs.shift.device

    @property
    def incomplete(self) -> bool:
        """Whether entries of x may be missing."""
        return self.inputs.incomplete

    @property
    def context(self) -> int:
        """C, the number of conditions of p(x|c); 0 for a model of p(x)."""
        return self.inputs.context

    @property
    def features_shape(self) -> tuple[int, ...]:
        """Shape of the decoder's output for one z."""
        shape: Any = self.head.features_shape
        return tuple(shape)

    @property
    def codes_to_weigh(self) -> int | None:
        """See `distributions.base.Head`."""
        codes: int | None = getattr(self.head, "codes_to_weigh", None)
        return codes

    @property
    def is_autoencoder(self) -> bool:
        """Whether q(z|x) is a point, so that there is no distribution of z and no evidence."""
        return not self.posterior.has_density

    def prior(self, given: Tensor | None = None) -> Prior:
        """p(z); p(z|c) of B rows with conditions (B, C), if the prior's module has `takes_conditions`."""
        depends = getattr(self.prior_module, "takes_conditions", False)
        prior: Prior = self.latents.lift(self.prior_module(given) if depends else self.prior_module())
        return prior

    def level_posterior(self, observation: Observation) -> Tensor:
        """log q(c|x) of the levels of the condition that may be missing, (B, L); see `levels`."""
        assert self.levels is not None
        assert observation.given is not None
        log_q: Tensor = self.levels(self.inputs(observation.x), observation.given)
        return log_q

    def spread(self, observation: Observation) -> Spread:
        """The rows with every level of q(c|x) where their own is missing."""
        assert self.levels is not None
        return Spread.of(self.levels, self.inputs(observation.x), observation)

    def completed(self, observation: Observation) -> Observation:
        """The rows with the level of the highest q(c|x) where their own is missing."""
        if self.levels is None or observation.given is None:
            return observation
        missing, given = self.levels.missing, observation.given
        gaps = missing.gaps(given).unsqueeze(-1)
        likely = missing.with_levels(given, self.level_posterior(observation).argmax(-1))
        return Observation(observation.x, torch.where(gaps, likely, given))

    def encode(self, observation: Observation | Tensor) -> Posterior:
        """q(z|x) of B observations."""
        o = Observation.of(observation)
        y = self.inputs(o.x)
        features = self.encoder(y) if o.given is None else self.encoder(y, o.given)
        posterior: Posterior = self.latents.lift(self.posterior(features.to(y.dtype)))  # not bfloat16
        return posterior

    def decode(self, z: Tensor, given: Tensor | None = None) -> DataDistribution:
        """p(x|z) for z of shape (*, D), one distribution for each.

        Args:
            z: packed codes.
            given: the conditions c, (*, C), which broadcast against z; None for a model of p(x).
        """
        own, beside = self.latents.own(z), self.latents.beside(z)
        distribution: DataDistribution = self.head(self._features(own, given).to(z.dtype), *beside)
        return distribution

    def _features(self, z: Tensor, given: Tensor | None) -> Tensor:
        """What the decoder makes of z, (*, *features_shape)."""
        if getattr(self.decoder, "takes_codes", False):
            features: Tensor = self.decoder(z, given)
            return features
        inputs = z if given is None else torch.cat((z, given.expand(*z.shape[:-1], -1)), -1)
        features = self.decoder(inputs.reshape(-1, inputs.shape[-1]))
        return features.reshape(*z.shape[:-1], *features.shape[1:])

    def one_pass(self) -> once:
        """A context in which the densities of the same codes share the pass from the top down of a ladder."""
        return once(getattr(self.posterior, "top_down", None))

    def log_likelihood(self, observation: Observation | Tensor, z: Tensor) -> Tensor:
        """log p(x|z) of the observed entries of x, (K, B), for codes (K, B, D)."""
        o = Observation.of(observation)
        return self.decode(z, o.given).log_prob(o.x, self.inputs.observed(o.x))

    def terms(
        self,
        observation: Observation | Tensor,
        samples: int = 1,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> Terms:
        """Draw codes for each observation and weigh them.

        Args:
            observation: B observations; the likelihood is that of the entries that are not NaN if the model
                is for incomplete data, and of all entries if it is not.
            samples: K.
            generator: source of the draws, on the device of x.
            noise: ε of the draws, (K, B, D), standard normal, if it was drawn before.
        """
        posterior = self.encode(observation)
        z = posterior.sample(samples, generator) if noise is None else posterior.transport(noise)
        return self.terms_at(observation, posterior, z)

    def terms_at(self, observation: Observation | Tensor, posterior: Posterior, z: Tensor) -> Terms:
        """The terms at given codes z, (K, B, D)."""
        o = Observation.of(observation)
        return Terms(self.log_likelihood(o, z), z, posterior, self.prior(o.given))
