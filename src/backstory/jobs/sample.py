"""New observations, drawn from a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from backstory.data.conditions import at_each_level, chosen_stated
from backstory.data.load import Source as Data
from backstory.data.load import load
from backstory.data.values import stored_values
from backstory.data.write import write_table
from backstory.errors import InputError
from backstory.files import TABLES
from backstory.inference.generate import Temperature
from backstory.jobs.checks import at_least_one, check_images
from backstory.jobs.line_sheet import write_line_sheet
from backstory.jobs.output import Outcome, Output, write_observations
from backstory.options import MixturePrior, one_of
from backstory.trained import Trained

USUAL, USUAL_OF_EACH = 64, 8  # observations: a sheet of 8 by 8, or a line of 8 for each level
NEAREST = ("nearest", "second", "third")  # training images below a draw


@dataclass(frozen=True)
class Sampling:
    """What to draw.

    Attributes:
        n: the number of observations; None for 64, or 8 at each level.
        mean: write E[x|z] in place of draws of x.
        temperature: factor of the prior's standard deviation, or one for each level of z.
        given: cells of a table by the name of their column, as they would stand in a file, or ranges
            and sets of them, see `tables.partial.wanted`; draws are of p(x | given).
        seed: of all draws; None draws anew each time.
        missing_cells: `keep` leaves as many cells of a table empty as training had.
        conditions: those of a model of p(x|c) by name, as in a file or one for each draw.
        each: the name of a condition; n observations are then drawn at each of its levels.
        nearest: images, of which the three that are nearest to a draw are shown beside it, in a `.png`.
    """

    n: int | None = None
    mean: bool = False
    temperature: Temperature = 1.0
    given: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)
    missing_cells: str = "fill"
    each: str | None = None
    nearest: "Data | None" = None

    @property
    def number(self) -> int:
        """The number of observations, in all or of each level."""
        return (USUAL if self.each is None else USUAL_OF_EACH) if self.n is None else self.n

    def shows_means(self, output: Output) -> bool:
        """Whether the output is a picture with the mean E[x|z] above each draw."""
        plain = not self.mean and not self.given and self.nearest is None and self.missing_cells == "fill"
        return output.format == "png" and plain and self.number > 1


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
    if sampling.nearest is not None and (output.format != "png" or schema.kind != "images"):
        raise InputError(
            f"expected a .png of images for `nearest`, got {output.path} of kind {schema.kind}; name it so, "
            "or leave `nearest` out"
        )
    as_table = bool(schema.kinds) and output.format in TABLES and not sampling.mean  # means have few digits
    given, names = sampling.conditions or None, None
    seed = torch.Generator().seed() % 2**31 if sampling.seed is None else sampling.seed
    if sampling.each is None and not sampling.given:
        given = model.given_or_drawn(given, sampling.number, seed)
    if sampling.shows_means(output):
        x, means = model.sample_with_means(sampling.number, sampling.temperature, seed, given, sampling.each)
        _write_lines(model, output, sampling, {"E[x|z]": means, "draw": x})
        return Outcome((output.path,), len(x))
    x = model.sample(
        sampling.number,
        sampling.mean,
        sampling.temperature,
        seed,
        where=sampling.given or None,
        given=given,
        frame=as_table,
        missing_cells=sampling.missing_cells,
        each=sampling.each,
    )
    if as_table:
        write_table(output.path, dict(x), output.force, schema.header, schema.separator)
        return Outcome((output.path,), len(x))
    if sampling.nearest is not None:
        _write_beside_nearest(model, output, sampling, x)
        return Outcome((output.path,), len(x))
    if sampling.each is not None:
        if output.format == "png":
            _write_lines(model, output, sampling, {"": x})
            return Outcome((output.path,), len(x))
        _, given = at_each_level(schema.conditions, sampling.each, sampling.number, given)
        names = _names(model.classified(sampling.each).levels or (), sampling.number)
    stated = chosen_stated(schema.conditions, given, len(x))
    write_observations(output, x, schema, names, stated)
    return Outcome((output.path,), len(x))


def _write_lines(model: Trained, output: Output, sampling: Sampling, lines: Mapping[str, np.ndarray]) -> None:
    """Write a picture with a line, or one of each kind, for every level of the condition `each`."""
    if sampling.each is None:
        write_line_sheet(output, lines, model.schema)
        return
    levels = model.classified(sampling.each).levels or ()
    write_line_sheet(output, lines, model.schema, sampling.number, levels)


def _write_beside_nearest(model: Trained, output: Output, sampling: Sampling, x: np.ndarray) -> None:
    """Write a picture of draws, each above the nearest of the images that the model was trained on."""
    from backstory.comparing.pictures import nearest_images  # with scikit-learn, which is slow to import

    assert sampling.nearest is not None
    data, schema = load(sampling.nearest, schema=model.schema), model.schema
    check_images(data, schema, "for `nearest`")
    parts = model.parts(data)
    rows = data.training_rows if parts is None else parts.train
    others = np.asarray(stored_values(data.subset(rows), schema)[:])
    draws, images = (schema.fractions(part.astype(float)) for part in (x, others))
    found = nearest_images(draws, images, len(NEAREST))
    below = {label: others[index] for label, index in zip(NEAREST, found.index.T, strict=False)}
    _write_lines(model, output, sampling, {"draw": x} | below)


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
    parts = model.parts(dataset)
    rows = dataset if parts is None else dataset.stored.take(parts.train)
    usual = model.options.prior.values.get("components", MixturePrior().components)
    model.fit_prior(rows, usual if components is None else components, seed)
