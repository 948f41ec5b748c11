"""Results of the rows of a frame, as frames with its index and of its library."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from backstory.data.dataset import Dataset
from backstory.data.load import load
from backstory.data.schema import Schema
from backstory.data.tables.cells import Cells
from backstory.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class FrameRows:
    """The rows of a frame that a model is asked about.

    Attributes:
        frame: the rows in pandas.
        data: the same rows as the model reads them.
        given: the frame that a person gave, of any library.
    """

    frame: "pd.DataFrame"
    data: Dataset
    given: Any

    @classmethod
    def of(cls, x: Any, schema: Schema) -> Self | None:
        """The rows of a frame, read by a model's schema; None for other data."""
        frame = as_frame(x)
        return None if frame is None else cls(frame, load(frame, schema=schema), x)

    def completed(self, values: np.ndarray) -> Any:
        """The frame with other stored values, (N, C), where they differ from its own.

        Empty cells of constant columns get the constant. All other cells and columns stay as they are.
        """
        own = np.asarray(self.data.values)
        changed = ~(own.astype(values.dtype) == values)
        cells = Cells.of(values, changed, np.isnan(own), self.data)
        cells = cells.with_relations(self.data.related, self.data.schema)
        return self._filled(cells.with_constants(self.data.constants))

    def replaced(self, values: np.ndarray) -> Any:
        """The frame with these stored values, (N, C), in all cells of the modelled columns."""
        every = np.ones(values.shape, bool)
        cells = Cells.of(values, every, ~every, self.data)
        return self._filled(cells.with_relations(self.data.related, self.data.schema))

    def columns(self, columns: Mapping[str, Any]) -> Any:
        """New columns, each (N,), as a frame."""
        import pandas as pd

        return self._native(pd.DataFrame(dict(columns), index=self.frame.index))

    def numbers(self, values: np.ndarray) -> Any:
        """A number for each cell of all columns, (N, C), as a frame with the same columns and index."""
        import pandas as pd

        return self._native(pd.DataFrame(values, self.frame.index, self.frame.columns))

    def _filled(self, cells: Cells) -> Any:
        from backstory.data.tables.frames import filled  # with pandas, which is slow to import

        return self._native(filled(self.frame, cells).set_axis(self.frame.index))

    def _native(self, frame: "pd.DataFrame") -> Any:
        from backstory.data.tables.foreign import in_library, library_of  # with pandas, slow to import

        return in_library(library_of(self.given), frame)


def as_frame(x: Any) -> "pd.DataFrame | None":
    """A frame of any library as one of pandas; None for other data."""
    if hasattr(x, "iloc") and getattr(x, "ndim", 0) == 2:
        frame: pd.DataFrame = x
        return frame
    if not hasattr(x, "__arrow_c_stream__") or hasattr(x, "to_frame"):  # a single column is no frame
        return None
    from backstory.data.tables.foreign import as_pandas  # with pandas, which is slow to import

    return as_pandas(x)


def no_frame(what: str) -> InputError:
    """The error of results that are asked for as a frame, of rows that came in none.

    Args:
        what: the results are.
    """
    return InputError(f"expected {what} of a frame, to give a frame back, got other data; give a frame")
