"""The columns of a table cut into cells: a categorical distribution over cells, and a density inside each.

The edges e_1 ≤ … ≤ e_E of a column divide the line into cells 0, …, E: the lower tail (−∞, e_1), the cells
[e_l, e_{l+1}), and the upper tail [e_E, ∞). Two equal edges make an atom, a cell that holds one value. With
the probabilities P_l of the cells, and s the mean distance to the edge in a tail,

    p(x) = P_l                              x is a level, a number of a grid, or an atom
    p(x) = P_l / (e_{l+1} − e_l)            x is in a cell between two edges
    p(x) = P_l e^(−d/s) / s                 x is in a tail, at the distance d from its edge

Counts are whole numbers: their edges lie halfway between two of them, the numbers of a cell share P_l evenly,
and a tail is geometric, P_l e^(−(d − ½)/s) (1 − e^(−1/s)).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from backstory.distributions.base import Entrywise
from backstory.distributions.noise import Generators, rand
from backstory.distributions.quantities import Edges, Quantity

ABSENT = -1e30  # the logit of a cell that a column does not have
UNSEEN = 0.1  # rows that are added to each cell before its share is taken


class Inside(NamedTuple):
    """The contents of each cell of each column, (C, L) each.

    Attributes:
        low: the one value that the cell holds, its lower edge, or the edge of a tail.
        width: 0 for one value; in a tail ±s, negative in the lower one.
        tail: whether it is a tail, of bool.
        exists: whether the column has this cell, of bool.
    """

    low: Tensor
    width: Tensor
    tail: Tensor
    exists: Tensor


class Partition(nn.Module):
    """The cells of the C columns of a table.

    Args:
        quantities: the contents of the columns.
        edges: of their cells.

    Attributes:
        cells: L, the most cells of a column.
    """

    edges: Tensor
    tails: Tensor
    counts: Tensor
    values: Tensor
    single: Tensor
    whole: Tensor
    nominal: Tensor

    def __init__(self, quantities: Sequence[Quantity], edges: Edges):
        super().__init__()
        self.register_buffer("edges", edges.edges.clone())
        self.register_buffer("tails", edges.tails.clone())
        self.register_buffer("counts", edges.counts.clone())
        self.cells = self.edges.shape[1] + 1
        values = [q.values or range(q.levels) for q in quantities]
        table = torch.tensor([[*v, *[math.nan] * (self.cells - len(v))] for v in values])
        self.register_buffer("values", table, persistent=False)
        self.register_buffer("single", torch.tensor([len(v) > 0 for v in values]), persistent=False)
        self.register_buffer("whole", torch.tensor([q.kind == "count" for q in quantities]), persistent=False)
        nominal = torch.tensor([q.kind == "categorical" for q in quantities])
        self.register_buffer("nominal", nominal, persistent=False)
        levelled = [0 if q.values else q.levels for q in quantities]
        self.levels = tuple(sorted({*levelled} - {0}))
        for levels in self.levels:
            columns = [j for j, own in enumerate(levelled) if own == levels]
            self.register_buffer(f"columns_{levels}", torch.tensor(columns), persistent=False)

    def inside(self) -> Inside:
        edges, single = self.edges, self.single.unsqueeze(-1)
        count = edges.isfinite().sum(-1, keepdim=True)
        cell = torch.arange(self.cells, device=edges.device)
        low = torch.cat((edges[:, :1], edges), -1)
        inner = edges.diff(prepend=edges[:, :1], append=edges[:, -1:])
        width = torch.where(cell == count, self.tails[:, 1:], inner)
        width = torch.where(cell == 0, -self.tails[:, :1], width)
        exists = torch.where(single, ~self.values.isnan(), cell <= count)
        tail = ((cell == 0) | (cell == count)) & ~single
        return Inside(
            torch.where(single, self.values, low).where(exists, 0.0),
            torch.where(single | ~exists, 0.0, width),
            tail & exists,
            exists,
        )

    def log_counts(self) -> Tensor:
        """Logits of the cells, (C, L), that give the columns their marginal distributions in training."""
        return torch.where(self.inside().exists, torch.log(self.counts + UNSEEN), ABSENT)

    def places(self) -> Tensor:
        """The place of each cell among those of its column, from 0 to 1, (C, L); NaN where none has order."""
        exists = self.inside().exists
        places = torch.arange(self.cells) / (exists.sum(-1, keepdim=True) - 1).clamp(min=1)
        return torch.where(exists & ~self.nominal.unsqueeze(-1), places, math.nan)

    def cell(self, x: Tensor) -> Tensor:
        """The cell of each value of rows x without NaN, (*batch, C)."""
        return _cell(self.edges, x.reshape(-1, x.shape[-1]).T.contiguous()).T.reshape(x.shape)


@dataclass(frozen=True)
class Cells(Entrywise):
    """A categorical distribution over the cells of each column.

    Attributes:
        logits: of the cells, (*batch, C, L).
        partition: the cells.
    """

    logits: Tensor
    partition: Partition
    event_dims: int = 1

    def entry_log_probs(self, x: Tensor) -> Tensor:
        at = self.partition.cell(x)
        shape = torch.broadcast_shapes(at.shape, self.logits.shape[:-1])
        logits = self.logits.expand(*shape, -1)
        chosen = logits.gather(-1, at.expand(shape).unsqueeze(-1)).squeeze(-1)
        return chosen - self.logits.logsumexp(-1) + self._log_density(x, at)

    def _log_density(self, x: Tensor, at: Tensor) -> Tensor:
        """log of the density inside the cells of x, or of the probability of one of their numbers."""
        low, width, tail = self._contents(at)
        whole = self.partition.whole
        size = torch.where(width == 0, 1.0, width.abs())
        distance = torch.where(tail, (x - low).abs() - torch.where(whole, 0.5, 0.0), 0.0) / size
        geometric = torch.log(-torch.expm1(-1 / size))
        return torch.where(tail & whole, geometric, -size.log()) - distance

    def _contents(self, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Low, width and tail of one cell of each column, (*batch, C)."""
        inside = self.partition.inside()
        places = at + torch.arange(at.shape[-1], device=at.device) * self.partition.cells
        return (
            inside.low.flatten()[places],
            inside.width.flatten()[places],
            inside.tail.flatten()[places],
        )

    @property
    def _probs(self) -> Tensor:
        return torch.softmax(self.logits, -1)

    @property
    def mean(self) -> Tensor:
        return self._moments[0]

    @property
    def variance(self) -> Tensor:
        return self._moments[1]

    @property
    def _moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of every column, levels as numbers, (*batch, C) each."""
        inside, probs = self.partition.inside(), self._probs
        means = inside.low + inside.width * torch.where(inside.tail, 1.0, 0.5)
        centre = (probs * means).sum(-1)
        spread = inside.width.square() * torch.where(inside.tail, 1.0, 1 / 12)
        spread = spread + (means - centre.unsqueeze(-1)).square()
        return centre, (probs * spread).sum(-1)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of columns with numbers, (*batch, C) each; zero for columns with levels."""
        mean, variance = self._moments
        for columns in self._levelled.values():
            mean, variance = mean.index_fill(-1, columns, 0.0), variance.index_fill(-1, columns, 0.0)
        return mean, variance

    @property
    def level_probs(self) -> tuple[tuple[Tensor, Tensor], ...]:
        probs = self._probs
        return tuple(
            (columns, probs[..., columns, :levels].movedim(-1, -2))
            for levels, columns in self._levelled.items()
        )

    @property
    def _levelled(self) -> dict[int, Tensor]:
        """The columns with so many levels."""
        return {levels: getattr(self.partition, f"columns_{levels}") for levels in self.partition.levels}

    def sample(self, generator: Generators = None) -> Tensor:
        u = rand((*self.logits.shape[:-1], 2), self.logits, generator)
        low, width, tail = self._contents(_chosen(self.logits, u[..., 0]))
        return _position(low, width, tail, self.partition.whole, u[..., 1])


