"""The description of one observation, its shape, scale and names, and the way between files and the model.

Only the networks work in units of their own. Outside them x has the data's units: levels for integer data
(0 … levels − 1), fractions of the full range for float images, a column's own unit for tables. So a
log-likelihood is always on the data's scale, with no Jacobian to remember.

The presentation defines the model's x by the stored value v with top level m = `maximum`:

    exact         x = v (in levels for discrete data)
    binarised     x ~ Bernoulli(v / m), drawn anew at each use (Burda et al. 2016, dynamic binarisation)
    dequantised   x = v + u − ½ in levels, u ~ U(0, 1): a density of x then bounds the probability of v,
                  E_u[log p(v + u − ½)] ≤ log P(v) (Theis et al. 2016, eq. 4)

Values far from zero are counted from an origin, x = v − `origin`, because they have more digits than single
precision; a shift changes no density. Images with values from LOW to HIGH are counted from LOW.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import AfterValidator, BaseModel, ConfigDict
from torch import Tensor

from backstory.data.checks import extremes
from backstory.data.conditions import Condition
from backstory.data.presentation import BYTE, binarised, bits
from backstory.data.rows import Rows, is_in_file
from backstory.data.tables.columns import Column, LeftOut
from backstory.data.tables.layout import Told
from backstory.data.tables.relation_set import Related
from backstory.data.tensors import untensored
from backstory.errors import InputError

SINGLE_DIGITS = 7  # significant decimal digits of single precision, in which models compute

Presentation = Literal["exact", "binarised", "dequantised"]
Channels = Literal["first", "last"]
Aspect = Literal["stretch", "crop", "pad"]


def _type_of_numbers(dtype: str) -> str:
    """The name of a type; ValueError unless it is NumPy's name of a type of numbers."""
    try:
        known = np.dtype(dtype).kind in "biuf"
    except TypeError:
        known = False
    if not known:
        raise ValueError(f"not a type of numbers: {dtype}")
    return dtype


