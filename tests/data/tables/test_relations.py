"""Cells to stored values and back: every relation is kept, and observed cells stay."""

import numpy as np
import pytest

from backstory.data.tables.columns import Column
from backstory.data.tables.relation_set import Related
from backstory.data.tables.relations import Determined, Empty, Order, Product, Relation, Sum

NAN = np.nan


def columns(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name=name, kind="continuous", low=-100, high=1000) for name in names)


ORDER = Order(dependent="end", others=("start",))
TURNED = Order(dependent="start", others=("end",), sign=-1)
TOTAL = Sum(dependent="total", parts=("a", "b", "c"), signs=(1, 1, -1), ranges=((0, 50), (0, 50), (0, 50)))
BMI = Product(dependent="bmi", parts=("weight", "height"), powers=(1, -2), decimals=1)
ZONE = Determined(
    dependent="borough", by="zone", keys=(0, 1, 2), values=(0, 1, 1), counts=(5, 2, 9), levels=True
)


def test_a_relation_reads_as_people_write_it():
    assert [relation.text for relation in (ORDER, TOTAL, BMI, ZONE)] == [
        "end >= start",
        "total = a + b - c",
        "bmi = weight / height^2",
        "zone -> borough",
    ]
    parts = {"dependent": "y", "parts": ("a", "b"), "powers": (1, 2), "factor": 0.5}
    assert Product(**parts).text == "y = 0.5 * a * b^2"
    assert Empty(dependent="age", given="s", codes=(0,), levels=("none",), usual=1).text == (
        "age is empty if s = none"
    )


@pytest.mark.parametrize(
    ("relation", "cells"),
    [
        (ORDER, {"start": [1, 5, 2], "end": [4, 5, 9]}),
        (Order(dependent="end", others=("start", "b")), {"start": [1, 5], "b": [2, 3], "end": [4, 6]}),
        (TURNED, {"start": [1, 5, 2], "end": [4, 5, 9]}),
        (Order(dependent="a", others=("b", "c"), sign=-1), {"a": [1, 2], "b": [2, 3], "c": [4, 2]}),
        (TOTAL, {"a": [1, 2.5], "b": [3, 0.1], "c": [1, 1], "total": [3, 1.6]}),
        (BMI, {"weight": [80.1, 60], "height": [1.8, 1.66], "bmi": [24.7, 21.8]}),
        (ZONE, {"zone": [0, 2, 1], "borough": [0, 1, 1]}),
    ],
)
def test_cells_to_stored_values_and_back(relation: Relation, cells: dict[str, list[float]]):
    numbers = {name: np.array(part, float) for name, part in cells.items()}
    whole = columns(*numbers)
    kept = tuple(c for c in whole if relation.keeps_density or c.name != relation.dependent)
    related = Related(relations=(relation,), columns=tuple(c for c in whole if c.name == relation.dependent))
    assert not relation.broken(numbers).any()
    stored = related.stored(numbers, kept)
    assert stored.shape == (len(numbers[relation.dependent]), len(kept))
    back = related.cells(stored, kept)
    names = [column.name for column in related.cell_columns(kept)]
    for name, part in numbers.items():
        np.testing.assert_allclose(back[:, names.index(name)], part, atol=1e-9)


def test_a_row_that_breaks_a_relation_and_gaps_that_do_not():
    start, end = np.array([1, 3, NAN, 3]), np.array([2, 2, 2, NAN])
    assert ORDER.broken({"start": start, "end": end}).tolist() == [False, True, False, False]
    zone, borough = np.array([0, 1, 7, NAN]), np.array([1, 1, 0, 0])
    assert ZONE.broken({"zone": zone, "borough": borough}).tolist() == [True, False, False, False]
    heavy = {"weight": np.array([80.0, 80]), "height": np.array([1.8, 1.8]), "bmi": np.array([24.7, 25])}
    assert BMI.broken(heavy).tolist() == [False, True]


def filled(related: Related, kinds: tuple[Column, ...], stored, own) -> dict[str, np.ndarray]:
    own = {name: np.array(part, float) for name, part in own.items()}
    cells = related.cells(np.array(stored, float), kinds, own)
    return dict(zip([c.name for c in related.cell_columns(kinds)], cells.T, strict=True))


def test_an_order_that_is_turned_round_is_the_same_relation():
    cells = {"start": np.array([1, 3, NAN, 3]), "end": np.array([2, 2, 2, NAN])}
    assert TURNED.text == ORDER.text == "end >= start"
    assert TURNED.broken(cells).tolist() == ORDER.broken(cells).tolist()
    np.testing.assert_array_equal(TURNED.stored(cells), ORDER.stored(cells))
    assert Order.model_validate({"dependent": "end", "lower": ["start"]}) == ORDER  # of an earlier run


def test_a_filled_end_lies_after_an_observed_start():
    whole = columns("start", "end")
    related = Related(relations=(TURNED,), columns=whole[:1])
    full = filled(related, whole, [[3, 7], [3, 7], [3, 7]], {"start": [5, NAN, 9], "end": [NAN, 8, 9]})
    assert full["start"].tolist() == [5, 5, 9]  # 8 - 3
    assert full["end"].tolist() == [8, 8, 9]  # 5 + 3


