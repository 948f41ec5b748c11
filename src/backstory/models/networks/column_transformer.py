"""A causal transformer over the columns of a row, for any order of the columns.

The token at place i of the order π tells which column comes next and the value of the one before it,

    h_i = t(z) + target(π_i) + value(x_{π_{i−1}}),     out_i = transformer(h_1, …, h_i)

so out_i gives p(x_{π_i} | x_{π_1}, …, x_{π_{i−1}}, z) for any order with one network (Pannatier, Courdier &
Fleuret 2024, "σ-GPTs"; attention as in Vaswani et al. 2017, with the norms before the layers).

Only the first n columns of an order may be known. The tokens of all others then look at these n alone and at
themselves, as if each came next.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FUNCTIONS = 16  # of the place of a cell


def _cosines(places: Tensor) -> Tensor:
    """cos(π k q) / √k of places q, k = 1, 2, …, (C, L, FUNCTIONS); zero where cells have no order."""
    k = torch.arange(1, FUNCTIONS + 1)
    return torch.nan_to_num(torch.cos(math.pi * k * places.unsqueeze(-1)) / k.sqrt(), 0.0)


class Block(nn.Module):
    """Attention and a layer of two affine maps, each added to its input.

    Args:
        width: W.
        heads: of the attention; they share W evenly.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.layers = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def split(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of tokens (N, C, W), each (N, heads, C, W / heads)."""
        parts = self.project(self.first(h)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return parts[0], parts[1], parts[2]

    def finish(self, h: Tensor, attended: Tensor) -> Tensor:
        h = h + self.join(attended.transpose(1, 2).flatten(2))
        out: Tensor = h + self.layers(self.second(h))
        return out


class ColumnTransformer(nn.Module):
    """Logits of the cells of each column, given z and the columns before it.

    Cells that lie side by side begin as similar: their embeddings, and the weights of their logits, are sums
    of smooth functions of the place of the cell and of a part for each cell alone, which is zero at first.

    Args:
        places: the place of each cell among those of its column, from 0 to 1, (C, L); NaN where cells have no
            order.
        width: W, of the tokens.
        layers, heads: number of blocks, and heads of each.
    """

    smooth: Tensor

    def __init__(self, places: Tensor, width: int, layers: int, heads: int):
        super().__init__()
        columns, self.cells = places.shape
        self.register_buffer("smooth", _cosines(places))
        self.value = nn.Parameter(
            torch.where(places.isnan(), 1.0, 0.1).unsqueeze(-1)
            * torch.randn(columns, self.cells, width)
            / width**0.5
        )
        self.smooth_value = nn.Parameter(torch.randn(columns, FUNCTIONS, width) / width**0.5)
        self.target = nn.Parameter(torch.randn(columns, width) / width**0.5)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.weight = nn.Parameter(torch.zeros(columns, width, self.cells))
        self.smooth_weight = nn.Parameter(torch.zeros(columns, width, FUNCTIONS))
        self.bias = nn.Parameter(torch.zeros(columns, self.cells))

    def forward(self, start: Tensor, at: Tensor, order: Tensor, known: Tensor, visible: Tensor) -> Tensor:
        """Logits of all columns, (N, C, L).

        Args:
            start: t(z), (N, W).
            at: the cell of each column, (N, C); any where it is not known.
            order: the columns in their order, (N, C).
            known: n, the number of known columns at the front of the order, (N, 1).
            visible: whether columns that come later are told the value of a column, (N, C) of bool.
        """
        h = self._tokens(start, at, order, known, visible)
        mask = _reach(known, order.shape[1])
        for block in self._blocks():
            queries, keys, values = block.split(h)
            h = block.finish(h, F.scaled_dot_product_attention(queries, keys, values, mask))
        back = order.argsort(-1).unsqueeze(-1).expand_as(h)
        return torch.einsum("ncw,cwl->ncl", self.norm(h).gather(1, back), self._weights()) + self.bias

    def _values(self) -> Tensor:
        """The embeddings of all cells, (C L, W)."""
        return (self.value + self.smooth @ self.smooth_value).flatten(0, 1)

    def _weights(self) -> Tensor:
        """The weights of the logits of all cells, (C, W, L)."""
        return self.weight + self.smooth_weight @ self.smooth.mT

    def _blocks(self) -> Iterator[Block]:
        for block in self.blocks:
            assert isinstance(block, Block)
            yield block

    def _embedded(self, at: Tensor) -> Tensor:
        """The embedding of the cell of each column, (N, C, W)."""
        columns = torch.arange(at.shape[-1], device=at.device)
        return F.embedding(columns * self.cells + at, self._values())

    def _tokens(self, start: Tensor, at: Tensor, order: Tensor, known: Tensor, visible: Tensor) -> Tensor:
        places = torch.arange(order.shape[1], device=order.device)
        before = torch.minimum(places, known) - 1  # the place whose value a token is told
        told = order.gather(1, before.clamp(min=0))
        values = self._embedded(at) * visible.unsqueeze(-1)
        values = values.gather(1, told.unsqueeze(-1).expand(-1, -1, values.shape[-1])) * (
            before >= 0
        ).unsqueeze(-1)
        return start.unsqueeze(1) + self.target[order] + values

    # -- one column after the other -------------------------------------------------------------------------

    def begin(self, start: Tensor, at: Tensor, order: Tensor, known: Tensor) -> "Continuation":
        """The known columns, from which others follow; arguments are those of `forward`."""
        most = int(known.max()) if len(known) else 0
        h = self._tokens(start, at, order[:, :most], known, torch.ones_like(at, dtype=torch.bool))
        cache, mask = [], _reach(known, most)
        for block in self._blocks():
            queries, keys, values = block.split(h)
            room = (0, 0, 0, order.shape[1] - most)
            cache.append((F.pad(keys, room), F.pad(values, room)))
            h = block.finish(h, F.scaled_dot_product_attention(queries, keys, values, mask))
        return Continuation(start, order, self._values(), cache)

    def advance(self, known: "Continuation", at: Tensor, place: Tensor) -> Tensor:
        """The tokens at one place of the order of each of the first n rows, after all blocks, (n, W).

        Args:
            known: the columns before these places; then has the tokens at the places, too.
            at: the cell of each column of these rows, (n, C).
            place: the places, (n, 1).
        """
        n = len(place)
        order, before = known.order[:n], (place - 1).clamp(min=0)
        told = order.gather(1, before)
        value = F.embedding(told * self.cells + at.gather(1, told), known.embeddings)
        h = known.start[:n].unsqueeze(1) + self.target[order.gather(1, place)]
        h = h + value * (place > 0).unsqueeze(-1)
        most = int(place.max()) + 1
        reach = (torch.arange(most, device=place.device) <= place).view(n, 1, 1, most)
        for block, cached in zip(self._blocks(), known.cache, strict=True):
            keys, values = (part[:n] for part in cached)
            queries, *both = block.split(h)
            where = place.view(-1, 1, 1, 1).expand_as(both[0])
            keys.scatter_(2, where, both[0])
            values.scatter_(2, where, both[1])
            attended = F.scaled_dot_product_attention(queries, keys[:, :, :most], values[:, :, :most], reach)
            h = block.finish(h, attended)
        out: Tensor = self.norm(h.squeeze(1))
        return out

    def column(self, hidden: Tensor, column: int) -> Tensor:
        """Logits of one column, (N, L), from tokens that were to give it, (N, W)."""
        weight = self.weight[column] + self.smooth_weight[column] @ self.smooth[column].T
        return torch.addmm(self.bias[column], hidden, weight)


class Continuation(NamedTuple):
    """Rows in which one column follows the other.

    Attributes:
        start: t(z), (N, W).
        order: the columns in their order, (N, C).
        embeddings: of all cells, (C L, W).
        cache: keys and values of each block, (N, heads, C, W / heads) each, with room for all columns.
    """

    start: Tensor
    order: Tensor
    embeddings: Tensor
    cache: list[tuple[Tensor, Tensor]]


def _reach(known: Tensor, columns: int) -> Tensor:
    """Which places (last axis) a place looks at, (N, 1, C, C) of bool."""
    places = torch.arange(columns, device=known.device)
    earlier = (places <= places.unsqueeze(-1)) & (places < known.unsqueeze(-1))
    return (earlier | torch.eye(columns, dtype=torch.bool, device=known.device)).unsqueeze(1)
