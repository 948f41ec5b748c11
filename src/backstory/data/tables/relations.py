"""Exact relations between the columns of a table, and transformations of cells that keep them.

A relation gives one column, the dependent one, by others. Cells u of the table become stored values v so that
every v has cells that keep the relation, and log p(v) is log p(u):

    order        end >= start          v = end - start in place of end, not negative; the Jacobian is 1. Where
                                       more rows have end alone than start alone, in place of start
    determined   zone -> borough       borough has no v and no density: log p(borough | zone) = 0
    sum          total = a + b - c     total has no v
    product      bmi = weight / height^2, within the rounding of its cells; bmi has no v
    empty        age is empty if status = none: v = age; the cell of a draw is emptied

A cell that is missing leaves v missing, but for a single missing part of a sum, which follows from the
others. So an end without a start says nothing to the model. When gaps are filled, observed cells stay, and a
filled one gives way to an observed one where a relation ties them (`Relation.given_way`).
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Literal, Self

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from backstory.data.tables.columns import SINGLE

Cells = Mapping[str, np.ndarray]  # numbers of the cells of some rows by column, NaN where empty
NOISE = 1e-9  # error of double precision in a sum or product, relative to its largest part


class Relation(BaseModel):
    """A relation that holds in every row.

    Attributes:
        kind: its name.
        dependent: the column that the others give.
        rows: number of training rows in which all of its columns are observed.
        told: whether a person gave it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    dependent: str
    rows: int = 0
    told: bool = False

    @property
    @abstractmethod
    def text(self) -> str:
        """The relation as a person writes it."""

    @property
    @abstractmethod
    def givers(self) -> tuple[str, ...]:
        """The columns that give the dependent one."""

    @property
    def names(self) -> tuple[str, ...]:
        """All columns of the relation."""
        return (*self.givers, self.dependent)

    @property
    def keeps_density(self) -> bool:
        """Whether the dependent column has a stored value, and so a density."""
        return False

    @property
    def leaves_gaps(self) -> bool:
        """Whether it empties cells, and gives none."""
        return False

    def stored(self, cells: Cells) -> np.ndarray:
        """The stored values in place of the dependent cells."""
        return cells[self.dependent]

    @abstractmethod
    def cell(self, cells: Cells, stored: Cells) -> np.ndarray:
        """The dependent cells for the others and the stored values; NaN where they are not known."""

    @abstractmethod
    def broken(self, cells: Cells) -> np.ndarray:
        """Whether each row contradicts the relation, (N,) of bool."""

    def observed(self, cells: Cells) -> np.ndarray:
        """Whether all cells of the relation are observed in each row, (N,) of bool."""
        return ~np.asarray(np.isnan([cells[name] for name in self.names]).any(axis=0))

    def solved(self, cells: Cells) -> dict[str, np.ndarray]:
        """Missing cells of the givers that follow from the others, by column."""
        return {}

    def as_numbers(self, tables: Mapping[str, np.ndarray]) -> Self:
        """The same relation where the levels of some columns became numbers, given by level."""
        return self

    def given_way(self, cells: Cells, own: Cells, stored: Cells, told: Cells) -> dict[str, np.ndarray]:
        """Filled cells of the givers, changed where the dependent cell is observed.

        Args:
            cells: of the givers, filled.
            own: those that are observed, NaN elsewhere.
            stored: the stored values, filled.
            told: by column, whether each cell is observed or follows from observed ones.
        """
        return {}


def _free(relation: Relation, own: Cells) -> np.ndarray:
    """Rows in which the dependent cell is observed and the last missing giver may be chosen."""
    missing = np.isnan([own[name] for name in relation.givers]).any(axis=0)
    return missing & ~np.isnan(own[relation.dependent])


