"""The columns of a table as the model needs them: their quantities, and statistics of the training rows."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from backstory.data.dataset import Dataset
from backstory.data.rows import Rows, mapped
from backstory.data.schema import Schema
from backstory.data.tables.columns import NUMBERS, Column, is_number
from backstory.data.tables.partition import partition
from backstory.distributions.quantities import ColumnStatistics, Marginals, Quantity
from backstory.errors import InputError

MOST_ROWS = 100_000  # from which the statistics are computed
HIGHEST_COUNT = 10_000  # larger whole numbers are modelled as continuous
CURVED_GAIN = 0.05  # nats per cell above which a column is modelled by its asinh
MANY_GAPS = 0.05  # share of empty cells from which a model of a table is made to fill them
NARROWEST = 1e-3  # the scale s as a fraction of the standard deviation, at least


def quantities(schema: Schema) -> tuple[Quantity, ...]:
    """The quantity in each column, as the likelihood needs it."""
    return tuple(map(_quantity, schema.kinds))


def _quantity(column: Column) -> Quantity:
    if column.levels is not None:
        return Quantity(column.kind, len(column.levels))
    if column.values is not None:
        return Quantity("grid", len(column.values), tuple(v - column.origin for v in column.values))
    many = column.kind == "count" and (column.high or 0) > HIGHEST_COUNT
    atoms = tuple(float(np.float32(value - column.origin)) for value, _ in column.atoms)
    return Quantity("continuous" if many else column.kind, atoms=atoms)


def only_numbers(schema: Schema) -> bool:
    """Whether all columns of a table are numbers, so that a likelihood of numbers is the default."""
    return bool(schema.kinds) and all(column.kind in NUMBERS for column in schema.kinds)


def many_gaps(schema: Schema) -> bool:
    """Whether so many cells of a table are empty that its model is above all one to fill them."""
    return bool(schema.kinds) and float(np.mean([column.missing for column in schema.kinds])) >= MANY_GAPS


def as_numbers(dataset: Dataset) -> Dataset:
    """The same table with every column continuous, for likelihoods of numbers.

    Raises:
        InputError: a column has levels that are not numbers.
    """
    levelled = {j: column for j, column in enumerate(dataset.schema.kinds) if column.levels is not None}
    for column in levelled.values():
        if not all(map(is_number, column.levels or ())):
            raise InputError(
                f"this likelihood is for numbers alone, got {column.kind} column {column.name!r} of "
                f"{dataset.source}; use likelihood joint, or leave the column out"
            )
    tables = {j: np.array([float(level) for level in column.levels or ()]) for j, column in levelled.items()}
    unchanged = all((table == np.arange(len(table))).all() for table in tables.values())
    kinds = tuple(_as_number(column, tables.get(j)) for j, column in enumerate(dataset.schema.kinds))
    related = dataset.schema.related.as_numbers({levelled[j].name: table for j, table in tables.items()})
    schema = dataset.schema.model_copy(update={"kinds": kinds, "related": related})
    if unchanged:
        return replace(dataset, schema=schema)

    def numbers(block: np.ndarray) -> np.ndarray:
        block = block.copy()
        for j, table in tables.items():
            observed = ~np.isnan(block[:, j])
            block[observed, j] = table[block[observed, j].astype(int)]
        return block

    return replace(dataset, schema=schema, values=mapped(numbers, dataset.values))


def _as_number(column: Column, table: np.ndarray | None) -> Column:
    """The column for a likelihood of numbers; the table has the number of each level."""
    if column.kind == "date":
        return column
    changes: dict[str, Any] = {"kind": "continuous", "levels": None, "rare": False}
    changes |= {"values": None, "atoms": ()}
    if table is not None and column.low is not None and column.high is not None:
        own = table[int(column.low) : int(column.high) + 1]
        changes |= {"low": float(own.min()), "high": float(own.max())}
    return column.model_copy(update=changes)


def column_statistics(values: Rows, schema: Schema) -> ColumnStatistics:
    """Statistics of each column over the training rows, or over evenly spaced ones of very many."""
    rows = np.linspace(0, len(values) - 1, min(len(values), MOST_ROWS)).astype(int)
    some = schema.prepare(np.asarray(values[rows])).double().numpy()
    columns = [(q, x[~np.isnan(x)]) for q, x in zip(quantities(schema), some.T, strict=True)]
    marginals = [_marginal(q, x) for q, x in columns]
    location, scale, curved, atom = map(torch.tensor, zip(*marginals, strict=True))
    edges = partition(columns)
    return ColumnStatistics(Marginals(location.float(), scale.float(), curved, atom.float()), edges)


def _marginal(quantity: Quantity, x: np.ndarray) -> tuple[float, float, bool, float]:
    """Location, scale, whether the column is curved, and the atom, of the observed values of a column."""
    if quantity.kind == "grid" and len(x):
        return float(x.mean()), float(x.std()) or 1.0, False, np.nan
    if quantity.levels or len(x) == 0:
        return 0.0, 1.0, False, np.nan
    rest = x[~np.isin(x, quantity.atoms)]
    rest = rest if len(rest) else x
    if quantity.kind == "count":
        logs = np.log1p(rest)
        return float(logs.mean()), float(max(logs.std(), 0.1)), False, np.nan
    atom = quantity.atoms[0] if quantity.atoms else np.nan
    mean, std = float(rest.mean()), float(rest.std()) or 1.0
    low, middle, high = np.percentile(rest, [25, 50, 75])
    scale = max(float(high - low) / 1.349, NARROWEST * std)
    u = (rest - middle) / scale
    straight, bent = -np.log(u.std() or 1.0), -np.log(np.arcsinh(u).std() or 1.0) - np.log1p(u**2).mean() / 2
    if bent > straight + CURVED_GAIN:
        return float(middle), scale, True, atom
    return mean, std, False, atom
