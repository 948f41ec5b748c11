"""New observations, drawn from a model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np

from backstory.data.load import Source as Data
from backstory.data.load import load
from backstory.data.schema import Schema
from backstory.errors import InputError
from backstory.jobs.checks import at_least_one
from backstory.jobs.output import Outcome, Output, write_observations
from backstory.options import MixturePrior, one_of
from backstory.trained import Trained


@dataclass(frozen=True)
class Sampling:
    """What to draw.

    Attributes:
        n: the number of observations.
        mean: write E[x|z] in place of draws of x.
        temperature: factor of the prior's standard deviation.
        given: cells of a table by the name of their column, as they would stand in a file; draws are of
            p(x | given).
        seed: of all draws; None draws anew each time.
        conditions: those of a model of p(x|c) by name, as in a file or one for each draw.
    """

    n: int = 64
    mean: bool = False
    temperature: float = 1.0
    given: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)


def sample(model: Trained, output: Output, sampling: Sampling) -> Outcome:
    """Write observations, z ~ p(z) then x ~ p(x|z), or p(x | given), in the data's own type.

    Raises:
        InputError: the model is a plain autoencoder without a prior, or has no such column, or a cell cannot
            be read.
    """
    output.check()
    where = given_row(model.schema, sampling.given) if sampling.given else None
    x = model.sample(
        sampling.n,
        mean=sampling.mean,
        temperature=sampling.temperature,
        seed=sampling.seed,
        where=where,
        given=sampling.conditions or None,
    )
    write_observations(output, x, model.schema)
    return Outcome((output.path,), len(x))


def given_row(schema: Schema, cells: Mapping[str, str]) -> np.ndarray:
    """One row of stored values, (C,), with the given cells and NaN elsewhere."""
    from backstory.data.tables.encode import encoded_cell  # with pandas, which is slow to import

    if not schema.kinds:
        raise InputError("expected a model of a table for `where`, got one of other data; leave it out")
    row = np.full(schema.shape, math.nan)
    positions = {column.name: j for j, column in enumerate(schema.kinds)}
    for name, text in cells.items():
        if name not in positions:
            near = get_close_matches(name, positions, n=1, cutoff=0.0)
            raise InputError(f"the model has no column {name!r}; did you mean {near[0]!r}?")
        j = positions[name]
        row[j] = encoded_cell(text, schema.kinds[j])
    return row


def fit_prior(
    model: Trained, prior: str, components: int | None = None, data: "Data | None" = None, seed: int = 0
) -> None:
    """Replace the prior of this model by one that is fitted to the codes of its training rows.

    Args:
        model: the model, which is changed.
        prior: `mixture`, of Gaussians.
        components: their number; by default as in the options of the run.
        data: the data to use, all rows of it unless the model was trained on it; by default the run's own.
        seed: of the codes and of the fit.

    Raises:
        InputError: another prior, or the run's own data cannot be read any more.
    """
    one_of("prior", prior, ["mixture"])
    at_least_one("components", components)
    try:
        dataset = load(model.source if data is None else data, schema=model.schema)
    except InputError as error:
        if data is not None:
            raise
        raise InputError(f"the run's own data cannot be loaded, give it with `data` ({error})") from None
    rows = dataset.stored.take(model.splits.train) if model.trained_on(dataset) else dataset
    usual = model.options.prior.values.get("components", MixturePrior().components)
    model.fit_prior(rows, usual if components is None else components, seed)
