"""Columns that depend on each other given z, compared with sums over all rows and all orders."""

import itertools
import math

import pytest
import torch
from likelihoods import ROW, marginals

from backstory.distributions.autoregressive import AutoregressiveHead
from backstory.distributions.quantities import Marginals, Quantity
from backstory.distributions.table_row import JointHead
from backstory.models.networks.row_features import ColumnInputs

BINARY = (Quantity("binary", 2), Quantity("categorical", 3), Quantity("binary", 2))
ROWS = torch.tensor(list(itertools.product(range(2), range(3), range(2))), dtype=torch.float64)
ORDERS = list(itertools.permutations(range(3)))


def make(quantities=BINARY, known=None, width=8, seed=0, spread=1.5):
    """A head with random weights in double precision."""
    columns = len(quantities)
    known = known or Marginals.blank(columns)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inputs = ColumnInputs(quantities, known, torch.zeros(columns), torch.ones(columns))
        head = AutoregressiveHead(JointHead(quantities, known), inputs, width).double()
        for parameter in head.parameters():
            parameter.data = spread * torch.randn_like(parameter) / parameter.shape[-1] ** 0.5
    return head


def keys_of(order):
    """Keys that put columns into an order."""
    keys = torch.empty(len(order), dtype=torch.float64)
    keys[list(order)] = torch.linspace(-1, 1, len(order), dtype=torch.float64)
    return keys


def at(head, order, rows=1, seed=1):
    trunk = torch.randn(head.features_shape, generator=torch.Generator().manual_seed(seed)).double()
    return head(trunk.expand(rows, -1), keys_of(order).expand(rows, -1))


def masks(columns=3):
    return [torch.tensor(bits) for bits in itertools.product((False, True), repeat=columns)]


# -- densities --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_probabilities_of_all_rows_add_up_to_one_for_each_order(order):
    p = at(make(), order)
    assert p.log_prob(ROWS).exp().sum().item() == pytest.approx(1)


def test_orders_give_different_probabilities_of_a_row():
    values = torch.stack([at(make(), order).log_prob(ROWS) for order in ORDERS])
    assert (values.std(0) > 0.01).all()


@pytest.mark.parametrize("order", ORDERS)
def test_a_column_depends_on_the_columns_before_it_alone(order):
    p = at(make(), order)
    row = ROWS[:1]
    for place, column in enumerate(order):
        changed = row.clone()
        changed[0, column] = 1 - changed[0, column]
        unlike = (p.entries(changed) != p.entries(row))[0]
        expected = torch.zeros(3, dtype=torch.bool)
        expected[list(order[place:])] = True
        assert torch.equal(unlike, expected)


def marginal(p, order, observed, row):
    """log p of the observed columns, by a sum over all rows in the order with the observed columns first."""
    first = [j for j in order if observed[j]] + [j for j in order if not observed[j]]
    moved = type(p)(p.trunk, keys_of(first).expand_as(p.keys), p.network)
    agree = ((row == ROWS) | ~observed).all(-1)
    return moved.log_prob(ROWS)[agree].logsumexp(0), moved, agree


@pytest.mark.parametrize("order", ORDERS)
def test_observed_columns_have_their_marginal_probability(order):
    p = at(make(), order)
    for observed, row in itertools.product(masks(), ROWS[::5]):
        expected, _, _ = marginal(p, order, observed, row)
        holes = torch.where(observed, row, math.nan)
        value = p.log_prob(holes[None], observed[None])
        torch.testing.assert_close(value[0], expected)
        entries = p.entries(holes[None], observed[None])
        assert not entries[0, ~observed].any()


def test_draws_of_missing_columns_follow_their_conditional_distribution():
    order, observed, row, n = (2, 0, 1), torch.tensor([False, False, True]), ROWS[7], 40_000
    p = at(make(), order)
    _, moved, agree = marginal(p, order, observed, row)
    expected = torch.softmax(moved.log_prob(ROWS)[agree], 0)
    many = at(make(), order, rows=n)
    holes = torch.where(observed, row, math.nan).expand(n, -1)
    drawn = many.missing_given(holes, observed.expand(n, -1)).sample(torch.Generator().manual_seed(0))
    counts = torch.stack([(drawn == r).all(-1).sum() for r in ROWS[agree]])
    assert counts.sum() == n
    error = 4 * (expected * (1 - expected) / n).sqrt()
    assert ((counts / n - expected).abs() < error).all()


def test_draws_of_whole_rows_follow_the_density():
    order, n = (1, 2, 0), 40_000
    drawn = at(make(), order, rows=n).sample(torch.Generator().manual_seed(3))
    expected = at(make(), order).log_prob(ROWS).exp()
    shares = torch.stack([(drawn == r).all(-1).double().mean() for r in ROWS])
    assert ((shares - expected).abs() < 4 * (expected * (1 - expected) / n).sqrt()).all()


def test_rows_with_unlike_gaps_are_drawn_together_as_alone():
    head = make()
    observed = torch.stack(masks())
    x = torch.where(observed, ROWS[5], math.nan)
    p = at(head, (0, 2, 1), rows=len(x))
    drawn = p.missing_given(x, observed).sample(torch.Generator().manual_seed(0))
    assert torch.equal(drawn[observed], x[observed])
    whole = p.missing_given(x[-1:], observed[-1:]).sample()
    assert torch.equal(whole, x[-1:].expand_as(whole))


