"""Units of values: the numbers of some data, the stored numbers of a model's schema, and the model's x.

data     people's numbers: levels, or fractions of the full range, with columns in the file's order
stored   the numbers of the schema that a model was trained with
x        the model's numbers; `Schema.factor` is the model's x for a stored 1
"""

from dataclasses import dataclass

import numpy as np

from backstory.data.schema import Schema


def full_range(schema: Schema) -> float:
    """The model's x for full brightness of an image: its top level, else its maximum, else 1."""
    return float(schema.top or schema.maximum or 1)


@dataclass(frozen=True)
class Units:
    """From the numbers of some data to those of a model's schema, and back.

    Attributes:
        schema: of one x in the numbers and columns of the data, as it is written.
        factor: the stored number of the model's schema for a 1 in the data.
        order: for each of the model's columns, its index in the data; None if they are in order.
    """

    schema: Schema
    factor: float = 1.0
    order: list[int] | None = None

    def to_model(self, values: np.ndarray, model: Schema, levels: bool) -> np.ndarray:
        """The data's values in stored numbers of the model's schema, in its columns.

        Args:
            values: (N, ...) of the data.
            model: the schema.
            levels: whether the values are entries of x, which are rounded to a level if the model has levels.

        >>> schema = Schema(kind="images", shape=(1, 2), dtype="uint8", levels=17, maximum=16)
        >>> Units(schema, factor=16.0).to_model(np.array([[[0.0, 0.51]]]), schema, levels=True)
        array([[[0., 8.]]])
        """
        values = self.to_model_columns(values)
        if self.factor == 1:
            return values
        values = values.astype(np.float64) * self.factor
        return np.rint(values) if levels and model.levels is not None else values

    def to_model_columns(self, values: np.ndarray) -> np.ndarray:
        """The same numbers, (N, ...), in the order of the model's columns."""
        return values if self.order is None else values[:, self.order]

    def from_model(self, values: np.ndarray) -> np.ndarray:
        """Stored numbers of x, (..., *shape), in the data's numbers and columns; not rounded."""
        values = values if self.factor == 1 else values.astype(np.float64) / self.factor
        return self.from_model_columns(values)

    def from_model_columns(self, values: np.ndarray) -> np.ndarray:
        """The same numbers, (..., C), in the order of the columns of the data."""
        return values if self.order is None else values[..., np.argsort(self.order)]
