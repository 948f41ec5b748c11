"""scikit-learn estimators: a VAE that imputes, gives densities, finds outliers or makes features.

Rows are arrays or frames of numbers, (n_samples, n_features); every column is taken as continuous, and NaN is
a missing cell, in training too. What an estimator holds is pickled as the files of a run, JSON and
safetensors, never as a module of PyTorch. After training they compute in double precision, so that what is
said of a row does not depend on the rows beside it.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    OneToOneFeatureMixin,
    OutlierMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from backstory.data.dataset import Dataset
from backstory.data.schema import Schema
from backstory.ensemble import log_mean_exp, unpack
from backstory.errors import InputError
from backstory.fitting import fit
from backstory.inference.exemplar import Exemplars, Tail
from backstory.inference.scoring import log_evidence
from backstory.model import Model
from backstory.run_folder import CONFIG, WEIGHTS

BATCH, STEPS = 128, 600  # of a network of the outlier detector
_DETECTOR: dict[str, Any] = {
    "likelihood": "gaussian-predicted",
    "hidden": (64, 64),
    "objective": "iwae",
    "samples": 2,
    "batch_size": BATCH,
    "validation": 0.0,
    "compile": False,
}


class _Estimator(BaseEstimator):
    """Trains a `Model` on the rows of X.

    Args:
        latent: units of z; None for half as many as there are columns, at most 16.
        likelihood: of the columns, see `backstory.fit`.
        epochs: passes over the rows; None for as many as suit their number.
        options: any other option of `backstory.fit`, by name.
        random_state: seed of the split, the initial weights and every draw.

    Attributes:
        model_: the trained `Model`.
        constant_: the values of columns that do not vary, which no model sees; NaN for the others.
        n_features_in_, feature_names_in_: of the training rows.
    """

    def __init__(
        self,
        latent: int | None = None,
        likelihood: str = "auto",
        epochs: int | None = None,
        options: dict[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.latent = latent
        self.likelihood = likelihood
        self.epochs = epochs
        self.options = options
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on the rows of X; y is not used."""
        self.model_ = self._train(self._first_rows(X), self._seed())
        return self

    def _first_rows(self, X: Any) -> np.ndarray:
        """The training rows, in the columns that vary among them."""
        x = self._rows(X, reset=True)
        nothing = np.isnan(x).all(0)
        if nothing.any():
            raise InputError(
                f"expected a value in each column, got none in column {nothing.argmax()}; drop it"
            )
        self.constant_ = np.where(np.nanmin(x, 0) == np.nanmax(x, 0), np.nanmin(x, 0), np.nan)
        return self._varying(x)

    def _varying(self, x: np.ndarray) -> np.ndarray:
        return x[:, np.isnan(self.constant_)]

    def _whole(self, x: np.ndarray) -> np.ndarray:
        """Rows with the constant columns put back."""
        rows = np.tile(self.constant_, (len(x), 1))
        rows[:, np.isnan(self.constant_)] = x
        return rows

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _train(self, x: np.ndarray, seed: int, **defaults: Any) -> Model:
        given = {name: getattr(self, name, None) for name in ("latent", "likelihood", "epochs")}
        model = fit(
            _dataset(x),
            seed=seed,
            progress=False,
            **{**defaults, **{k: v for k, v in given.items() if v is not None}, **(self.options or {})},
        )
        return _in_double(model)

    def _rows(self, X: Any, reset: bool = False) -> np.ndarray:
        """X as an array of doubles, checked against the training rows; at least two to train on."""
        if not reset:
            check_is_fitted(self)
        least = 2 if reset else 1
        x: np.ndarray = validate_data(
            self,
            X,
            reset=reset,
            dtype=np.float64,
            ensure_all_finite="allow-nan",
            ensure_min_samples=least,
        )
        return x

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: _packed(value) for name, value in state.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({name: _unpacked(value) for name, value in state.items()})


