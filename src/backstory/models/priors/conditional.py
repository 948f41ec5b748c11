"""A Gaussian that depends on the conditions as the prior of a model of p(x|c), learned with the model.

    p(z|c) = N(μ(c), diag σ(c)²)

(Sohn, Lee & Yan 2015, "Learning structured output representation using deep conditional generative models",
eq. 4). The last layer begins at zero, so p(z|c) begins as N(0, I) for every c.
"""

from torch import Tensor, nn

from backstory import options as o
from backstory.distributions.base import full_precision, soft_clamp
from backstory.distributions.diagonal_gaussian import GaussianOfRows
from backstory.errors import InputError
from backstory.models.registry import BUILDERS, Setting

WIDTH = 64  # of the hidden layer


class ConditionalPrior(nn.Module):
    """p(z|c); its call takes the codes of the conditions, (B, C).

    Args:
        latent: D.
        context: C.
        affine: whether mean and log σ are affine functions of c.
    """

    LOW, HIGH = -7.0, 7.0  # of log σ, around 0, which stays 0
    takes_conditions = True

    def __init__(self, latent: int, context: int, affine: bool = False):
        super().__init__()
        last = nn.Linear(context if affine else WIDTH, 2 * latent)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = last if affine else nn.Sequential(nn.Linear(context, WIDTH), nn.SiLU(), last)

    def forward(self, given: Tensor) -> GaussianOfRows:
        with full_precision(given):
            mean, log_std = self.network(given).chunk(2, -1)
        return GaussianOfRows(mean, soft_clamp(log_std, self.LOW, self.HIGH))


def _build(options: o.ConditionalPrior, setting: Setting) -> ConditionalPrior:
    if not setting.context:
        raise InputError(
            "prior conditional is p(z|c) and needs conditions, got a model of p(x); choose conditions with "
            "`given`, or use prior normal"
        )
    return ConditionalPrior(setting.latent, setting.context, setting.affine)


BUILDERS[o.ConditionalPrior] = _build
