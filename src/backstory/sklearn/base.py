"""What all estimators share: parameters, checks of rows, and training."""

from dataclasses import replace
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from backstory.data.dataset import Dataset
from backstory.data.load import load
from backstory.data.origins import FAR
from backstory.data.reading import OF_RELATIONS
from backstory.data.schema import Schema
from backstory.data.tables.frames import to_frame
from backstory.errors import InputError
from backstory.fitting.fit import fit
from backstory.sklearn.models import in_double, packed, unpacked
from backstory.sklearn.rows import as_dataset, constant_cells, empty_column, is_mixed, value_ranges
from backstory.trained import Trained


class Estimator(BaseEstimator):
    """Trains a `Trained` on the rows of X.

    Args:
        latent: units of z; None for half the number of columns, at most 16.
        likelihood: of the columns, see `backstory.fit`.
        epochs: passes over the rows; None for a number that suits how many rows there are.
        options: other options of `backstory.fit` by name; `columns` tells what columns of a frame hold.
        random_state: seed of the split, the initial weights and every draw.

    Attributes:
        model_: the trained `Trained`; its schema tells what the columns of a mixed frame hold.
        constant_: values of constant columns, which the model does not get; NaN for modelled columns, thus
            for every column of a mixed frame.
        origin_: value that is subtracted from a column far from zero, such as times in seconds, because
        models
            are trained in single precision; zero for other columns.
        n_features_in_, feature_names_in_: number and names of the training columns.
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
        self.model_ = self._train(self._training_rows(X), self._seed())
        return self

    # -- training -------------------------------------------------------------------------------------------

    def _training_rows(self, X: Any) -> Dataset:
        """The training rows, without columns that do not vary; sets the attributes of the columns."""
        told = [name for name in ("columns", "constraints") if self._reading.get(name)]
        if told and not isinstance(X, pd.DataFrame):
            raise InputError(
                f"expected a pandas frame for `{told[0]}`, got {type(X).__name__}; make a frame of it, or "
                f"leave `{told[0]}` out of the options"
            )
        return self._training_table(X) if told or is_mixed(X) else self._training_numbers(X)

    @property
    def _reading(self) -> dict[str, Any]:
        """How a frame is read, as the options say."""
        names = ("columns", *OF_RELATIONS)
        return {name: value for name, value in (self.options or {}).items() if name in names}

    def _training_numbers(self, X: Any) -> Dataset:
        x = self._numbers(X, reset=True)
        low, high = value_ranges(x)
        self.constant_ = np.where(low == high, low, np.nan)
        self.origin_ = np.where(np.maximum(-low, high) > FAR * (high - low), low, 0.0)
        return as_dataset(self._varying(x))

    def _training_table(self, X: Any) -> Dataset:
        validate_data(self, X, skip_check_array=True)
        data = load(X, **self._reading)
        for column in data.schema.left_out:
            if column.reason == "empty":
                raise empty_column(repr(column.name))
        self.constant_ = np.full(len(data.schema.kinds), np.nan)
        self.origin_ = np.zeros(len(data.schema.kinds))
        return data

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _train(self, data: Dataset, seed: int, **defaults: Any) -> Trained:
        """A model of the data; parameters of the estimator and `options` override `defaults`."""
        parameters = {name: getattr(self, name, None) for name in ("latent", "likelihood", "epochs")}
        given = {name: value for name, value in parameters.items() if value is not None}
        options = {name: value for name, value in (self.options or {}).items() if name not in self._reading}
        return in_double(fit(data, seed=seed, **{"progress": False, **defaults, **given, **options}))

    # -- rows after training --------------------------------------------------------------------------------

    def _data(self, X: Any) -> Dataset:
        """The rows of X in the modelled columns, after checking them.

        Warns of another value in a column that was constant.
        """
        if self._table is not None:
            return self._read(X)
        x = self._numbers(X)
        names = getattr(self, "feature_names_in_", range(x.shape[1]))
        constants = constant_cells(x, self.constant_, list(map(str, names)))
        for cells in constants:
            cells.warn("X")
        return replace(as_dataset(self._varying(x)), constants=tuple(constants))

    def _stored(self, X: Any) -> np.ndarray:
        """Stored values of the modelled columns, (n_samples, columns), after checking X."""
        return np.asarray(self._data(X).values)

    def _rows(self, stored: np.ndarray) -> Any:
        """Rows like those of X from stored values of the modelled columns."""
        return self._with_constants(stored) if self._table is None else to_frame(stored, self._table)

    @property
    def _table(self) -> Schema | None:
        """The schema of a mixed frame; None for rows of numbers."""
        check_is_fitted(self)
        schema = self._fitted_model().schema
        return schema if schema.kinds else None

    def _fitted_model(self) -> Trained:
        """The model that holds the schema."""
        return self.model_

    def _read(self, X: Any) -> Dataset:
        """A mixed frame, read with the schema of the training rows."""
        self._check_frame(X)
        return load(X, schema=self._table)

    def _check_frame(self, X: Any) -> None:
        """Raise InputError for anything but a frame with the columns of the training rows."""
        if not isinstance(X, pd.DataFrame):
            raise InputError(
                f"expected a pandas frame with the columns of the training rows, got {type(X).__name__}; "
                "make a frame of it"
            )
        validate_data(self, X, reset=False, skip_check_array=True)

    def _numbers(self, X: Any, reset: bool = False) -> np.ndarray:
        """X as an array of doubles, after checking it.

        Args:
            X: rows of numbers.
            reset: whether these are the training rows, of which there have to be two.
        """
        x: np.ndarray = validate_data(
            self,
            X,
            reset=reset,
            dtype=np.float64,
            ensure_all_finite="allow-nan",
            ensure_min_samples=2 if reset else 1,
        )
        return x

    def _varying(self, x: np.ndarray) -> np.ndarray:
        """The columns that vary, counted from their origins."""
        return (x - self.origin_)[:, np.isnan(self.constant_)]

    def _with_constants(self, x: np.ndarray) -> np.ndarray:
        """The inverse of `_varying`: all columns in their own units."""
        rows, varying = np.tile(self.constant_, (len(x), 1)), np.isnan(self.constant_)
        rows[:, varying] = x + self.origin_[varying]
        return rows

    # -- scikit-learn ---------------------------------------------------------------------------------------

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
    """Trains `ensemble` models and averages their answers; see `backstory.Ensemble`.

    Args:
        ensemble: number of models.
        latent, likelihood, epochs, options, random_state: as in `Estimator`.
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

    def _train(self, data: Dataset, seed: int, **defaults: Any) -> Trained:
        return super()._train(data, seed, **{"ensemble": self.ensemble, **defaults})
