"""Columns that depend on each other given z.

With the C columns in the order of the table,

    p(x|z) = ∏_j p(x_j | x_1, …, x_{j−1}, z)                p(x) = ∫ p(x|z) p(z) dz

Some columns observed. The observed columns x_o move to the front and keep their order, so

    log p(x_o|z) = Σ over observed j of log p(x_j | observed columns before j, z)

and the missing columns are drawn one after the other, each given x_o and those drawn before. One network
gives the conditionals for every set of observed columns (Uria, Murray & Larochelle 2014, "A deep and
tractable density estimator"). It learns them together: in training, some draws of z have a random set of
columns first, and in some a random set is hidden from later columns, so that z has to tell of them. Standard
normal keys choose: the auxiliary coordinates of the packed code (`distributions.auxiliary`). Each choice
gives a density of x, so the objective stays a bound. Outside of training the order is that of the table, and
the keys have no effect.

The density p(x_o) of a set of observed columns agrees with the integral of p(x) over the missing columns as
far as the network has learned a single joint distribution.

Moments of a missing column j are those of p(x_j | x_o, z), in which j is the next after the observed columns.
They have no Monte Carlo error, and for one missing column they are exact. With several missing columns a draw
of j may come after others of them, and its mean differs from the moment as far as the sets disagree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from backstory.distributions.base import Dependent, Head, MissingEntries, fill_unobserved, sum_observed
from backstory.distributions.cells import Cells, Columns, Partition
from backstory.distributions.noise import Generators, rand
from backstory.distributions.quantities import Edges, Quantity

CHOICES = 2  # keys that choose what a draw is for, before those of the columns


@dataclass(frozen=True)
class Autoregressive(Dependent):
    """p(x|z) for codes of shape (*batch).

    Attributes:
        trunk: t(z), (*batch, W).
        head: the conditionals.
        first: columns that come first, (*batch, C) of bool; None for none.
        visible: columns that later ones are told, (*batch, C) of bool; None for all.
    """

    trunk: Tensor
    head: "AutoregressiveHead"
    first: Tensor | None = None
    visible: Tensor | None = None
    event_dims: int = 1

    refuses_noise = (
        "the columns of the model depend on each other given z, so a noisy or transformed row has no closed "
        "form; train a model with likelihood joint for noise and maps"
    )

    def entries(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """log p(x_j | observed columns before j, z) of each column, (*batch, C), zero at missing entries."""
        x = fill_unobserved(x, observed)
        entries = self.given(x, observed).entries(x)
        return entries if observed is None else torch.where(observed, entries, 0.0)

    def given(self, x: Tensor, observed: Tensor | None = None) -> Cells:
        """p(x_j | observed columns before j, z) of observed columns, p(x_j | x_o, z) of missing ones.

        Args:
            x: without NaN; broadcasts against (*batch, C).
            observed: likewise; None if all columns are.
        """
        shape = (*self.trunk.shape[:-1], x.shape[-1])
        at, every = self.head.partition.cell(x), torch.ones_like(x, dtype=torch.bool)
        at, there, visible = (
            _lines(part, shape)
            for part in (
                at,
                every if observed is None else observed,
                every if self.visible is None else self.visible,
            )
        )
        order = _order(there, None if self.first is None else _lines(self.first, shape))
        known = there.sum(-1, keepdim=True)
        logits = self.head.network(self.trunk.reshape(-1, self.trunk.shape[-1]), at, order, known, visible)
        return self.head.cells(logits.view(*shape, -1).to(self.trunk.dtype))

    def missing_given(self, x: Tensor, observed: Tensor) -> "Missing":
        return Missing(self, fill_unobserved(x, observed), observed)

    def observe(self, x: Tensor, observed: Tensor) -> tuple[Tensor, MissingEntries]:
        missing = self.missing_given(x, observed)
        return missing.log_observed, missing

    @cached_property
    def _blank(self) -> "Missing":
        """All columns, each as the first of all."""
        none = self.trunk.new_zeros(*self.trunk.shape[:-1], *self.head.shape)
        return Missing(self, none, none.bool())


@dataclass(frozen=True)
class Missing:
    """The missing columns given z and the observed columns.

    Attributes:
        p: p(x|z).
        x: rows, without NaN; broadcasts against (*batch, C).
        observed: which of their columns are observed, likewise.
    """

    p: Autoregressive
    x: Tensor
    observed: Tensor

    @cached_property
    def _next(self) -> Cells:
        """p(x_j | x_o, z) of each missing column j, as the next one after the observed columns."""
        return self.p.given(self.x, self.observed)

    @property
    def log_observed(self) -> Tensor:
        """log p(x_o|z) of the observed columns, (*batch)."""
        return sum_observed(self._next.entries(self.x), self.observed, 1)

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

    def sample(self, generator: Generators = None) -> Tensor:
        """A draw of the missing columns, one after the other; observed columns are as they are."""
        trunk, head = self.p.trunk, self.p.head
        shape = (*trunk.shape[:-1], *head.shape)
        u = rand((*shape, 2), trunk, generator).view(-1, *head.shape, 2)
        known = _lines(self.observed, shape).sum(-1)
        turn = known.argsort(stable=True)  # rows that are finished come last
        x = _lines(self.x, shape)[turn]
        head.complete(
            trunk.reshape(-1, trunk.shape[-1])[turn], x, _lines(self.observed, shape)[turn], u[turn]
        )
        return torch.empty_like(x).index_copy_(0, turn, x).view(shape)


def _lines(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Values of the columns as rows, (N, C)."""
    return values.expand(shape).reshape(-1, shape[-1])


