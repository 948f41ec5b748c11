"""How a model uses its codes: active units, collapse, bits per dimension. Nothing here draws or prints."""

from dataclasses import dataclass

import torch
from torch import Tensor

from backstory.errors import counted

# A unit carries no information if its posterior mean hardly varies over the data (Burda et al. 2016, sec. 5).
ACTIVE_VARIANCE = 0.01
COLLAPSED_KL = 0.1


@dataclass(frozen=True)
class CodeUse:
    """The use of the latent units over a set of observations.

    Attributes:
        rows: number of observations.
        mean, variance: of E[z_d|x] over the observations, for each unit.
        kl_per_unit: mean KL(q(z_d|x) ‖ p(z_d)) of each unit, nats; None if it has no closed form.
    """

    rows: int
    mean: Tensor
    variance: Tensor
    kl_per_unit: Tensor | None

    @property
    def active(self) -> Tensor:
        """For each unit, whether the variance of E[z_d|x] over the observations exceeds 0.01."""
        return self.variance > ACTIVE_VARIANCE

    @property
    def active_units(self) -> int:
        return int(self.active.sum())


def code_use(means: Tensor, kl_per_unit: Tensor | None, before: CodeUse | None = None) -> CodeUse:
    """The use of codes, from posterior means and KL of each unit, (N, D); joined with that of rows `before`.

    Two sets of rows, the second with the share s of all rows, have together the mean m₁ + s·(m₂ − m₁) and the
    variance (1 − s)·v₁ + s·v₂ + s·(1 − s)·(m₂ − m₁)² (Chan, Golub & LeVeque 1983).

    >>> code_use(torch.tensor([[0.0, 1.0], [0.0, -1.0]]), None).active
    tensor([False,  True])
    """
    variance, mean = torch.var_mean(means, 0, correction=0)
    kl = None if kl_per_unit is None else kl_per_unit.mean(0)
    if before is None:
        return CodeUse(len(means), mean, variance, kl)
    rows = before.rows + len(means)
    s = len(means) / rows
    between = s * (1 - s) * (mean - before.mean) ** 2
    return CodeUse(
        rows,
        before.mean.lerp(mean, s),
        before.variance.lerp(variance, s) + between,
        None if kl is None or before.kl_per_unit is None else before.kl_per_unit.lerp(kl, s),
    )


def collapse_warning(kl: float, active_units: int, latent: int) -> str | None:
    """A warning if the posterior has collapsed onto the prior; None otherwise."""
    if active_units > 0 and kl > COLLAPSED_KL:
        return None
    return (
        f"the posterior has collapsed onto the prior: the KL is {kl:.3f} nats with {active_units} of "
        f"{counted(latent, 'unit')} active, so z says next to nothing about x and the decoder ignores it; "
        "after few epochs train longer, else try a longer `warmup`, a smaller `beta`, or a weaker likelihood"
    )


def bits_per_dim(log_likelihood: float, entries: float) -> float:
    """−log₂ p(x) per entry of a discrete observation, from nats per observation."""
    return -log_likelihood / (entries * float(torch.log(torch.tensor(2.0, dtype=torch.float64))))
