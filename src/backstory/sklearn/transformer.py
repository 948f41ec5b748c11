"""Posterior means as a scikit-learn transformer."""

from typing import Any

import numpy as np
import torch
from sklearn.base import (
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted

from backstory.sklearn.base import Estimator


class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Estimator):
    """Codes as features: the means of q(z|x)."""

    def transform(self, X: Any) -> np.ndarray:
        """E[z|x], (n_samples, latent)."""
        return self.model_.encode(self._rows(X)).centre.cpu().numpy()

    def inverse_transform(self, X: Any) -> Any:
        """E[x|z] at codes z, (n_samples, n_features); of texts the level that is nearest to the mean."""
        check_is_fitted(self)
        with torch.no_grad():
            mean = self.model_.schema.means(self.model_.decode(np.asarray(X)).mean)
        return self._stored(mean)

    @property
    def _n_features_out(self) -> int:
        return int(self.model_.options.latent or 1) * len(self.model_.members)
