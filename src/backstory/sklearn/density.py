"""log p(x) as a scikit-learn density."""

from typing import Any

import numpy as np
from sklearn.base import (
    DensityMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from backstory.sklearn.base import Averaged, score_rows


class VAEDensity(DensityMixin, Averaged):
    """The log-density of rows, and new rows, as of sklearn.mixture.GaussianMixture.

    There is no `bic`: it counts parameters, and most of those of a network are not free ones.
    """

    def score_samples(self, X: Any) -> np.ndarray:
        """log p(x) of each row in nats, (n_samples,), with 100 draws of z; of its observed cells."""
        return score_rows(self.model_, self._rows(X))

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`, by which a grid search chooses."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """New rows, (n_samples, n_features); anew at each call without a random_state.

        As of a mixed frame without the columns that only name the rows.
        """
        check_is_fitted(self)
        seed = None if random_state is None else int(check_random_state(random_state).randint(2**31 - 1))
        return self._stored(self.model_.sample(n_samples, seed=seed))
