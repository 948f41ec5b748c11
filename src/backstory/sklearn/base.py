"""What the estimators share: data in scikit-learn's conventions, and packed models."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import (
    BaseEstimator,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from backstory.data.dataset import Dataset
from backstory.data.load import load
from backstory.data.schema import Schema
from backstory.data.tables.frames import to_frame
from backstory.data.tables.read import FAR
from backstory.ensemble import log_mean_exp, unpack
from backstory.errors import InputError
from backstory.fitting import fit
from backstory.inference.exemplar import Exemplars
from backstory.inference.scoring import log_evidence
from backstory.model import Model
from backstory.runs.folder import CONFIG, WEIGHTS


class Estimator(BaseEstimator):
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
        if is_mixed(X):
            return self._first_table(X)
        x = self._numbers(X, reset=True)
        nothing = np.isnan(x).all(0)
        if nothing.any():
            raise no_value(nothing.argmax())
        low, high = np.nanmin(x, 0), np.nanmax(x, 0)
        if (low == high).all():
            raise InputError(
                f"expected a column that varies, got {len(low)} of which each has one value; give it others"
            )
        self.constant_ = np.where(low == high, low, np.nan)
        self.origin_ = np.where(np.maximum(-low, high) > FAR * (high - low), low, 0.0)
        return as_dataset(self._varying(x))

    def _first_table(self, X: Any) -> Dataset:
        validate_data(self, X, skip_check_array=True)
        data = load(X, columns=(self.options or {}).get("columns"))
        for column in data.schema.left_out:
            if column.reason == "empty":
                raise no_value(repr(column.name))
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
        return in_double(model)

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
        return {name: packed(value) for name, value in state.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({name: unpacked(value) for name, value in state.items()})


class Averaged(Estimator):
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


@dataclass(frozen=True)
class Member:
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


def members_for(networks: int, mixed: bool) -> list[Member]:
    """Three kinds in two views, with so many networks in each; of mixed columns networks alone."""
    if mixed:
        return [Member("network", False, number, 1 / networks) for number in range(networks)]
    members = []
    for arcsinh in (False, True):
        members += [Member("network", arcsinh, number, 1 / networks) for number in range(networks)]
        members += [Member("joint", arcsinh), Member("separate", arcsinh)]
    return members


def log_density(model: Model | Exemplars, x: np.ndarray) -> np.ndarray:
    return model.log_evidence(x) if isinstance(model, Exemplars) else score_rows(model, x)


def robust_scale(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and interquartile range of each column; the deviation where half of the values are equal."""
    low, middle, high = np.nanpercentile(x, [25, 50, 75], axis=0)
    deviation = np.nanstd(x, axis=0)
    spread = np.where(high > low, (high - low) / 1.349, np.where(deviation > 0, deviation, 1.0))
    return middle, spread


def is_mixed(X: Any) -> bool:
    """Whether it is a frame with columns of other things than numbers."""
    return isinstance(X, pd.DataFrame) and not all(map(pd.api.types.is_numeric_dtype, X.dtypes))


def no_value(column: Any) -> InputError:
    return InputError(f"expected a value in each column, got none in column {column}; drop it")


def as_dataset(x: np.ndarray) -> Dataset:
    """Columns of numbers, whatever the numbers are: no levels are guessed from them."""
    schema = Schema(kind="array", shape=x.shape[1:], dtype="float64")
    return Dataset(x, schema, bool(np.isnan(x).any()))


def in_double(model: Model) -> Model:
    for member in model.members:
        member.vae.double()
    return model


def score_rows(model: Model, x: np.ndarray) -> np.ndarray:
    rows = model.schema.prepare(torch.tensor(x))
    each = torch.stack([log_evidence(member.vae, rows) for member in model.members])
    return log_mean_exp(each).cpu().numpy()


def packed(value: Any) -> Any:
    if isinstance(value, list):
        return [packed(item) for item in value]
    return value.pack() if isinstance(value, Model) else value


def unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return [unpacked(item) for item in value]
    return in_double(unpack(value, "cpu")) if is_packed(value) else value


def is_packed(value: Any) -> bool:
    return isinstance(value, dict) and CONFIG in value and any(WEIGHTS in name for name in value)
