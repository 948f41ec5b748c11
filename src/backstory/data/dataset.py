"""One record for data of every kind."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backstory.data import conditions as how
from backstory.data.checks import check_finite
from backstory.data.conditions import LABELS, Condition
from backstory.data.rows import Rows, blocks, mapped, subset
from backstory.data.schema import Schema
from backstory.data.stored import StoredRows
from backstory.data.tables.constants import ConstantCells
from backstory.data.tables.related_cells import RelatedCells
from backstory.data.weights import checked_weights
from backstory.errors import InputError, meant


@dataclass(frozen=True)
class Dataset:
    """Observations with their description.

    Attributes:
        values: (N, *schema.shape), in the stored type, NaN where an entry is missing; `FileRows` if they stay
            in a file.
        schema: the description of one observation.
        incomplete: whether entries are missing; found by reading the values if it is not given. A subset has
            the answer of its whole.
        labels: (N,) class names or numbers; the model is not told of them but by `given`. None without.
        test_rows: rows of the data's own test part (IDX folders, embedded sets); None without one.
        names: one name per observation (image files); None without.
        source: where the data came from, for messages.
        places: for each column of a table, its number among the columns of the file; None without columns.
        given: (N, schema.condition_width) of float32, the conditions c of p(x | c); None without. NaN where
            the level of a condition is missing.
        known_range: whether the values of black and white of images are known, not guessed from the values.
        validation_rows: rows of the data's own validation part (folders); None without one.
        stated: (N, K) of float64, the stored numbers of these conditions, as their columns had them.
        constants: of a table that was read by a model's schema, the cells of the columns that were
            constant or empty in training, and those that break a relation.
        related: of a table whose columns belong together, the cells of these; None without relations.
        weights: (N,), positive: how many rows each one counts as in training; None for one.
        weightless: sorted numbers of the rows of weight 0 that left, as the data had them; None without.
    """

    values: Rows
    schema: Schema
    incomplete: bool = None  # type: ignore[assignment]  # __post_init__ finds it
    labels: np.ndarray | None = None
    test_rows: np.ndarray | None = None
    names: tuple[str, ...] | None = None
    source: str = "array"
    places: tuple[int, ...] | None = None
    given: np.ndarray | None = None
    stated: np.ndarray | None = None
    known_range: bool = False
    validation_rows: np.ndarray | None = None
    constants: tuple[ConstantCells, ...] = ()
    related: RelatedCells | None = None
    weights: np.ndarray | None = None
    weightless: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.incomplete is None:
            object.__setattr__(self, "incomplete", check_finite(self.values, self.source))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def stored(self) -> StoredRows:
        """The values with the conditions that belong to them."""
        return StoredRows(self.values, self.given, self.weights)

    def subset(self, index: np.ndarray) -> "Dataset":
        """The observations of these row numbers, (M,) of integers, with all that belongs to them.

        They have no test part. Rows in a file are not read.
        """
        return replace(
            self,
            values=subset(self.values, index),
            labels=None if self.labels is None else self.labels[index],
            test_rows=None,
            validation_rows=None,
            names=None if self.names is None else tuple(self.names[i] for i in index),
            given=None if self.given is None else self.given[index],
            stated=None if self.stated is None else self.stated[index],
            constants=tuple(cells.subset(index) for cells in self.constants),
            related=None if self.related is None else self.related.subset(index),
            weights=None if self.weights is None else self.weights[index],
            weightless=None,
        )

    def weighted(self, weights: Any) -> "Dataset":
        """The observations with a weight above zero, each with its weight; equal weights say nothing.

        Args:
            weights: (N,), see `checked_weights`.

        >>> from backstory.data.arrays import from_array
        >>> from_array(np.arange(8.0).reshape(4, 2)).weighted([2, 0, 1, 1]).weights
        array([2., 1., 1.])
        """
        values = checked_weights(weights, len(self))
        kept = np.flatnonzero(values > 0)
        data = self if len(kept) == len(self) else self._part_of(kept)
        weightless = np.flatnonzero(values == 0) if len(kept) < len(self) else None
        return replace(data, weights=values[kept] if np.ptp(values[kept]) else None, weightless=weightless)

    def _part_of(self, index: np.ndarray) -> "Dataset":
        """The observations of these row numbers, in rising order, with what is left of the test part."""
        test, validation = (
            None if rows is None else np.flatnonzero(np.isin(index, rows))
            for rows in (self.test_rows, self.validation_rows)
        )
        return replace(self.subset(index), test_rows=test, validation_rows=validation)

    @property
    def training_rows(self) -> np.ndarray:
        """The numbers of the rows that are not of the data's own test part."""
        train = np.ones(len(self), bool)
        train[[] if self.test_rows is None else self.test_rows] = False
        return np.flatnonzero(train)

    def tells(self, condition: Condition) -> bool:
        """Whether the data comes with values of a condition."""
        if condition.column is None:
            return self.labels is not None and condition.name in LABELS
        return condition.name in (self.schema.columns or ())

    def conditioned_on(self, *names: str) -> "Dataset":
        """The same observations, of which some knowledge becomes conditions, so that p(x | c) is modelled.

        Args:
            names: `class` (or `label`) for the labels; of a table, names of columns, which leave x.

        Raises:
            InputError: an unknown name, no labels, no column left for x, or a missing value that cannot be
                inferred.

        >>> from backstory.data.load import load
        >>> load("digits").conditioned_on("class").given.shape
        (1797, 10)
        """
        rows = self.training_rows
        if self.schema.columns is None:
            self._check_names(names, LABELS if self.labels is not None else [])
            assert self.labels is not None
            return self.conditioned_as(how.settled([how.of_labels(names[0], self.labels, rows)]))
        self._check_names(names, self.schema.columns)
        places = {column.name: j for j, column in enumerate(self.schema.unconditioned.kinds)}
        kinds = {column.name: column for column in self.schema.kinds}
        chosen = [(kinds[name], places[name], self._column(name)[rows]) for name in names]
        return self.conditioned_as(how.settled([how.of_column(*choice) for choice in chosen]))

    def conditioned_as(self, conditions: Sequence[Condition]) -> "Dataset":
        """The same as `conditioned_on` for known conditions, such as those of a model's schema.

        Raises:
            InputError: no labels or no such column, another level or a missing value.
        """
        if not conditions or self.schema.conditions == tuple(conditions):
            return self
        stated = np.stack([self._stated(condition) for condition in conditions], axis=1)
        given = how.encode_stated(conditions, stated, self.source)
        schema, values, places = self.schema.conditioned(conditions), self.values, self.places
        if schema.columns != self.schema.columns:
            stay = [j for j, name in enumerate(self.schema.columns or ()) if name in (schema.columns or ())]
            values = mapped(lambda block: block[:, stay], values)
            places = None if places is None else tuple(places[j] for j in stay)
        given = given if self.given is None else np.concatenate([self.given, given], axis=1)
        stated = stated if self.stated is None else np.concatenate([self.stated, stated], axis=1)
        return replace(self, values=values, schema=schema, places=places, given=given, stated=stated)

    def _stated(self, condition: Condition) -> np.ndarray:
        """The stored numbers of a condition, (N,)."""
        if condition.column is not None:
            self._check_column(condition)
            return self._column(condition.name)
        if self.labels is None or not self.tells(condition):
            raise InputError(
                f"expected labels for the condition {condition.name!r}, got none in {self.source}; "
                "give data with labels"
            )
        return condition.stored(self.labels.tolist(), self.source)

    def _check_column(self, condition: Condition) -> None:
        """Raise InputError unless the table has this column, with the same levels."""
        if condition.name not in (self.schema.columns or ()):
            raise InputError(
                f"expected a column called {condition.name!r} in {self.source}, because it is a condition, "
                f"got {', '.join(self.schema.columns or ()) or 'data without columns'}; add it"
            )
        own = next((c for c in self.schema.kinds if c.name == condition.name), condition.column)
        if own is not None and own.levels != condition.levels:
            raise InputError(
                f"expected the levels {', '.join(condition.levels or ()) or '(none)'} of the condition "
                f"{condition.name!r}, got a table with {', '.join(own.levels or ()) or 'none'}; read it with "
                "the model's schema, load(…, schema=model.schema)"
            )

    def _column(self, name: str) -> np.ndarray:
        """The stored values of a column, (N,)."""
        j = (self.schema.columns or ()).index(name)
        return np.concatenate([block[:, j] for block in blocks(self.values)])

    def _check_names(self, names: Sequence[str], known: Sequence[str]) -> None:
        """Raise InputError unless these are different names of conditions, which leave something for x."""
        if not known:
            raise InputError(
                f"expected data with labels for `given`, got {self.source}, which has none; give an IDX "
                "folder, a folder with a folder of images for each class, a table, whose columns can be "
                "conditions, or in Python an array of labels"
            )
        unknown = [name for name in names if name not in known] or ([] if names else ["none"])
        left_out = {column.name: column.reason for column in self.schema.left_out}
        if unknown and unknown[0] in left_out:
            raise InputError(
                f"expected a modelled column of {self.source} for `given`, got {unknown[0]!r}, which is left "
                f"out ({left_out[unknown[0]]}); choose among {', '.join(known)}"
            )
        if unknown:
            raise InputError(
                f"expected names among {', '.join(known)} for `given`, got {', '.join(unknown)}; "
                f"{meant(unknown[0], known)}"
            )
        if len(set(names)) < len(names) or (self.schema.columns is None and len(names) > 1):
            raise InputError(
                f"expected each condition of {self.source} once, got {', '.join(names)}; leave out the others"
            )
        if self.schema.columns is not None and len(names) == len(known):
            raise InputError(f"expected a column of {self.source} to be left for x, got none; choose fewer")

    def in_file_order(self) -> "Dataset":
        """The same table with its columns in the order of the file that it came from."""
        if self.places is None or sorted(self.places) == list(self.places):
            return self
        order = np.argsort(self.places)
        return replace(
            self,
            values=mapped(lambda block: block[:, order], self.values),
            schema=self.schema.reordered(order.tolist()),
            places=tuple(sorted(self.places)),
        )