def _order(observed: Tensor, first: Tensor | None) -> Tensor:
    """The columns in their order: observed before missing, among these the first ones before others."""
    rank = 2 * (~observed).to(torch.uint8)
    if first is not None:
        rank = rank + (~first).to(torch.uint8)
    return rank.argsort(dim=-1, stable=True)


class Shares(NamedTuple):
    """Shares of the draws in training.

    Attributes:
        first: with some columns first. Data with gaps ask for many sets of observed columns, other data for
            whole rows above all.
        hidden: with some columns hidden from later ones.
    """

    first: float
    hidden: float

    @classmethod
    def suited(cls, gaps: bool) -> "Shares":
        return cls(0.9, 0.1) if gaps else cls(0.4, 0.2)


class AutoregressiveHead(Head):
    """The likelihood of a row whose columns depend on each other given z. The decoder's output is t(z).

    Args:
        quantities: the contents of the C columns.
        edges: of the cells that they are cut into.
        network: makes the network from the places of the cells, such as a
            `models.networks.column_transformer.ColumnTransformer`.
        width: of t(z).
        shares: of the draws in training.
    """

    codes_to_weigh = 32

    def __init__(
        self, quantities: Sequence[Quantity], edges: Edges, network: Any, width: int, shares: Shares
    ):
        super().__init__((len(quantities),), (width,))
        self.shares = shares
        self.auxiliary = CHOICES + len(quantities)
        self.partition = Partition(quantities, edges)
        self.network = network(self.partition.places())

    def forward(self, trunk: Tensor, keys: Tensor) -> Autoregressive:
        if not self.training:
            return Autoregressive(trunk, self)
        u = torch.special.ndtr(keys)
        chosen = u[..., CHOICES:] < u[..., 1:CHOICES]  # a share of the columns that is uniform itself
        kind, (first, hidden) = u[..., :1], self.shares
        hides = (kind >= first) & (kind < first + hidden)
        return Autoregressive(trunk, self, chosen & (kind < first), ~(chosen & hides))

    def cells(self, logits: Tensor) -> Cells:
        """p of the columns from the network's logits, (*batch, C, L), which are relative to the marginals."""
        return Cells(logits + self.partition.log_counts(), self.partition)

    def complete(self, trunk: Tensor, x: Tensor, observed: Tensor, u: Tensor) -> None:
        """Draw the missing columns of rows in place.

        Args:
            trunk: t(z), (N, W).
            x: rows, (N, C); those with more missing columns come first.
            observed: which columns are observed, (N, C) of bool.
            u: uniform numbers for each column, (N, C, 2).
        """
        order, columns = _order(observed, None), Columns(self.partition)
        at, place = self.partition.cell(x), observed.sum(-1, keepdim=True)
        known = self.network.begin(trunk, at, order, place)
        while len(place := place[: int((place < order.shape[1]).sum())]):
            hidden, column = self.network.advance(known, at[: len(place)], place), order.gather(1, place)
            for j in column.unique().tolist():
                rows = (column[:, 0] == j).nonzero().squeeze(1)
                logits = self.network.column(hidden[rows], j)
                x[rows, j], at[rows, j] = columns.draw(j, logits, u[rows, j])
            place = place + 1
