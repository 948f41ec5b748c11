"""Columns that depend on each other given z, in an order that is drawn with z.

With π an order of the C columns, uniform among all, and beside it z,

    p(x|z, π) = ∏_i p(x_π(i) | x_π(1), …, x_π(i−1), z)                p(x) = E_π ∫ p(x|z, π) p(z) dz

One network gives the conditionals of all orders (Uria, Murray & Larochelle 2014, "A deep and tractable
density estimator"; masks as in Germain et al. 2015, "MADE"). With an embedding E_i(x_i) of each column and
the set before(j) of the columns that come before j,

    h_j = t(z) + e_j + Σ_{i ∈ before(j)} E_i(x_i),    p(x_j | x_before(j), z) = head_j(MLP(h_j))

so one product with the mask of an order gives all C conditionals, which are exact. t(z) is the output of the
decoder.

The order sorts C standard normal keys, which are the auxiliary coordinates of the packed code
(`distributions.auxiliary`): each draw of z brings an order of its own, and averages over draws of z are
averages over orders, too. Equal keys leave columns in the order of the table.

Some columns observed. The observed columns x_o move to the front and keep their order, so

    log p(x_o|z, π) = Σ over observed j of log p(x_j | observed columns before j, z)

and the missing columns are drawn one after the other, each given x_o and those drawn before. This is exact
for the orders in which x_o comes first. The network gives every order its own conditionals, and these agree
with one p(x) as far as it has learned a single joint distribution.

Moments of a missing column j are those of p(x_j | x_o, z), in which j is the next after the observed columns.
They have no Monte Carlo error, and for one missing column they are exact. With several missing columns a draw
of j may come after others of them, and its mean differs from the moment as far as the orders disagree.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from backstory.distributions.base import DataDistribution, Entrywise, Head, MissingEntries, fill_unobserved
from backstory.distributions.table_row import JointHead


@dataclass(frozen=True)
class Autoregressive(Entrywise):
    """p(x|z, π) for codes of shape (*batch).

    Attributes:
        trunk: t(z), (*batch, H).
        keys: numbers whose order is π, (*batch, C).
        network: the conditionals.
    """

    trunk: Tensor
    keys: Tensor
    network: "AutoregressiveHead"
    event_dims: int = 1

    refuses_noise = (
        "the columns of the model depend on each other given z, so a noisy or transformed row has no closed "
        "form; train a model with likelihood joint for noise and maps"
    )

    def entries(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """log p(x_j | observed columns before j, z) of each column, (*batch, C), zero at missing entries."""
        x = fill_unobserved(x, observed)
        before = _before(self.keys)
        if observed is not None:
            before = before & observed.unsqueeze(-2)
        entries = self.given(x, before).entries(x)
        return entries if observed is None else torch.where(observed, entries, 0.0)

    def given(self, x: Tensor, before: Tensor) -> DataDistribution:
        """p(x_j | x_i for the columns i with before_ji, z) of each column j.

        Args:
            x: without NaN; broadcasts against (*batch, C).
            before: (*batch, C, C) of bool, or broadcasting against it.
        """
        context = _sums(before.to(self.trunk.dtype), self.network.embed(x))
        return self.network.columns(self.trunk.unsqueeze(-2) + context)

    def missing_given(self, x: Tensor, observed: Tensor) -> MissingEntries:
        return Missing(self, fill_unobserved(x, observed), observed)

    @property
    def _blank(self) -> "Missing":
        """All columns, where none is observed."""
        none = torch.zeros_like(self.keys)
        return Missing(self, none, none.bool())

    @property
    def mean(self) -> Tensor:
        """E[x_j|z] of each column as the first of the order, (*batch, C)."""
        return self._blank.mean

    @property
    def variance(self) -> Tensor:
        return self._blank.variance

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        return self._blank.moments

    @property
    def level_probs(self) -> tuple[tuple[Tensor, Tensor], ...]:
        return self._blank.level_probs

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        return self._blank.sample(generator)


@dataclass(frozen=True)
class Missing:
    """The missing columns given z, π and the observed columns.

    Attributes:
        p: p(x|z, π).
        x: rows, without NaN; broadcasts against (*batch, C).
        observed: which of their columns are observed, likewise.
    """

    p: Autoregressive
    x: Tensor
    observed: Tensor

    @property
    def _next(self) -> DataDistribution:
        """p(x_j | x_o, z) of each column j, as the next one after the observed columns."""
        return self.p.given(self.x, self.observed.unsqueeze(-2))

    @property
    def mean(self) -> Tensor:
        return self._next.mean

    @property
    def variance(self) -> Tensor:
        return self._next.variance

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        return self._next.moments

    @property
    def level_probs(self) -> tuple[tuple[Tensor, Tensor], ...]:
        return self._next.level_probs

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """A draw of the missing columns, one after the other; observed columns are as they are."""
        keys, network = self.p.keys, self.p.network
        x, observed = self.x.expand_as(keys), self.observed.expand_as(keys)
        order = keys.argsort(dim=-1, stable=True)
        missing_first = observed.gather(-1, order).to(torch.uint8).argsort(dim=-1, stable=True)
        steps = order.gather(-1, missing_first).split(1, -1)[: int((~observed).sum(-1).max())]
        for column in steps:
            embedded = (network.embed(x) * observed.unsqueeze(-1)).sum(-2)
            drawn = network.each(self.p.trunk + embedded, column).sample(generator)
            known = observed.gather(-1, column)  # of rows with fewer missing columns
            value = torch.where(known, x.gather(-1, column), drawn.gather(-1, column))
            x, observed = x.scatter(-1, column, value), observed.scatter(-1, column, True)
        return x


def _before(keys: Tensor) -> Tensor:
    """Whether column i comes before column j, (*batch, j, i), by the keys, (*batch, C)."""
    mine, other = keys.unsqueeze(-1), keys.unsqueeze(-2)
    places = torch.arange(keys.shape[-1], device=keys.device)
    return (other < mine) | ((other == mine) & (places < places.unsqueeze(-1)))


def _sums(mask: Tensor, embedded: Tensor) -> Tensor:
    """Σ_i mask_ji E_i, (*batch, C, H), for masks (*batch, C, C) of rows with embeddings (*rows, C, H).

    Axes of the batch before those of the rows are joined with j, so that the embeddings are not repeated.
    """
    extra = mask.dim() - embedded.dim()
    if extra <= 0:
        return mask @ embedded
    summed = torch.einsum("k...ji,...ih->k...jh", mask.flatten(0, extra - 1), embedded)
    return summed.unflatten(0, mask.shape[:extra])


class AutoregressiveHead(Head):
    """The likelihood of a row whose columns depend on each other given z.

    The decoder's output is t(z); the keys of the order are the auxiliary coordinates of the code.

    Args:
        joint: the heads of the columns.
        inputs: what the embeddings see of a row, `models.networks.row_features.ColumnInputs`.
        width: H, of the embeddings and of the hidden layer of the MLP.
    """

    def __init__(self, joint: JointHead, inputs: Any, width: int = 128):
        super().__init__(joint.shape, (width,))
        self.auxiliary = joint.shape[0]
        self.joint, self.inputs = joint, inputs
        self.embedding = Embeddings(inputs.column, width)
        self.identity = nn.Parameter(torch.randn(self.auxiliary, width) / width**0.5)
        self.hidden = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.output = Outputs(joint.column, width)

    def forward(self, trunk: Tensor, keys: Tensor) -> Autoregressive:
        return Autoregressive(trunk, keys, self)

    def embed(self, x: Tensor) -> Tensor:
        """E_i(x_i) of each column, (*, C, H), of rows x, (*, C)."""
        rows = x.reshape(-1, x.shape[-1])
        embedded: Tensor = self.embedding(self.inputs.features(rows, torch.ones_like(rows)))
        return embedded.view(*x.shape, -1)

    def columns(self, context: Tensor) -> DataDistribution:
        """p(x_j | ·) of each column j, (*, C), from t(z) plus embeddings, (*, C, H)."""
        return self._heads(self.hidden(context + self.identity), context)

    def each(self, context: Tensor, column: Tensor) -> DataDistribution:
        """p(x_j | ·) of one column j of each row, (*, 1), from t(z) plus embeddings, (*, H).

        The record is of all columns; what it says of the others has no meaning.
        """
        hidden = self.hidden(context + self.identity[column.squeeze(-1)])
        return self._heads(hidden.unsqueeze(-2).expand(*hidden.shape[:-1], *self.identity.shape), context)

    def _heads(self, hidden: Tensor, like: Tensor) -> DataDistribution:
        distribution: DataDistribution = self.joint(self.output(hidden).to(like.dtype))
        return distribution


class _Blocks(nn.Module):
    """The places of the numbers of each column in a padded array, (C, W), with W the most of a column.

    Args:
        column: the column of each number, (F,).
    """

    places: Tensor

    def __init__(self, column: Tensor):
        super().__init__()
        among = torch.stack([(column[:index] == own).sum() for index, own in enumerate(column)])
        self.count, self.most = int(column.max()) + 1, int(among.max()) + 1
        self.register_buffer("places", column * self.most + among, persistent=False)


class Embeddings(_Blocks):
    """A linear map of the numbers of each column to H, from (N, F) to (N, C, H)."""

    def __init__(self, column: Tensor, width: int):
        super().__init__(column)
        self.weight = nn.Parameter(_uniform((self.count, self.most, width), len(column)))

    def forward(self, features: Tensor) -> Tensor:
        padded = features.new_zeros(len(features), self.count * self.most)
        padded = padded.index_copy(1, self.places, features)
        return torch.einsum("ncw,cwh->nch", padded.unflatten(1, (self.count, self.most)), self.weight)


class Outputs(_Blocks):
    """An affine map of H to the parameters of each column, from (*, C, H) to (*, F)."""

    def __init__(self, column: Tensor, width: int):
        super().__init__(column)
        self.weight = nn.Parameter(_uniform((self.count, width, self.most), width))
        self.bias = nn.Parameter(_uniform((self.count, self.most), width))

    def forward(self, hidden: Tensor) -> Tensor:
        padded = torch.einsum("...ch,chw->...cw", hidden, self.weight) + self.bias
        return padded.flatten(-2)[..., self.places]


def _uniform(shape: tuple[int, ...], inputs: int) -> Tensor:
    """Weights of a layer with so many inputs, as in `nn.Linear`."""
    return (2 * torch.rand(shape) - 1) / inputs**0.5
