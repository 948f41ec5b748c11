"""Exact relations of the columns of a table, found in its rows.

A relation is taken only if no row breaks it, at least `FEWEST` rows have all of its cells, and chance is
ruled out: columns with the same values that do not depend on each other would keep it with a probability
below `CHANCE`.

    order        the lower column is above the upper one in a share q of pairs of different rows: q >= 5 % for
                 dates and for numbers written alike, 20 % for plain numbers, whose unit nobody knows
    determined   at least three values that repeat, in five rows each on average
    sum, product three values and more in each column; a product has a spread of 20 steps of its rounding
    empty        20 rows with the level, and cells elsewhere

In at most 5 % of the rows a dependent cell is observed without those that give it: to a model it says nothing
there. A relation that only this rule forbids is named, so that a person may give it. Candidates come from
some rows; then all rows are compared.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from backstory.data.rows import Rows, blocks
from backstory.data.tables.columns import SINGLE, Column, number_text
from backstory.data.tables.relations import NOISE, Determined, Empty, Order, Product, Relation, Sum

FEWEST = 50  # rows
CHANCE = math.log(1e-9)
SAMPLE = 2000  # rows in which candidates are looked for
MOST_NUMBERS, MOST_FACTORS = 100, 40  # columns among which orders and sums, and products, are looked for
MOST_KEYS, ROWS_OF_KEY, REPEATED = 1000, 5, 3
CROSSED, CROSSED_PLAIN = 0.05, 0.2  # shares q
MOST_UNKNOWN = 0.05
ROWS_OF_LEVEL, MOST_EMPTY = 20, 0.9
STEPS = 20
DIGITS = 4  # of a factor, at most
MOST_PARTS = 12
_POWERS = ((1, 1), (1, -1), (-1, 1), (1, -2), (-2, 1), (2, 1), (1, 2))


@dataclass(frozen=True)
class NotKept:
    """A relation that no row breaks, and that is not kept because of gaps.

    Attributes:
        relation: with its number of rows.
        unknown: the share of rows with the dependent cell, but not those that give it.
    """

    relation: Relation
    unknown: float

    def __str__(self) -> str:
        """What it is, and why it is not kept."""
        text, name = self.relation.text, self.relation.dependent
        return (
            f"not kept: {text} holds in all {self.relation.rows:,} rows with its cells, but "
            f"{100 * self.unknown:.2g} % of rows have {name!r} alone, which would tell a model nothing; "
            f"`constraints` {text!r} keeps it"
        )


@dataclass(frozen=True)
class Search:
    """The rows in which relations are looked for.

    Attributes:
        values: numbers of the cells, (N, C).
        columns: those among which relations are looked for.
        places: their numbers among the C columns.
        not_kept: relations that no row breaks and that `MOST_UNKNOWN` forbids, by their texts.
    """

    values: Rows
    columns: tuple[Column, ...]
    places: tuple[int, ...]
    not_kept: dict[str, NotKept] = field(default_factory=dict)

    def found(self) -> list[Relation]:
        """The relations, those that say most first."""
        if len(self.values) < FEWEST:
            return []
        ways: tuple[Callable[[], Iterator[Relation]], ...] = (
            self._sums, self._products, self._determined, self._orders, self._empty,
        )  # fmt: skip
        return [kept for way in ways for relation in way() if (kept := self.checked(relation)) is not None]

    def checked(self, relation: Relation) -> Relation | None:
        """The relation with its number of rows; None if a row breaks it or too few know its columns."""
        rows, unknown = 0, 0
        for cells in self.parts(relation.names):
            if relation.broken(cells).any():
                return None
            observed = relation.observed(cells)
            rows += int(observed.sum())
            unknown += int((~np.isnan(cells[relation.dependent]) & ~observed).sum())
        if relation.leaves_gaps:
            return relation.model_copy(update={"rows": len(self.values)})
        whole = relation.model_copy(update={"rows": rows})
        if rows >= FEWEST and unknown > MOST_UNKNOWN * len(self.values):
            self.not_kept[relation.text] = NotKept(whole, unknown / len(self.values))
        return whole if rows >= FEWEST and relation.text not in self.not_kept else None

    def parts(self, names: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
        """The cells of some columns, block by block."""
        places = {name: self.places[self.names.index(name)] for name in names}
        for block in blocks(self.values):
            yield {name: block[:, j] for name, j in places.items()}

    @cached_property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self.columns]

    @cached_property
    def _sample(self) -> np.ndarray:
        rows = np.linspace(0, len(self.values) - 1, min(len(self.values), SAMPLE)).astype(int)
        return np.asarray(self.values[rows])[:, list(self.places)]

    # -- order ------------------------------------------------------------------------------------------

    def _orders(self) -> Iterator[Order]:
        groups: dict[object, list[int]] = {}
        for j, column in enumerate(self.columns):
            if column.levels is None:
                groups.setdefault(_unit(column), []).append(j)
        for unit, places in groups.items():
            if 2 <= len(places) <= MOST_NUMBERS:
                below = self._below(places, CROSSED_PLAIN if unit is None else CROSSED)
                for upper, lower in below.items():
                    nearest = [i for i in lower if not any(i in below.get(k, ()) for k in lower)]
                    others = tuple(self.names[i] for i in nearest)
                    if len(others) == 1:
                        order = self.order(self.names[upper], *others)
                    else:
                        order = Order(dependent=self.names[upper], others=others)
                    if self.columns[self.names.index(order.dependent)].kind != "grid":
                        yield order

    def order(self, upper: str, lower: str) -> Order:
        """upper >= lower, in place of the column that fewer rows have alone, or else of the upper one."""
        gaps = np.isnan(self._sample)
        j, i = self.names.index(upper), self.names.index(lower)
        upper_alone, lower_alone = ((gaps[:, b] & ~gaps[:, a]).sum() for a, b in ((j, i), (i, j)))
        if lower_alone < upper_alone and self.columns[i].kind != "grid":
            return Order(dependent=lower, others=(upper,), sign=-1)
        return Order(dependent=upper, others=(lower,))

    def _below(self, places: list[int], crossed: float) -> dict[int, set[int]]:
        """For each column those that never are above it, though they would be in unrelated rows."""
        below: dict[int, set[int]] = {}
        x = self._sample[:, places]
        for k, j in enumerate(places):
            with np.errstate(invalid="ignore"):
                apart = x[:, [k]] - x
                never = ~(apart < 0).any(axis=0) & (apart > 0).any(axis=0)
            known = (~np.isnan(apart)).sum(axis=0)
            for i in np.flatnonzero(never & (known >= min(FEWEST, len(x)))):
                share = _crossing(x[:, i], x[:, k])
                by_chance = known[i] * math.log1p(-min(share, 0.999))
                order = self.order(self.names[j], self.names[places[i]])
                if share >= crossed and by_chance < CHANCE and self.checked(order) is not None:
                    below.setdefault(j, set()).add(places[i])
        return below

    # -- determined -------------------------------------------------------------------------------------

    def _determined(self) -> Iterator[Determined]:
        x = self._sample
        different = [len(np.unique(part[~np.isnan(part)])) for part in x.T]
        order = sorted(
            range(len(different)), key=lambda j: (-different[j], self.columns[j].levels is None, j)
        )
        roots: list[int] = []
        for j in order:
            giver = next((i for i in reversed(roots) if self._may_determine(i, j, different)), None)
            relation = None if giver is None else self.determined(self.names[giver], self.names[j])
            if relation is not None and self.checked(relation) is not None:
                yield relation
            elif self._may_be_key(j, different[j]):
                roots.append(j)

    def _may_be_key(self, j: int, different: int) -> bool:
        column, enough = self.columns[j], ROWS_OF_KEY * different <= len(self._sample)
        return column.kind != "date" and REPEATED <= different <= MOST_KEYS and enough

    def _may_determine(self, i: int, j: int, different: Sequence[int]) -> bool:
        """Whether column i may determine column j, by the sample."""
        both = ~np.isnan(self._sample[:, [i, j]]).any(axis=1)
        key, value = self._sample[both, i], self._sample[both, j]
        if len(key) < FEWEST or different[j] < 2:
            return False
        _, inverse, counts = np.unique(key, return_inverse=True, return_counts=True)
        low, high = np.full(len(counts), np.inf), np.full(len(counts), -np.inf)
        np.minimum.at(low, inverse, value)
        np.maximum.at(high, inverse, value)
        shares = np.unique(value, return_counts=True)[1] / len(value)
        alike = float(np.log(np.sum(shares**2)))
        repeated = len(key) - len(counts)
        return bool((low == high).all() and (counts > 1).sum() >= REPEATED and repeated * alike < CHANCE)

    def determined(self, by: str, dependent: str) -> Determined | None:
        """The relation with the values of all keys; None if a key has two."""
        pairs = np.zeros((0, 3))
        for cells in self.parts((by, dependent)):
            part = np.stack([cells[by], cells[dependent], np.ones(len(cells[by]))], axis=1)
            together = np.concatenate([pairs, part[~np.isnan(part).any(axis=1)]])
            different, inverse = np.unique(together[:, :2], axis=0, return_inverse=True)
            counts = np.bincount(inverse.ravel(), together[:, 2], len(different))
            pairs = np.concatenate([different, counts[:, None]], axis=1)
            if len(np.unique(pairs[:, 0])) < len(pairs):
                return None
        levels = self.columns[self.names.index(by)].levels is not None
        return Determined(
            dependent=dependent,
            by=by,
            keys=tuple(pairs[:, 0].tolist()),
            values=tuple(pairs[:, 1].tolist()),
            counts=tuple(pairs[:, 2].astype(int).tolist()),
            levels=levels,
        )

    # -- sums -------------------------------------------------------------------------------------------

    def _sums(self) -> Iterator[Sum]:
        """Sums with signs, from the null space of the rows: reduced, it has a row for each sum."""
        places = [j for j, column in enumerate(self.columns) if as_number(column) is not None]
        places = [j for j in places if np.isnan(self._sample[:, j]).mean() <= 0.2 and self._varies(j, NOISE)]
        x = self._sample[:, places]
        x = x[~np.isnan(x).any(axis=1)] + [as_number(self.columns[j]) or 0.0 for j in places]
        if not 2 <= len(places) <= MOST_NUMBERS or len(x) < max(FEWEST, len(places) + 2):
            return
        size = np.abs(x).mean(axis=0)
        strength, directions = np.linalg.svd(x / size, full_matrices=False)[1:]
        null = directions[strength < 1e-10 * strength[0]]
        # totals are large, and what is computed mostly comes later: the order that explains more, with fewer
        # differences
        later = np.arange(len(places))[::-1]
        orders = (later[np.argsort(-size[later], kind="stable")], later)
        ways = [list(self._of_null_space(null / size, order, places)) for order in orders]
        yield from max(ways, key=lambda sums: (len(sums), sum(sum(found.signs) for found in sums)))

    def _of_null_space(self, null: np.ndarray, order: np.ndarray, places: list[int]) -> Iterator[Sum]:
        """The sums with coefficients 1 and -1 among the rows of a reduced null space."""
        for total, row in _reduced(null, order):
            signs = -row / row[total]
            signs[total] = 0
            parts = np.flatnonzero(np.abs(signs) > 1e-6)
            is_sum = bool((np.abs(np.abs(signs[parts]) - 1) < 1e-6).all())
            if is_sum and 1 <= len(parts) <= MOST_PARTS and (signs[parts] > 0).any():
                yield self.sum_of(places[total], [places[k] for k in parts], np.rint(signs[parts]))

    def sum_of(self, total: int, parts: Sequence[int], signs: np.ndarray) -> Sum:
        """The sum of columns by their numbers."""
        terms = [(self.columns[j], int(sign)) for j, sign in zip(parts, signs, strict=True)]
        ordered = sorted(terms, key=lambda term: -term[1])  # those that are added come first
        constant = sum(sign * (as_number(column) or 0.0) for column, sign in ordered)
        return Sum(
            dependent=self.names[total],
            parts=tuple(column.name for column, _ in ordered),
            signs=tuple(sign for _, sign in ordered),
            ranges=tuple((_end(column.low, -math.inf), _end(column.high, math.inf)) for column, _ in ordered),
            constant=constant - (as_number(self.columns[total]) or 0.0),
        )

    def _varies(self, j: int, error: float) -> bool:
        """Whether a column has values enough, which differ by more than an error, relative to their size."""
        x = self._sample[:, j]
        x = x[np.isfinite(x)]
        many = len(np.unique(x[:500])) > 2
        return many and bool(x.std() > STEPS * error * np.abs(x).max())

    # -- products ---------------------------------------------------------------------------------------

    def _products(self) -> Iterator[Product]:
        x = self._sample
        places = [
            j
            for j, c in enumerate(self.columns)
            if c.kind in ("continuous", "count") and self._varies(j, SINGLE)
        ]
        with np.errstate(invalid="ignore"):
            places = [j for j in places if not (x[:, j] <= 0).any() and np.isnan(x[:, j]).mean() <= 0.2]
        logs = np.log(x[:, places])
        logs = logs[~np.isnan(logs).any(axis=1)]
        if not 2 <= len(places) <= MOST_FACTORS or len(logs) < FEWEST:
            return
        for t, j in reversed(list(enumerate(places))):  # what is computed mostly comes later
            step = _step(self.columns[j])
            if np.exp(logs[:, t]).std() < STEPS * step:
                continue
            rounding = 1.01 * step / np.exp(logs[:, t]) + 1e-6
            for parts, powers in _factors(logs, t, rounding):
                yield self.product_of(j, [places[k] for k in parts], powers)

    def product_of(self, total: int, parts: Sequence[int], powers: Sequence[int]) -> Product:
        """The product of columns by their numbers, with the factor that the rows have."""
        terms = sorted(zip(parts, powers, strict=True), key=lambda term: -term[1])
        relation = Product(
            dependent=self.names[total],
            parts=tuple(self.names[k] for k, _ in terms),
            powers=tuple(power for _, power in terms),
        )
        cells = {name: self._sample[:, self.names.index(name)] for name in relation.names}
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = cells[relation.dependent] / relation.cell(cells, {})
        usual = float(np.median(ratio[np.isfinite(ratio)])) if np.isfinite(ratio).any() else 1.0
        decimals = self.columns[total].decimals
        ways = [
            relation.model_copy(update={"factor": float(f"{usual:.{digits}g}"), "decimals": decimals})
            for digits in range(1, DIGITS + 1)
        ]
        return next((way for way in ways if not way.broken(cells).any()), ways[-1])

    # -- empty cells ------------------------------------------------------------------------------------

    def _empty(self) -> Iterator[Empty]:
        x = self._sample
        for j in np.flatnonzero(np.isnan(x).any(axis=0)):
            gaps = np.isnan(x[:, j])
            for i, column in enumerate(self.columns):
                codes = [] if i == j or column.levels is None else _emptying(x[:, i], gaps)
                if codes:
                    yield Empty(
                        dependent=self.names[j],
                        given=column.name,
                        codes=tuple(codes),
                        usual=_most_frequent(x[~np.isin(x[:, i], codes), i]),
                        levels=tuple((column.levels or ())[int(code)] for code in codes),
                    )
                    break


def _unit(column: Column) -> object:
    """What two columns have in common whose numbers may be compared; None for plain numbers."""
    if column.kind == "date":
        return ("date", column.format, column.dtype, column.zone)
    return None if column.writing is None else ("written", str(column.writing))


def as_number(column: Column) -> float | None:
    """What the stored number of a cell lacks of its number; None for a column whose numbers do not add up."""
    if column.kind == "ordinal" and column.cells in ("number", "whole") and column.levels is not None:
        first = float(column.levels[0])
        steps = tuple(number_text(first + k) for k in range(len(column.levels)))
        return first if column.levels == steps else None
    return 0.0 if column.kind in ("continuous", "count", "grid") else None


def _crossing(lower: np.ndarray, upper: np.ndarray) -> float:
    """The share of pairs of a lower and an upper cell of any rows in which the lower one is above."""
    low, high = lower[~np.isnan(lower)], np.sort(upper[~np.isnan(upper)])
    return float(np.searchsorted(high, low, side="left").mean() / len(high))


def _reduced(null: np.ndarray, order: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The rows of a reduced null space with their pivots, which are chosen in this order of the columns."""
    rest = null.copy()
    done: list[tuple[int, np.ndarray]] = []
    for j in order:
        if not len(rest):
            break
        best = int(np.abs(rest[:, j]).argmax())
        if np.abs(rest[best, j]) < 1e-6 * np.abs(rest).max():
            continue
        row = rest[best] / rest[best, j]
        rest = np.delete(rest, best, axis=0)
        rest = rest - rest[:, [j]] * row
        done = [(pivot, other - other[j] * row) for pivot, other in done]
        done.append((int(j), row))
    yield from done


