"""Inverse problems: rows of a data set as observations y of an unknown x."""

from dataclasses import dataclass

import numpy as np

from backstory.data.dataset import Dataset
from backstory.data.rows import subset
from backstory.data.schema import Schema
from backstory.data.tables.columns import LeftOut
from backstory.data.tables.constants import ConstantCells
from backstory.data.tables.related_cells import RelatedCells
from backstory.data.units import Units
from backstory.errors import InputError
from backstory.inference.operators import Operator
from backstory.jobs.damage import Damage
from backstory.jobs.masks import read_mask
from backstory.jobs.source import ChosenRows, Source, choose
from backstory.jobs.units import units_of
from backstory.trained import Trained


@dataclass(frozen=True)
class InverseProblem:
    """Observations y, and the map that made them of x.

    Attributes:
        source: the rows that were asked for.
        chosen: the data, with a table's columns in the order of its file, and the numbers of the rows.
        shown: the chosen rows as they came, (N, *out) or (N, *shape).
        kept: (N, *shape) of bool, the entries of x that are written as they came; None without any.
        y, operator: what `Model.restore` takes, in the model's units, with NaN for missing entries.
        truth: (N, *shape) in the model's units if the rows are x and were damaged here; None otherwise.
        units: of the data.
    """

    source: Source
    chosen: ChosenRows
    shown: np.ndarray
    kept: np.ndarray | None
    y: np.ndarray
    operator: Operator
    truth: np.ndarray | None
    units: Units

    @property
    def given(self) -> np.ndarray | None:
        """Codes of the conditions of the chosen rows, (N, C); None for a model of p(x)."""
        given = self.chosen.data.given
        return None if given is None else given[self.chosen.index]

    @property
    def stated(self) -> np.ndarray | None:
        """Stored numbers of the conditions of the chosen rows, (N, K); None for a model of p(x)."""
        stated = self.chosen.data.stated
        return None if stated is None else stated[self.chosen.index]

    @property
    def told(self) -> list[LeftOut]:
        """The columns of the table in place of which conditions were given."""
        return [column for column in self.chosen.data.schema.left_out if column.reason == "condition"]

    @property
    def constants(self) -> list[ConstantCells]:
        """The cells of constant columns in the chosen rows."""
        return [cells.subset(self.chosen.index) for cells in self.chosen.data.constants]

    @property
    def related(self) -> RelatedCells | None:
        """The cells of columns that belong together in the chosen rows."""
        related = self.chosen.data.related
        return None if related is None else related.subset(self.chosen.index)

    @property
    def fill(self) -> np.ndarray:
        """(N, *shape) of bool, the entries of x that are not written as they came."""
        return np.ones(self.shown.shape, bool) if self.kept is None else ~self.kept

    @property
    def rows(self) -> np.ndarray:
        """The chosen rows in the model's columns."""
        return self.units.to_model_columns(self.shown)


def read_problem(
    model: Trained, source: Source, damage: Damage, whole: bool = False, seed: int = 0
) -> InverseProblem:
    """The inverse problem that the chosen rows pose.

    Args:
        model: the model.
        source: the rows.
        damage: what happened to x, or with `whole` what is to happen to it.
        whole: the rows are x itself, and are damaged here.
        seed: of the noise and of the entries that are hidden.

    Raises:
        InputError: a mask or images of another size than the damage gives, missing columns, or numbers of
            another scale.
    """
    if damage.missing is not None and not whole:
        raise InputError(
            "`missing` hides entries of whole data, and needs `whole`; empty cells need no option"
        )
    if model.schema.resized and source.reading.resize is None and not whole:
        source = source.resized(damage.shape(model.schema)[:2])
    chosen = choose(model, source)
    chosen = ChosenRows(chosen.data.in_file_order(), chosen.index)
    shown = np.asarray(subset(chosen.data.values, chosen.index))
    units = units_of(model.schema, chosen.data, shown, damage.noise or 0.0)
    _check_size(model.schema, chosen.data, damage, whole)
    y = x = units.to_model(shown, model.schema, levels=whole or damage.keeps)
    if whole:
        y = model.damage(x, damage.operator, damage.missing or 0.0, seed)
    if damage.mask is not None:
        images = model.schema.kind == "images"
        mask = read_mask(damage.mask, damage.shape(model.schema), chosen, images)
        mask = units.to_model_columns(mask)
        y = y if mask.all() else np.where(mask, y, np.nan)
    kept = units.from_model_columns(_observed(y)) if damage.keeps else None
    return InverseProblem(source, chosen, shown, kept, y, damage.operator, x if whole else None, units)


def _observed(y: np.ndarray) -> np.ndarray:
    return ~np.isnan(y) if y.dtype.kind == "f" else np.ones(y.shape, bool)


def _check_size(schema: Schema, data: Dataset, damage: Damage, whole: bool) -> None:
    """Raise InputError for rows of another shape than the damage gives."""
    expected = schema.shape if whole else damage.shape(schema)
    if data.schema.shape == expected:
        return
    size, got, one_x = (" × ".join(map(str, shape)) for shape in (expected, data.schema.shape, schema.shape))
    if (damage.downscale or 1) != 1:
        size += "" if whole else f" for `downscale` {damage.downscale} and a model of {one_x}"
        advice = "give `whole` if these images are whole" if got == one_x else "check `downscale`"
    elif schema.kind == "images" and not whole:
        advice = "give data of this shape, or `downscale` if it is smaller"
    else:
        advice = "give data of this shape"
    raise InputError(f"expected observations of {size} in {data.source}, got {got}; {advice}")