# -- moments ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", range(3))
def test_moments_of_a_single_missing_column_are_exact(missing):
    observed = torch.arange(3) != missing
    p, row = at(make(), (1, 0, 2)), ROWS[4]
    _, moved, agree = marginal(p, (1, 0, 2), observed, row)
    expected = torch.softmax(moved.log_prob(ROWS)[agree], 0)
    levels = ROWS[agree][:, missing]
    given = p.missing_given(torch.where(observed, row, math.nan)[None], observed[None])
    mean = (expected * levels).sum()
    torch.testing.assert_close(given.mean[0, missing], mean)
    torch.testing.assert_close(given.variance[0, missing], (expected * levels.square()).sum() - mean.square())
    for columns, probs in given.level_probs:
        for k, column in enumerate(columns.tolist()):
            if column == missing:
                torch.testing.assert_close(probs[0, :, k], expected)


def test_moments_of_several_missing_columns_are_those_of_each_as_the_next():
    head, observed, row = make(), torch.tensor([False, True, False]), ROWS[3]
    holes = torch.where(observed, row, math.nan)[None]
    mean = at(head, (0, 1, 2)).missing_given(holes, observed[None]).mean[0]
    for missing in (0, 2):
        others = [j for j in (0, 2) if j != missing]
        p, order = at(head, (0, 1, 2)), (1, missing, *others)
        _, moved, agree = marginal(p, order, observed, row)
        expected = torch.softmax(moved.log_prob(ROWS)[agree], 0)
        torch.testing.assert_close(mean[missing], (expected * ROWS[agree][:, missing]).sum())


# -- columns of all kinds ---------------------------------------------------------------------------------


def everything(rows=5, seed=0):
    head = make(ROW, marginals(len(ROW)), spread=0.7)
    generator = torch.Generator().manual_seed(seed)
    trunk = torch.randn(3, rows, *head.features_shape, generator=generator, dtype=torch.float64)
    keys = torch.randn(3, rows, len(ROW), generator=generator, dtype=torch.float64)
    return head, head(trunk, keys)


def test_rows_of_all_kinds_have_finite_terms_that_add_up():
    _, p = everything()
    x = p.sample(torch.Generator().manual_seed(1))[0]
    entries = p.entries(x)
    assert entries.shape == (3, 5, len(ROW))
    assert torch.isfinite(entries).all()
    torch.testing.assert_close(p.log_prob(x), entries.sum(-1))


def test_draws_for_several_codes_are_those_for_each_alone():
    head, p = everything()
    x = p.sample(torch.Generator().manual_seed(1))[0]
    observed = torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) < 0.5
    value = p.entries(torch.where(observed, x, math.nan), observed)
    for k, row in itertools.product(range(3), range(5)):
        one = head(p.trunk[k, row], p.keys[k, row])
        torch.testing.assert_close(one.entries(x[row], observed[row]), value[k, row])


def test_terms_are_the_conditionals_that_the_draws_use():
    _, p = everything()
    x = p.sample(torch.Generator().manual_seed(1))[0].expand(3, -1, -1)
    entries = p.entries(x)
    order, seen = p.keys.argsort(-1), torch.zeros_like(x, dtype=torch.bool)
    for column in order.split(1, -1):
        embedded = (p.network.embed(x) * seen.unsqueeze(-1)).sum(-2)
        one = p.network.each(p.trunk + embedded, column).entries(x)
        torch.testing.assert_close(one.gather(-1, column), entries.gather(-1, column))
        seen = seen.scatter(-1, column, True)


def test_every_number_belongs_to_its_column():
    head, _ = everything()
    x = torch.zeros(1, len(ROW), dtype=torch.float64)
    base = head.inputs.features(x, torch.zeros_like(x))
    for column in range(len(ROW)):
        there = torch.zeros_like(x)
        there[:, column] = 1
        changed = (head.inputs.features(x + 0.3, there) != base)[0]
        assert changed.any()
        assert set(head.inputs.column[changed].tolist()) == {column}
    features = torch.zeros(head.joint.features_shape, dtype=torch.float64)
    plain = head.joint(features).entries(x[0])
    for place, column in enumerate(head.joint.column.tolist()):
        features[place] = 0.7
        changed = head.joint(features).entries(x[0]) != plain
        features[place] = 0
        assert not changed[torch.arange(len(ROW)) != column].any()


def test_equal_keys_leave_columns_as_they_stand():
    head = make()
    p = head(torch.zeros(1, 8).double(), torch.zeros(1, 3).double())
    torch.testing.assert_close(p.entries(ROWS), at_zero(head, (0, 1, 2)).entries(ROWS))


def at_zero(head, order):
    return head(torch.zeros(1, 8).double(), keys_of(order)[None])


def test_gradients_of_a_row_with_gaps_are_finite():
    head, p = everything()
    x = p.sample(torch.Generator().manual_seed(1))[0].detach()
    x[:, ::3] = math.nan
    p.log_prob(x, ~x.isnan()).sum().backward()
    assert all(torch.isfinite(w.grad).all() for w in head.parameters())
