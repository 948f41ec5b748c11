"""log p(x) as a scikit-learn density."""

from typing import Any

import numpy as np
from sklearn.base import DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from backstory.sklearn.base import Averaged
from backstory.sklearn.models import log_density


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

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """New rows, (n_samples, n_features); different ones at each call without a `random_state`.

        For a mixed frame they have no columns that only identify rows.
        """
        check_is_fitted(self)
        seed = None if random_state is None else int(check_random_state(random_state).randint(2**31 - 1))
        return self._rows(self.model_.sample(n_samples, seed=seed, frame=False))
