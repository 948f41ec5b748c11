"""Where a model comes from: its data, which rows it was trained on, and how."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backstory.data.dataset import Dataset
from backstory.data.rows import Rows
from backstory.data.splits import Splits, row_hashes
from backstory.errors import InputError
from backstory.options import TrainOptions, one_of

PARTS = ("train", "validation", "test")
HASHES, WEIGHTLESS = "train_row_hashes", "weightless"


@dataclass(frozen=True)
class Provenance:
    """Where a model comes from.

    Attributes:
        source: name of the data.
        fingerprint: of all rows in their order, see `fingerprint`.
        validation: the fraction of the rows held out for validation.
        splits: row numbers of the parts.
        row_hashes: of the training rows, (N,) of uint64; see `data.splits.row_hashes`.
        training: the options of the training, with all defaults resolved.
        asked: the options that were given to `fit`, by name.
        total_weight: of all rows; None where each counts as one.
        weightless: sorted numbers of the rows of weight 0, which the run left out; its other row numbers do
            not count these.
    """

    source: str
    fingerprint: str
    validation: float
    splits: Splits
    row_hashes: np.ndarray
    training: TrainOptions
    asked: dict[str, Any] = field(default_factory=dict)
    total_weight: float | None = None
    weightless: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def rows(self, data: Dataset, part: str = "auto") -> np.ndarray:
        """Row numbers of the `train`, `validation` or `test` part of `data`, or of `all` rows.

        `auto` is the test part where the data has one, else all rows. The parts of the data that the model
        was trained on are those of its run. InputError where there is no such part.
        """
        one_of("split", part, ["auto", *PARTS, "all"])
        if part == "auto":
            part = "all" if data.test_rows is None else "test"
        if part == "all":
            return np.arange(len(data))
        parts = self.parts(data)
        index = None if parts is None else getattr(parts, part)
        if index is None and part == "test" and data.test_rows is not None:
            index = data.test_rows
        if index is None or len(index) == 0:
            raise InputError(
                f"expected data with a {part} part in this run, got {data.source} without one; "
                "use `split` all"
            )
        return np.asarray(index)

    def parts(self, data: Dataset) -> Splits | None:
        """The parts of `data` that the run was split into, by its row numbers; None for other data.

        It is the data of the run if it has exactly its rows, in their order, with their conditions, and the
        rows of weight 0 where they stood.
        """
        if len(data) != sum(self.sizes().values()) + len(self.weightless):
            return None
        own = np.delete(np.arange(len(data)), self.weightless)
        given = None if data.given is None else data.given[own]
        if self.fingerprint != fingerprint(row_hashes(data.values)[own], given):
            return None
        return Splits(*(own[getattr(self.splits, name)] for name in PARTS))

    def count_trained_on(self, values: Rows) -> int:
        """The number of these rows that are equal to a training row."""
        return int(np.isin(row_hashes(values), self.row_hashes).sum())

    def sizes(self) -> dict[str, int]:
        """The number of rows in each part."""
        return {name: len(getattr(self.splits, name)) for name in PARTS}

    def tensors(self) -> dict[str, Tensor]:
        """The splits, the rows of weight 0 and the hashes, for a file."""
        parts = {name: torch.from_numpy(getattr(self.splits, name)) for name in PARTS}
        weightless = {WEIGHTLESS: torch.from_numpy(self.weightless)} if len(self.weightless) else {}
        return parts | weightless | {HASHES: torch.from_numpy(self.row_hashes.view(np.int64))}


def parts_from(tensors: dict[str, Tensor], rows: dict[str, int]) -> tuple[Splits, np.ndarray, np.ndarray]:
    """The splits, hashes and rows of weight 0 of `Provenance.tensors`, for so many rows in each part.

    KeyError where one is missing, ValueError where they are no such row numbers.
    """
    total, numbers = sum(rows.values()), []
    for name in PARTS:
        part = tensors[name]
        if part.dtype != torch.int64 or part.shape != (rows.get(name),):
            raise ValueError(f"{name} does not hold as many rows as the config has")
        if len(part) and not (int(part.min()) >= 0 and int(part.max()) < total):
            raise ValueError(f"{name} has a row number beyond the {total} rows")
        numbers.append(part.numpy())
    hashes = tensors[HASHES]
    if hashes.dtype != torch.int64 or hashes.shape != tensors[PARTS[0]].shape:
        raise ValueError(f"{HASHES} does not have a number for each training row")
    return Splits(*numbers), hashes.numpy().view(np.uint64), _weightless(tensors, total)


def _weightless(tensors: dict[str, Tensor], total: int) -> np.ndarray:
    """The numbers of the rows of weight 0 among these and so many other rows, for `parts_from`."""
    numbers = tensors.get(WEIGHTLESS, torch.zeros(0, dtype=torch.int64))
    rising = numbers.dtype == torch.int64 and numbers.ndim == 1 and bool((numbers.diff() > 0).all())
    if not rising or (len(numbers) and not 0 <= int(numbers[0]) <= int(numbers[-1]) < total + len(numbers)):
        raise ValueError(f"{WEIGHTLESS} does not hold rising row numbers")
    return np.asarray(numbers.numpy())


def fingerprint(hashes: np.ndarray, given: np.ndarray | None = None) -> str:
    """A short name of a data set, from the hashes of its rows in order and their conditions."""
    content = hashes.tobytes() + (b"" if given is None else given.tobytes())
    return hashlib.blake2b(content, digest_size=8).hexdigest()
