"""The variational mixture of posteriors as the prior, learned with the model.

    p(z) = (1/C) Σ_c q(z|u_c)

(Tomczak & Welling 2018, "VAE with a VampPrior", eq. 9). The best prior for the bound is the aggregate
posterior (1/N) Σ_n q(z|x_n), which is as large as the training set and makes the model overfit; C learned
pseudo-inputs u_c stand for the rows.

The pseudo-inputs are inputs of the encoder's network: standardised values, and the mask where entries may be
missing; both are learned. They begin as noise of mean 0 and deviation 1, not as training rows, so the weights
hold no row of the data, and a model is made from its options and its seed alone.
"""

import math

import torch
from torch import Tensor, nn

from backstory import options as o
from backstory.distributions.latent import Prior
from backstory.distributions.mixture import EvenMixture, GaussianMixture
from backstory.errors import InputError
from backstory.models.registry import BUILDERS, Setting


class VampPrior(nn.Module):
    """A mixture of the posteriors of learned pseudo-inputs.

    Args:
        encoder, posterior: the modules that give q(z|x). They belong to the model: they are neither
            registered here nor saved twice.
        start: the pseudo-inputs to begin with, (C, …), inputs of the encoder.
    """

    def __init__(self, encoder: nn.Module, posterior: nn.Module, start: Tensor):
        super().__init__()
        self.pseudo_inputs = nn.Parameter(start)
        self.inference = encoder, posterior  # a tuple: not registered as submodules

    def forward(self) -> Prior:
        encoder, posterior = self.inference
        q = posterior(encoder(self.pseudo_inputs))
        diagonal = q.diagonal()
        if diagonal is None:
            return EvenMixture(q)
        even = torch.full_like(diagonal[0][:, 0], -math.log(len(self.pseudo_inputs)))
        return GaussianMixture(even, *diagonal)


def _build(options: o.VampPrior, setting: Setting) -> VampPrior:
    if setting.context:
        raise InputError(
            "prior vamp has pseudo-inputs without conditions, got a model of p(x|c); "
            "use prior conditional, normal, mixture or flow"
        )
    assert setting.encoder is not None
    assert setting.posterior is not None
    start = torch.randn(options.pseudo_inputs, *setting.encoder_input)
    return VampPrior(setting.encoder, setting.posterior, start)


BUILDERS[o.VampPrior] = _build
