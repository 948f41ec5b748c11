"""One record for data of every kind."""

from dataclasses import dataclass, replace

import numpy as np

from backstory.data.rows import Mask, Rows, mapped
from backstory.data.schema import Schema


@dataclass(frozen=True)
class Dataset:
    """Observations with their description.

    Attributes:
        values: (N, *schema.shape), in the stored type; `FileRows` where they stay in a file.
        schema: what one observation is.
        observed: (N, *schema.shape) of bool, true where a value was observed; None where all are.
        labels: (N,) class names or numbers that the model does not use; None without.
        test_rows: rows of the data's own test part (IDX folders, embedded sets); None without one.
        names: one name per observation (image files); None without.
        source: where it came from, for people to read.
        places: of a table, the number of each of its columns among those of the file; None without columns.
    """

    values: Rows
    schema: Schema
    observed: Mask | None = None
    labels: np.ndarray | None = None
    test_rows: np.ndarray | None = None
    names: tuple[str, ...] | None = None
    source: str = "array"
    places: tuple[int, ...] | None = None

    def in_file_order(self) -> "Dataset":
        """A table with its columns in the order of the file that it came from."""
        if self.places is None or sorted(self.places) == list(self.places):
            return self
        order = np.argsort(self.places)
        return replace(
            self,
            values=mapped(lambda block: block[:, order], self.values),
            observed=None if self.observed is None else np.asarray(self.observed)[:, order],
            schema=self.schema.reordered(order.tolist()),
            places=tuple(sorted(self.places)),
        )

    def __len__(self) -> int:
        return len(self.values)
