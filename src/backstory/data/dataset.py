"""One record for data of every kind."""

from dataclasses import dataclass

import numpy as np

from backstory.data.rows import Mask, Rows
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
    """

    values: Rows
    schema: Schema
    observed: Mask | None = None
    labels: np.ndarray | None = None
    test_rows: np.ndarray | None = None
    names: tuple[str, ...] | None = None
    source: str = "array"

    def __len__(self) -> int:
        return len(self.values)
