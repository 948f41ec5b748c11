"""A likelihood for each column of a table, and what the encoder sees of it.

Given z the columns are independent, so p(x|z) is a product, and its log a sum in nats: no column is weighed
by hand. Each column has the distribution that its kind calls for, with parameters that the decoder predicts:

    continuous, date   a mixture of Gaussians, of x or of asinh((x − m)/s), and a value with a mass of its own
    grid               categorical over the numbers that the column has
    count              negative binomial
    binary             Bernoulli
    ordinal            discretised logistic
    categorical        categorical

Densities are of x itself, in the column's own unit: with y = asinh(u), u = (x − m)/s,

    log p(x) = log p(y) − log s − ½ log(1 + u²)

(Johnson 1949, the system S_U). Columns of one kind and number of levels are computed together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backstory.distributions import (
    LOG_2PI,
    Bernoulli,
    BernoulliHead,
    Categorical,
    CategoricalHead,
    DataDistribution,
    DiscretisedLogistic,
    DiscretisedLogisticHead,
    fill_unobserved,
    log_softmax,
    randn,
    soft_clamp,
    sum_observed,
    with_gumbel,
)

COMPONENTS = 3
MOST = 15.0  # |μ| of a component: asinh of more than a million scales
LOG_STD_LOW, LOG_STD_HIGH = -4.0, 0.7  # of a component, in scales


class Quantity(NamedTuple):
    """What a column holds: its kind, how many levels, 0 for numbers, and which numbers a grid has."""

    kind: str
    levels: int = 0
    values: tuple[float, ...] = ()

    @property
    def family(self) -> "Quantity":
        """Columns with the same are computed together."""
        kind = "continuous" if self.kind == "date" else self.kind
        return Quantity(kind) if kind in ("continuous", "grid") else self


class Marginals(NamedTuple):
    """What is known of each column from the training data, (C,) each.

    Attributes:
        location, scale: m and s; of log(1 + x) for counts; 0 and 1 for levels.
        curved: whether the column is modelled by asinh((x − m)/s), of bool.
        atom: a value that many cells of a continuous column have; NaN without.
    """

    location: Tensor
    scale: Tensor
    curved: Tensor
    atom: Tensor

    @classmethod
    def blank(cls, columns: int) -> "Marginals":
        """Of columns that nothing is known of, until they are loaded."""
        no = torch.zeros(columns, dtype=torch.bool)
        return cls(torch.zeros(columns), torch.ones(columns), no, torch.full((columns,), math.nan))

    def of(self, columns: Tensor) -> "Marginals":
        """Those of some columns."""
        return Marginals(*(part[columns] for part in self))


# ---------------------------------------------------------------------------------------------------------
# Distributions


@dataclass(frozen=True)
class CurvedMixture:
    """A mixture of Gaussians of y = u or y = asinh(u), u = (x − m)/s, with a point mass at one value of x.

    The density is with respect to the Lebesgue measure, and to the counting measure at the atom.

    Attributes:
        log_weights: of the atom and the K components, (*batch, 1 + K, C).
        means, log_stds: of y, (*batch, K, C).
        marginals: m, s, which columns are curved, and the atoms.
    """

    log_weights: Tensor
    means: Tensor
    log_stds: Tensor
    marginals: Marginals
    event_dims: int = 1

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        m, s, curved, atom = self.marginals
        u = (fill_unobserved(x, observed) - m) / s
        y = torch.where(curved, torch.asinh(u), u)
        slope = -s.log() - torch.where(curved, 0.5 * torch.log1p(u.square()), 0.0)
        distance = (y.unsqueeze(-2) - self.means) * torch.exp(-self.log_stds)
        components = -0.5 * (distance.square() + LOG_2PI) - self.log_stds
        density = torch.logsumexp(self.log_weights[..., 1:, :] + components, -2) + slope
        return sum_observed(
            torch.where(x == atom, self.log_weights[..., 0, :], density), observed, self.event_dims
        )

    @property
    def mean(self) -> Tensor:
        return self.moments[0]

    @property
    def variance(self) -> Tensor:
        return self.moments[1]

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance: E[sinh y] = e^(σ²/2) sinh μ, and E[sinh² y] = (e^(2σ²) cosh 2μ − 1)/2."""
        m, s, curved, atom = self.marginals
        variance, weights = torch.exp(2 * self.log_stds), self.log_weights.exp()
        bent = torch.exp(variance / 2) * torch.sinh(self.means)
        first = torch.where(curved, bent, self.means)
        bent = (torch.exp(2 * variance) * torch.cosh(2 * self.means) - 1) / 2
        second = torch.where(curved, bent, variance + self.means.square())
        u = torch.where(atom.isnan(), 0.0, (atom - m) / s)
        first = (weights[..., 1:, :] * first).sum(-2) + weights[..., 0, :] * u
        second = (weights[..., 1:, :] * second).sum(-2) + weights[..., 0, :] * u.square()
        return m + s * first, (s.square() * (second - first.square())).clamp(min=0)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        m, s, curved, atom = self.marginals
        chosen = Categorical(self.log_weights, 1).sample(generator).long().unsqueeze(-2)
        component = (chosen - 1).clamp(min=0)
        mean, log_std = (part.gather(-2, component).squeeze(-2) for part in (self.means, self.log_stds))
        y = mean + log_std.exp() * randn(tuple(mean.shape), mean, generator)
        x = m + s * torch.where(curved, torch.sinh(y), y)
        return torch.where(chosen.squeeze(-2) == 0, atom, x)


