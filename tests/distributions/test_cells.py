"""Densities of columns that are cut into cells, compared with sums, quadrature and draws."""

import math

import numpy as np
import pytest
import torch

from backstory.data.tables.partition import partition
from backstory.distributions.cells import ABSENT, Cells, Columns, Partition
from backstory.distributions.quantities import CELLS, Edges, Quantity

RANDOM = np.random.default_rng(0)
AMOUNTS = np.concatenate([RANDOM.lognormal(0, 1, 900), np.zeros(300), np.full(60, 2.5)])
VISITS = np.concatenate([RANDOM.poisson(3, 700), RANDOM.geometric(0.01, 300)]).astype(float)
HOURS = (0.0, 7.5, 8.0)
QUANTITIES = (
    Quantity("continuous"),
    Quantity("count"),
    Quantity("grid", 3, HOURS),
    Quantity("binary", 2),
    Quantity("categorical", 4),
)


@pytest.fixture(scope="module")
def cells():
    columns = [AMOUNTS, VISITS, np.array(HOURS), np.array([0.0, 1.0]), np.arange(4.0)]
    found = Partition(QUANTITIES, partition(list(zip(QUANTITIES, columns, strict=True)))).double()
    logits = torch.randn(len(QUANTITIES), found.cells, generator=torch.Generator().manual_seed(0)).double()
    return Cells(torch.where(found.inside().exists, logits, ABSENT), found)


def of_column(cells, column, values):
    x = torch.zeros(len(values), len(QUANTITIES), dtype=torch.float64)
    x[:, column] = torch.as_tensor(values, dtype=torch.float64)
    return cells.entries(x)[:, column].exp()


def test_the_density_of_a_number_and_its_atoms_add_up_to_one(cells):
    edges = cells.partition.edges[0]
    edges = edges[edges.isfinite()]
    atoms = edges[:-1][edges.diff() == 0]
    assert atoms.tolist() == [0.0, 2.5]
    bounds, total = edges.unique().tolist(), of_column(cells, 0, atoms).sum()
    below, above = (40 * cells.partition.tails[0]).tolist()
    for low, high in zip([bounds[0] - below, *bounds], [*bounds, bounds[-1] + above], strict=True):
        middles = low + (high - low) * (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
        total += of_column(cells, 0, middles).sum() * (high - low) / 20_000
    assert total.item() == pytest.approx(1, abs=1e-5)


def test_nothing_is_drawn_between_an_atom_and_the_numbers_beside_it():
    """A sentinel of -200 and a cap of 90 in a column of numbers from 5 to 40."""
    x = np.concatenate([RANDOM.uniform(5, 40, 500), np.full(30, -200.0), np.full(20, 90.0)])
    quantity = Quantity("continuous", atoms=(-200.0, 90.0))
    found = Partition([quantity], partition([(quantity, x)]))
    cells = Cells(found.log_counts().expand(5000, -1, -1), found)
    drawn = cells.sample(torch.Generator().manual_seed(0))
    outside = (drawn < 4) | (drawn > 41)
    assert drawn[outside & (drawn != -200) & (drawn != 90)].numel() < 0.01 * len(drawn)
    assert (drawn == -200).double().mean().item() == pytest.approx(30 / 550, abs=0.012)


def test_the_probabilities_of_counts_add_up_to_one(cells):
    assert of_column(cells, 1, range(-200, 30_000)).sum().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("column", "values"), [(2, HOURS), (3, range(2)), (4, range(4))])
def test_probabilities_of_levels_are_those_of_the_logits(cells, column, values):
    expected = torch.softmax(cells.logits[column], -1)[: len(values)]
    torch.testing.assert_close(of_column(cells, column, list(values)), expected)
    assert expected.sum().item() == pytest.approx(1)


def test_moments_are_those_of_many_draws(cells):
    many = Cells(cells.logits.expand(200_000, -1, -1), cells.partition)
    drawn = many.sample(torch.Generator().manual_seed(1))
    mean, variance = cells.mean, cells.variance
    error = (variance / len(drawn)).sqrt()
    assert ((drawn.mean(0) - mean).abs() < 5 * error + 1e-9).all()
    torch.testing.assert_close(drawn.var(0), variance, rtol=0.05, atol=1e-9)


def test_draws_of_a_single_column_are_those_of_the_row(cells):
    u = torch.rand(500, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for column in range(len(QUANTITIES)):
        logits = cells.logits[column] - cells.partition.log_counts()[column]
        x, at = Columns(cells.partition).draw(column, logits.expand(500, -1), u)
        assert of_column(cells, column, x).log().isfinite().all()
        row = torch.nan_to_num(x)[:, None].expand(-1, len(QUANTITIES))
        assert torch.equal(at, cells.partition.cell(row)[:, column])
        counts = torch.bincount(at, minlength=cells.partition.cells).double() / 500
        torch.testing.assert_close(counts, torch.softmax(cells.logits[column], -1), atol=0.07, rtol=0)


def test_moments_of_levels_are_zero_and_their_probabilities_are_given(cells):
    mean, variance = cells.moments
    assert not mean[3:].any()
    assert not variance[3:].any()
    assert mean[0] != 0
    groups = {tuple(columns.tolist()): probs.shape for columns, probs in cells.level_probs}
    assert groups == {(3,): (2, 1), (4,): (4, 1)}


def test_frequent_values_have_cells_of_their_own():
    edges = partition([(Quantity("continuous"), AMOUNTS), (Quantity("count"), VISITS)])
    cut = Partition([Quantity("continuous"), Quantity("count")], edges)
    low, width, _, _ = cut.inside()
    for frequent in (0.0, 2.5):
        at = cut.cell(torch.tensor([[frequent, 0.0]]))[0, 0]
        assert (low[0, at], width[0, at]) == (frequent, 0)
    for frequent in (1.0, 2.0, 3.0, 4.0):
        at = cut.cell(torch.tensor([[0.0, frequent]]))[0, 1]
        assert width[1, at] == 1


@pytest.mark.parametrize(
    "values",
    [
        np.array([]),
        np.array([3.0]),
        np.array([1.0, 2.0]),
        RANDOM.standard_normal(50),
        RANDOM.standard_normal(5000).round(1),
        np.repeat(np.arange(100.0), 30),
        1e-6 * RANDOM.standard_normal(500),
    ],
)
@pytest.mark.parametrize("kind", ["continuous", "count"])
def test_any_values_can_be_cut(values, kind):
    values = np.abs(np.rint(values)) if kind == "count" else values
    quantity = Quantity(kind)
    edges = partition([(quantity, values)])
    assert edges.edges.shape == (1, CELLS - 1)
    finite = edges.edges[0][edges.edges[0].isfinite()]
    assert len(finite) >= 1
    assert (finite.diff() >= 0).all()
    assert (edges.tails > 0).all()
    cut = Partition([quantity], edges)
    p = Cells(torch.where(cut.inside().exists, 0.0, ABSENT), cut)
    x = torch.tensor(np.concatenate([values, [7.0, 1e6]]), dtype=torch.float32)[:, None]
    assert p.log_prob(x).isfinite().all()


def test_blank_edges_have_the_shape_of_the_columns_with_the_most_cells():
    edges = Edges.blank([Quantity("binary", 2)])
    assert edges.edges.shape == (1, 1)
    assert math.isinf(edges.edges[0, 0])
