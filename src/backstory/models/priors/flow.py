"""A normalising flow as the prior, learned with the model.

    z = T(u),  u ~ N(0, I),    log p(z) = log N(u) + log|det ∂u/∂z|,   u = T⁻¹(z)

T⁻¹ is a chain of affine coupling layers of zuko (Dinh et al. 2017, "Density estimation using Real NVP",
eqs. 7 and 8). A layer shifts and scales one half of z by functions of the other half, and the halves change
places from layer to layer. So both directions are fast: annealing needs the density, sampling the map T. The
networks of the layers are smooth, which gives Hamiltonian Monte Carlo a continuous gradient.

A p(z) that can follow the aggregate posterior tightens the bound (Chen et al. 2017, "Variational lossy
autoencoder", sec. 3.2; Huang et al. 2017, "Learnable explicit density").
"""

import torch
from torch import Tensor, nn

from backstory import options as o
from backstory.distributions.flow import Flow
from backstory.models.registry import BUILDERS


class FlowPrior(nn.Module):
    """p(z) of affine coupling layers. It begins as N(0, I); with one latent unit it stays a Gaussian.

    Args:
        latent: D.
        transforms: number of coupling layers.
        width: of the two hidden layers of each network.
    """

    zeros: Tensor

    def __init__(self, latent: int, transforms: int = 6, width: int = 64):
        super().__init__()
        from zuko.flows import MAF  # with two passes, an autoregressive layer is a coupling layer

        flow = MAF(
            latent, transforms=transforms, passes=2, hidden_features=(width, width), activation=nn.SiLU
        )
        self.layers: nn.ModuleList = flow.transform.transforms
        self.register_buffer("zeros", torch.zeros(latent), persistent=False)
        for layer in self.layers:
            last = layer.hyper[-1] if latent > 1 else layer  # one unit has no other to depend on
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(self) -> Flow:
        return Flow(tuple(layer() for layer in self.layers), self.zeros)


BUILDERS[o.FlowPrior] = lambda options, s: FlowPrior(s.latent, options.transforms, options.flow_width)
