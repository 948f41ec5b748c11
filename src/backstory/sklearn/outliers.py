"""Outlier detection by the scores of rows."""

import math
from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.base import OutlierMixin

from backstory.data.dataset import Dataset
from backstory.errors import InputError
from backstory.inference.unusual import robust_scale
from backstory.sklearn.base import Estimator

BATCH, STEPS = 128, 600  # rows in a batch, and training steps of a network
NETWORK: dict[str, Any] = {  # options of the network, unless the user gives others
    "objective": "iwae",
    "hidden": (64, 64),
    "samples": 2,
    "batch_size": BATCH,
    "validation": 0.0,
    "compile": False,
}


class VAEOutlierDetector(OutlierMixin, Estimator):
    """Outliers are rows with a low score, that of `Trained.score` (`inference.unusual`).

    It joins log p(x) of a VAE with training rows that are near, and holds for training rows with and without
    outliers among them. Columns of numbers are replaced by arcsinh((x − median) / spread), which shortens
    long tails. The VAE is trained for few steps, without validation, and σ has a floor: a density that peaks
    at single rows would take the outliers among them for common. A mixed frame is modelled as it is, with the
    likelihood `joint`. `bench/anomalies.py` measures the detector.

    Args:
        contamination: share of outliers among the training rows, above 0 and at most 0.5; sets `offset_`.
        ensemble: number of networks, see `backstory.Ensemble`.
        sigma_floor: lowest σ of the network, a fraction of a column's standard deviation.
        latent: units of z; None for half the number of columns, at most 16.
        epochs: passes over the rows; None for as many as make 600 steps.
        options: other options of `backstory.fit` by name.
        random_state: seed of the initial weights and every draw.

    Attributes:
        model_: the trained `Trained`, of the arcsinh where the columns are numbers.
        location_, spread_: median and interquartile range / 1.349 of the columns that vary.
        offset_: score below which a row is an outlier.
        constant_: values of constant columns, which the model does not get; NaN for the others.
        n_features_in_, feature_names_in_: number and names of the training columns.
    """

    def __init__(
        self,
        contamination: float = 0.1,
        ensemble: int = 1,
        sigma_floor: float = 0.2,
        latent: int | None = None,
        epochs: int | None = None,
        options: dict[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.contamination = contamination
        self.ensemble = ensemble
        self.sigma_floor = sigma_floor
        self.latent = latent
        self.epochs = epochs
        self.options = options
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Train on the rows of X, with or without outliers among them; y is not used.

        `sample_weight` is that of `VAEDensity.fit`. It holds for the VAE; the rows that are near, and
        `contamination`, count each row of a positive weight once.
        """
        self._check_parameters()
        data, seed = self._training_rows(X, sample_weight), self._seed()
        self.location_, self.spread_ = robust_scale(np.asarray(data.values))
        data = self._shortened(data)
        steps = math.ceil(STEPS / math.ceil(len(data) / BATCH))
        likelihood = (
            {"likelihood": "joint"}
            if data.schema.kinds
            else {"likelihood": "gaussian-predicted", "sigma_floor": self.sigma_floor}
        )
        options = {**NETWORK, **likelihood, "epochs": steps, "ensemble": self.ensemble}
        self.model_ = self._train(data, seed, **options)
        self.offset_ = float(np.percentile(self._scores(data), 100 * self.contamination))
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """The score of `Trained.score`, (n_samples,); lower for stranger rows.

        A row that equals a training row is compared with the other rows, as in `fit`. A row with another
        value in a column that was constant in training is below all rows without one.
        """
        return self._scores(self._shortened(self._data(X)))

    def attribute(self, X: Any) -> Any:
        """The surprise of each cell in nats, (n_samples, n_features), a frame where X is one.

        It is E[−log p(x_j|z)] for z given the whole row, as `surprise` of `Trained.score`: the columns with
        the highest values make a row strange. Of numbers it is that of arcsinh((x − median) / spread), so
        that columns of different units compare. It is NaN where a cell is missing or its column is not
        modelled, 0 in a column that was constant in training, and infinite for another value there.

        >>> x = np.random.default_rng(0).normal(size=(200, 2)) * [1.0, 100.0]
        >>> detector = VAEOutlierDetector(latent=1, random_state=0).fit(x)
        >>> int(detector.attribute([[5.0, 100.0]])[0].argmax())
        0
        """
        rows = self._rows(X)
        return self._attributed(rows, self._shortened(self._modelled(rows.data)))

    def decision_function(self, X: Any) -> np.ndarray:
        """`score_samples` minus `offset_`, (n_samples,); negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """1 for inliers, -1 for outliers, (n_samples,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def _check_parameters(self) -> None:
        if not 0 < self.contamination <= 0.5:
            raise InputError(f"contamination is above 0 and at most 0.5, got {self.contamination}")
        if self.ensemble < 1:
            raise InputError(f"ensemble has to be at least 1, got {self.ensemble}")
        if not (self.sigma_floor > 0 and math.isfinite(self.sigma_floor)):
            raise InputError(f"sigma_floor has to be positive, got {self.sigma_floor}")

    def _shortened(self, data: Dataset) -> Dataset:
        """Columns of numbers as arcsinh; a mixed frame as it is."""
        if data.schema.kinds:
            return data
        values = np.arcsinh((np.asarray(data.values) - self.location_) / self.spread_)
        return replace(data, values=values, schema=data.schema.model_copy(update={"origin": ()}))

    def _scores(self, data: Dataset) -> np.ndarray:
        """Scores of rows; training rows are all that they are compared with."""
        return self.model_._scores(data, None).score
