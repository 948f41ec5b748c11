"""What a single model and an ensemble have in common: everything that is not a matter of one decoder."""

from abc import abstractmethod
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from backstory import console
from backstory.classifying import Classifier
from backstory.data.dataset import Dataset
from backstory.data.observation import Observation
from backstory.data.rows import Rows
from backstory.data.schema import Schema
from backstory.data.splits import Splits
from backstory.data.stored import StoredRows
from backstory.data.tables.aligned import no_frame
from backstory.data.values import (
    Batches,
    Given,
    Values,
    new_values,
    only_given,
    read,
    stored_rows,
    with_conditions,
)
from backstory.errors import InputError
from backstory.inference import evaluate, scoring
from backstory.inference.evaluate import Evaluation, with_picture_quality
from backstory.inference.importance import Evidence, tail_warning
from backstory.inference.moments import posterior_moments
from backstory.inference.requests import EvidenceRequest
from backstory.inference.target import check_density
from backstory.restoring import Advance
from backstory.runs.provenance import Provenance
from backstory.runs.saving import save_run
from backstory.sampling import Sampler


class Trained(Classifier, Sampler):
    """A trained density of observations: sample, encode, reconstruct, restore, log_evidence, evaluate, save.

    Observations x are passed as stored values, (N, *shape), in NumPy arrays, tensors, a frame, a `Dataset` or
    its values, or by the path of a file; observations in a file are read as they are needed. Images may be
    fractions of the full range, too, which become stored values (`data.units`). Draws of x have
    the data's own type. Means are float32, or float64 for tables in which a column is counted from an origin,
    as dates and large numbers are.

    A model of p(x|c) needs the conditions c of each observation, and everything it answers is given c. A
    `Dataset` or a table has them; elsewhere `given` names them, such as `given={"label": 3}`, with one value
    for all observations or a sequence with one for each. They may also be chosen in place of the data's own.

    Attributes:
        schema: of the data.
        options: what the model is made of.
        provenance: the data and the training; `source`, `splits` and `training` are parts of it.
        summary: numbers and events of the training.
        reference: held-out rows that `score` compares with, or None.
        known: training rows that `score` compares with, or None.
    """

    def __init__(self, schema: Schema, provenance: Provenance, summary: dict[str, Any]):
        self.schema, self.provenance, self.summary = schema, provenance, summary
        self.source, self.splits, self.training = provenance.source, provenance.splits, provenance.training
        self.reference: Observation | None = None
        self.known: Observation | None = None

    # -- primitives -----------------------------------------------------------------------------------

    @abstractmethod
    def encode(self, x: Values, seed: int = 0, given: Given = None) -> Any:
        """q(z|x) for each observation.

        `seed` matters where x is presented at random (grey values to a Bernoulli model).
        """

    @abstractmethod
    def _reconstruct(self, rows: StoredRows, mean: bool, seed: int) -> Rows:
        """`reconstruct` of stored values."""

    @abstractmethod
    def fit_prior(self, x: Values, components: int = 10, seed: int = 0, given: Given = None) -> Self:
        """Replace p(z) by a Gaussian mixture fitted to codes of x, drawn from q(z|x); changes this model.

        The reference rows of `score` belong to the earlier p(x) and are dropped.
        """

    @abstractmethod
    def pack(self) -> dict[str, bytes]:
        """The files of the run by path, JSON and safetensors; see `backstory.opening.unpack`."""

    @abstractmethod
    def _evidence(self, batches: Batches, request: EvidenceRequest, advance: Advance) -> Evidence:
        """`log_evidence` of batches."""

    @abstractmethod
    def _look(self, observation: Observation) -> scoring.Looks:
        """log p(x) of each row and the surprise of its entries, which `score` compares."""

    @abstractmethod
    def _kl_per_level(self, batches: Batches, seed: int) -> dict[str, float] | None:
        """See `inference.evaluate.kl_per_level`."""

    @abstractmethod
    def _active_units(self, batches: Batches, seed: int) -> int:
        """The number of latent units whose posterior mean varies over the rows."""

    # -- what a model is --------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.members[0].vae.shift.device

    @property
    def incomplete(self) -> bool:
        """Whether entries of x may be missing."""
        return bool(self.options.incomplete)

    @property
    def is_autoencoder(self) -> bool:
        """Whether it is a plain autoencoder, without a p(x)."""
        return self.options.posterior.name == "delta"

    # -- codes ----------------------------------------------------------------------------------------

    def codes(self, x: Values, seed: int = 0, given: Given = None) -> Any:
        """The posterior means of a frame as a frame, with columns z_0, z_1, … and the index of x.

        Arguments are those of `encode`; InputError unless x is a frame.
        """
        frame = self._frame(x, given)
        if frame is None:
            raise no_frame("codes")
        mean = posterior_moments(self.encode(frame.data, seed, given)).mean.cpu().numpy()
        return frame.columns({f"z_{j}": mean[:, j] for j in range(mean.shape[1])})

    def reconstruct(self, x: Values, mean: bool = True, seed: int = 0, given: Given = None) -> Any:
        """E[x|z] at z = E[z|x]; or with `mean=False` a draw of z ~ q(z|x), x ~ p(x|z).

        Columns with levels have no mean and get the most probable level.
        Of a frame a frame with the same index, in which the modelled columns are those of the reconstruction
        and the others stay as they are. Otherwise an array, (N, *shape); for x in a file, more than 1 GiB of
        results are kept in a temporary file.
        """
        frame = self._frame(x, given)
        rows = stored_rows(x if frame is None else frame.data, self.schema, given)
        values = self._reconstruct(rows, mean, seed)
        return values if frame is None else frame.replaced(np.asarray(values))

    # -- densities ------------------------------------------------------------------------------------

    def log_evidence(
        self,
        x: Values,
        samples: int | None = None,
        seed: int = 0,
        method: str = "auto",
        progress: bool = False,
        given: Given = None,
        **options: Any,
    ) -> Evidence:
        """log p(x) of each observation in nats, with its standard error and diagnostics of the estimate.

        Args:
            x: (N, *shape).
            samples: K, the draws or chains for each observation; 1000 of `is`, 300 of `variational`, 16 of
                `ais`. `auto` with a number of samples is `is`.
            seed: of every draw.
            method: `is`, importance sampling with q(z|x); `variational`, with a Gaussian near p(z|x); `ais`,
                annealed importance sampling; `exact`, for linear-Gaussian models; `auto`, for each
                observation the cheapest of the first three that will do, within a budget.
            progress: show a progress bar.
            given: the conditions, in place of those that come with x.
            options: `chunk`, pairs of draw and observation decoded at once, which changes memory and not the
                result. For `auto` also `budget`, the codes decoded for each observation. For `ais` also
                `resume`, a file that keeps finished rows, from which they are taken up again; and steps,
                leapfrog, start and schedule, see `inference.annealing.Annealing`.
        """
        batches, request = self._batches(x, given), EvidenceRequest.of(method, samples, seed, **options)
        with console.progress("evidence", len(batches), progress) as bar:
            return self._evidence(batches, request, bar.advance)

    def log_conditional(
        self, x: Values, given: np.ndarray | Tensor, seed: int = 0, **options: Any
    ) -> np.ndarray:
        """log p(other entries | given entries) of each observation, (N,) nats: a difference of log-evidences.

        Args:
            x: (N, *shape), of a model for incomplete data, with the conditions of a model of p(x|c).
            given: of bool, (*shape) or (N, *shape): the entries that are given.
            seed: of every draw.
            options: of `log_evidence`.
        """
        rows = stored_rows(x, self.schema)
        whole = np.array(rows.values[:], np.float64)
        if not self.incomplete:
            raise InputError(
                "conditional probabilities need a model for incomplete data; train it with incomplete=True"
            )
        part = only_given(whole, given)
        asked = [StoredRows(values, rows.given) for values in (whole, part)]
        both = [self.log_evidence(rows, seed=seed, **options).log_evidence for rows in asked]
        return np.asarray((both[0] - both[1]).cpu())

    def score(
        self, x: Values, reference: "Values | None" = None, seed: int = 0, given: Given = None
    ) -> scoring.Scores:
        """How unusual observations are: log p(x), a score, its p-value, and the surprise of each entry.

        The score is of log p(x) and of training rows that are near (`inference.unusual`), lower for more
        unusual observations. They are compared with held-out ones in which the same entries are hidden, see
        `inference.scoring`. A table's row with a new value in a column that was constant is the strangest.

        Args:
            x: (N, *shape).
            reference: observations to compare with, from the source of the training data and held out of
                training, with their conditions; by default validation rows, which `fit` keeps for tables and
                arrays.
            seed: matters where x is presented at random.
            given: the conditions of x, in place of those that come with it.
        """
        for member in self.members:
            check_density(member.vae)
        frame, reference = self._frame(x, given), read(reference, self.schema)
        against = self.reference if reference is None else self._drawn(reference, seed=seed)
        if against is None:
            raise _nothing_to_compare_with()
        x = self._read(x, given) if frame is None else frame.data
        return replace(self._scores(x, against, new_values(reference), seed, given), rows=frame)

    def _scores(
        self,
        x: Values,
        reference: Observation | None,
        new_in_reference: Collection[int] = (),
        seed: int = 0,
        given: Given = None,
    ) -> scoring.Scores:
        """`score` of data that was read; without p-values if the reference is None."""
        rounded = self.schema.presentation == "dequantised"
        levels = self.schema.unordered if self.known is not None else None
        against = scoring.Against(reference, new_in_reference, self.known, levels, rounded)
        rows = self._batches(x, given).draw(self._generator(seed))
        return scoring.score(rows, against, self._look, self.members[0].vae, new_values(x))

    def evaluate(
        self,
        x: Values,
        samples: int | None = None,
        seed: int = 0,
        method: str = "auto",
        progress: bool = False,
        given: Given = None,
        **options: Any,
    ) -> Evaluation:
        """The ELBO, the log-evidence and the use of the codes, averaged over observations.

        Arguments are those of `log_evidence`. Warns where importance weights are too heavy-tailed to trust.
        Of a plain autoencoder, which has no p(x), the reconstruction and the use of the codes.
        """
        batches = self._batches(x, given)
        if self.is_autoencoder and method in ("auto", "is"):
            found = evaluate.reconstruction(
                self.members[0].vae, batches.draw, self._generator(seed), self._active_units(batches, seed)
            )
            return self._with_nearness(found, batches.rows, seed)
        active = self._active_units(batches, seed)
        evidence = self.log_evidence(batches.rows, samples, seed, method, progress, **options)
        if warning := tail_warning(evidence):
            console.warn(warning)
        entries = batches.observed_entries(self._generator(0)) if self.schema.discrete else None
        average = evaluate.average(evidence, active, entries)
        average = replace(average, kl_per_level=self._kl_per_level(batches, seed))
        return self._with_nearness(average, batches.rows, seed)

    def _with_nearness(self, found: Evaluation, rows: StoredRows, seed: int) -> Evaluation:
        """The evaluation with PSNR and SSIM of reconstructed images, if x is images."""
        return with_picture_quality(
            found, self.schema, rows, lambda part: self._reconstruct(part, mean=True, seed=seed)
        )

    # -- rows -----------------------------------------------------------------------------------------

    def rows(self, data: Dataset, part: str = "auto") -> np.ndarray:
        """Row numbers of a part of `data`; see `Provenance.rows`."""
        return self.provenance.rows(self._conditioned(data), part)

    def trained_on(self, data: Dataset) -> bool:
        """Whether `data` is the very data set that the model was trained from."""
        return self.parts(data) is not None

    def parts(self, data: Dataset) -> Splits | None:
        """The parts of the very data set that the model was trained from; None for other data."""
        return self.provenance.parts(self._conditioned(data))

    def count_trained_on(self, values: Rows) -> int:
        """The number of rows that are equal to a training row."""
        return self.provenance.count_trained_on(values)

    # -- storage --------------------------------------------------------------------------------------

    def save(self, run: str | Path, force: bool = False) -> Path:
        """Write a run folder; InputError if it holds anything and `force` is false.

        With `force` a run in the folder is replaced when the new one is complete; other files are kept.
        """
        folder = Path(run)
        save_run(folder, self.pack, force)
        return folder

    # -- inside ---------------------------------------------------------------------------------------

    def _batches(self, x: Values, given: Given = None) -> Batches:
        return Batches(stored_rows(x, self.schema, given), self.schema, self.incomplete, self.device)

    def _drawn(self, x: Values, given: Given = None, seed: int = 0) -> Observation:
        """All observations in the model's units."""
        return Observation.joined(list(self._batches(x, given).draw(self._generator(seed))))

    def _conditioned(self, data: Dataset) -> Dataset:
        """The data set whose x is the model's: without the columns that are conditions, if it has them."""
        return with_conditions(data, self.schema.conditions)

    def _generator(self, seed: int | None) -> torch.Generator:
        generator = torch.Generator(self.device)
        return generator.manual_seed(generator.seed() if seed is None else seed)


def _nothing_to_compare_with() -> InputError:
    return InputError(
        "expected rows to compare with, and this run kept none: it is of images, was trained without "
        "validation rows, has another prior since, or is of an earlier version; give some with reference"
    )
