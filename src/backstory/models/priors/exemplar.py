"""The mixture of Gaussians around the codes of training rows as the prior, learned with the model.

    p(z) = (1/M) Σ_m N(z; μ(x_m), σ² I)

(Norouzi et al. 2020, "Exemplar VAE: linking generative models, nearest neighbor retrieval, and data
augmentation", eqs. 4 and 8, with one learned σ). The M exemplars are training rows, all of them or a random
part. In training the p(z) of a row leaves out its own exemplar (sec. 3.2). The paper takes the exemplars
nearest to a code in a table of codes; here all M count in each step, from the table alone: it is computed
before training and at the end of each epoch (`training.exemplars`), so that no gradient passes through it.

The table is a part of the weights: the codes' means are stored, not the rows.
"""

import torch
from torch import Tensor, nn

from backstory import options as o
from backstory.distributions.base import soft_clamp
from backstory.distributions.exemplars import ExemplarMixture
from backstory.models.registry import BUILDERS


class ExemplarPrior(nn.Module):
    """p(z) of M exemplars; training sets their codes, which begin as draws of N(0, I).

    Args:
        latent: D.
        exemplars: M.
    """

    LOW, HIGH = -7.0, 3.0
    means: Tensor

    def __init__(self, latent: int, exemplars: int):
        super().__init__()
        self.register_buffer("means", torch.randn(exemplars, latent))
        self.log_std = nn.Parameter(torch.zeros(()))

    def forward(self) -> ExemplarMixture:
        return ExemplarMixture(self.means, soft_clamp(self.log_std, self.LOW, self.HIGH))


BUILDERS[o.ExemplarPrior] = lambda options, setting: ExemplarPrior(setting.latent, options.exemplars)