@dataclass(frozen=True)
class NegativeBinomial:
    """x ∈ {0, 1, …} with mean μ and variance μ + μ²/r: a Poisson whose rate is gamma distributed.

        log p(x) = log Γ(x + r) − log Γ(r) − log x! + r log(r/(r + μ)) + x log(μ/(r + μ))

    Attributes:
        log_mean: log μ.
        log_size: log r.
    """

    log_mean: Tensor
    log_size: Tensor
    event_dims: int

    @property
    def mean(self) -> Tensor:
        return self.log_mean.exp()

    @property
    def variance(self) -> Tensor:
        return self.mean + torch.exp(2 * self.log_mean - self.log_size)

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        x, r, logit = fill_unobserved(x, observed), self.log_size.exp(), self.log_mean - self.log_size
        ways = torch.lgamma(x + r) - torch.lgamma(r) - torch.lgamma(x + 1)
        return sum_observed(ways - r * F.softplus(logit) - x * F.softplus(-logit), observed, self.event_dims)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        gamma = torch._standard_gamma(self.log_size.exp(), generator=generator)
        return torch.poisson(gamma * torch.exp(self.log_mean - self.log_size), generator=generator)


class Places(NamedTuple):
    """Where the numbers of grids with L_1, …, L_C of them stand in a line.

    Attributes:
        sizes: L_c.
        column: c of each number, (L_1 + … + L_C,).
        first: where the numbers of a column begin, (C,).
    """

    sizes: tuple[int, ...]
    column: Tensor
    first: Tensor

    @classmethod
    def of(cls, grids: Sequence[tuple[float, ...]]) -> "Places":
        sizes = torch.tensor([len(grid) for grid in grids], dtype=torch.long)
        column = torch.repeat_interleave(torch.arange(len(grids)), sizes)
        return cls(tuple(sizes.tolist()), column, sizes.cumsum(0) - sizes)


@dataclass(frozen=True)
class Grid:
    """Numbers of which each column has few: P(x = v_l) = softmax(logits)_l, of any x by the nearest v_l.

    Attributes:
        logits: of the numbers of all columns in a line, (*batch, L_1 + … + L_C).
        values: v, ascending, (max L, C); columns with fewer repeat the last one.
        places: of the columns in the line.
    """

    logits: Tensor
    values: Tensor
    places: Places
    event_dims: int = 1

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        index = self.places.first + nearest(self.values, fill_unobserved(x, observed))
        chosen = self.logits.gather(-1, index.expand(*self.logits.shape[:-1], -1))
        return sum_observed(chosen - self._log_total, observed, self.event_dims)

    @property
    def _log_total(self) -> Tensor:
        """The log of what normalises each column, (*batch, C)."""
        return torch.stack([part.logsumexp(-1) for part in self.logits.split(self.places.sizes, -1)], -1)

    @property
    def _probs(self) -> Tensor:
        return torch.exp(self.logits - self._log_total[..., self.places.column])

    @property
    def _line(self) -> Tensor:
        """v in a line."""
        level = torch.arange(len(self.places.column), device=self.places.column.device)
        return self.values[level - self.places.first[self.places.column], self.places.column]

    def _sums(self, each: Tensor) -> Tensor:
        """Of each column, (*batch, C)."""
        return torch.stack([part.sum(-1) for part in each.split(self.places.sizes, -1)], -1)

    @property
    def mean(self) -> Tensor:
        return self._sums(self._probs * self._line)

    @property
    def variance(self) -> Tensor:
        distance = self._line - self.mean[..., self.places.column]
        return self._sums(self._probs * distance.square())

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        noisy = with_gumbel(self.logits, generator)
        index = torch.stack([part.argmax(-1) for part in noisy.split(self.places.sizes, -1)], -1)
        return self._line[self.places.first + index]


