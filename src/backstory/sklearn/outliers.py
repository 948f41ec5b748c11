"""Outlier detection by log p(x)."""

import math
from typing import Any, Self

import numpy as np
from sklearn.base import (
    OutlierMixin,
)

from backstory.data.dataset import Dataset
from backstory.errors import InputError
from backstory.inference.exemplar import Exemplars, Tail
from backstory.sklearn.base import Estimator, Member, as_dataset, log_density, members_for, robust_scale
from backstory.sklearn.estimators import _DETECTOR, BATCH, STEPS
from backstory.trained import Trained


class VAEOutlierDetector(OutlierMixin, Estimator):
    """Rows with a low density are outliers, in the mean over densities of three kinds.

    `network` is a VAE, by which a row stands out whose columns do not go together, in any shape that many
    rows share. `joint` is a linear VAE with the training rows' codes as its prior, by which a row stands out
    that has none near it; it does with few rows. `separate` is the same with a unit and a prior for each
    column: a row stands out with many rare values, also where outliers are many and near each other. Each
    kind sees the columns as they are and arcsinh((x − median) / spread), in which long tails are short.

    A log-density counts by how rare it is among those of the training rows (`inference.exemplar.Tail`), since
    their spreads differ. The networks' training is short, without validation, and σ has a floor: a density
    that follows single rows holds the outliers among them for common. `bench/anomalies.py` measures it. Of a
    mixed frame, whose levels have no distances, there are the networks alone, with the likelihood `joint`.

    Args:
        contamination: the share of outliers among the training rows, above 0 and at most 0.5, from which
            `offset_` comes.
        ensemble: how many networks are trained in each view.
        sigma_floor: floor of a network's σ and the σ of the linear VAEs, a fraction of a column's deviation.
        latent: units of a network's z; None for half as many as there are columns, at most 16.
        epochs: passes over the rows; None for those that make 600 steps.
        options: any other option of `backstory.fit`, by name.
        random_state: seed of the initial weights and every draw.

    Attributes:
        members_, models_, tails_: what each density is, itself, and its values among the training rows.
        location_, spread_: of the columns that vary, from `origin_` on, median and interquartile range as a
            deviation (÷ 1.349).
        offset_: the score below which a row is an outlier.
        constant_: the values of columns that do not vary, which no model sees; NaN for the others.
        n_features_in_, feature_names_in_: of the training rows.
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

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on the rows of X, with or without outliers among them; y is not used."""
        if not 0 < self.contamination <= 0.5:
            raise InputError(f"contamination is above 0 and at most 0.5, got {self.contamination}")
        if self.ensemble < 1:
            raise InputError(f"ensemble has to be at least 1, got {self.ensemble}")
        if not (self.sigma_floor > 0 and math.isfinite(self.sigma_floor)):
            raise InputError(f"sigma_floor has to be positive, got {self.sigma_floor}")
        data, seed = self._first_rows(X), self._seed()
        x = np.asarray(data.values)
        self.location_, self.spread_ = robust_scale(x)
        self.members_ = members_for(self.ensemble, mixed=bool(data.schema.kinds))
        self.models_ = [self._density(member, data, seed) for member in self.members_]
        values = self._values(x)
        self.tails_ = [Tail.of(value) for value in values]
        self.offset_ = float(np.percentile(self._scores(values), 100 * self.contamination))
        return self

    def _density(self, member: Member, data: Dataset, seed: int) -> Trained | Exemplars:
        seen = self._seen(np.asarray(data.values), member)
        if member.kind != "network":
            return Exemplars.of(seen, self.sigma_floor, separate=member.kind == "separate")
        options = {**_DETECTOR, "epochs": math.ceil(STEPS / math.ceil(len(seen) / BATCH))}
        number = 2 * member.number + member.arcsinh
        if data.schema.kinds:
            return self._train(data, seed + number, **{**options, "likelihood": "joint"})
        return self._train(as_dataset(seen), seed + number, sigma_floor=self.sigma_floor, **options)

    def score_samples(self, X: Any) -> np.ndarray:
        """How rare a row's densities are, (n_samples,): a mean of log shares; lower is stranger.

        A row among the training rows is compared with the others, as it is in `fit`.
        """
        return self._scores(self._values(self._rows(X)))

    def decision_function(self, X: Any) -> np.ndarray:
        """`score_samples` above `offset_`: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """1 for inliers, -1 for outliers, (n_samples,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def _values(self, x: np.ndarray) -> list[np.ndarray]:
        """log p of what each member sees of x, (n_samples,) in nats."""
        pairs = zip(self.members_, self.models_, strict=True)
        return [log_density(model, self._seen(x, member)) for member, model in pairs]

    def _scores(self, values: list[np.ndarray]) -> np.ndarray:
        shares = [tail.log_share(value) for tail, value in zip(self.tails_, values, strict=True)]
        scores: np.ndarray = np.average(shares, axis=0, weights=[member.weight for member in self.members_])
        return scores

    def _seen(self, x: np.ndarray, member: Member) -> np.ndarray:
        """What a member sees of x."""
        return np.arcsinh((x - self.location_) / self.spread_) if member.arcsinh else x
