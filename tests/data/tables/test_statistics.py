"""Columns as the model takes them, and tables of mixed kinds from fit to use."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from mixed import mixed_table

import backstory
from backstory.data.tables.frames import to_frame
from backstory.data.tables.statistics import as_numbers, column_statistics, quantities
from backstory.distributions.quantities import Quantity
from backstory.distributions.table_row import Joint
from backstory.errors import InputError


@pytest.fixture(scope="module")
def customers():
    return backstory.load(mixed_table(1200, 0))


@pytest.fixture(scope="module")
def model(customers):
    options = {
        "likelihood": "joint",
        "epochs": 30,
        "hidden": (64,),
        "latent": 6,
        "batch_size": 128,
        "lr": 0.006,
    }
    return backstory.fit(customers, progress=False, device="cpu", **options)


def of(customers, name):
    return customers.schema.columns.index(name)


def test_marginals_of_columns(customers):
    known = column_statistics(customers.values, customers.schema).marginals
    what = dict(zip(customers.schema.columns, quantities(customers.schema), strict=True))
    assert what["plan"] == Quantity("categorical", 3)
    assert what["visits"] == Quantity("count")
    curved = dict(zip(customers.schema.columns, known.curved.tolist(), strict=True))
    assert curved["income"]
    assert curved["balance"]
    assert not curved["phase"]
    atoms = {n: a for n, a in zip(customers.schema.columns, known.atom.tolist(), strict=True) if a == a}
    assert atoms == {"spent": 0.0, "age": 18.0}  # the youngest are 18 or younger
    assert (known.location[of(customers, "plan")], known.scale[of(customers, "plan")]) == (0, 1)
    column = customers.values[:, of(customers, "phase")]
    assert float(known.scale[of(customers, "phase")]) == pytest.approx(np.nanstd(column), rel=1e-5)


def test_whole_numbers_that_are_too_large_to_count_are_continuous():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"few": rng.poisson(20, 500), "many": rng.integers(0, 10**6, 500)})
    schema = backstory.load(frame, columns={"few": "count", "many": "count"}).schema
    assert [q.kind for q in quantities(schema)] == ["count", "continuous"]


def test_numbers_of_a_table_as_numbers(customers):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"stars": rng.integers(3, 7, 200), "side": rng.choice([-1, 1], 200), "x": rng.random(200)}
    )
    frame.loc[5, "stars"] = np.nan
    data = backstory.load(frame)
    assert [column.kind for column in data.schema.kinds] == ["ordinal", "binary", "continuous"]
    plain = as_numbers(data)
    np.testing.assert_array_equal(plain.values, frame.to_numpy())
    assert {column.kind for column in plain.schema.kinds} == {"continuous"}
    with pytest.raises(InputError, match=r"numbers alone, got categorical column 'country'"):
        as_numbers(customers)
    with pytest.raises(InputError, match=r"'country'"):
        backstory.fit(customers, likelihood="gaussian", progress=False)


def test_columns_are_independent_given_z(model, customers):
    assert model.vae.incomplete
    p = model.decode(torch.zeros(5, 6))
    assert isinstance(p, Joint)
    x = model.schema.prepare(customers.values[:5])
    there = ~torch.isnan(x)
    torch.testing.assert_close(p.log_prob(x, there), p.entries(x, there).sum(-1))


def test_the_log_density_is_on_the_scale_of_the_data():
    """In cents instead of euros: log 100 less for each continuous cell, exactly."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=400)
    euros = pd.DataFrame(
        {"price": np.exp(z), "size": z + rng.normal(size=400), "kind": np.where(z > 0, "a", "b")}
    )
    cents = euros.assign(price=100 * euros["price"])
    options = {"epochs": 5, "hidden": (8,), "latent": 1, "progress": False, "device": "cpu"}
    found = [
        backstory.fit(frame, **options).evaluate(frame, samples=50).log_evidence for frame in (euros, cents)
    ]
    assert found[0] - found[1] == pytest.approx(math.log(100), abs=1e-3)


def test_an_evaluation_tells_levels_from_numbers(model):
    fresh = mixed_table(60, 1)
    found = model.evaluate_restoration(fresh, missing=0.3, draws=2, method="importance")
    assert 0.4 < found.accuracy < 1
    assert 0 < found.mse < 2  # the codes of levels, of which a country has dozens, are not among them


