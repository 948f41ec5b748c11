"""Imputation as a scikit-learn transformer."""

from typing import Any

import numpy as np
from sklearn.base import (
    OneToOneFeatureMixin,
    TransformerMixin,
)

from backstory.data.dataset import Dataset
from backstory.data.tables.frames import constant, filled
from backstory.model import Model
from backstory.sklearn.base import Averaged


class VAEImputer(OneToOneFeatureMixin, TransformerMixin, Averaged):
    """Fills missing cells with their conditional means, E[x_missing | x_observed].

    Args:
        ensemble: how many models are trained and averaged.
        latent, likelihood, epochs, options, random_state: as of every estimator here, see `VAETransformer`.

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
    ):
        super().__init__(latent, likelihood, epochs, options, random_state, ensemble)

    def _train(self, data: Dataset, seed: int, **defaults: Any) -> Model:
        if not data.schema.kinds and data.incomplete:  # the last weights are kept: none are chosen
            defaults = {"validation": 0.0, **defaults}
        return super()._train(data, seed, **defaults)

    def transform(self, X: Any) -> Any:
        """X with its missing cells filled, (n_samples, n_features) of doubles.

        Of a mixed frame a frame with the same index and columns: means of numbers and dates, most probable
        levels. Cells of columns that only name the rows, which no model sees, stay empty.
        """
        if self._table is not None:
            return self._filled(X)
        x = self._numbers(X)
        return np.where(np.isnan(x), self._whole(self._complete(self._varying(x))), x)

    def _complete(self, x: np.ndarray) -> np.ndarray:
        """Stored values with means in their gaps."""
        x = x.copy()
        some = np.isnan(x).any(1)
        if some.any():
            found = self.model_.restore(x[some], draws=1, seed=self.model_.training.seed)
            x[some] = np.where(np.isnan(x[some]), found.mean, x[some])
        return x

    def _filled(self, X: Any) -> Any:
        data = self._read(X)
        x = np.asarray(data.values)
        gaps = np.isnan(x)
        frame = filled(X, self._complete(x), gaps, gaps, data)
        frame.index = X.index
        for column in data.schema.left_out:
            cells = frame.iloc[:, column.place]
            if column.reason == "constant" and cells.isna().any():
                frame[frame.columns[column.place]] = cells.fillna(constant(column))
        return frame
