"""Kinds of columns of numbers that were made by known distributions."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

import backstory
from backstory.data.load import load
from backstory.data.tables import summary
from backstory.data.tables.columns import Column
from backstory.data.tables.kinds import Numbers, atoms_of
from backstory.data.tables.thinned import MOST, Thinned

N = 600


def hours(random: np.random.Generator) -> np.ndarray:
    around = np.clip(np.round(35 + 12 * random.normal(size=N)), 5, 90)
    return np.where(random.random(N) < 0.6, 40, around)


def likert(random: np.random.Generator) -> np.ndarray:
    return np.where(random.random(N) < 0.1, 9, np.clip(np.round(3 + random.normal(size=N)), 1, 5))


Make = Callable[[np.random.Generator], np.ndarray]
MADE: dict[str, tuple[Make, str, tuple[float, ...]]] = {
    "hours, most of them 40": (hours, "continuous", (40,)),
    "a scale and no answer": (likert, "grid", ()),
    "a scale": (lambda r: np.clip(np.round(3 + r.normal(size=N)), 1, 5), "ordinal", ()),
    "codes without order": (
        lambda r: r.choice(7, N, p=[0.3, 0.01, 0.28, 0.02, 0.3, 0.01, 0.08]),
        "grid",
        (),
    ),
    "counts": (lambda r: r.poisson(9, N), "count", ()),
    "counts, many of them 0": (lambda r: np.where(r.random(N) < 0.4, 0, r.poisson(12, N)), "count", (0,)),
    "rooms, whose counts spread less than any count": (
        lambda r: r.choice([1, 2, 3, 4, 5, 6, 8], N, p=[0.02, 0.1, 0.5, 0.3, 0.05, 0.02, 0.01]),
        "grid",
        (),
    ),
    "multiples of 10,000": (lambda r: 10_000 * r.integers(1, 21, N), "grid", ()),
    "ages": (lambda r: r.integers(18, 36, N), "continuous", ()),
    "a sentinel": (lambda r: np.where(r.random(N) < 0.1, -200, r.normal(20, 5, N)), "continuous", (-200,)),
    "amounts at the minimum": (
        lambda r: np.where(r.random(N) < 0.2, 9.99, 10 + np.exp(r.normal(3, 1, N))).round(2),
        "continuous",
        (9.99,),
    ),
    "a cap": (lambda r: np.minimum(r.normal(20, 5, N).round(2), 26.0), "continuous", (26,)),
    "smooth numbers": (lambda r: r.normal(size=N), "continuous", ()),
    "two decimals": (lambda r: r.normal(size=N).round(2), "continuous", ()),
}


@pytest.mark.parametrize("name", MADE)
def test_the_kind_of_a_column_and_its_point_masses(name: str) -> None:
    make, kind, atoms = MADE[name]
    for seed in range(3):
        random = np.random.default_rng(seed)
        frame = pd.DataFrame({"a": make(random), "x": random.normal(size=N)})
        column = load(frame).schema.kinds[0]
        assert column.kind == kind, seed
        assert tuple(value for value, _ in column.atoms) == atoms, seed
        for value, share in column.atoms:
            assert share == pytest.approx((frame["a"] == value).mean())


def test_a_text_column_changes_nothing_in_the_others() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({str(j): make(random) for j, (make, *_) in enumerate(MADE.values())})
    beside = load(frame.assign(text=random.choice(["p", "q"], N))).schema
    assert load(frame).schema.kinds == beside.kinds[:-1]


def test_close_calls_are_marked_and_can_be_overruled(capsys) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"ages": random.integers(18, 36, N), "far": likert(random)})
    ages, far = load(frame).schema.kinds
    assert (ages.kind, ages.close, far.close) == ("continuous", ("grid",), ())
    summary.show(load(frame).schema)
    shown = capsys.readouterr().err
    assert "close to grid" in shown
    assert "to overrule the choice, give the option column, such as ages=grid" in shown
    told = load(frame, columns={"ages": "grid"}).schema.kinds[0]
    assert (told.kind, len(told.values or ()), told.close) == ("grid", 18, ())


def test_point_masses_are_printed_with_their_shares(capsys) -> None:
    frame = pd.DataFrame({"hours": hours(np.random.default_rng(1))})
    summary.show(load(frame).schema)
    assert f", 40 in {100 * (frame['hours'] == 40).mean():.3g} %" in capsys.readouterr().err


def test_probabilities_of_kinds_add_up_to_at_most_one() -> None:
    """Over the numbers that a column may hold; what is missing is for numbers that it does not have."""
    random = np.random.default_rng(0)
    numbers = Numbers.of(random.poisson(9, 4000).astype(float), 0)
    for log_prob in (numbers.levels, numbers.count, numbers.continuous):
        assert 0.97 < np.exp(log_prob).sum() <= 1.0


def test_few_cells_have_no_point_masses() -> None:
    assert atoms_of(np.r_[np.full(9, 3.5), np.arange(100)]) == ()
    assert atoms_of(np.zeros(0)) == ()
    assert atoms_of(np.full(50, 1.0)) == ()


def test_the_same_numbers_are_kept_in_however_many_parts_they_come() -> None:
    cells = np.random.default_rng(0).normal(size=3 * MOST)
    cells[::7] = np.nan
    whole, parts = Thinned(), Thinned()
    whole.add(0, cells)
    for first in range(0, len(cells), 1000):
        parts.add(first, cells[first : first + 1000])
    np.testing.assert_array_equal(whole.numbers, parts.numbers)
    assert MOST / 2 * 0.8 < len(whole.numbers) <= MOST


def test_a_model_draws_point_masses_in_their_share() -> None:
    """Of counts and of continuous columns, with columns that are independent given z."""
    random = np.random.default_rng(1)
    frame = pd.DataFrame({"hours": hours(random), "amount": MADE["amounts at the minimum"][0](random)})
    frame["visits"] = MADE["counts, many of them 0"][0](random)
    options = {"latent": 1, "hidden": (16,), "epochs": 60, "progress": False, "device": "cpu"}
    drawn = backstory.fit(frame, likelihood="joint", **options).sample(4000, seed=0)
    for name, atom in (("hours", 40), ("amount", 9.99), ("visits", 0)):
        assert (drawn[name] == atom).mean() == pytest.approx((frame[name] == atom).mean(), abs=0.04), name


def test_runs_from_before_point_masses_were_kept_open(tmp_path) -> None:
    """Their columns have none in the schema; the one of a continuous column is among the weights."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": MADE["a sentinel"][0](random), "b": random.choice(["p", "q"], N)})
    model = backstory.fit(frame, likelihood="joint", latent=1, epochs=1, progress=False, device="cpu")
    model.schema = model.schema.model_copy(
        update={"kinds": tuple(column.model_copy(update={"atoms": ()}) for column in model.schema.kinds)}
    )
    again = backstory.open(model.save(tmp_path / "run"), device="cpu")
    assert (again.sample(500, seed=0)["a"] == -200).any()
    assert Column.model_validate({"name": "a", "kind": "count"}).atoms == ()
