"""log p(x) as a scikit-learn density."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import DensityMixin
from sklearn.utils.validation import check_is_fitted

from backstory.inference.generate import checked_number
from backstory.sklearn.base import Averaged
from backstory.sklearn.models import drawn_seed, log_density


class VAEDensity(DensityMixin, Averaged):
    """Log-density of rows, and new rows, like sklearn.mixture.GaussianMixture.

    It has no `bic`: that counts free parameters, and most weights of a network are not free.
    """

    def score_samples(self, X: Any) -> np.ndarray:
        """log p(x) of the observed cells of each row in nats, (n_samples,), from 100 draws of z.

        Columns that were constant in training have no density; another value there gives a warning.
        """
        return log_density(self.model_, self._stored(X))

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`; a grid search maximises it."""
        return float(self.score_samples(X).mean())

    def attribute(self, X: Any) -> Any:
        """The surprise of each cell in nats, (n_samples, n_features), a frame where X is one.

        It is E[−log p(x_j|z)] for z given the whole row, on the scale of the column, as `surprise` of
        `Trained.score`: which columns make log p(x) low. It is NaN where a cell is missing or its column is
        not modelled, 0 in a column that was constant in training, and infinite for another value there. The
        sum over a row is not −log p(x), because it leaves out what z costs.

        >>> x = np.random.default_rng(0).normal(size=(200, 2)) * [1.0, 0.1]
        >>> density = VAEDensity(latent=1, epochs=20, random_state=0).fit(x)
        >>> int(density.attribute([[0.0, 0.8]])[0].argmax())
        1
        """
        rows = self._rows(X)
        return self._attributed(rows, self._modelled(rows.data))

    def sample(
        self, n_samples: int = 1, random_state: Any = None, where: "Mapping[Any, Any] | None" = None
    ) -> Any:
        """New rows, (n_samples, n_features); different ones at each call without a `random_state`.

        They are a frame with the columns and types of the training rows, and of the same library, or an
        array. Of a mixed frame they have no columns that only identify rows.

        Args:
            n_samples: how many.
            random_state: of the draws.
            where: what cells have to be, by the name of their column, or its number for an array: a value, a
                range (low, high) or a set of values. The rows are draws of p(x | these cells), see
                `backstory.Model.sample`.

        >>> x = np.random.default_rng(0).normal(size=(200, 2))
        >>> density = VAEDensity(latent=1, epochs=1, random_state=0).fit(x)
        >>> bool((density.sample(50, where={1: (0.5, None)})[:, 1] >= 0.5).all())
        True
        """
        check_is_fitted(self)
        seed, modelled = drawn_seed(random_state), np.flatnonzero(np.isnan(self.constant_))
        asked = None if where is None else self._form.wanted(where, modelled)
        values = self.model_._draw(checked_number(n_samples), False, 1.0, seed, asked, None)
        return self._form.draws(self._with_constants(values), seed)