class Order(Relation):
    """dependent >= each of the others, stored as the distance from the largest of these; or turned round.

    Attributes:
        others: the columns that the dependent one is compared with.
        sign: 1 if it is above them, -1 if it is below them.
    """

    kind: Literal["order"] = "order"
    others: tuple[str, ...] = Field(validation_alias=AliasChoices("others", "lower"))  # earlier: lower
    sign: Literal[1, -1] = 1

    @property
    def text(self) -> str:
        pairs = [(self.dependent, name)[:: self.sign] for name in self.others]
        return " and ".join(f"{upper} >= {lower}" for upper, lower in pairs)

    @property
    def givers(self) -> tuple[str, ...]:
        return self.others

    @property
    def keeps_density(self) -> bool:
        return True

    def stored(self, cells: Cells) -> np.ndarray:
        return rounded_noise(self.sign * (cells[self.dependent] - self._base(cells)))

    def cell(self, cells: Cells, stored: Cells) -> np.ndarray:
        return self._base(cells) + self.sign * np.maximum(stored[self.dependent], 0)

    def broken(self, cells: Cells) -> np.ndarray:
        broken: np.ndarray = self.sign * cells[self.dependent] < self.sign * self._base(cells)
        return broken

    def given_way(self, cells: Cells, own: Cells, stored: Cells, told: Cells) -> dict[str, np.ndarray]:
        """A filled cell of the others keeps the order to the observed dependent one.

        It is as far from it as the model draws. Where other columns tell of it, or there are several others,
        it only moves as far as the order needs.
        """
        free, observed = _free(self, own), own[self.dependent]
        nearest = observed - self.sign * np.maximum(stored[self.dependent], 0)
        changed = {}
        for name in self.others:
            mine = free & np.isnan(own[name])
            stays = told[name] | (len(self.others) > 1)
            moved = self.sign * np.minimum(self.sign * cells[name], self.sign * observed)
            changed[name] = np.where(mine, np.where(stays, moved, nearest), cells[name])
        return changed

    def _base(self, cells: Cells) -> np.ndarray:
        base: np.ndarray = self.sign * np.max([self.sign * cells[name] for name in self.others], axis=0)
        return base


def rounded_noise(values: np.ndarray) -> np.ndarray:
    """Differences without the last digits that double precision adds: equal ones become equal."""
    return np.round(values, 11)