class Columns:
    """Draws of one column after the other.

    Args:
        partition: the cells of the columns.
    """

    def __init__(self, partition: Partition):
        self.partition, self.inside, self.marginal = partition, partition.inside(), partition.log_counts()

    def draw(self, column: int, logits: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Values of a column and their cells, (N,) each.

        Args:
            column: its number.
            logits: of its cells, relative to the marginal distribution, (N, L).
            u: uniform numbers, (N, 2).
        """
        at = _chosen(logits + self.marginal[column], u[:, 0])
        low, width, tail = (part[column][at] for part in self.inside[:3])
        value = _position(low, width, tail, self.partition.whole[column], u[:, 1])
        own = slice(column, column + 1)  # a value may be rounded into the next cell
        return value, _cell(self.partition.edges[own], value.unsqueeze(0))[0]


def _cell(edges: Tensor, columns: Tensor) -> Tensor:
    """The cell of each value of columns (C, N), which have edges (C, E)."""
    at = torch.searchsorted(edges, columns, right=True)
    below = (at - 1).clamp(min=0)
    before = (at - 2).clamp(min=0)
    last, earlier = edges.gather(1, below), edges.gather(1, before)
    is_atom = (at > 1) & (last == columns) & (earlier == last)
    return at - is_atom.long()


def _chosen(logits: Tensor, u: Tensor) -> Tensor:
    """The cell that uniform numbers u, (*batch), choose from logits, (*batch, L)."""
    below = torch.softmax(logits, -1).cumsum(-1)
    at = torch.searchsorted(below, (u * below[..., -1]).unsqueeze(-1), right=True).squeeze(-1)
    return at.clamp(max=logits.shape[-1] - 1)


def _position(low: Tensor, width: Tensor, tail: Tensor, whole: Tensor, u: Tensor) -> Tensor:
    """The value at which a share u of a cell's probability lies below, or in a lower tail above."""
    distance = width.abs() * torch.where(tail, -torch.log1p(-u), u)
    distance = torch.where(whole & (width != 0), distance.floor() + 0.5, distance)
    return low + torch.where(width < 0, -distance, distance)
