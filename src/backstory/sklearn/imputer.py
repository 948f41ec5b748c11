"""Imputation as a scikit-learn transformer."""

from typing import Any

import numpy as np
from sklearn.base import OneToOneFeatureMixin, TransformerMixin

from backstory.data.dataset import Dataset
from backstory.fitting.options import columns_depend
from backstory.sklearn.base import Averaged
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
        """X with its missing cells filled, (n_samples, n_features) of doubles.

        A mixed frame comes back as a frame with the same index and columns. Numbers and dates get their
        means, levels the most probable one. Columns that only identify rows are not modelled: their cells
        stay empty. A missing cell of a constant column gets the constant; another value there stays, with a
        warning.
        """
        if self._table is not None:
            self._check_frame(X)
            return self._imputed(X)
        full = self._with_constants(self._imputed(self._stored(X)))
        x = self._numbers(X)
        return np.where(np.isnan(x), full, x)

    def _imputed(self, rows: Any) -> Any:
        """`Model.impute` of a frame or of stored values."""
        return self.model_.impute(rows, self.model_.training.seed, self.verbose, budget=BUDGET)
