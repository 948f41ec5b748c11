"""Outlier detection by log p(x)."""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import OutlierMixin

from backstory.data.dataset import Dataset
from backstory.errors import InputError
from backstory.inference.exemplar import Exemplars, Tail
from backstory.sklearn.base import Estimator
from backstory.sklearn.models import log_density
from backstory.sklearn.rows import as_dataset
from backstory.trained import Trained

BATCH, STEPS = 128, 600  # rows in a batch, and training steps of a network
NEW_VALUE = 1e4  # that a new value in a constant column takes from a score: more than any density does
NETWORK: dict[str, Any] = {  # options of a network, unless the user gives others
    "likelihood": "gaussian-predicted",
    "hidden": (64, 64),
    "objective": "iwae",
    "samples": 2,
    "batch_size": BATCH,
    "validation": 0.0,
    "compile": False,
}


class VAEOutlierDetector(OutlierMixin, Estimator):
    """Outliers are rows with a low density, averaged over densities of three kinds.

    `network` is a VAE. It detects rows with unusual combinations of values, in data of any shape that many
    rows make up. `joint` is a linear VAE whose prior is its training rows. It detects rows without close
    neighbours, and needs few rows. `separate` is the same for each column alone. It detects rows with many
    rare values, also where outliers are frequent and close to each other. Each kind is used twice: on the
    columns themselves, and on arcsinh((x − median) / spread), which shortens long tails.

    The densities have different spreads, so each is replaced by the share of training rows with a lower one
    (`inference.exemplar.Tail`). Networks are trained for few steps, without validation, and σ has a floor: a
    density that peaks at single rows would take the outliers among them for common. `bench/anomalies.py`
    measures the detector. Levels of a mixed frame have no distances, so for it there are networks alone,
    with the likelihood `joint`.

    Args:
        contamination: share of outliers among the training rows, above 0 and at most 0.5; sets `offset_`.
        ensemble: number of networks on the columns themselves, and on the arcsinh.
        sigma_floor: lowest σ of a network, and σ of the linear VAEs, a fraction of a column's standard
        deviation.
        latent: units of a network's z; None for half the number of columns, at most 16.
        epochs: passes over the rows; None for as many as make 600 steps.
        options: other options of `backstory.fit` by name.
        random_state: seed of the initial weights and every draw.

    Attributes:
        members_: what each density is, a list of `Member`.
        models_: the densities themselves, models and exemplars, in the same order.
        tails_: their distributions over the training rows.
        location_, spread_: median and interquartile range / 1.349 of the columns that vary, after `origin_`
        was
            subtracted.
        offset_: score below which a row is an outlier.
        constant_: values of constant columns, which no density gets; NaN for the others.
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

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on the rows of X, with or without outliers among them; y is not used."""
        self._check_parameters()
        data, seed = self._training_rows(X), self._seed()
        x = np.asarray(data.values)
        self.location_, self.spread_ = robust_scale(x)
        self.members_ = members_for(self.ensemble, mixed=bool(data.schema.kinds))
        self.models_ = [self._trained(member, data, seed) for member in self.members_]
        densities = self._log_densities(x)
        self.tails_ = [Tail.of(density) for density in densities]
        self.offset_ = float(np.percentile(self._scores(densities), 100 * self.contamination))
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Mean log share of training rows with a lower density, (n_samples,); lower for stranger rows.

        A row that equals a training row is compared with the other rows, as in `fit`. A row with another
        value in a column that was constant in training is below all rows without one.
        """
        data = self._data(X)
        new = np.bincount([row for cells in data.constants for row in cells.different], minlength=len(data))
        return self._scores(self._log_densities(np.asarray(data.values))) - NEW_VALUE * new

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

    def _trained(self, member: "Member", data: Dataset, seed: int) -> Trained | Exemplars:
        """The density that a member describes."""
        x = self._view(np.asarray(data.values), member)
        if member.kind != "network":
            return Exemplars.of(x, self.sigma_floor, separate=member.kind == "separate")
        options = {**NETWORK, "epochs": math.ceil(STEPS / math.ceil(len(x) / BATCH))}
        seed += 2 * member.number + member.arcsinh
        if data.schema.kinds:
            return self._train(data, seed, **{**options, "likelihood": "joint"})
        return self._train(as_dataset(x), seed, sigma_floor=self.sigma_floor, **options)

    def _fitted_model(self) -> Trained:
        first: Any = self.models_[0]  # the first member is a network
        model: Trained = first
        return model

    def _log_densities(self, x: np.ndarray) -> list[np.ndarray]:
        """log p of stored rows by each member, (n_samples,) in nats."""
        pairs = zip(self.members_, self.models_, strict=True)
        return [member.log_density(model, self._view(x, member)) for member, model in pairs]

    def _view(self, x: np.ndarray, member: "Member") -> np.ndarray:
        """The rows as a member gets them."""
        return np.arcsinh((x - self.location_) / self.spread_) if member.arcsinh else x

    def _scores(self, densities: list[np.ndarray]) -> np.ndarray:
        """The weighted mean of the log shares, (n_samples,)."""
        shares = [tail.log_share(density) for tail, density in zip(self.tails_, densities, strict=True)]
        scores: np.ndarray = np.average(shares, axis=0, weights=[member.weight for member in self.members_])
        return scores


@dataclass(frozen=True)
class Member:
    """Describes one density of the detector.

    Attributes:
        kind: `network`, a VAE; `joint` or `separate`, exemplars of whole rows or of each column.
        arcsinh: whether it gets arcsinh((x − median) / spread) instead of x.
        number: index among the networks with the same `arcsinh`.
        weight: in the mean of the scores; all kinds have the same total.
    """

    kind: str
    arcsinh: bool
    number: int = 0
    weight: float = 1.0

    def log_density(self, model: Any, x: np.ndarray) -> np.ndarray:
        """log p of rows, (n_samples,) in nats, by a model or exemplars of this kind."""
        return log_density(model, x) if self.kind == "network" else Exemplars.log_evidence(model, x)


def members_for(networks: int, mixed: bool) -> list[Member]:
    """All members of a detector: networks alone for a mixed frame, else each kind twice."""
    if mixed:
        return [Member("network", False, number, 1 / networks) for number in range(networks)]
    members = []
    for arcsinh in (False, True):
        members += [Member("network", arcsinh, number, 1 / networks) for number in range(networks)]
        members += [Member("joint", arcsinh), Member("separate", arcsinh)]
    return members


def robust_scale(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and interquartile range / 1.349 of each column.

    Where half of the values are equal, the standard deviation stands in for the range.
    """
    low, middle, high = np.nanpercentile(x, [25, 50, 75], axis=0)
    deviation = np.nanstd(x, axis=0)
    spread = np.where(high > low, (high - low) / 1.349, np.where(deviation > 0, deviation, 1.0))
    return middle, spread
