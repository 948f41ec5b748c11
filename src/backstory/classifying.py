"""Levels of the conditions of trained models of p(x|c), inferred from x."""

from abc import ABC, abstractmethod

import numpy as np
import torch

from backstory import console
from backstory.data.conditions import Condition, at_level, with_levels
from backstory.data.schema import Schema
from backstory.data.stored import StoredRows
from backstory.data.values import Batches, Given, Values, stored_rows
from backstory.errors import InputError
from backstory.inference.classification import CLASSIFYING, Classification
from backstory.inference.importance import Evidence
from backstory.inference.requests import EvidenceRequest
from backstory.options import one_of
from backstory.restoring import Advance


class Classifier(ABC):
    """A trained density p(x|c) of stored values that infers c.

    Attributes:
        schema: of the data.
    """

    schema: Schema

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """The device of the weights."""

    @property
    @abstractmethod
    def incomplete(self) -> bool:
        """Whether entries of x may be missing."""

    @abstractmethod
    def _level_posterior(self, batches: Batches, seed: int) -> np.ndarray:
        """log q(c|x) of the condition whose level may be missing, (N, L)."""

    @abstractmethod
    def _evidence(self, batches: Batches, request: EvidenceRequest, advance: Advance) -> Evidence:
        """`log_evidence` of batches."""

    def classified(self, condition: str | None = None) -> Condition:
        """The condition of a name, or without one the only condition with levels; InputError for another."""
        return with_levels(self.schema.conditions, condition)

    def classify(
        self,
        x: Values,
        condition: str | None = None,
        samples: int | None = None,
        seed: int = 0,
        progress: bool = False,
        given: Given = None,
        method: str = "bayes",
    ) -> Classification:
        """p(c | x) of the levels c of a condition, by Bayes' rule, see `inference.classification`.

        Args:
            x: (N, *shape); a value of this condition that comes with x is not used.
            condition: its name; by default the only one that has levels.
            samples: draws of z for each observation and level, 50 by default.
            seed: of the draws, which are the same for all levels.
            progress: show a progress bar.
            given: the other conditions of a model with several, in place of those that come with x.
            method: `bayes`, or `encoder` for the network q(c|x) of a model whose level may be missing. It is
                faster, and approximates p(c | x).
        """
        one_of("method", method, ["bayes", "encoder"])
        asked, conditions = self.classified(condition), self.schema.conditions
        levels = asked.levels or ()
        if len(conditions) == 1 or given is not None:
            given = {**(given or {}), asked.name: levels[0]}
        rows = stored_rows(x, self.schema, given)
        if method == "encoder":
            return self._by_encoder(asked, Batches(rows, self.schema, self.incomplete, self.device), seed)
        request = EvidenceRequest.of("is", CLASSIFYING if samples is None else samples, seed)
        values = []
        with console.progress("levels", len(rows) * len(levels), progress) as bar:
            for k in range(len(levels)):
                own = StoredRows(rows.values, at_level(conditions, asked, k, rows.given))
                batches = Batches(own, self.schema, self.incomplete, self.device)
                values.append(self._evidence(batches, request, bar.advance).log_evidence.cpu().numpy())
        return Classification.by_bayes(asked.name, levels, np.stack(values, 1), asked.log_shares)

    def _by_encoder(self, asked: Condition, batches: Batches, seed: int) -> Classification:
        """q(c|x) in the place of p(c | x)."""
        if not asked.inferred:
            raise InputError(
                f"method encoder is for a condition whose level was missing in some rows of training, got "
                f"{asked.name!r}, which was always observed; use method bayes"
            )
        log_q = self._level_posterior(batches, seed)
        return Classification(
            asked.name, asked.levels or (), np.exp(log_q), log_q * np.nan, np.exp(asked.log_shares)
        )
