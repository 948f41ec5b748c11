"""Priors p(z): modules whose call gives the distribution, so that its parameters can be learned."""

from backstory.models.priors.conditional import ConditionalPrior
from backstory.models.priors.diffusion import DiffusionPrior
from backstory.models.priors.exemplar import ExemplarPrior
from backstory.models.priors.flow import FlowPrior
from backstory.models.priors.mixture import Mixture
from backstory.models.priors.standard_normal import StandardNormal
from backstory.models.priors.vamp import VampPrior

__all__ = [
    "ConditionalPrior",
    "DiffusionPrior",
    "ExemplarPrior",
    "FlowPrior",
    "Mixture",
    "StandardNormal",
    "VampPrior",
]
