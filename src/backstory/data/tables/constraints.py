"""Relations as people write them.

    end >= start                         also <=; columns of numbers or dates
    total = a + b - c                    columns of numbers
    bmi = weight / height^2              also 0.5 * a * b
    zone -> borough                      zone determines borough

Names may have blanks and signs in them: operators stand between blanks.
"""

import re
from collections.abc import Sequence

import numpy as np

from backstory.data.checks import listed
from backstory.data.tables.columns import Column, is_number
from backstory.data.tables.relation_search import Search, as_number
from backstory.data.tables.relations import Product, Relation
from backstory.errors import InputError

_EXAMPLES = "end >= start, total = a + b, bmi = weight / height^2 or zone -> borough"


def given(constraints: Sequence[str], search: Search, source: str) -> list[Relation]:
    """Constraints as relations; InputError for one that a row breaks, or that cannot be read."""
    return [_checked(_read(text, search, source), text, search, source) for text in constraints]


def _read(text: str, search: Search, source: str) -> Relation:
    """The relation that a text stands for."""
    match = re.fullmatch(r"(.+?)\s*(>=|<=|->|(?<![<>])=)\s*(.+)", text.strip())
    if match is None:
        raise InputError(f"expected a constraint such as {_EXAMPLES}, got {text!r}; write it so")
    left, sign, right = match[1], match[2], match[3]
    if sign in (">=", "<="):
        upper, lower = (left, right) if sign == ">=" else (right, left)
        if is_number(lower) or is_number(upper):
            raise InputError(
                f"expected two columns in a constraint, got {text!r}; draws stay within the range of the "
                "training rows without one"
            )
        _check(search, [upper, lower], text, source, _has_distance, "numbers or dates")
        return search.order(upper, lower)
    if sign == "->":
        _check(search, [left, right], text, source)
        relation = search.determined(left, right)
        if relation is None:
            raise InputError(
                f"expected one value of {right!r} for each of {left!r} in {source}, got several, against the "
                f"constraint {text!r}; correct the rows, or leave it out"
            )
        return relation
    return _formula(left, right, text, search, source)


def _formula(total: str, right: str, text: str, search: Search, source: str) -> Relation:
    """A sum or a product."""
    tokens = re.split(r"(?:^|\s+)([-+*/])\s+", f"+ {right}")[1:]
    signs, names = tokens[::2], tokens[1::2]
    if all(sign in "+-" for sign in signs) and not (len(names) == 1 and "^" in names[0]):
        _check(search, [total, *names], text, source, lambda c: as_number(c) is not None, "numbers")
        places = [search.names.index(name) for name in names]
        signed = np.array([1 if sign == "+" else -1 for sign in signs])
        columns = [search.columns[j] for j in (search.names.index(total), *places)]
        steps = [10.0**-column.decimals for column in columns if column.decimals is not None]
        rounding = 0.51 * sum(steps) if min(steps, default=1) < 1 else 0.0
        found = search.sum_of(search.names.index(total), places, signed)
        decimals = columns[0].decimals if rounding else None
        return found.model_copy(update={"tolerance": rounding, "decimals": decimals})
    return _product(total, list(zip(["*", *signs[1:]], names, strict=True)), text, search, source)


def _product(total: str, terms: Sequence[tuple[str, str]], text: str, search: Search, source: str) -> Product:
    factor, powers = 1.0, dict[str, int]()
    for sign, term in terms:
        name, _, power = term.partition("^")
        if sign not in "*/" or (power and not re.fullmatch(r"[1-9]", power)):
            raise InputError(
                f"expected a sum or a product in a constraint, such as {_EXAMPLES}, got {text!r}; write it so"
            )
        exponent = int(power or 1) * (1 if sign == "*" else -1)
        if is_number(name) and name not in search.names:
            factor *= float(name) ** exponent
        else:
            powers[name] = powers.get(name, 0) + exponent
    _check(search, [total, *powers], text, source, lambda c: as_number(c) == 0 and not c.levels, "numbers")
    decimals = search.columns[search.names.index(total)].decimals
    return Product(
        dependent=total,
        parts=tuple(powers),
        powers=tuple(powers.values()),
        factor=factor,
        decimals=decimals,
    )


def _has_distance(column: Column) -> bool:
    return column.levels is None


def _check(search, names, text, source, fits=lambda column: True, what="columns"):  # type: ignore
    """Raise InputError for names that are no modelled columns, that come twice, or that hold another kind."""
    columns = {column.name: column for column in search.columns}
    wrong = [name for name in names if name not in columns]
    if wrong:
        raise InputError(
            f"expected columns of {source} that are modelled in the constraint {text!r}, got "
            f"{listed(wrong)}; write a name as in the table, with blanks around operators"
        )
    if len(set(names)) < len(names):
        raise InputError(f"expected different columns in a constraint, got {text!r}; correct it")
    others = [name for name in names if not fits(columns[name])]
    if others:
        raise InputError(
            f"expected {what} in the constraint {text!r}, got the {columns[others[0]].kind} column "
            f"{others[0]!r}; leave it out"
        )


def _checked(relation: Relation, text: str, search: Search, source: str) -> Relation:
    """The relation with its number of rows; InputError if a row breaks it."""
    rows, broken, first, start = 0, 0, 0, 0
    for cells in search.parts(relation.names):
        wrong = np.flatnonzero(relation.broken(cells))
        first = start + int(wrong[0]) if len(wrong) and not broken else first
        rows, broken = rows + int(relation.observed(cells).sum()), broken + len(wrong)
        start += len(relation.observed(cells))
    if broken:
        raise InputError(
            f"expected {text} in all rows of {source}, got {broken} that break it, the first in row "
            f"{first + 1}; correct them, or leave the constraint out"
        )
    return relation.model_copy(update={"rows": rows, "told": True})
