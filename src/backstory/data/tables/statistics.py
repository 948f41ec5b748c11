"""What a table's columns are to the model: their quantities, and what the training rows tell of each."""

from dataclasses import replace

import numpy as np
import torch

from backstory.data.dataset import Dataset
from backstory.data.rows import Rows, mapped
from backstory.data.schema import Schema
from backstory.data.tables.columns import NUMBERS, Column, is_number
from backstory.distributions.columns import Marginals, Quantity
from backstory.errors import InputError

MOST_ROWS = 100_000  # that are looked at
HIGHEST_COUNT = 10_000  # above, whole numbers are as good as continuous
ATOM_SHARE, ATOM_LEAST = 0.05, 10  # of the cells that hold one and the same value, besides other values
CURVED_GAIN = 0.05  # nats a cell, from which a column is modelled by its asinh
NARROWEST = 1e-3  # s, as a fraction of the standard deviation


def quantities(schema: Schema) -> tuple[Quantity, ...]:
    """What each column holds, as the likelihood takes it."""
    return tuple(map(_quantity, schema.kinds))


def _quantity(column: Column) -> Quantity:
    if column.levels is not None:
        return Quantity(column.kind, len(column.levels))
    if column.values is not None:
        return Quantity("grid", len(column.values), tuple(v - column.origin for v in column.values))
    many = column.kind == "count" and (column.high or 0) > HIGHEST_COUNT
    return Quantity("continuous" if many else column.kind)


def only_numbers(schema: Schema) -> bool:
    """Whether a table has nothing but numbers, so that a likelihood of numbers alone is the usual one."""
    return bool(schema.kinds) and all(column.kind in NUMBERS for column in schema.kinds)


def as_numbers(dataset: Dataset) -> Dataset:
    """The same table with every column continuous, for likelihoods that are of numbers alone.

    Raises:
        InputError: a column of words, which are no numbers.
    """
    levelled = {j: column for j, column in enumerate(dataset.schema.kinds) if column.levels is not None}
    for column in levelled.values():
        if not all(map(is_number, column.levels or ())):
            raise InputError(
                f"this likelihood is of numbers alone, got {column.kind} column {column.name!r} of "
                f"{dataset.source}; use likelihood joint, or leave the column out"
            )
    tables = {j: np.array([float(level) for level in column.levels or ()]) for j, column in levelled.items()}
    unchanged = all((table == np.arange(len(table))).all() for table in tables.values())
    kinds = tuple(
        column.model_copy(update={"kind": "continuous", "levels": None, "rare": False, "values": None})
        if column.kind != "date"
        else column
        for column in dataset.schema.kinds
    )
    schema = dataset.schema.model_copy(update={"kinds": kinds})
    if unchanged:
        return replace(dataset, schema=schema)

    def numbers(block: np.ndarray) -> np.ndarray:
        block = block.copy()
        for j, table in tables.items():
            there = ~np.isnan(block[:, j])
            block[there, j] = table[block[there, j].astype(int)]
        return block

    return replace(dataset, schema=schema, values=mapped(numbers, dataset.values))


def data_marginals(values: Rows, schema: Schema) -> Marginals:
    """What the training rows, or evenly spaced ones of them, tell of each column."""
    rows = np.linspace(0, len(values) - 1, min(len(values), MOST_ROWS)).astype(int)
    some = schema.prepare(np.asarray(values[rows])).double().numpy()
    found = [_marginal(q, x[~np.isnan(x)]) for q, x in zip(quantities(schema), some.T, strict=True)]
    location, scale, curved, atom = map(torch.tensor, zip(*found, strict=True))
    return Marginals(location.float(), scale.float(), curved, atom.float())


def _marginal(quantity: Quantity, x: np.ndarray) -> tuple[float, float, bool, float]:
    """Location, scale, whether it is curved, and the atom, of the values of a column that are there."""
    if quantity.kind == "grid" and len(x):
        return float(x.mean()), float(x.std()) or 1.0, False, np.nan
    if quantity.levels or len(x) == 0:
        return 0.0, 1.0, False, np.nan
    if quantity.kind == "count":
        logs = np.log1p(x)
        return float(logs.mean()), float(max(logs.std(), 0.1)), False, np.nan
    atom = _atom(x)
    rest = x[x != atom]
    mean, std = float(rest.mean()), float(rest.std()) or 1.0
    low, middle, high = np.percentile(rest, [25, 50, 75])
    scale = max(float(high - low) / 1.349, NARROWEST * std)
    u = (rest - middle) / scale
    straight, bent = -np.log(u.std() or 1.0), -np.log(np.arcsinh(u).std() or 1.0) - np.log1p(u**2).mean() / 2
    if bent > straight + CURVED_GAIN:
        return float(middle), scale, True, atom
    return mean, std, False, atom


def _atom(x: np.ndarray) -> float:
    """The value of many cells of a column that has many values besides; NaN without one."""
    values, counts = np.unique(x, return_counts=True)
    most = int(counts.argmax())
    often = counts[most] >= max(ATOM_LEAST, ATOM_SHARE * len(x))
    return float(values[most]) if often and len(values) > 2 * ATOM_LEAST else np.nan