def test_missing_cells_are_guessed_better_than_from_their_column_alone(model, customers):
    fresh = backstory.load(mixed_table(300, 1), schema=customers.schema).values
    hidden = (np.random.default_rng(0).random(fresh.shape) < 0.3) & ~np.isnan(fresh)
    found = model.restore(np.where(hidden, np.nan, fresh), draws=5, method="importance")
    kept = ~hidden & ~np.isnan(fresh)
    np.testing.assert_allclose(found.mean[kept], fresh[kept], rtol=1e-6)
    assert (found.std[kept] == 0).all()
    for name in ("age", "visits", "joined", "current"):
        j, column = of(customers, name), customers.values[:, of(customers, name)]
        truth, guess = (values[hidden[:, j], j] for values in (fresh, found.mean))
        assert np.mean((truth - guess) ** 2) < 0.5 * np.mean((truth - np.nanmean(column)) ** 2), name
    for name in ("school", "member", "newsletter", "plan"):
        j, column = of(customers, name), customers.values[:, of(customers, name)]
        truth, guess = (values[hidden[:, j], j] for values in (fresh, found.mean))
        most = np.bincount(column[~np.isnan(column)].astype(int)).argmax()
        assert np.mean(truth == guess) > 1.15 * np.mean(truth == most), name
        share = found.std[hidden[:, j], j]  # the probability of being wrong
        assert share.mean() == pytest.approx(np.mean(truth != guess), abs=0.12)


def test_new_rows_are_of_the_same_kinds(model, customers):
    new = model.sample(2000, seed=0)
    old = mixed_table(1200, 0)
    assert list(new.columns) == list(old.columns.drop("customer_id"))
    for name in ("country", "school", "member", "plan"):
        shares = [frame[name].value_counts(normalize=True) for frame in (old, new)]
        assert set(shares[1].index) <= set(shares[0].index)
        for level, share in shares[0].items():
            if share > 0.02:
                assert shares[1].get(level, 0) == pytest.approx(share, abs=0.12), (name, level)
    for name in ("age", "income", "visits", "spent", "temperature"):
        assert new[name].min() >= old[name].min()
        assert new[name].max() <= old[name].max()
        assert new[name].median() == pytest.approx(old[name].median(), abs=0.35 * old[name].std())
    assert ((new["spent"] * 100).round(6) % 1 == 0).all()
    assert (new["spent"] == 0).mean() == pytest.approx((old["spent"] == 0).mean(), abs=0.12)


def test_draws_given_some_columns(model, customers):
    row = np.full(customers.schema.shape, np.nan)
    row[of(customers, "age")] = 75
    drawn = model.sample(400, seed=0, where=row, frame=False)
    assert drawn.shape == (400, *customers.schema.shape)
    assert (drawn[:, of(customers, "age")] == 75).all()
    members = drawn[:, of(customers, "member")].mean()  # P(yes | 75) = 0.977
    assert members > 0.85
    assert (model.sample(400, seed=0)["member"] == "yes").mean() < 0.75
    with pytest.raises(InputError, match="leave mean"):
        model.sample(3, mean=True, where=row)


def test_conditional_probabilities(model, customers):
    """log p(member | rest) of both levels, as probabilities, add up to one."""
    member = of(customers, "member")
    rows = customers.values[:20].copy()
    given = np.arange(rows.shape[1]) != member
    total = np.zeros(20)
    for level in (0, 1):
        rows[:, member] = level
        total += np.exp(model.log_conditional(rows, given, samples=3000))
    assert np.median(np.abs(total - 1)) < 0.06
    assert np.abs(total - 1).max() < 0.5  # of a row whose weights have heavy tails


def test_it_is_the_same_after_opening(model, customers, tmp_path):
    model.save(tmp_path / "run")
    again = backstory.open(tmp_path / "run", device="cpu")
    np.testing.assert_array_equal(again.sample(20, seed=3), model.sample(20, seed=3))
    assert again.evaluate(customers.values[:10]) == model.evaluate(customers.values[:10])


# -- origins ----------------------------------------------------------------------------------------------


