"""Conditions c of p(x|c) in networks: a layer takes them beside its other inputs.

The encoder takes c beside x, and the decoder c beside z (Sohn, Lee & Yan 2015, "Learning structured output
representation using deep conditional generative models").
"""

import torch
from torch import Tensor, nn


def beside(x: Tensor, given: Tensor | None) -> Tensor:
    """x, (B, F), with c beside it, (B, F + C); x alone without conditions."""
    return x if given is None else torch.cat((x, given.to(x.dtype)), -1)


class Behind(nn.Sequential):
    """A network behind a module that prepares x for it; the network takes c, the module does not.

    Args:
        inputs: module from x to what the network takes.
        network: module that takes c, if there is one, as its second argument.
    """

    def __init__(self, inputs: nn.Module, network: nn.Module):
        super().__init__(inputs, network)

    def forward(self, x: Tensor, *given: Tensor) -> Tensor:
        inputs, network = self
        features: Tensor = network(inputs(x), *given)
        return features
