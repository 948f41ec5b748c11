"""Draws of observations from trained models: plain ones, given some entries, and with gaps as in training."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from backstory.data.conditions import at_each_level, chosen_conditions, chosen_stated
from backstory.data.missing_levels import with_drawn_levels
from backstory.data.observation import Observation
from backstory.data.stored import StoredRows
from backstory.data.tables.partial import Wanted, wanted
from backstory.data.values import Given
from backstory.errors import InputError
from backstory.inference.gap_patterns import drawn_gaps
from backstory.inference.generate import Temperature, checked_number
from backstory.inference.rejection import drawn_in
from backstory.options import one_of
from backstory.restoring import Restorer

if TYPE_CHECKING:
    import pandas as pd


class Sampler(Restorer):
    """A trained density p(x), or p(x|c), of stored values that gives draws of whole observations.

    Attributes:
        reference: held-out rows, or None; their gaps are those of `missing_cells="keep"`.
    """

    reference: Observation | None

    @abstractmethod
    def _sample(
        self, n: int, mean: bool, temperature: Temperature, seed: int | None, given: np.ndarray | None
    ) -> np.ndarray:
        """`sample` from p(x), or from p(x|c) for codes of conditions, (n, C)."""

    @abstractmethod
    def _sample_with_means(
        self, n: int, temperature: Temperature, seed: int, given: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """`sample_with_means`, likewise."""

    def sample(
        self,
        n: int,
        mean: bool = False,
        temperature: Temperature = 1.0,
        seed: int | None = None,
        where: "np.ndarray | Mapping[str, Any] | pd.Series[Any] | pd.DataFrame | None" = None,
        given: Given = None,
        frame: bool = True,
        missing_cells: str = "fill",
        each: str | None = None,
    ) -> Any:
        """Draw n observations, z ~ p(z) then x ~ p(x|z), in the data's type; or E[x|z] with `mean`.

        Of a model of a table a pandas frame with the columns and types of the training table, and with its
        conditions; of other data an array, (n, *shape). A level that stands for rare ones becomes one of
        them by their frequency.

        Args:
            n: how many.
            mean: return E[x|z] of each drawn z, and the most probable levels, in place of a draw of x.
            temperature: factor of the prior's standard deviation; of z in levels also one for each level,
                from x upwards.
            seed: of the draws; without one each call draws anew.
            where: one observation with some of its entries: the draws are then of p(x | given entries), by
                `restore`. Stored values, (*shape), with NaN for the other entries; of a table also cells by
                the names of their columns, in a mapping, a series or a frame of one row. A tuple (low, high)
                is a range and a set holds possible values; see `tables.partial.wanted`. These are kept
                by rejection.
            given: the conditions c, if the model is of p(x|c): one value for all draws or one for each. A
                level that may be missing is drawn from p(c) where it is; if it is the only condition of the
                model, it may be left out.
            frame: false for the stored values of a table, (n, C), in place of a frame.
            missing_cells: `fill`, no cell of a table is empty; `keep`, as many are as in training, see
                `inference.gap_patterns`.
            each: the name of a condition with levels, of which n observations are drawn at each level, in the
                order of the levels; `given` has the other conditions.

        Raises:
            InputError: for a plain autoencoder, see `fit_prior`; or for conditions that do not fit the model.
        """
        one_of("missing_cells", missing_cells, ["fill", "keep"])
        n, seed = checked_number(n), _seed(seed)
        if each is not None and where is not None:
            raise InputError(
                "draws given some entries are at one level of each condition; leave `each` out, and choose "
                "the level with `given`"
            )
        if each is not None:
            n, given = at_each_level(self.schema.conditions, each, n, given)
        asked = None if where is None else self._wanted(where)
        given = self.given_or_drawn(given, n, seed) if asked is None else given
        x = self._draw(n, mean, temperature, seed, asked, given)
        if missing_cells == "keep":
            x = self._with_gaps(x, asked, seed)
        if not frame or not self.schema.kinds:
            return x
        from backstory.data.tables.frames import drawn_frame  # with pandas

        return drawn_frame(x, self.schema, seed, chosen_stated(self.schema.conditions, given, n))

    def sample_with_means(
        self,
        n: int,
        temperature: Temperature = 1.0,
        seed: int | None = None,
        given: Given = None,
        each: str | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The draws of `sample` as stored values, and the mean E[x|z] of each; arguments as there.

        Rows of a table outside the ranges of training are cut to them here, and not drawn again.
        """
        n, seed = checked_number(n), _seed(seed)
        if each is not None:
            n, given = at_each_level(self.schema.conditions, each, n, given)
        given = self.given_or_drawn(given, n, seed)
        codes = chosen_conditions(self.schema.conditions, given, n)
        return self._sample_with_means(n, temperature, seed, codes)

    def given_or_drawn(self, given: Given, n: int, seed: int) -> Given:
        """The conditions of n draws, with levels from p(c) where they are missing; see `sample`."""
        return with_drawn_levels(self.schema.conditions, given, n, seed)

    def _with_gaps(self, x: np.ndarray, asked: Wanted | None, seed: int) -> np.ndarray:
        """Drawn rows with gaps as the held-out rows have; cells that are asked for stay."""
        if self.reference is None or not self.schema.kinds:
            raise InputError(
                "expected a model of a table that keeps held-out rows, for missing_cells keep, got none; "
                "train it with validation rows, or take missing_cells fill"
            )
        drawn, kept, scale = (
            part.double().cpu().numpy()
            for part in (self.schema.prepare(x), self.reference.x, self.members[0].vae.scale)
        )
        gaps = drawn_gaps(drawn, kept, scale, self.schema.levelled, seed)
        if asked is not None:
            gaps[:, ~np.isnan(asked.row)] = False
            gaps[:, [j for j in (*asked.ranges, *asked.sets) if j < gaps.shape[1]]] = False
        return np.where(gaps, np.nan, x)

    def _wanted(self, where: Any) -> Wanted:
        named = isinstance(where, Mapping) or hasattr(where, "iloc")
        return wanted(self.schema, where) if named else Wanted(np.asarray(where))

    def _draw(
        self, n: int, mean: bool, temperature: Temperature, seed: int, asked: Wanted | None, given: Given
    ) -> np.ndarray:
        """The stored values of `sample`."""
        if asked is None:
            return self._sample(
                n, mean, temperature, seed, chosen_conditions(self.schema.conditions, given, n)
            )
        if mean or temperature != 1:
            raise InputError(
                "draws given some entries are of p(x|y) as it is; leave mean and temperature out"
            )
        c = chosen_conditions(self.schema.conditions, given, 1)

        def draw(count: int, own: int) -> np.ndarray:
            if asked.is_open and not asked.is_exact:
                return self._sample(count, False, 1.0, own, None if c is None else c.repeat(count, 0))
            return self.restore(StoredRows(asked.row[None], c), draws=count, seed=own).draws[:, 0]

        return draw(n, seed) if asked.is_exact else drawn_in(draw, asked.holds, n, seed)


def _seed(seed: int | None) -> int:
    """The seed; one that changes from call to call in place of None."""
    return torch.Generator().seed() % 2**31 if seed is None else seed