def _end(number: float | None, otherwise: float) -> float:
    return otherwise if number is None else number


def _step(column: Column) -> float:
    return 0.0 if column.decimals is None else 10.0**-column.decimals


def _factors(
    logs: np.ndarray, t: int, rounding: np.ndarray
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The columns and powers whose product is column t up to a factor and rounding."""
    others = [k for k in range(logs.shape[1]) if k != t]
    ways: list[tuple[tuple[int, ...], tuple[int, ...]]] = [((k,), (1,)) for k in others]
    ways += [(pair, powers) for pair in itertools.combinations(others, 2) for powers in _POWERS]
    few = np.linspace(0, len(logs) - 1, 5).astype(int)
    for parts, powers in ways:
        for rows in (few, slice(None)):
            rest = logs[rows, t] - logs[rows][:, parts] @ np.array(powers)
            if np.ptp(rest) > 2 * rounding[rows].max() + 1e-4:
                break
        else:
            yield parts, powers


def _emptying(codes: np.ndarray, gaps: np.ndarray) -> list[float]:
    """The levels with which a column is always empty, and is not by chance."""
    known = np.unique(codes[~np.isnan(codes)])
    found = [float(c) for c in known if gaps[codes == c].all() and (codes == c).sum() >= ROWS_OF_LEVEL]
    inside = np.isin(codes, found)
    if not found or inside.all():
        return []
    elsewhere = float(gaps[~inside].mean())
    by_chance = int(inside.sum()) * math.log(max(elsewhere, 1e-9))
    return found if elsewhere <= MOST_EMPTY and by_chance < CHANCE else []


def _most_frequent(codes: np.ndarray) -> float:
    known, counts = np.unique(codes[~np.isnan(codes)], return_counts=True)
    return float(known[counts.argmax()]) if len(known) else math.nan
