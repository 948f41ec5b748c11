"""Several models of the same data, as one: the mixture of their densities, see `inference.mixture`.

The members learn from the same rows, with the same rows held out, and differ by their seed: their first
weights, orders and draws.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from backstory.data.observation import Observation
from backstory.data.rows import Rows
from backstory.data.stored import StoredRows
from backstory.data.values import Batches, Given, Values, stored_rows
from backstory.distributions.side_by_side import SideBySide
from backstory.errors import InputError
from backstory.inference import scoring
from backstory.inference.generate import Temperature
from backstory.inference.hmc import mixed_seed
from backstory.inference.importance import Evidence
from backstory.inference.mixture import (
    in_turn,
    mixture_evidence,
    mixture_looks,
    mixture_restoration,
    most_common,
)
from backstory.inference.operators import Operator
from backstory.inference.requests import EvidenceRequest, RestorationRequest
from backstory.inference.restoration import Restoration
from backstory.inference.target import check_distribution
from backstory.model import Model
from backstory.options import ModelOptions
from backstory.restoring import Advance
from backstory.runs.folder import CONFIG, member_folder, sealed
from backstory.trained import Trained

STREAM = 101  # of the members' seeds, apart from other streams of noise

T = TypeVar("T")


class Ensemble(Trained):
    """N models whose answers are averaged: the mixture of their densities.

    The pieces of a single model (`prior`, `decode`, `terms`, `exact`, `inference_gap`, `vae`) belong to each
    of the `members`. `options` and `training` are those of the first member.

    Args:
        members: models of the same data, trained on the same rows; InputError if they are not, or if one is
            a plain autoencoder.
    """

    def __init__(self, members: list[Model] | tuple[Model, ...]):
        first = members[0]
        for member in members:
            check_distribution(member.vae)
            same_rows = np.array_equal(member.provenance.row_hashes, first.provenance.row_hashes)
            if member.schema != first.schema or not same_rows:
                raise InputError(
                    f"the members of an ensemble have the same data and training rows, got {member.source} "
                    f"beside {first.source}"
                )
        super().__init__(first.schema, first.provenance, first.summary)
        self._members = tuple(members)
        self.reference, self.known = first.reference, first.known  # all have the same rows

    def __getattr__(self, name: str) -> Any:
        if name == "vae" or hasattr(Model, name):
            raise AttributeError(
                f"an ensemble has no {name} of its own; ask one of its members, such as members[0].{name}"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def members(self) -> tuple[Model, ...]:
        return self._members

    @property
    def options(self) -> ModelOptions:  # type: ignore[override]
        return self.members[0].options

    # -- answers ------------------------------------------------------------------------------------------

    def encode(self, x: Values, seed: int = 0, given: Given = None) -> SideBySide:
        """q(z|x) of all members side by side, (N, ΣD), in the order of the members."""
        rows = stored_rows(x, self.schema, given)
        parts = [member.encode(rows, seed) for member in self.members]
        return SideBySide(tuple(parts))

    def _reconstruct(self, rows: StoredRows, mean: bool, seed: int) -> Rows:
        """The average of the members' means, or draws of the members in turn.

        In a column with levels the most frequent level among the members, the first of several.
        """
        parts = self._ask(
            lambda member, own: np.asarray(member._reconstruct(rows, mean, seed if mean else own)[:]), seed
        )
        if not mean:
            return in_turn(np.stack(parts)[:, None], 1)[0]
        average: np.ndarray = np.mean(parts, 0, dtype=np.float64).astype(parts[0].dtype)
        for j in np.flatnonzero(self.schema.levelled):
            average[:, j] = [most_common(votes) for votes in np.stack(parts)[:, :, j].T]
        return average

    def fit_prior(self, x: Values, components: int = 10, seed: int = 0, given: Given = None) -> Self:
        """`Model.fit_prior` of each member."""
        rows = stored_rows(x, self.schema, given)
        self._ask(lambda member, own: member.fit_prior(rows, components, own), seed)
        self.reference = None
        return self

    def _sample(
        self, n: int, mean: bool, temperature: Temperature, seed: int | None, given: np.ndarray | None
    ) -> np.ndarray:
        """Draws of the members in turn: draw j is of member j modulo their number."""
        asked = self._asked(n, seed, given)
        return _alternating([m._sample(k, mean, temperature, own, c) for m, k, own, c in asked], n)

    def _sample_with_means(
        self, n: int, temperature: Temperature, seed: int, given: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        asked = self._asked(n, seed, given)
        pairs = [m._sample_with_means(k, temperature, own or 0, c) for m, k, own, c in asked]
        draws, means = zip(*pairs, strict=True)
        return _alternating(draws, n), _alternating(means, n)

    def _asked(
        self, n: int, seed: int | None, given: np.ndarray | None
    ) -> Iterator[tuple[Model, int, int | None, np.ndarray | None]]:
        """For n draws of the members in turn: each member, how many of it, its seed and conditions."""
        count = len(self.members)
        for number, member in enumerate(self.members):
            own = None if seed is None else member_seed(seed, number)
            each = math.ceil(n / count)
            rows = np.minimum(np.arange(each) * count + number, n - 1)  # of the last round some are dropped
            yield member, each, own, None if given is None else given[rows]

    def _restore(
        self, y: StoredRows, operator: Operator | None, request: RestorationRequest, advance: Advance
    ) -> Restoration[np.ndarray]:
        """All members are presented the same y, and draw with seeds of their own."""
        draws, count = request.draws, len(self.members)

        def ask(member: Model, seed: int) -> Restoration[np.ndarray]:
            own = replace(request, draws=math.ceil(draws / count), seed=seed)
            return member._restore(y, operator, own, lambda rows: advance(rows / count))

        parts = self._ask(ask, request.seed)
        return parts[0] if count == 1 else mixture_restoration(parts, draws)

    def _evidence(self, batches: Batches, request: EvidenceRequest, advance: Advance) -> Evidence:
        """All members are presented the same x, and draw with seeds of their own."""
        parts = [
            member._evidence(
                batches,
                replace(
                    request, seed=member_seed(request.seed, number), resume=_numbered(request.resume, number)
                ),
                lambda rows: advance(rows / len(self.members)),
            )
            for number, member in enumerate(self.members)
        ]
        return mixture_evidence(parts)

    def _level_posterior(self, batches: Batches, seed: int) -> np.ndarray:
        """The average of the members' q(c|x)."""
        parts = [member._level_posterior(batches, seed) for member in self.members]
        average: np.ndarray = np.logaddexp.reduce(parts, 0) - math.log(len(parts))
        return average

    def _look(self, observation: Observation) -> scoring.Looks:
        return mixture_looks([member._look(observation) for member in self.members])

    def _kl_per_level(self, batches: Batches, seed: int) -> None:
        """Members have levels of their own."""

    def _active_units(self, batches: Batches, seed: int) -> int:
        """The sum over all members."""
        return sum(member._active_units(batches, seed) for member in self.members)

    def _ask(self, question: Callable[[Model, int], T], seed: int) -> list[T]:
        """The answers of all members, each with a seed of its own."""
        return [question(member, member_seed(seed, number)) for number, member in enumerate(self.members)]

    # -- storage ------------------------------------------------------------------------------------------

    def pack(self) -> dict[str, bytes]:
        files = {
            member_folder(number) + name: content
            for number, member in enumerate(self.members)
            for name, content in member.pack().items()
        }
        return files | {CONFIG: config_of(self.members[0], len(self.members))}


def _alternating(drawn: Sequence[np.ndarray], n: int) -> np.ndarray:
    """n rows, (n, …), of each member in turn, from those of each."""
    return np.stack(drawn, 1).reshape(-1, *drawn[0].shape[1:])[:n]


def config_of(member: Model, count: int) -> bytes:
    """config.json of an ensemble: the number of its members, and the name of their data."""
    config = member.config
    return sealed({"backstory": config.backstory, "source": config.source, "ensemble": count})


def member_seed(seed: int, number: int) -> int:
    """A seed for each member; the first has the seed itself."""
    return seed if number == 0 else mixed_seed(seed, STREAM, number)


def _numbered(path: Path | None, number: int) -> Path | None:
    """A file for each member; the first has the path itself."""
    return path if path is None or number == 0 else path.with_name(f"{path.stem}.{number}{path.suffix}")
