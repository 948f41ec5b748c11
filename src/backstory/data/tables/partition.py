"""How the columns of a table are cut into cells: own cells for frequent values, quantiles between them."""

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
    while len(edges := _cut(values, most, quantity.kind == "count")) >= CELLS:
        most = int(0.9 * most)
    return edges


def _cut(x: np.ndarray, most: int, whole: bool) -> np.ndarray:
    """Edges for about `most` cells of equal numbers of values; an atom, or a count of its own, for values
    that are more frequent than that."""
    values, counts = np.unique(x.astype(np.float32).astype(np.float64), return_counts=True)
    few = whole and len(values) < CELLS // 2  # each with a cell of its own, so that none between is drawn
    share = len(x) / most
    edges: list[float] = []
    gathered = 0
    for index, (value, count) in enumerate(zip(values, counts, strict=True)):
        if few or count >= max(share, 2):
            edges += [value - 0.5, value + 0.5] if whole else [value, value]
            gathered = 0
            continue
        if index and gathered + count > share:
            edges.append(value - 0.5 if whole else (value + values[index - 1]) / 2)
            gathered = 0
        gathered += count
    if whole:
        edges = list(np.unique(edges))
    return np.array(edges or [values[0] - 0.5 if whole else values[0]])


def _tails(edges: np.ndarray, x: np.ndarray) -> list[float]:
    """The mean distances of values below the first edge and above the last one, small where no value is."""
    least = max(1e-3 * float(x.std()), 1e-6)
    below, above = edges[0] - x[x < edges[0]], x[x >= edges[-1]] - edges[-1]
    return [max(float(part.mean()) if len(part) else 0.0, least) for part in (below, above)]