def test_a_filled_start_lies_before_an_observed_end():
    whole = columns("start", "end")
    related = Related(relations=(ORDER,), columns=whole[1:])
    own = {"start": [NAN, NAN, 4], "end": [NAN, 7, NAN]}
    cells = filled(related, whole, [[9, 2], [9, 2], [4, 2]], own)
    assert cells["start"].tolist() == [9, 5, 4]  # the second one gives way
    assert cells["end"].tolist() == [11, 7, 6]


def test_a_chain_of_orders_with_gaps_stays_one():
    whole = columns("low", "middle", "high")
    chain = (Order(dependent="middle", others=("low",)), Order(dependent="high", others=("middle",)))
    related = Related(relations=chain, columns=whole[1:])
    rng = np.random.default_rng(0)
    truth = np.sort(rng.normal(size=(500, 3)), axis=1)
    gaps = rng.random(truth.shape) < 0.5
    own = {c.name: np.where(gaps[:, j], NAN, truth[:, j]) for j, c in enumerate(whole)}
    stored = related.stored(own, whole)
    drawn = np.where(np.isnan(stored), rng.normal(size=stored.shape) ** 2, stored)
    cells = filled(related, whole, drawn, own)
    assert (cells["low"] <= cells["middle"] + 1e-9).all()
    assert (cells["middle"] <= cells["high"] + 1e-9).all()
    for name, part in own.items():
        known = ~np.isnan(part)
        np.testing.assert_array_equal(cells[name][known], part[known])


def test_parts_of_an_observed_sum_add_up_to_it_within_their_ranges():
    whole = columns("a", "b", "c")
    related = Related(relations=(TOTAL,), columns=columns("total"))
    own = {"a": [NAN, NAN, 10], "b": [2, NAN, 3], "c": [1, NAN, 4], "total": [11, 70, NAN]}
    stored = related.stored({name: np.array(part, float) for name, part in own.items()}, whole)
    assert stored[0].tolist() == [10, 2, 1]  # the single missing part follows
    cells = filled(related, whole, np.where(np.isnan(stored), 20.0, stored), own)
    np.testing.assert_allclose(cells["a"] + cells["b"] - cells["c"], cells["total"])
    assert cells["total"].tolist() == [11, 70, 9]
    assert max(cells[name].max() for name in "abc") <= 50


def test_a_filled_key_goes_with_the_observed_value():
    related = Related(relations=(ZONE,), columns=columns("borough"))
    own = {"zone": [NAN, NAN, 0], "borough": [1, 0, NAN]}
    cells = filled(related, columns("zone"), [[0], [0], [0]], own)
    assert cells["zone"].tolist() == [2, 0, 0]  # the most frequent key of that value
    assert cells["borough"].tolist() == [1, 0, 0]
    numbers = ZONE.model_copy(update={"levels": False})
    related = Related(relations=(numbers,), columns=columns("borough"))
    cells = filled(related, columns("zone"), [[0.4], [7]], {"zone": [NAN, NAN], "borough": [NAN, NAN]})
    assert cells["zone"].tolist() == [0, 2]  # no number between keys, and none beyond them


def test_a_cell_that_a_level_empties_is_empty_in_draws_and_stays_where_it_is_observed():
    gap = Empty(dependent="age", given="status", codes=(0,), levels=("single",), usual=1)
    related, whole = Related(gaps=(gap,)), columns("status", "age")
    cells = filled(related, whole, [[0, 30], [1, 30]], {"status": [NAN, NAN], "age": [NAN, NAN]})
    np.testing.assert_array_equal(cells["age"], [NAN, 30])
    cells = filled(related, whole, [[0, 30]], {"status": [NAN], "age": [30]})
    assert (cells["status"].tolist(), cells["age"].tolist()) == ([1], [30])
    assert gap.broken({"status": np.array([0, 0, 1]), "age": np.array([3, NAN, 3])}).tolist() == [
        True,
        False,
        False,
    ]


def test_rare_levels_are_one_to_the_model_and_apart_in_the_cells():
    city = Column(name="city", kind="categorical", levels=("A", "other"), rare=True, cells="text")
    apart = city.model_copy(update={"levels": ("A", "x", "y", "other")})
    country = Column(name="country", kind="categorical", levels=("I", "J"), cells="text")
    relation = Determined(
        dependent="country", by="city", keys=(0, 1, 2), values=(0, 0, 1), counts=(9, 2, 1), levels=True
    )
    related = Related(relations=(relation,), columns=(apart, country))
    cells = {"city": np.array([0.0, 1, 2, 3]), "country": np.array([0.0, 0, 1, NAN])}
    assert related.stored(cells, (city,)).ravel().tolist() == [0, 1, 1, 1]
    np.testing.assert_array_equal(related.cells(np.array([[2.0]]), (city,)), [[2, 1]])