class Schema(BaseModel):
    """The description of one observation; saved with a run and needed to write files of the same kind.

    Attributes:
        kind: `images` (shape is (H, W) or (H, W, C)), `table` (named columns) or `array` (anything else).
        shape: of one observation as it is stored.
        dtype: NumPy name of the stored type, such as `uint8`.
        levels: number of levels of discrete data, None for continuous data.
        maximum: stored value of the top level, or of full brightness in float images, counted from the
            origin; None without one.
        origin: of arrays and images the stored values that are zero to the model; () for zero.
        channels: whether the axis of the channels comes first or last in files; in `shape` it is the last.
        resized: how image files of another size are brought to `shape`; None if they are refused.
        columns: names of a table's columns.
        header: whether the file of the table names its columns.
        integer_columns: names of the table's columns that hold whole numbers, and are written as such.
        kinds: what a table's columns hold, one record for each of `columns`; () for images and arrays.
        left_out: columns of the file that are not modelled.
        related: exact relations of a table's columns; its stored values are such that cells keep them.
        told: what a person told of the table, which holds for later tables too.
        separator: between the cells of the text table that was read, if it is not that of its ending.
        presentation: of stored values to the model, see the text of the module.
        conditions: what `Dataset.given` holds, in order; () if x is modelled without conditions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["images", "table", "array"]
    shape: tuple[int, ...]
    dtype: Annotated[str, AfterValidator(_type_of_numbers)]
    levels: int | None = None
    maximum: float | None = None
    origin: tuple[float, ...] = ()
    channels: Channels = "last"
    resized: Aspect | None = None
    columns: tuple[str, ...] | None = None
    header: bool = True
    integer_columns: tuple[str, ...] = ()
    kinds: tuple[Column, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    related: Related = Related()
    told: Told = Told()
    separator: str | None = None
    presentation: Presentation = "exact"
    conditions: tuple[Condition, ...] = ()

    @property
    def numel(self) -> int:
        """Entries of one observation."""
        return int(np.prod(self.shape))

    @property
    def discrete(self) -> bool:
        """Whether the model's x has probabilities, not densities, so that bits per dimension make sense."""
        return self.levels is not None or self.presentation == "binarised"

    @property
    def model_levels(self) -> int | None:
        """Number of levels of the model's x: 2 if the data is binarised."""
        return 2 if self.presentation == "binarised" else self.levels

    @property
    def top(self) -> int | None:
        """The top level of the model's x; None if it has no levels."""
        return None if self.model_levels is None else self.model_levels - 1

    @property
    def factor(self) -> float:
        """The model's x for a stored 1: differences of stored values times this are differences of x."""
        return 1.0 if self.top is None or self.maximum is None else self.top / self.maximum

    @property
    def condition_width(self) -> int:
        """How many numbers `Dataset.given` has for one observation."""
        return sum(condition.width for condition in self.conditions)

    @property
    def levelled(self) -> np.ndarray:
        """Whether each column holds indices of levels, (C,) of bool; one False without columns."""
        return np.array([column.levels is not None for column in self.kinds] or False)

    @property
    def unordered(self) -> np.ndarray:
        """For each column the number of its levels, if they have no order, else 0, (C,); 0 for each entry."""
        counts = [len(c.levels or ()) if c.kind == "categorical" else 0 for c in self.kinds]
        return np.array(counts or [0] * self.numel)

    @property
    def cell_kinds(self) -> tuple[Column, ...]:
        """The columns of a table's cells: `kinds` as they are read, and those without a stored value."""
        return self.related.cell_columns(self.kinds)

    def cells(self, values: np.ndarray) -> np.ndarray:
        """The cells of `cell_kinds`, (N, C + D), for a table's stored values, (N, C)."""
        return self.related.cells(values, self.kinds) if self.related else values

    @property
    def origins(self) -> np.ndarray | None:
        """Stored values that are zero to the model, a number or (*shape) of float64; None if all are zero."""
        if self.origin:
            return np.array(self.origin).reshape(self.shape if len(self.origin) > 1 else ())
        origins = np.array([column.origin for column in self.kinds])
        return origins if origins.any() else None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The lowest and the highest stored value of levels and images; None for other numbers."""
        if self.maximum is None or (self.levels is None and self.kind != "images"):
            return None
        low = self.origin[0] if self.origin else 0.0
        return low, low + self.maximum

    def fractions(self, values: np.ndarray) -> np.ndarray:
        """Stored values of images as fractions of the full range."""
        low, high = self.bounds or (0.0, 1.0)
        return (values - low) / (high - low)

    @property
    def unconditioned(self) -> "Schema":
        """The schema of the same table whose conditions are columns again; labels are not conditions then."""
        kinds = list(self.kinds)
        for condition in sorted(self.conditions, key=lambda c: c.place or 0):
            if condition.column is not None and condition.place is not None:
                kinds.insert(condition.place, condition.column)
        return self._of_kinds(kinds, ())

    def without_conditions(self) -> "Schema":
        """The schema of x alone; the columns of conditions are left out if a table has them."""
        left_out, other = list(self.left_out), {column.place for column in self.left_out}
        places = [j for j in range(len(self.kinds) + len(self.conditions) + len(other)) if j not in other]
        for condition in self.conditions:
            if condition.place is not None:
                place = places[condition.place]
                left_out.append(LeftOut(name=condition.name, reason="condition", place=place))
        return self.model_copy(update={"conditions": (), "left_out": tuple(left_out)})

    def conditioned(self, conditions: Sequence[Condition]) -> "Schema":
        """The schema with these conditions added, whose columns leave x.

        InputError for a column that takes part in a relation.
        """
        tied = [c.name for c in conditions if c.name in self.related.names and c.column is not None]
        if tied:
            texts = [relation.text for relation in self.related.all if tied[0] in relation.names]
            raise InputError(
                f"expected conditions that take part in no relation, got {tied[0]!r} ({texts[0]}); give the "
                "conditions to `fit`, or read the table with `no_relation` for this column"
            )
        names = {condition.name for condition in conditions if condition.column is not None}
        kinds = [column for column in self.kinds if column.name not in names]
        return self._of_kinds(kinds, (*self.conditions, *conditions))

    def _of_kinds(self, kinds: Sequence[Column], conditions: tuple[Condition, ...]) -> "Schema":
        """The schema of the same source with other columns and conditions."""
        if not self.kinds:
            return self.model_copy(update={"conditions": conditions})
        names = tuple(column.name for column in kinds)
        whole = (column.name for column in kinds if column.cells in ("whole", "bool"))
        binary = all(
            len(column.levels or ()) == 2 or (self.levels == 2 and column.name in (self.columns or ()))
            for column in kinds
        )
        return self.model_copy(
            update={
                "kinds": tuple(kinds),
                "columns": names,
                "shape": (len(names),),
                "integer_columns": tuple(whole),
                "levels": 2 if binary else None,
                "maximum": 1 if binary else None,
                "conditions": conditions,
            }
        )

    def reordered(self, order: Sequence[int]) -> "Schema":
        """The schema of the same table with its columns in another order, given by their numbers."""
        kinds = tuple(self.kinds[j] for j in order) if self.kinds else ()
        columns = None if self.columns is None else tuple(self.columns[j] for j in order)
        return self.model_copy(update={"columns": columns, "kinds": kinds})

    def check_shape(self, values: Rows | Tensor) -> None:
        """Raise InputError unless `values`, (N, *shape), has this shape, and at least one row."""
        if tuple(values.shape[1:]) != self.shape:
            expected = ", ".join(["N", *map(str, self.shape)])
            raise InputError(
                f"expected observations of shape ({expected}), got {tuple(values.shape)}; "
                "reshape the data, or train a model on data of this shape"
            )
        if values.shape[0] == 0:
            raise InputError("expected at least one observation, got none")

    def check(self, values: Rows | Tensor) -> None:
        """Raise InputError unless `values`, (N, *shape), has this shape and range, and at least one row."""
        self.check_shape(values)
        stored = untensored(values)
        if self.levels is not None and self.bounds is not None:
            low, high = extremes(stored)
            if low < self.bounds[0] or high > self.bounds[1]:
                raise InputError(
                    f"expected values between {self.bounds[0]:g} and {self.bounds[1]:g} as in the training "
                    f"data, got {low:g} to {high:g}; rescale the data to the training data's levels"
                )
        if not is_in_file(stored):  # rows that stay in a file were read by this schema
            for j in np.flatnonzero(self.levelled):
                self.kinds[j].check_levels(stored[:, j])

    def prepare(self, values: np.ndarray | Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The model's x for stored values, float32 of the same shape.

        Randomness (binarised, dequantised) comes from `generator`, which must be on the values' device.
        """
        v = torch.as_tensor(values)
        return self.present(v, self.noise(v, len(v), generator))

    def noise(self, like: Tensor, rows: int, generator: torch.Generator | None = None) -> Tensor | None:
        """The random numbers that `present` needs for `rows` rows; None for exact data.

        (rows, *shape), with the shape and device of the stored values `like`: uniform over 16 bits for bytes
        that are binarised, which is fast, else over [0, 1).
        """
        shape = (rows, *like.shape[1:])
        if self.presentation == "exact":
            return None
        if self.presentation == "binarised" and like.dtype == torch.uint8 and self.maximum == BYTE:
            return bits(shape, like.device, generator)
        return torch.rand(shape, generator=generator, device=like.device)

    def present(self, v: Tensor, noise: Tensor | None = None) -> Tensor:
        """The model's x for stored values and their noise, see `noise`; NaN stays NaN."""
        if (origins := self.origins) is not None:
            v = v.double() - torch.as_tensor(origins, device=v.device)
        if self.presentation == "binarised":
            assert noise is not None
            return binarised(v, noise, self.maximum or 1.0)
        x = v.float()
        if self.levels is not None and self.maximum is not None and self.maximum != self.levels - 1:
            x = x * ((self.levels - 1) / self.maximum)
        return x if noise is None else x + noise - 0.5

    def means(self, x: Tensor) -> np.ndarray:
        """The model's x in stored units, not rounded, because means need not be levels.

        float32, or float64 if they are counted from an origin.
        """
        means, origins = self.deviations(x), self.origins
        return means if origins is None else means + origins

    def deviations(self, x: Tensor) -> np.ndarray:
        """Differences of the model's x, such as standard deviations, in stored units, float32."""
        factor = 1.0 if self.top is None or self.maximum is None else self.maximum / self.top
        return (x.detach().cpu().float() * factor).numpy()

    def restore(self, x: Tensor) -> np.ndarray:
        """Stored values for the model's x, rounded to a level and clipped if the data has levels.

        A table's columns are rounded by their kind: to a level, a whole number, or the decimals of the file.

        >>> schema = Schema(kind="images", shape=(1, 2), dtype="uint8", levels=256, maximum=255)
        >>> schema.restore(torch.tensor([[[12.4, 300.0]]]))
        array([[[ 12, 255]]], dtype=uint8)
        """
        array, top = x.detach().cpu().double().numpy(), self.top
        if top is not None:
            array = np.clip(array, 0, top)
            maximum = float(self.maximum if self.maximum is not None else top)
            # a mean of binary data stays a shade of grey if the file can hold one
            if top > 1:
                array = np.rint(array)
            array = array * (maximum / top)
        elif self.kind == "images" and self.maximum is not None:
            array = np.clip(array, 0, self.maximum)
        if (origins := self.origins) is not None:
            array = array + origins
        if self.columns is not None and self.integer_columns:
            whole = [self.columns.index(name) for name in self.integer_columns]
            array = array.copy()  # the values may still be the tensor's own memory
            array[..., whole] = np.rint(array[..., whole])
        array = self.stored(array)
        if self.levels is None:
            for j, column in enumerate(self.kinds):
                array[..., j] = column.settled(array[..., j])
        return array

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Numbers in stored units, rounded to what the stored type can hold.

        >>> Schema(kind="array", shape=(3,), dtype="uint8").stored(np.array([[0.6, -3.0, 300.0]]))
        array([[  1,   0, 255]], dtype=uint8)
        >>> Schema(kind="array", shape=(1,), dtype="float64").stored(np.float32([[0.1]]))
        array([[0.1]])
        """
        dtype = np.dtype(self.dtype)
        if dtype.kind == "f":
            origins = np.zeros(()) if self.origins is None else self.origins
            return (significant(values - origins, SINGLE_DIGITS) + origins).astype(dtype)
        whole = np.rint(values)
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            whole = np.clip(whole, limits.min, limits.max)
        return whole.astype(dtype)


def significant(array: np.ndarray, digits: int) -> np.ndarray:
    """Doubles rounded to significant digits, so that files do not show more than was computed.

    >>> significant(np.array([1 / 3, -12345678.9, 0.0]), 4)
    array([ 3.333e-01, -1.235e+07,  0.000e+00])
    """
    array = np.asarray(array, np.float64)
    with np.errstate(divide="ignore"):
        exponent = np.floor(np.log10(np.abs(array)))
    decimals = np.where(np.isfinite(exponent), digits - 1 - exponent, 0)
    scale = 10.0 ** np.clip(np.abs(decimals), 0, 300)
    up = decimals >= 0
    return np.where(up, np.rint(array * scale) / scale, np.rint(array / scale) * scale)
