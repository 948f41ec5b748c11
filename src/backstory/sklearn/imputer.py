"""Imputation as a scikit-learn transformer."""

from typing import Any

import numpy as np
from sklearn.base import OneToOneFeatureMixin, TransformerMixin

from backstory.data.dataset import Dataset
from backstory.data.tables.aligned import FrameRows
from backstory.errors import InputError
from backstory.fitting.options import columns_depend
from backstory.inference.restoration import Restoration
from backstory.sklearn.base import Averaged
from backstory.sklearn.models import drawn_seed
from backstory.trained import Trained

MANY_ROWS = 500  # from which `QUICK` is as precise as the defaults of `fit`, bench/imputation.py --cost
QUICK: dict[str, Any] = {"samples": 5, "batch_size": 128, "lr": 6e-3}
BUDGET = 1000  # codes decoded for each row: more change the means by less than a hundredth of their error


class VAEImputer(OneToOneFeatureMixin, TransformerMixin, Averaged):
    """Fills missing cells with their conditional means, E[x_missing | x_observed].

    Args:
        ensemble: number of models that are trained and averaged.
        verbose: show progress bars on standard error. Training that takes over a minute is told of in any
            case, as soon as its first steps show it.
        latent, likelihood, epochs, options, random_state: as in every estimator, see `VAETransformer`.

    >>> x = np.random.default_rng(0).normal(size=(200, 1)) * [1.0, 2.0, -1.0]
    >>> x[0, 1] = np.nan
    >>> bool(np.isfinite(VAEImputer(latent=1, epochs=5, random_state=0).fit_transform(x)).all())
    True
    """

    def __init__(
        self,
        latent: int | None = None,
        likelihood: str = "auto",
        epochs: int | None = None,
        options: dict[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        ensemble: int = 3,
        verbose: bool = False,
    ):
        super().__init__(latent, likelihood, epochs, options, random_state, ensemble)
        self.verbose = verbose

    def _train(self, data: Dataset, seed: int, **defaults: Any) -> Trained:
        defaults = {"progress": self.verbose, **defaults}
        asked = {"likelihood": self.likelihood, **(self.options or {})}
        own = {"network", "objective"} & set(asked)
        if data.incomplete and len(data) >= MANY_ROWS and not own and not columns_depend(data, asked):
            defaults = {**QUICK, **defaults}
        if not data.schema.kinds and data.incomplete:  # keeps the last weights
            defaults = {"validation": 0.0, **defaults}
        return super()._train(data, seed, **defaults)

    def transform(self, X: Any) -> Any:
        """X with its missing cells filled, (n_samples, n_features).

        A frame comes back as a frame of the same library with the same index, columns and types; an array as
        an array of doubles. Numbers and dates get their means, levels the most probable one. A column of
        whole numbers, such as Int64, becomes one of doubles where a mean is not whole, as with
        `Model.impute`; `sample` gives whole numbers. Columns that only identify rows are not modelled: their
        cells stay empty. A missing cell of a constant column gets the constant; another value there stays,
        with a warning.
        """
        rows = self._rows(X)
        data, seed = self._modelled(rows.data), self.model_.training.seed
        means = self.model_.impute(data, seed, self.verbose, budget=BUDGET)
        return self._filled(rows, self._with_constants(means))

    def sample(self, X: Any, n_draws: int = 5, random_state: Any = None) -> list[Any]:
        """X with its missing cells filled by draws of p(x_missing | x_observed), `n_draws` times.

        These are multiple imputations (Rubin 1987): an analysis of each, and the spread of its results, takes
        into account what is not known of the missing cells. Each has the form of `transform`, and its whole
        numbers are whole. Without a `random_state` each call draws anew.

        >>> x = np.random.default_rng(0).normal(size=(200, 2))
        >>> x[0, 1] = np.nan
        >>> first, second = VAEImputer(latent=1, epochs=1, random_state=0).fit(x).sample(x, 2)
        >>> bool(first[0, 1] != second[0, 1])
        True
        """
        if n_draws < 1:
            raise InputError(f"expected n_draws of at least 1, got {n_draws}; give a larger number")
        rows = self._rows(X)
        data = self._modelled(rows.data)
        some, found = self._restored(data, n_draws, drawn_seed(random_state))
        draws = np.repeat(np.array(data.values, np.float64)[None], n_draws, 0)
        if found is not None:
            draws[:, some] = found.draws
        return [self._filled(rows, self._form.settled(self._with_constants(values))) for values in draws]

    def std(self, X: Any) -> Any:
        """The standard deviation of each cell given the observed ones, (n_samples, n_features).

        It is 0 where a cell is observed, and for levels the probability of all but the most probable one. A
        frame comes back as a frame; columns that the model leaves out are NaN, but constant ones 0.
        """
        rows = self._rows(X)
        data = self._modelled(rows.data)
        some, found = self._restored(data, 0, self.model_.training.seed)
        deviations = np.zeros(np.shape(data.values))
        if found is not None:
            deviations[some] = np.where(np.isnan(np.asarray(data.values)[some]), found.std, 0.0)
        return rows.numbers(self._of_cells(rows, data, deviations))

    def _restored(
        self, data: Dataset, draws: int, seed: int
    ) -> tuple[np.ndarray, Restoration[np.ndarray] | None]:
        """The numbers of the rows with missing cells, and their restoration; None if there are none."""
        return self.model_.restore_gaps(data.stored, draws, seed, self.verbose, budget=BUDGET)

    def _filled(self, rows: FrameRows, full: np.ndarray) -> Any:
        """The rows with these stored values, (n_samples, C), in their missing cells."""
        own = np.asarray(rows.data.values)
        return rows.completed(np.where(np.isnan(own), full, own))
