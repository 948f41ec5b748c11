"""Columns that depend on each other given z, compared with sums over all rows and all sets of columns."""

import itertools
import math
from functools import partial

import pytest
import torch
from likelihoods import ROW

from backstory.distributions.autoregressive import CHOICES, AutoregressiveHead, Shares
from backstory.distributions.quantities import Edges, Quantity
from backstory.models.networks.column_transformer import ColumnTransformer

BINARY = (Quantity("binary", 2), Quantity("categorical", 3), Quantity("binary", 2))
ROWS = torch.tensor(list(itertools.product(range(2), range(3), range(2))), dtype=torch.float64)
NETWORK = partial(ColumnTransformer, width=8, layers=2, heads=2)


def level_edges(quantities):
    edges = Edges.blank(quantities)
    for j, quantity in enumerate(quantities):
        if quantity.values:
            middles = torch.tensor(quantity.values).unfold(0, 2, 1).mean(-1)
        else:
            middles = torch.arange((quantity.levels or 8) - 1) + 0.5
        edges.edges[j, : len(middles)] = middles
    return edges


def make(quantities=BINARY, seed=0, spread=1.5):
    """A head with random weights in double precision, outside of training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = (
            AutoregressiveHead(quantities, level_edges(quantities), NETWORK, 8, Shares.suited(False))
            .double()
            .eval()
        )
        for parameter in head.parameters():
            parameter.data = spread * torch.randn_like(parameter) / parameter.shape[-1] ** 0.5
    return head


def at(head, rows=1, seed=1):
    trunk = torch.randn(head.features_shape, generator=torch.Generator().manual_seed(seed)).double()
    return head(trunk.expand(rows, -1), torch.zeros(rows, head.auxiliary).double())


def masks(columns=3):
    return [torch.tensor(bits) for bits in itertools.product((False, True), repeat=columns)]


def whole(p, first):
    """log p of all rows with some columns first."""
    moved = type(p)(p.trunk, p.head, first.expand(*p.trunk.shape[:-1], -1))
    return moved.log_prob(ROWS)


# -- densities --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", masks())
def test_probabilities_of_all_rows_add_up_to_one_for_each_set_of_first_columns(first):
    assert whole(at(make(), len(ROWS)), first).exp().sum().item() == pytest.approx(1)


def test_hidden_columns_leave_a_density():
    p = at(make(), len(ROWS))
    for visible in masks():
        hiding = type(p)(p.trunk, p.head, None, visible.expand(len(ROWS), -1))
        entries = hiding.entries(ROWS)
        assert entries.sum(-1).exp().sum().item() == pytest.approx(1)
        if not visible.any():  # then columns are independent given z
            for column in range(3):
                values = entries[ROWS[:, column] == 0, column]
                torch.testing.assert_close(values, values[:1].expand_as(values))


def test_a_column_depends_on_the_columns_before_it_alone():
    p, row = at(make()), ROWS[:1]
    for column in range(3):
        changed = row.clone()
        changed[0, column] = 1 - changed[0, column]
        unlike = (p.entries(changed) - p.entries(row)).abs()[0] > 1e-9
        assert torch.equal(unlike, torch.arange(3) >= column)


@pytest.mark.parametrize("observed", masks())
def test_observed_columns_have_their_marginal_probability_in_the_order_that_has_them_first(observed):
    p = at(make())
    table = whole(at(make(), len(ROWS)), observed)
    for row in ROWS[::5]:
        agree = ((row == ROWS) | ~observed).all(-1)
        holes = torch.where(observed, row, math.nan)
        torch.testing.assert_close(p.log_prob(holes[None], observed[None])[0], table[agree].logsumexp(0))
        assert not p.entries(holes[None], observed[None])[0, ~observed].any()


@pytest.mark.parametrize("observed", masks())
def test_draws_of_missing_columns_follow_their_conditional_distribution(observed):
    row, n = ROWS[7], 40_000
    table, agree = whole(at(make(), len(ROWS)), observed), ((row == ROWS) | ~observed).all(-1)
    expected = torch.softmax(table[agree], 0)
    holes = torch.where(observed, row, math.nan).expand(n, -1)
    drawn = (
        at(make(), n).missing_given(holes, observed.expand(n, -1)).sample(torch.Generator().manual_seed(0))
    )
    counts = torch.stack([(drawn == r).all(-1).sum() for r in ROWS[agree]])
    assert counts.sum() == n
    assert ((counts / n - expected).abs() <= 4 * (expected * (1 - expected) / n).sqrt()).all()


def test_draws_of_whole_rows_follow_the_density():
    n = 40_000
    drawn = at(make(), n).sample(torch.Generator().manual_seed(3))
    expected = at(make(), len(ROWS)).log_prob(ROWS).exp()
    shares = torch.stack([(drawn == r).all(-1).double().mean() for r in ROWS])
    assert ((shares - expected).abs() < 4 * (expected * (1 - expected) / n).sqrt()).all()


def test_rows_with_unlike_gaps_are_drawn_together():
    observed = torch.stack(masks())
    x = torch.where(observed, ROWS[5], math.nan)
    p = at(make(), len(x))
    drawn = p.missing_given(x, observed).sample(torch.Generator().manual_seed(0))
    assert torch.equal(drawn[observed], x[observed])
    assert drawn.isfinite().all()
    complete = at(make()).missing_given(x[-1:], observed[-1:]).sample()
    assert torch.equal(complete, x[-1:])


# -- moments ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", range(3))
def test_moments_of_a_single_missing_column_are_exact(missing):
    observed, row = torch.arange(3) != missing, ROWS[4]
    table, agree = whole(at(make(), len(ROWS)), observed), ((row == ROWS) | ~observed).all(-1)
    expected, levels = torch.softmax(table[agree], 0), ROWS[agree][:, missing]
    given = at(make()).missing_given(torch.where(observed, row, math.nan)[None], observed[None])
    mean = (expected * levels).sum()
    torch.testing.assert_close(given.mean[0, missing], mean)
    torch.testing.assert_close(given.variance[0, missing], (expected * levels.square()).sum() - mean.square())
    for columns, probs in given.level_probs:
        for k, column in enumerate(columns.tolist()):
            if column == missing:
                torch.testing.assert_close(probs[0, :, k], expected)


def test_moments_of_several_missing_columns_are_those_of_each_as_the_next():
    observed, row, p = torch.tensor([False, True, False]), ROWS[3], at(make())
    mean = p.missing_given(torch.where(observed, row, math.nan)[None], observed[None]).mean[0]
    for missing in (0, 2):
        both = observed | (torch.arange(3) == missing)
        moved = type(p)(p.trunk, p.head, observed[None])
        found = torch.stack([moved.log_prob(ROWS[k : k + 1], both[None])[0] for k in range(len(ROWS))])
        known = (row == ROWS)[:, 1]
        values = {float(ROWS[k, missing]): found[k].exp() for k in known.nonzero().flatten()}
        total = sum(values.values())
        torch.testing.assert_close(mean[missing], sum(v * w for v, w in values.items()) / total)


# -- training ---------------------------------------------------------------------------------------------


def test_keys_choose_what_a_draw_is_for_in_training_alone():
    head, n = make(), 50_000
    keys = torch.randn(n, head.auxiliary, generator=torch.Generator().manual_seed(0)).double()
    trunk = torch.zeros(n, 8).double()
    quiet = head(trunk, keys)
    assert quiet.first is None
    assert quiet.visible is None
    p = head.train()(trunk, keys)
    assert head.auxiliary == CHOICES + 3
    some, hides = p.first.any(-1), ~p.visible.all(-1)
    assert not (some & hides).any()
    assert some.double().mean().item() == pytest.approx(0.4 * 0.75, abs=0.02)  # all sizes are as frequent
    assert hides.double().mean().item() == pytest.approx(0.2 * 0.75, abs=0.02)


# -- columns of all kinds ---------------------------------------------------------------------------------


def everything(rows=5, seed=0):
    head = make(ROW, spread=0.7)
    generator = torch.Generator().manual_seed(seed)
    trunk = torch.randn(3, rows, *head.features_shape, generator=generator, dtype=torch.float64)
    return head, head(trunk, torch.zeros(3, rows, head.auxiliary))


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
        one = head(p.trunk[k, row], torch.zeros(head.auxiliary))
        torch.testing.assert_close(one.entries(x[row], observed[row]), value[k, row])


def test_terms_are_the_conditionals_that_the_draws_use():
    head, p = everything()
    x = p.sample(torch.Generator().manual_seed(1))[0]
    one = type(p)(p.trunk[0], head)
    at, order = head.partition.cell(x), torch.arange(len(ROW)).expand(5, -1)
    known = head.network.begin(one.trunk, at, order, torch.zeros(5, 1, dtype=torch.long))
    entries, given = one.entries(x), one.given(x)
    for column in range(len(ROW)):
        place = torch.full((5, 1), column)
        hidden = head.network.advance(known, at, place)
        logits, exists = given.logits[:, column], head.partition.inside().exists[column]
        own = head.network.column(hidden, column) + head.partition.log_counts()[column]
        torch.testing.assert_close(own[:, exists], logits[:, exists])
    assert entries.isfinite().all()


def test_gradients_of_a_row_with_gaps_are_finite():
    head, p = everything()
    x = p.sample(torch.Generator().manual_seed(1))[0].detach()
    x[:, ::3] = math.nan
    p.log_prob(x, ~x.isnan()).sum().backward()
    assert all(torch.isfinite(w.grad).all() for w in head.parameters() if w.grad is not None)
