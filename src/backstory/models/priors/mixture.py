"""A mixture of diagonal Gaussians as the prior."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from backstory import options as o
from backstory.distributions.base import soft_clamp, soft_clamp_inverse
from backstory.distributions.mixture import GaussianMixture
from backstory.models.registry import BUILDERS


class Mixture(nn.Module):
    """A mixture of diagonal Gaussians, learned with the model or fitted to its codes afterwards.

    A density fitted to the codes of a trained model gives an autoencoder the p(z) that it lacks, and gives a
    VAE the aggregate posterior as its prior (Ghosh et al. 2020, "From variational to deterministic
    autoencoders", sec. 4; Dai & Wipf 2019).
    """

    LOW, HIGH = -7.0, 7.0

    def __init__(self, latent: int, components: int = 10):
        super().__init__()
        self.components = components
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(torch.randn(components, latent))
        self.log_stds = nn.Parameter(torch.zeros(components, latent))

    def forward(self) -> GaussianMixture:
        return GaussianMixture(
            torch.log_softmax(self.logits, 0), self.means, soft_clamp(self.log_stds, self.LOW, self.HIGH)
        )

    @torch.no_grad()
    def fit(self, codes: Tensor, seed: int = 0) -> "Mixture":
        """Set the parameters by expectation maximisation on codes (N, D); scikit-learn's GaussianMixture."""
        from sklearn.mixture import GaussianMixture as EM

        em: Any = EM(self.components, covariance_type="diag", reg_covar=1e-5, random_state=seed, max_iter=200)
        em.fit(codes.detach().cpu().double().numpy())
        self.logits.copy_(torch.from_numpy(np.log(em.weights_)))
        self.means.copy_(torch.from_numpy(em.means_))
        log_stds = torch.from_numpy(0.5 * np.log(em.covariances_))
        self.log_stds.copy_(soft_clamp_inverse(log_stds, self.LOW, self.HIGH))
        return self


BUILDERS[o.MixturePrior] = lambda options, setting: Mixture(setting.latent, options.components)