class Determined(Relation):
    """Every value of one column goes with one value of the dependent column.

    Attributes:
        by: the column that determines.
        keys: its numbers in rising order.
        values: of each key, the number of the dependent column.
        counts: of each key, its number of training rows.
        levels: whether keys are numbers of levels, not numbers with a distance.
    """

    kind: Literal["determined"] = "determined"
    by: str
    keys: tuple[float, ...]
    values: tuple[float, ...]
    counts: tuple[int, ...]
    levels: bool

    @property
    def text(self) -> str:
        return f"{self.by} -> {self.dependent}"

    @property
    def givers(self) -> tuple[str, ...]:
        return (self.by,)

    def cell(self, cells: Cells, stored: Cells) -> np.ndarray:
        place, known = self._places(cells[self.by])
        return np.where(known, np.array(self.values)[place], np.nan)

    def broken(self, cells: Cells) -> np.ndarray:
        value, own = self.cell(cells, {}), cells[self.dependent]
        apart = np.abs(value - own)
        broken: np.ndarray = apart > SINGLE * np.maximum(np.abs(value), 1e-300)
        return broken

    def given_way(self, cells: Cells, own: Cells, stored: Cells, told: Cells) -> dict[str, np.ndarray]:
        """A filled key is a known one; the most frequent that goes with the observed dependent cell."""
        key, dependent = cells[self.by], own[self.dependent]
        filled = np.isnan(own[self.by])
        key = np.where(filled, self._nearest(key), key)
        wrong = filled & self.broken({self.by: key, self.dependent: dependent})
        for value in np.unique(dependent[wrong]):
            best = (
                max(
                    (n, -k) for n, k, v in zip(self.counts, self.keys, self.values, strict=True) if v == value
                )
                if value in self.values
                else None
            )
            if best is not None:
                key = np.where(wrong & (dependent == value), -best[1], key)
        return {self.by: key}

    def _places(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The place of each key among those of training, and whether it is one of these."""
        mine = np.array(self.keys)
        place = np.clip(np.searchsorted(mine, keys), 0, len(mine) - 1)
        return place, mine[place] == keys

    def _nearest(self, keys: np.ndarray) -> np.ndarray:
        """The nearest keys of training to numbers; levels as they are."""
        if self.levels:
            return keys
        mine = np.array(self.keys)
        right = np.clip(np.searchsorted(mine, keys), 1, len(mine) - 1)
        near = np.where(keys - mine[right - 1] <= mine[right] - keys, mine[right - 1], mine[right])
        return np.where(np.isnan(keys), np.nan, near)

    def as_numbers(self, tables: Mapping[str, np.ndarray]) -> Self:
        if self.by not in tables:
            return self
        keys = tables[self.by][np.array(self.keys, int)]
        order = np.argsort(keys)
        parts = {name: tuple(np.array(getattr(self, name))[order].tolist()) for name in ("values", "counts")}
        return self.model_copy(update={"keys": tuple(keys[order].tolist()), "levels": False} | parts)


class Sum(Relation):
    """dependent = sum of the parts with their signs.

    Attributes:
        parts: the columns.
        signs: 1 or -1 for each.
        ranges: the smallest and the largest number of each.
        constant: what the numbers of the levels of ordinal parts add: such a column counts them from 0.
        tolerance: the largest difference that rounding makes.
        decimals: to which the sum is rounded; None if its parts have no more decimals.
    """

    kind: Literal["sum"] = "sum"
    parts: tuple[str, ...]
    signs: tuple[int, ...]
    ranges: tuple[tuple[float, float], ...]
    constant: float = 0.0
    tolerance: float = 0.0
    decimals: int | None = None

    @property
    def text(self) -> str:
        terms = zip(self.parts, self.signs, strict=True)
        written = "".join(f" {'+' if sign > 0 else '-'} {name}" for name, sign in terms)
        sign = "-" if self.constant < 0 else "+"
        apart = f" {sign} {abs(self.constant):.6g}" if self.constant and len(self.parts) == 1 else ""
        return f"{self.dependent} = {written.removeprefix(' + ').strip()}{apart}"

    @property
    def givers(self) -> tuple[str, ...]:
        return self.parts

    def cell(self, cells: Cells, stored: Cells) -> np.ndarray:
        terms = zip(self.parts, self.signs, strict=True)
        total: np.ndarray = np.sum([sign * cells[name] for name, sign in terms], axis=0) + self.constant
        return rounded_noise(total) if self.decimals is None else np.round(total, self.decimals)

    def broken(self, cells: Cells) -> np.ndarray:
        size = np.max(np.abs([cells[name] for name in self.names]), axis=0)
        broken: np.ndarray = (
            np.abs(self.cell(cells, {}) - cells[self.dependent]) > self.tolerance + NOISE * size
        )
        return broken

    def solved(self, cells: Cells) -> dict[str, np.ndarray]:
        solved = {}
        single = np.isnan([cells[name] for name in self.parts]).sum(axis=0) == 1
        for name, sign in zip(self.parts, self.signs, strict=True):
            rest = cells[self.dependent] - self.cell({**cells, name: np.zeros(len(single))}, {})
            solved[name] = np.where(single & np.isnan(cells[name]), rounded_noise(sign * rest), cells[name])
        return solved

    def given_way(self, cells: Cells, own: Cells, stored: Cells, told: Cells) -> dict[str, np.ndarray]:
        """The filled parts take what the others leave of an observed sum, the last one first."""
        changed, rows = dict(cells), ~np.isnan(own[self.dependent])
        for name, sign, (low, high) in reversed(list(zip(self.parts, self.signs, self.ranges, strict=True))):
            rest = sign * (own[self.dependent] - self.cell(changed, {})) + changed[name]
            mine = rows & np.isnan(own[name]) & ~np.isnan(rest)
            changed[name] = np.where(mine, np.clip(rounded_noise(rest), low, high), changed[name])
        return {name: changed[name] for name in self.parts}

    def as_numbers(self, tables: Mapping[str, np.ndarray]) -> Self:
        terms = zip(self.parts, self.signs, strict=True)
        first = [float(tables[name][0]) if name in tables else 0.0 for name in self.parts]
        counted = sum(sign * number for (_, sign), number in zip(terms, first, strict=True))
        ranges = zip(self.ranges, first, strict=True)
        moved = tuple((low + number, high + number) for (low, high), number in ranges)
        return self.model_copy(update={"constant": self.constant - counted, "ranges": moved})


class Product(Relation):
    """dependent = factor * product of the parts to whole powers, within the rounding of its cells.

    Attributes:
        parts: the columns.
        powers: of each.
        factor: a power of ten, for other units.
        decimals: of the dependent cells; None if they have more than nine.
    """

    kind: Literal["product"] = "product"
    parts: tuple[str, ...]
    powers: tuple[int, ...]
    factor: float = 1.0
    decimals: int | None = None

    @property
    def text(self) -> str:
        above, below = ([_power(n, abs(p)) for n, p in self._terms if p * sign > 0] for sign in (1, -1))
        factor = [] if self.factor == 1 else [f"{self.factor:g}"]
        return f"{self.dependent} = {' / '.join([' * '.join([*factor, *above]) or '1', *below])}"

    @property
    def _terms(self) -> list[tuple[str, int]]:
        return list(zip(self.parts, self.powers, strict=True))

    @property
    def givers(self) -> tuple[str, ...]:
        return self.parts

    def cell(self, cells: Cells, stored: Cells) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            value = self.factor * np.prod(
                [cells[name] ** float(power) for name, power in self._terms], axis=0
            )
        value = np.where(np.isfinite(value), value, np.nan)
        return value if self.decimals is None else np.round(value, self.decimals)

    def broken(self, cells: Cells) -> np.ndarray:
        value, own = self.cell(cells, {}), cells[self.dependent]
        step = 0.0 if self.decimals is None else 10.0**-self.decimals  # halves may be rounded up or to even
        broken: np.ndarray = np.abs(value - own) > 1.01 * step + SINGLE * np.abs(own)
        return broken

    def given_way(self, cells: Cells, own: Cells, stored: Cells, told: Cells) -> dict[str, np.ndarray]:
        """The last filled part is what gives an observed product."""
        free, changed = _free(self, own), {}
        for name, power in reversed(self._terms):
            mine = free & np.isnan(own[name])
            with np.errstate(divide="ignore", invalid="ignore"):
                rest = self.model_copy(update={"decimals": None}).cell(
                    {**cells, name: np.ones(len(mine))}, {}
                )
                root = (own[self.dependent] / rest) ** (1 / power)
            changed[name] = np.where(mine & np.isfinite(root), root, cells[name])
            free &= ~mine
        return changed


def _power(name: str, power: int) -> str:
    return name if power == 1 else f"{name}^{power}"


class Empty(Relation):
    """The dependent column is empty wherever another one has certain levels.

    Attributes:
        given: the other column.
        codes: numbers of these levels.
        levels: their texts.
        usual: number of the most frequent of the other levels.
    """

    kind: Literal["empty"] = "empty"
    given: str
    codes: tuple[float, ...]
    levels: tuple[str, ...]
    usual: float

    @property
    def text(self) -> str:
        return f"{self.dependent} is empty if {self.given} = {' or '.join(self.levels)}"

    @property
    def givers(self) -> tuple[str, ...]:
        return (self.given,)

    @property
    def keeps_density(self) -> bool:
        return True

    @property
    def leaves_gaps(self) -> bool:
        return True

    def cell(self, cells: Cells, stored: Cells) -> np.ndarray:
        return np.where(self.has(cells), np.nan, cells[self.dependent])

    def given_way(self, cells: Cells, own: Cells, stored: Cells, told: Cells) -> dict[str, np.ndarray]:
        """A filled level that would empty an observed cell becomes the most frequent other one."""
        wrong = self.has(cells) & np.isnan(own[self.given]) & ~np.isnan(own[self.dependent])
        return {self.given: np.where(wrong, self.usual, cells[self.given])}

    def as_numbers(self, tables: Mapping[str, np.ndarray]) -> Self:
        if self.given not in tables:
            return self
        table = tables[self.given]
        codes = tuple(table[np.array(self.codes, int)].tolist())
        return self.model_copy(update={"codes": codes, "usual": float(table[int(self.usual)])})

    def has(self, cells: Cells) -> np.ndarray:
        """Whether each row has one of these levels."""
        return np.isin(cells[self.given], self.codes)

    def broken(self, cells: Cells) -> np.ndarray:
        return self.has(cells) & ~np.isnan(cells[self.dependent])
