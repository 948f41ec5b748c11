"""New observations, drawn from a model."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from backstory.data.conditions import at_each_level, chosen_stated
from backstory.data.load import Source as Data
from backstory.data.load import load
from backstory.data.write import write_sheet, write_table
from backstory.errors import InputError
from backstory.files import TABLES
from backstory.jobs.checks import at_least_one
from backstory.jobs.output import Outcome, Output, write_observations
from backstory.jobs.pair_sheet import write_pair_sheet
from backstory.options import MixturePrior, one_of
from backstory.trained import Trained


@dataclass(frozen=True)
class Sampling:
    """What to draw.

    Attributes:
        n: the number of observations.
        mean: write E[x|z] in place of draws of x.
        temperature: factor of the prior's standard deviation.
        given: cells of a table by the name of their column, as they would stand in a file, or ranges
            and sets of them, see `tables.partial.wanted`; draws are of p(x | given).
        seed: of all draws; None draws anew each time.
        missing_cells: `keep` leaves as many cells of a table empty as training had.
        conditions: those of a model of p(x|c) by name, as in a file or one for each draw.
        each: the name of a condition; n observations are then drawn at each of its levels.
    """

    n: int = 64
    mean: bool = False
    temperature: float = 1.0
    given: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)
    missing_cells: str = "fill"
    each: str | None = None

    def shows_means(self, output: Output) -> bool:
        """Whether the output is a picture with the mean E[x|z] above each draw."""
        return output.format == "png" and not self.mean and not self.given and (self.n > 1 or bool(self.each))


def sample(model: Trained, output: Output, sampling: Sampling) -> Outcome:
    """Write observations, z ~ p(z) then x ~ p(x|z), or p(x | given), in the data's own type.

    At each level of a condition, a `.png` has a line, and a folder of images a folder, for each level. In a
    `.png` of several draws each has its mean E[x|z] above it, so that the noise of p(x|z) is not taken for a
    failure.

    Raises:
        InputError: the model is a plain autoencoder without a prior, or has no such column, or a cell cannot
            be read.
    """
    output.check()
    schema = model.schema
    as_table = bool(schema.kinds) and output.format in TABLES and not sampling.mean  # means have few digits
    draw = partial(
        model.sample,
        sampling.n,
        temperature=sampling.temperature,
        where=sampling.given or None,
        given=sampling.conditions or None,
        frame=as_table,
        missing_cells=sampling.missing_cells,
        each=sampling.each,
    )
    if sampling.shows_means(output):
        seed = secrets.randbits(62) if sampling.seed is None else sampling.seed  # the same z for both
        x, means = draw(seed=seed), draw(seed=seed, mean=True)
        write_pair_sheet(output, means, x, schema, sampling.n if sampling.each else None)
        return Outcome((output.path,), len(x))
    x = draw(mean=sampling.mean, seed=sampling.seed)
    if as_table:
        write_table(output.path, dict(x), output.force, schema.header, schema.separator)
        return Outcome((output.path,), len(x))
    given, names = sampling.conditions or None, None
    if sampling.each is not None:
        if output.format == "png":
            write_sheet(output.path, x, schema, sampling.n, output.force)
            return Outcome((output.path,), len(x))
        _, given = at_each_level(schema.conditions, sampling.each, sampling.n, given)
        names = _names(model.classified(sampling.each).levels or (), sampling.n)
    stated = chosen_stated(schema.conditions, given, len(x))
    write_observations(output, x, schema, names, stated)
    return Outcome((output.path,), len(x))


def _names(levels: Sequence[str], n: int) -> tuple[str, ...]:
    """The names of n images of each level, in a folder for each level."""
    width = len(str(n - 1))
    return tuple(f"{level}/{i:0{width}d}.png" for level in levels for i in range(n))


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
