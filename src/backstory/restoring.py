"""Restoration by trained models: damaged observations y in, draws of x out, in stored units."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from backstory import console
from backstory.data.schema import Schema
from backstory.data.stored import StoredRows
from backstory.data.tables.aligned import FrameRows
from backstory.data.values import BATCH, Given, Values, read, stored_rows, stored_values
from backstory.errors import InputError
from backstory.inference import stored
from backstory.inference.effort import usual_budget
from backstory.inference.importance import Evidence
from backstory.inference.operators import Operator, Product
from backstory.inference.recovery import Recovery, Tally
from backstory.inference.requests import RestorationRequest
from backstory.inference.restoration import Restoration
from backstory.options import ModelOptions

Advance = Callable[[float], None]


class Restorer(ABC):
    """A trained density p(x), or p(x|c), of stored values that restores damaged observations.

    Attributes:
        schema: of the data.
        options: what the model is made of.
    """

    schema: Schema
    options: ModelOptions

    @property
    @abstractmethod
    def members(self) -> tuple[Any, ...]:
        """The single models that answer."""

    @abstractmethod
    def _restore(
        self, y: StoredRows, operator: Operator | None, request: RestorationRequest, advance: Advance
    ) -> Restoration[np.ndarray]:
        """`restore` of stored values."""

    @abstractmethod
    def log_evidence(self, x: Values, samples: int | None = None, seed: int = 0) -> Evidence:
        """log p(x) of each observation in nats."""

    @property
    def _missingness(self) -> str:
        return str(self.options.likelihood.values.get("missingness", "random"))

    def _read(self, x: Values, given: Given) -> Any:
        """x itself, or the data set in a frame or file; conditions that are chosen are not read from it."""
        return read(x, self._read_by(given))

    def _frame(self, x: Values, given: Given) -> FrameRows | None:
        """The rows of a frame; None for other data."""
        return FrameRows.of(x, self._read_by(given))

    def _read_by(self, given: Given) -> Schema:
        return self.schema if given is None else self.schema.without_conditions()

    @property
    def noun(self) -> str:
        """What one observation is called: `image`, `row` or `observation`."""
        if self.schema.kind == "images":
            return "image"
        return "row" if len(self.schema.shape) == 1 else "observation"

    @property
    def units(self) -> stored.StoredUnits:
        """The units of stored values."""
        return stored.StoredUnits(self.schema, self.members[0].vae.scale)

    def restore(
        self,
        y: Values,
        operator: Operator | None = None,
        draws: int = 10,
        method: str = "auto",
        seed: int = 0,
        progress: bool = False,
        given: Given = None,
        **options: Any,
    ) -> Restoration[np.ndarray]:
        """Mean, standard deviation and draws of x given a damaged observation y.

        Args:
            y: (N, *shape), or the operator's output shape; NaN where an entry is missing. Means, deviations
                and draws come back in stored units. Of a frame `to_frame` gives one with its gaps filled.
            operator: what happened to x, see `inference.operators`: `Mask`, `Noise`, `Downscale`, `Blur`,
                `Linear` and their products. Without one, entries are missing and nothing else happened.
            draws: M; 0 for means and deviations alone, which need none.
            method: `encoder`, `importance`, `variational`, `hmc`, or `auto`, the cheapest that suffices.
            seed: of every draw.
            progress: show a progress bar.
            given: the conditions c of a model of p(x|c), in place of those that come with y.
            options: `budget` and `chunk`, see `inference.requests.RestorationRequest`, and the fields of
                `inference.effort.Effort`: proposals, steps, gradient_draws, chains, ….
        """
        request = RestorationRequest.of(draws, method, seed, **options)
        operator = stored.known_operator(operator)
        whole = all(part.keeps_entries for part in operator.parts)
        frame = self._frame(y, given)
        y = y if frame is None else frame.data
        rows = stored_rows(y, self.schema, given, noise_of(operator), whole)
        rows = rows.in_memory()  # the results are held in any case
        with console.progress("restore", len(rows), progress) as bar:
            found = self._restore(rows, operator, request, bar.advance)
        vae = self.members[0].vae
        weighed = request.weighed(len(rows), vae.latents.units, vae.codes_to_weigh)
        for warning in stored.warnings(found, weighed, self.noun):
            console.warn(warning)
        return replace(found, rows=frame)

    def impute(
        self, x: Values, seed: int = 0, progress: bool = False, given: Given = None, **options: Any
    ) -> Any:
        """x with its missing entries filled: by their means, and by the most probable level.

        Of a frame a frame with the same columns and index. Cells of columns that were constant in
        training are filled with the constant, and those of other columns that the model leaves out stay
        empty. Of everything else the stored values, (N, *shape). Entries that are not missing stay as they
        are.

        Args:
            x: (N, *shape), NaN where an entry is missing, or a table.
            seed: of every draw.
            progress: show a progress bar.
            given: the conditions c of a model of p(x|c), in place of those that come with x.
            options: of `restore`.
        """
        frame = self._frame(x, given)
        data = self._read(x, given) if frame is None else frame.data
        rows = stored_rows(data, self.schema, given, 0.0).in_memory()
        stored = np.array(rows.values)
        some, found = self.restore_gaps(rows, 0, seed, progress, **options)
        if found is not None:
            stored[some] = np.where(np.isnan(stored[some]), found.mean, stored[some])
        return stored if frame is None else frame.completed(stored)

    def restore_gaps(
        self, rows: StoredRows, draws: int, seed: int = 0, progress: bool = False, **options: Any
    ) -> tuple[np.ndarray, Restoration[np.ndarray] | None]:
        """The numbers of the rows with missing entries, and `restore` of these; None if there are none."""
        gaps = np.isnan(np.asarray(rows.values))
        some = np.flatnonzero(gaps.reshape(len(gaps), -1).any(1))
        if not len(some):
            return some, None
        return some, self.restore(rows.take(some), None, draws, seed=seed, progress=progress, **options)

    def damage(
        self, x: Values, operator: Operator | None = None, missing: float = 0.0, seed: int = 0
    ) -> np.ndarray:
        """Damage whole observations x: a y for `restore`, (N, *out) of float64 in stored units.

        Args:
            x: (N, *shape); NaN where an entry is missing.
            operator: what happens to x, see `restore`.
            missing: the fraction of the entries of y that is hidden at random and becomes NaN; pixels of
                colour images are hidden with all their channels.
            seed: of the noise and of the hidden entries.
        """
        return self.units.damage(np.asarray(stored_values(x, self.schema)), operator, missing, seed)

    def evaluate_restoration(
        self,
        x: Values,
        operator: Operator | None = None,
        missing: float = 0.0,
        draws: int = 100,
        method: str = "auto",
        seed: int = 0,
        progress: bool = False,
        given: Given = None,
        **options: Any,
    ) -> Recovery:
        """Damage whole observations, restore them, and compare: errors and the coverage of intervals.

        Arguments are those of `damage` and `restore`. An observation's damage, and the draws for it, depend
        on the seed and on the observations before it. InputError where nothing is damaged.
        """
        if self._missingness != "random":
            raise InputError(
                "entries hidden at random say nothing about a model that takes them as missing by their own "
                f"value (missingness {self._missingness}); compare with the truth where it is known"
            )
        rows = stored_rows(x, self.schema, given)
        y = StoredRows(self.damage(rows, operator, missing, seed), rows.given)
        options = {"budget": usual_budget(len(rows)), **options}
        request = RestorationRequest.of(draws, method, seed, **options)
        with console.progress("restore", len(rows), progress) as bar:
            return _recovery(self, rows, y, stored.known_operator(operator), request, bar.advance)


def noise_of(operator: Operator) -> float:
    """The largest σ of the noise in an operator, as a fraction of the full range of images.

    Infinite where people's own function makes y, which may be no image then.
    """
    if any(part.is_function for part in operator.parts):
        return math.inf
    variances = [part.variance() for part in operator.parts]
    return max((float(v.max()) ** 0.5 for v in variances if v is not None), default=0.0)


def _recovery(
    model: Restorer,
    rows: StoredRows,
    y: StoredRows,
    operator: Operator,
    request: RestorationRequest,
    advance: Advance,
) -> Recovery:
    """Restorations of y compared with the true rows, a batch at a time; see `evaluate_restoration`."""
    schema = model.schema
    rest = Product(tuple(part for part in operator.parts if not part.keeps_entries))  # y is NaN where masked
    masked = not rest.parts
    tally = Tally(model.units.stored_unit, schema.kind == "images", schema.levelled)
    for start in range(0, len(y), BATCH):
        some, seeded = slice(start, start + BATCH), request.with_seed(request.seed + start)
        batch, truth = y.part(some), np.asarray(rows.values[some])
        where = ~np.isnan(truth) & (np.isnan(batch.values) if masked else True)
        found = model._restore(batch, rest, seeded, advance)
        likelihood = np.full(len(truth), math.nan)
        if masked and schema.presentation == "exact" and not np.isnan(truth).any():
            evidence = model.log_evidence(StoredRows(truth, batch.given), seed=seeded.seed)
            whole = evidence.log_evidence.double().cpu().numpy()
            likelihood = _log_hidden(whole, found)
        tally.add(found, truth, where, likelihood)
    return tally.result()


def _log_hidden(whole: np.ndarray, found: Restoration[np.ndarray]) -> np.ndarray:
    """log p(hidden entries | observed entries), (B,) nats, from log p(x) of whole rows."""
    observed, methods = found.log_evidence.numpy(), np.array(found.methods)
    return whole - np.where(methods == "prior", 0.0, np.where(methods == "observed", whole, observed))
