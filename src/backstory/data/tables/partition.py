"""How the columns of a table are cut into cells: own cells for frequent values, quantiles between them."""

import math

import numpy as np
import torch

from backstory.distributions.cells import Partition
from backstory.distributions.quantities import CELLS, Edges, Quantity

FEWEST, ROWS = 10, 40  # cells of a column of numbers at least, and rows for each cell


def partition(columns: list[tuple[Quantity, np.ndarray]]) -> Edges:
    """The edges of the cells of columns with their observed values in the training rows."""
    edges = Edges.blank([quantity for quantity, _ in columns])
    for j, (quantity, values) in enumerate(columns):
        found = _edges(quantity, values)
        edges.edges[j, : len(found)] = torch.from_numpy(found)
        if not quantity.levels and len(values):
            edges.tails[j] = torch.tensor(_tails(found, values))
        one = Edges(*(part[j : j + 1] for part in edges))
        at = Partition([quantity], one).cell(torch.from_numpy(values).float().unsqueeze(-1))
        edges.counts[j] = torch.bincount(at.flatten(), minlength=edges.counts.shape[1])
    return edges


def _edges(quantity: Quantity, values: np.ndarray) -> np.ndarray:
    if quantity.levels:
        grid = np.array(quantity.values or range(quantity.levels), dtype=float)
        return (grid[1:] + grid[:-1]) / 2
    if len(values) == 0:
        return np.zeros(1)
    most = min(CELLS, max(FEWEST, len(values) // ROWS))
    while len(edges := _cut(values, most, quantity)) >= CELLS:
        most = int(0.9 * most)
    return edges


def _cut(x: np.ndarray, most: int, quantity: Quantity) -> np.ndarray:
    """Edges for about `most` cells of equal numbers of values, with own cells for single values: the atoms of
    the quantity, values that are more frequent than that, and whole numbers if they are few."""
    values, counts = np.unique(x.astype(np.float32).astype(np.float64), return_counts=True)
    whole = quantity.kind == "count"
    few = whole and len(values) < CELLS // 2  # each with a cell of its own, so that none between is drawn
    share = len(x) / most
    own = (counts >= max(share, 2)) | np.isin(values, quantity.atoms) | few
    runs = np.split(np.arange(len(values)), np.flatnonzero(np.diff(own)) + 1)
    edges: list[float] = []
    for run in runs:
        if own[run[0]]:
            pairs = values[run, None] + (np.array([-0.5, 0.5]) if whole else np.zeros(2))
            edges += pairs.ravel().tolist()
        else:
            edges += _quantiles(values, counts, run, share, whole)
    return np.unique(edges) if whole else np.array(edges)


def _quantiles(
    values: np.ndarray, counts: np.ndarray, run: np.ndarray, share: float, whole: bool
) -> list[float]:
    """Edges for cells of about `share` rows between the values of a run, and between it and its neighbours.

    The edge beside a neighbour is near the run: a cell that reached as far as an atom would be drawn there.
    """
    steps = values[1:] - values[:-1]
    gap = float(np.median(steps[run[:-1]])) / 2 if len(run) > 1 else math.inf
    first, last = int(run[0]), int(run[-1])
    edges: list[float] = []
    gathered = 0
    for index in run.tolist():
        if index > first and gathered + counts[index] > share:
            edges.append(values[index] - (0.5 if whole else steps[index - 1] / 2))
            gathered = 0
        gathered += counts[index]
    below = [values[first] - (0.5 if whole else min(gap, steps[first - 1] / 2))] if first else []
    above = [values[last] + (0.5 if whole else min(gap, steps[last] / 2))] if last < len(steps) else []
    alone = [] if below or edges or above else [values[0] - (0.5 if whole else 0.0)]
    return [*below, *edges, *above, *alone]


def _tails(edges: np.ndarray, x: np.ndarray) -> list[float]:
    """The mean distances of values below the first edge and above the last one, small where no value is."""
    least = max(1e-3 * float(x.std()), 1e-6)
    below, above = edges[0] - x[x < edges[0]], x[x >= edges[-1]] - edges[-1]
    return [max(float(part.mean()) if len(part) else 0.0, least) for part in (below, above)]