def nearest(values: Tensor, x: Tensor) -> Tensor:
    """The index of the nearest of the values (L, C) of each column, for x (*batch, C)."""
    below, above = values[:-1], values[1:]
    middles = torch.where(above > below, (below + above) / 2, math.inf)  # none above the last
    return (x.unsqueeze(-2) > middles).sum(-2)


@dataclass(frozen=True)
class Joint:
    """Independent columns, in groups.

    Attributes:
        parts: the distributions of the groups, over one axis of columns each.
        columns: which columns of x each group has.
        order: where in the groups, one after the other, each column of x stands.
    """

    parts: tuple[DataDistribution, ...]
    columns: tuple[Tensor, ...]
    order: Tensor

    def log_prob(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        found = [
            part.log_prob(x[..., columns], None if observed is None else observed[..., columns])
            for part, columns in zip(self.parts, self.columns, strict=True)
        ]
        return sum(found[1:], found[0])

    def entries(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """log p(x_j|z) of each column, (*batch, C), zero where it was not observed."""
        found = []
        for part, columns in zip(self.parts, self.columns, strict=True):
            mask = None if observed is None else observed[..., columns]
            found.append(_entries(part, x[..., columns], mask))
        return torch.cat(found, -1)[..., self.order]

    @property
    def mean(self) -> Tensor:
        return torch.cat([part.mean for part in self.parts], -1)[..., self.order]

    @property
    def variance(self) -> Tensor:
        return torch.cat([part.variance for part in self.parts], -1)[..., self.order]

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of the columns of numbers, (*batch, C) each; zero for columns with levels."""
        mean, variance = zip(*map(_moments, self.parts), strict=True)
        return torch.cat(mean, -1)[..., self.order], torch.cat(variance, -1)[..., self.order]

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        return torch.cat([part.sample(generator) for part in self.parts], -1)[..., self.order]

    @property
    def level_probs(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """Of each group with levels its columns, and the probabilities of their levels, (*batch, L, C)."""
        return tuple(
            (columns, probs)
            for part, columns in zip(self.parts, self.columns, strict=True)
            if (probs := _level_probs(part)) is not None
        )


def _entries(p: Any, x: Tensor, observed: Tensor | None) -> Tensor:
    if not isinstance(p, Categorical):
        entries: Tensor = replace(p, event_dims=0).log_prob(x, observed)
        return entries
    log_probs = log_softmax(p.logits, -2)
    index = fill_unobserved(x, observed).long().expand(*log_probs.shape[:-2], -1).unsqueeze(-2)
    return sum_observed(log_probs.gather(-2, index).squeeze(-2), observed, 0)


def _moments(p: Any) -> tuple[Tensor, Tensor]:
    if isinstance(p, CurvedMixture):
        return p.moments
    match p:
        case Categorical():
            nothing = torch.zeros_like(p.logits[..., 0, :])
        case Bernoulli():
            nothing = torch.zeros_like(p.logits)
        case DiscretisedLogistic():
            nothing = torch.zeros_like(p.location)
        case _:
            return p.mean, p.variance
    return nothing, nothing


def _level_probs(p: DataDistribution) -> Tensor | None:
    if isinstance(p, Bernoulli):
        return torch.stack((1 - p.mean, p.mean), -2)
    if isinstance(p, Categorical):
        return log_softmax(p.logits, -2).exp()
    if isinstance(p, DiscretisedLogistic):
        levels = torch.arange(p.levels, device=p.location.device, dtype=p.location.dtype)
        each = [replace(p, event_dims=0).log_prob(level.expand(p.location.shape[-1:])) for level in levels]
        return torch.stack(each, -2).exp()
    return None


# ---------------------------------------------------------------------------------------------------------
# Heads


class CurvedMixtureHead(nn.Module):
    """Continuous columns; the decoder's output is the weights, means and log deviations of a mixture."""

    location: Tensor
    scale: Tensor
    curved: Tensor
    atom: Tensor

    def __init__(self, marginals: Marginals, components: int = COMPONENTS):
        super().__init__()
        self.components = components
        self.features_shape = (1 + 3 * components, len(marginals.location))
        for name, value in marginals._asdict().items():
            self.register_buffer(name, value.clone())
        # components that begin apart, so that they can part further
        self.register_buffer(
            "start", torch.linspace(-1, 1, components + 2)[1:-1].unsqueeze(-1), persistent=False
        )

    def forward(self, features: Tensor) -> CurvedMixture:
        weights, means, log_stds = features.split([1 + self.components, self.components, self.components], -2)
        first = torch.arange(1 + self.components, device=features.device).unsqueeze(-1) == 0
        weights = torch.where(first & self.atom.isnan(), -1e30, weights)
        marginals = Marginals(self.location, self.scale, self.curved, self.atom)
        return CurvedMixture(
            log_softmax(weights, -2),
            (means + self.start).clamp(-MOST, MOST),
            soft_clamp(log_stds, LOG_STD_LOW, LOG_STD_HIGH),
            marginals,
        )


class GridHead(nn.Module):
    """Columns of few numbers; the decoder's output is the logits of each column's numbers in a line."""

    values: Tensor
    column: Tensor
    first: Tensor

    def __init__(self, grids: Sequence[tuple[float, ...]]):
        super().__init__()
        places = Places.of(grids)
        self.sizes, self.features_shape = places.sizes, (sum(places.sizes),)
        self.register_buffer("values", padded(grids), persistent=False)
        self.register_buffer("column", places.column, persistent=False)
        self.register_buffer("first", places.first, persistent=False)

    def forward(self, features: Tensor) -> Grid:
        return Grid(features, self.values, Places(self.sizes, self.column, self.first))


def padded(grids: Sequence[tuple[float, ...]]) -> Tensor:
    """Numbers of columns that have more or fewer of them, (L, C): the last ones are repeated."""
    most = max(map(len, grids))
    return torch.tensor([(*grid, *[grid[-1]] * (most - len(grid))) for grid in grids]).T.contiguous()


class NegativeBinomialHead(nn.Module):
    """Counts; the decoder's output is log μ, in deviations of log(1 + x) from its mean, and log r."""

    location: Tensor
    scale: Tensor

    def __init__(self, marginals: Marginals):
        super().__init__()
        self.features_shape = (2, len(marginals.location))
        self.register_buffer("location", marginals.location.clone())
        self.register_buffer("scale", marginals.scale.clone())

    def forward(self, features: Tensor) -> NegativeBinomial:
        mean, size = features.unbind(-2)
        log_mean = soft_clamp(self.location + self.scale * mean, -9.0, 12.0)
        return NegativeBinomial(log_mean, soft_clamp(size + 1, -4.0, 6.0), 1)


class JointHead(nn.Module):
    """The likelihood of a row of a table: `Joint`, from features for all columns in a line.

    Args:
        quantities: what each of the C columns holds.
        marginals: what is known of them.
        components: of the mixtures of continuous columns.
    """

    def __init__(self, quantities: Sequence[Quantity], marginals: Marginals, components: int = COMPONENTS):
        super().__init__()
        groups = _groups(quantities)
        self.heads = nn.ModuleList(
            _head(g, marginals.of(c), components, [quantities[j].values for j in c.tolist()])
            for g, c in groups.items()
        )
        self.columns = list(groups.values())
        for index, columns in enumerate(self.columns):
            self.register_buffer(f"columns_{index}", columns, persistent=False)
        self.register_buffer("order", torch.cat(self.columns).argsort(), persistent=False)
        shapes: list[Any] = [head.features_shape for head in self.heads]
        self.sizes = [math.prod(shape) for shape in shapes]
        self.features_shape = (sum(self.sizes),)

    def forward(self, features: Tensor) -> Joint:
        pieces: list[Tensor] = list(features.split(self.sizes, -1))
        parts = []
        for piece, head in zip(pieces, self.heads, strict=True):
            shape: Any = head.features_shape
            parts.append(head(piece.unflatten(-1, shape)))
        columns = tuple(getattr(self, f"columns_{index}") for index in range(len(parts)))
        order: Any = self.order
        return Joint(tuple(parts), columns, order)


def _groups(quantities: Sequence[Quantity]) -> dict[Quantity, Tensor]:
    """The columns of each family, in the order in which they first come."""
    groups: dict[Quantity, list[int]] = {}
    for index, quantity in enumerate(quantities):
        groups.setdefault(quantity.family, []).append(index)
    return {family: torch.tensor(columns) for family, columns in groups.items()}


def _head(
    family: Quantity, marginals: Marginals, components: int, grids: Sequence[tuple[float, ...]]
) -> nn.Module:
    shape = (len(marginals.location),)
    match family.kind:
        case "continuous":
            return CurvedMixtureHead(marginals, components)
        case "grid":
            return GridHead(grids)
        case "count":
            return NegativeBinomialHead(marginals)
        case "binary":
            return BernoulliHead(shape)
        case "ordinal":
            middle = (family.levels - 1) / 2
            return DiscretisedLogisticHead(shape, family.levels, middle, max(middle, 1) / 2)
        case _:
            return CategoricalHead(shape, family.levels)


# ---------------------------------------------------------------------------------------------------------
# The encoder's side


class ColumnInputs(nn.Module):
    """What the encoder sees of a row, (B, F), from (x − shift) / scale and where x was observed, (B, C, 2).

    Continuous columns come as y, counts as log(1 + x) in units of its deviation, levels as one-hot vectors,
    grids as both y and a one-hot vector, ordinal ones as a number between −1 and 1; all of them zero where
    nothing was observed. The mask follows.
    """

    shift: Tensor
    unit: Tensor
    location: Tensor
    scale: Tensor
    curved: Tensor
    grid: Tensor
    first: Tensor

    def __init__(self, quantities: Sequence[Quantity], marginals: Marginals, shift: Tensor, scale: Tensor):
        super().__init__()
        self.register_buffer("shift", shift.clone())
        self.register_buffer("unit", scale.clone())
        self.groups = _groups(quantities)
        for index, columns in enumerate(self.groups.values()):
            self.register_buffer(f"columns_{index}", columns, persistent=False)
        for name in ("location", "scale", "curved"):
            self.register_buffer(name, getattr(marginals, name).clone())
        grids = [q.values for q in quantities if q.kind == "grid"]
        self.register_buffer("grid", padded(grids) if grids else torch.zeros(0, 0), persistent=False)
        self.register_buffer("first", Places.of(grids).first, persistent=False)
        self.numbers = sum(map(len, grids))
        widths = [q.levels if q.kind == "categorical" else 1 + len(q.values) for q in quantities]
        self.outputs = sum(widths) + len(quantities)

    def forward(self, inputs: Tensor) -> Tensor:
        standardised, there = inputs.unbind(-1)
        x = self.shift + self.unit * standardised
        parts = []
        for index, family in enumerate(self.groups):
            columns: Any = getattr(self, f"columns_{index}")
            parts.append(self._features(family, x[:, columns], there[:, columns], columns))
        return torch.cat([*parts, there], -1)

    def _features(self, family: Quantity, x: Tensor, there: Tensor, columns: Tensor) -> Tensor:
        if family.kind == "categorical":
            one_hot = F.one_hot(x.long(), family.levels).to(x.dtype)
            return (one_hot * there.unsqueeze(-1)).flatten(1)
        if family.kind in ("binary", "ordinal"):
            return (2 * x / max(1, family.levels - 1) - 1) * there
        raw = torch.log1p(x) if family.kind == "count" else x
        u = (raw - self.location[columns]) / self.scale[columns]
        y = torch.where(self.curved[columns], torch.asinh(u), u) * there
        if family.kind != "grid":
            return y
        one_hot = there.new_zeros(len(x), self.numbers)
        return torch.cat((y, one_hot.scatter(1, self.first + nearest(self.grid, x), there)), -1)