class _Averaged(_Estimator):
    """Trains `ensemble` models, whose answers are averaged; see `backstory.Ensemble`.

    Args:
        ensemble: how many.
        latent, likelihood, epochs, options, random_state: of every estimator here.
    """

    def __init__(
        self,
        latent: int | None = None,
        likelihood: str = "auto",
        epochs: int | None = None,
        options: dict[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        ensemble: int = 1,
    ):
        super().__init__(latent, likelihood, epochs, options, random_state)
        self.ensemble = ensemble

    def _train(self, x: np.ndarray, seed: int, **defaults: Any) -> Model:
        return super()._train(x, seed, **{"ensemble": self.ensemble, **defaults})


class VAEImputer(OneToOneFeatureMixin, TransformerMixin, _Averaged):
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

    def transform(self, X: Any) -> np.ndarray:
        """X with its missing cells filled, (n_samples, n_features) of doubles."""
        x = self._rows(X).copy()
        some = np.isnan(x).any(1)
        if some.any():
            seen = self._varying(x[some])
            means = self._whole(self.model_.restore(seen, draws=1, seed=self.model_.training.seed).mean)
            x[some] = np.where(np.isnan(x[some]), means, x[some])
        return x


class VAEDensity(DensityMixin, _Averaged):
    """The log-density of rows, and new rows, as of sklearn.mixture.GaussianMixture.

    There is no `bic`: it counts parameters, and most of those of a network are not free ones.
    """

    def score_samples(self, X: Any) -> np.ndarray:
        """log p(x) of each row in nats, (n_samples,), with 100 draws of z; of its observed cells."""
        x = self._rows(X)
        return _score(self.model_, self._varying(x))

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`, by which a grid search chooses."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """New rows, (n_samples, n_features); anew at each call without a random_state."""
        check_is_fitted(self)
        seed = None if random_state is None else int(check_random_state(random_state).randint(2**31 - 1))
        return self._whole(self.model_.sample(n_samples, seed=seed))


class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _Estimator):
    """Codes as features: the means of q(z|x)."""

    def transform(self, X: Any) -> np.ndarray:
        """E[z|x], (n_samples, latent)."""
        x = self._rows(X)
        return self.model_.encode(self._varying(x)).mean.cpu().numpy()

    def inverse_transform(self, X: Any) -> np.ndarray:
        """E[x|z] at codes z, (n_samples, n_features)."""
        check_is_fitted(self)
        z = torch.as_tensor(np.asarray(X, dtype=np.float64))
        with torch.no_grad():
            mean = self.model_.schema.means(self.model_.vae.decode(z).mean)
        return self._whole(mean)

    @property
    def _n_features_out(self) -> int:
        return int(self.model_.options.latent or 1)


@dataclass(frozen=True)
class _Member:
    """What one of the outlier detector's densities is.

    Attributes:
        kind: `network`, a VAE; `joint` or `separate`, exemplars of whole rows or of each column.
        arcsinh: whether it sees arcsinh((x − median) / spread) in place of x.
        number: among the networks of a view.
        weight: in the mean, such that each kind has the same.
    """

    kind: str
    arcsinh: bool
    number: int = 0
    weight: float = 1.0


def _members(networks: int) -> list[_Member]:
    """Three kinds in two views, with so many networks in each."""
    members = []
    for arcsinh in (False, True):
        members += [_Member("network", arcsinh, number, 1 / networks) for number in range(networks)]
        members += [_Member("joint", arcsinh), _Member("separate", arcsinh)]
    return members


class VAEOutlierDetector(OutlierMixin, _Estimator):
    """Rows with a low density are outliers, in the mean over densities of three kinds.

    `network` is a VAE, by which a row stands out whose columns do not go together, in any shape that many
    rows share. `joint` is a linear VAE with the training rows' codes as its prior, by which a row stands out
    that has none near it; it does with few rows. `separate` is the same with a unit and a prior for each
    column: a row stands out with many rare values, also where outliers are many and near each other. Each
    kind sees the columns as they are and arcsinh((x − median) / spread), in which long tails are short.

    A log-density counts by how rare it is among those of the training rows (`inference.exemplar.Tail`), since
    their spreads differ. The networks' training is short, without validation, and σ has a floor: a density
    that follows single rows holds the outliers among them for common. `bench/anomalies.py` measures it.

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
        location_, spread_: of the columns, median and interquartile range as a deviation (÷ 1.349).
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
        x, seed = self._first_rows(X), self._seed()
        self.location_, self.spread_ = _robust_scale(x)
        self.members_ = _members(self.ensemble)
        self.models_ = [self._density(member, x, seed) for member in self.members_]
        values = self._values(x)
        self.tails_ = [Tail.of(value) for value in values]
        self.offset_ = float(np.percentile(self._scores(values), 100 * self.contamination))
        return self

    def _density(self, member: _Member, x: np.ndarray, seed: int) -> Model | Exemplars:
        seen = self._seen(x, member)
        if member.kind != "network":
            return Exemplars.of(seen, self.sigma_floor, separate=member.kind == "separate")
        epochs = math.ceil(STEPS / math.ceil(len(x) / BATCH))
        number = 2 * member.number + member.arcsinh
        return self._train(seen, seed + number, epochs=epochs, sigma_floor=self.sigma_floor, **_DETECTOR)

    def score_samples(self, X: Any) -> np.ndarray:
        """How rare a row's densities are, (n_samples,): a mean of log shares; lower is stranger.

        A row among the training rows is compared with the others, as it is in `fit`.
        """
        x = self._rows(X)
        return self._scores(self._values(self._varying(x)))

    def decision_function(self, X: Any) -> np.ndarray:
        """`score_samples` above `offset_`: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """1 for inliers, -1 for outliers, (n_samples,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def _values(self, x: np.ndarray) -> list[np.ndarray]:
        """log p of what each member sees of x, (n_samples,) in nats."""
        pairs = zip(self.members_, self.models_, strict=True)
        return [_log_density(model, self._seen(x, member)) for member, model in pairs]

    def _scores(self, values: list[np.ndarray]) -> np.ndarray:
        shares = [tail.log_share(value) for tail, value in zip(self.tails_, values, strict=True)]
        scores: np.ndarray = np.average(shares, axis=0, weights=[member.weight for member in self.members_])
        return scores

    def _seen(self, x: np.ndarray, member: _Member) -> np.ndarray:
        """What a member sees of x."""
        return np.arcsinh((x - self.location_) / self.spread_) if member.arcsinh else x


def _log_density(model: Model | Exemplars, x: np.ndarray) -> np.ndarray:
    return model.log_evidence(x) if isinstance(model, Exemplars) else _score(model, x)


def _robust_scale(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and interquartile range of each column; the deviation where half of the values are equal."""
    low, middle, high = np.nanpercentile(x, [25, 50, 75], axis=0)
    deviation = np.nanstd(x, axis=0)
    spread = np.where(high > low, (high - low) / 1.349, np.where(deviation > 0, deviation, 1.0))
    return middle, spread


def _dataset(x: np.ndarray) -> Dataset:
    """Columns of numbers, whatever the numbers are: no levels are guessed from them."""
    schema = Schema(kind="array", shape=x.shape[1:], dtype="float64")
    observed = ~np.isnan(x)
    return Dataset(x, schema, None if observed.all() else observed)


def _in_double(model: Model) -> Model:
    for member in model.members:
        member.vae.double()
    return model


def _score(model: Model, x: np.ndarray) -> np.ndarray:
    rows = model.schema.prepare(torch.tensor(x))
    each = torch.stack([log_evidence(member.vae, rows) for member in model.members])
    return log_mean_exp(each).cpu().numpy()


def _packed(value: Any) -> Any:
    if isinstance(value, list):
        return [_packed(item) for item in value]
    return value.pack() if isinstance(value, Model) else value


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpacked(item) for item in value]
    return _in_double(unpack(value, "cpu")) if _is_packed(value) else value


def _is_packed(value: Any) -> bool:
    return isinstance(value, dict) and CONFIG in value and any(WEIGHTS in name for name in value)
