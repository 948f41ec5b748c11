"""Posterior means as a scikit-learn transformer."""

from typing import Any

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from backstory.data.tables.aligned import as_frame
from backstory.errors import InputError
from backstory.inference.generate import estimate
from backstory.sklearn.base import Estimator


class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Estimator):
    """Posterior means E[z|x] as features."""

    def transform(self, X: Any) -> np.ndarray:
        """E[z|x], (n_samples, latent)."""
        return self.model_.encode(self._stored(X)).centre.cpu().numpy()

    def inverse_transform(self, X: Any) -> Any:
        """E[x|z] for z in the rows of X, (n_samples, n_features); levels are the most probable ones.

        They are a frame with the columns of the training rows, and of its library, or an array. A frame X of
        pandas gives its index. Means of whole numbers need not be whole.
        """
        check_is_fitted(self)
        if len(self.model_.members) > 1:
            raise InputError(
                "an ensemble has no decoder of its own; ask one of its members, such as "
                "model_.members[0].decode"
            )
        with torch.no_grad():
            mean = self.model_.schema.means(estimate(self.model_.members[0].decode(np.array(X))))
        frame = as_frame(X)
        return self._form.rows(self._with_constants(mean), None if frame is None else frame.index)

    @property
    def _n_features_out(self) -> int:
        return int(self.model_.options.latent or 1) * len(self.model_.members)