def test_dates_and_large_numbers_keep_their_digits(tmp_path):
    rng = np.random.default_rng(0)
    seconds = pd.to_timedelta(rng.integers(0, 10**6, 300), "s")
    frame = pd.DataFrame(
        {
            "call": (pd.Timestamp("2024-03-01") + seconds).strftime("%Y-%m-%d %H:%M:%S"),
            "number": 4_900_000_000 + rng.integers(0, 10**5, 300),
            "ratio": 1000 + rng.random(300).round(5),
            "price": rng.random(300).round(2),
        }
    )
    data = backstory.load(frame)
    assert [column.origin for column in data.schema.kinds[1:]] == [4_900_000_000, 1000, 0]
    back = data.schema.restore(data.schema.prepare(data.values))
    pd.testing.assert_frame_equal(to_frame(back, data.schema), frame, check_dtype=False)
    mean = data.schema.means(data.schema.prepare(data.values))
    np.testing.assert_allclose(mean, data.values, rtol=0, atol=1e-6)
    np.testing.assert_allclose(data.schema.stored(mean), data.values, rtol=0, atol=1e-5)  # a second


def test_a_shift_changes_nothing_but_the_numbers():
    rng = np.random.default_rng(0)
    few = rng.integers(0, 1000, 400)
    frame = pd.DataFrame({"number": few, "half": (few / 2 + rng.normal(0, 20, 400)).round(1)})
    apart, far = np.array([10**9, 0]), frame.assign(number=few + 10**9)
    options = {"epochs": 3, "hidden": (16,), "latent": 2, "progress": False, "device": "cpu"}
    near, shifted = (backstory.fit(f, likelihood="joint", **options) for f in (frame, far))
    a, b = near.log_evidence(frame), shifted.log_evidence(far)
    np.testing.assert_array_equal(a.log_evidence.numpy(), b.log_evidence.numpy())
    np.testing.assert_array_equal(near.sample(50, seed=0) + apart, shifted.sample(50, seed=0))
    holes = frame.astype(float).iloc[:20].copy()
    holes.iloc[:10, 0], holes.iloc[10:, 1] = np.nan, np.nan
    for operator in (None, backstory.Noise(0.1)):
        one = near.restore(holes, operator, draws=3)
        other = shifted.restore(holes + apart, operator, draws=3)
        np.testing.assert_allclose(other.mean - apart, one.mean, rtol=0, atol=1e-4)
        np.testing.assert_array_equal(one.std, other.std)
        np.testing.assert_array_equal(one.draws + apart, other.draws)


def test_a_table_with_a_grid_draws_its_numbers_and_guesses_means():
    rng = np.random.default_rng(0)
    grid = np.array([-1.31, -0.2, 0.77, 2.5])
    level = rng.integers(0, 4, 400)
    frame = pd.DataFrame(
        {"x": grid[level] + 0.3 * rng.normal(size=400), "step": grid[level], "side": level > 1}
    )
    model = backstory.fit(
        frame,
        likelihood="joint",
        latent=2,
        hidden=(16,),
        epochs=20,
        progress=False,
        device="cpu",
        relations=False,
    )
    assert set(model.sample(300, seed=0)["step"]) <= set(grid)
    holes = np.array([[0.3, np.nan, 1.0], [-1.5, np.nan, 0.0]])
    found = model.restore(holes, draws=4)
    assert set(np.asarray(found.draws)[..., 1].ravel()) <= set(grid)
    assert not set(np.asarray(found.mean)[:, 1]) & set(grid)
    # nothing but numbers: kinds all the same, but for an affine decoder, where p(x) has a closed form
    quick = {"latent": 1, "epochs": 1, "progress": False}
    numbers = backstory.fit(frame[["x", "step"]], hidden=(4,), **quick)
    assert numbers.options.likelihood.name == "joint"
    assert [column.kind for column in numbers.schema.kinds] == ["continuous", "grid"]
    for options in ({"network": "linear"}, {"sigma_floor": 0.3}, {"posterior": "delta"}):
        plain = backstory.fit(frame[["x", "step"]], **quick, **options)
        assert plain.options.likelihood.name == "gaussian-per-entry"
        assert [column.kind for column in plain.schema.kinds] == ["continuous", "continuous"]
    assert backstory.fit(frame[["x", "step"]].to_numpy(), **quick).schema.kinds == ()
