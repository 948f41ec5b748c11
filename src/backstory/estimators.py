"""scikit-learn estimators: a VAE that imputes, gives densities, finds outliers or makes features.

Rows are arrays or frames of numbers, (n_samples, n_features); every column is taken as continuous, and NaN is
a missing cell, in training too. Or they are a pandas frame with columns of texts, categories or dates: then
all its columns are read as `backstory.load` reads them, what they hold is found out from the training rows
(or `options={"columns": …}` say it), and rows come back as frames.

What an estimator holds is pickled as the files of a run, JSON and safetensors, never as a module of PyTorch.
After training they compute in double precision, so that what is said of a row does not depend on the rows
beside it. Only what is drawn does: imputed means have the noise of draws that go by a row's place.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
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
from backstory.data.load import load
from backstory.data.schema import Schema
from backstory.data.tables import FAR, constant, filled, to_frame
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
        options: any other option of `backstory.fit`, by name; `columns` says what columns of a mixed frame
            hold.
        random_state: seed of the split, the initial weights and every draw.

    Attributes:
        model_: the trained `Model`; its schema tells what the columns of a mixed frame hold.
        constant_: the values of columns that do not vary, which no model sees; NaN for the others, and for
            all that are modelled of a mixed frame.
        origin_: what values are counted from in columns far from zero, as times in seconds are, since models
            are trained in single precision; zero for the others.
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

    def _first_rows(self, X: Any) -> Dataset:
        """The training rows, in the columns that vary among them."""
        if _is_mixed(X):
            return self._first_table(X)
        x = self._numbers(X, reset=True)
        nothing = np.isnan(x).all(0)
        if nothing.any():
            raise _no_value(nothing.argmax())
        low, high = np.nanmin(x, 0), np.nanmax(x, 0)
        if (low == high).all():
            raise InputError(
                f"expected a column that varies, got {len(low)} of which each has one value; give it others"
            )
        self.constant_ = np.where(low == high, low, np.nan)
        self.origin_ = np.where(np.maximum(-low, high) > FAR * (high - low), low, 0.0)
        return _dataset(self._varying(x))

    def _first_table(self, X: Any) -> Dataset:
        validate_data(self, X, skip_check_array=True)
        data = load(X, columns=(self.options or {}).get("columns"))
        for column in data.schema.left_out:
            if column.reason == "empty":
                raise _no_value(repr(column.name))
        self.constant_ = np.full(len(data.schema.kinds), np.nan)
        self.origin_ = np.zeros(len(data.schema.kinds))
        return data

    @property
    def _table(self) -> Schema | None:
        """How a mixed frame is read; None for rows of numbers."""
        check_is_fitted(self)
        model = self.model_ if hasattr(self, "model_") else self.models_[0]
        return model.schema if model.schema.kinds else None

    def _read(self, X: Any) -> Dataset:
        """Rows of a mixed frame by the columns of the training rows."""
        if not isinstance(X, pd.DataFrame):
            raise InputError(
                f"expected a pandas frame with the columns of the training rows, got {type(X).__name__}; "
                "make a frame of it"
            )
        validate_data(self, X, reset=False, skip_check_array=True)
        return load(X, schema=self._table)

    def _varying(self, x: np.ndarray) -> np.ndarray:
        return (x - self.origin_)[:, np.isnan(self.constant_)]

    def _whole(self, x: np.ndarray) -> np.ndarray:
        """Rows as they came, with the constant columns put back."""
        rows, varying = np.tile(self.constant_, (len(x), 1)), np.isnan(self.constant_)
        rows[:, varying] = x + self.origin_[varying]
        return rows

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _train(self, data: Dataset, seed: int, **defaults: Any) -> Model:
        given = {name: getattr(self, name, None) for name in ("latent", "likelihood", "epochs")}
        options = {name: value for name, value in (self.options or {}).items() if name != "columns"}
        model = fit(
            data,
            seed=seed,
            progress=False,
            **{**defaults, **{k: v for k, v in given.items() if v is not None}, **options},
        )
        return _in_double(model)

    def _rows(self, X: Any) -> np.ndarray:
        """Stored values of the columns that are modelled, checked against the training rows."""
        if self._table is not None:
            return np.asarray(self._read(X).values)
        return self._varying(self._numbers(X))

    def _numbers(self, X: Any, reset: bool = False) -> np.ndarray:
        """X as an array of doubles, checked against the training rows; at least two to train on."""
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

    def _stored(self, values: np.ndarray) -> Any:
        """Stored values of modelled columns as rows: a frame where the training rows were mixed."""
        return self._whole(values) if self._table is None else to_frame(values, self._table)

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

    def _train(self, data: Dataset, seed: int, **defaults: Any) -> Model:
        return super()._train(data, seed, **{"ensemble": self.ensemble, **defaults})


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

    def _train(self, data: Dataset, seed: int, **defaults: Any) -> Model:
        if not data.schema.kinds and data.observed is not None:  # the last weights are kept: none are chosen
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


class VAEDensity(DensityMixin, _Averaged):
    """The log-density of rows, and new rows, as of sklearn.mixture.GaussianMixture.

    There is no `bic`: it counts parameters, and most of those of a network are not free ones.
    """

    def score_samples(self, X: Any) -> np.ndarray:
        """log p(x) of each row in nats, (n_samples,), with 100 draws of z; of its observed cells."""
        return _score(self.model_, self._rows(X))

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


class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _Estimator):
    """Codes as features: the means of q(z|x)."""

    def transform(self, X: Any) -> np.ndarray:
        """E[z|x], (n_samples, latent)."""
        return self.model_.encode(self._rows(X)).mean.cpu().numpy()

    def inverse_transform(self, X: Any) -> Any:
        """E[x|z] at codes z, (n_samples, n_features); of texts the level that is nearest to the mean."""
        check_is_fitted(self)
        with torch.no_grad():
            mean = self.model_.schema.means(self.model_.decode(np.asarray(X)).mean)
        return self._stored(mean)

    @property
    def _n_features_out(self) -> int:
        return int(self.model_.options.latent or 1) * len(self.model_.members)


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


def _members(networks: int, mixed: bool) -> list[_Member]:
    """Three kinds in two views, with so many networks in each; of mixed columns networks alone."""
    if mixed:
        return [_Member("network", False, number, 1 / networks) for number in range(networks)]
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
        self.location_, self.spread_ = _robust_scale(x)
        self.members_ = _members(self.ensemble, mixed=bool(data.schema.kinds))
        self.models_ = [self._density(member, data, seed) for member in self.members_]
        values = self._values(x)
        self.tails_ = [Tail.of(value) for value in values]
        self.offset_ = float(np.percentile(self._scores(values), 100 * self.contamination))
        return self

    def _density(self, member: _Member, data: Dataset, seed: int) -> Model | Exemplars:
        seen = self._seen(np.asarray(data.values), member)
        if member.kind != "network":
            return Exemplars.of(seen, self.sigma_floor, separate=member.kind == "separate")
        options = {**_DETECTOR, "epochs": math.ceil(STEPS / math.ceil(len(seen) / BATCH))}
        number = 2 * member.number + member.arcsinh
        if data.schema.kinds:
            return self._train(data, seed + number, **{**options, "likelihood": "joint"})
        return self._train(_dataset(seen), seed + number, sigma_floor=self.sigma_floor, **options)

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


def _is_mixed(X: Any) -> bool:
    """Whether it is a frame with columns of other things than numbers."""
    return isinstance(X, pd.DataFrame) and not all(map(pd.api.types.is_numeric_dtype, X.dtypes))


def _no_value(column: Any) -> InputError:
    return InputError(f"expected a value in each column, got none in column {column}; drop it")


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
