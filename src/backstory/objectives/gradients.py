"""Functions that change a gradient and leave the value as it is."""

from dataclasses import replace

import torch
from torch import Tensor

from backstory.models.vae import Terms


def without_score(terms: Terms) -> Terms:
    """The same terms with a detached q(z|x), so that the gradient reaches the encoder through z alone."""
    return replace(terms, posterior=terms.posterior.detach())


def scale_path(value: Tensor, z: Tensor, factor: Tensor | float) -> Tensor:
    """The same value with its gradient through z multiplied by `factor`; other gradients stay.

    Args:
        value: (K, B), each entry a function of its own draw.
        z: (K, B, D).
        factor: (K, B), a constant.
    """
    if not (torch.is_grad_enabled() and z.requires_grad and value.requires_grad):
        return value
    (slope,) = torch.autograd.grad(value.sum(), z, retain_graph=True)
    return value + (factor - 1) * (slope * (z - z.detach())).sum(-1)
