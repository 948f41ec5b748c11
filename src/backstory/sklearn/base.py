"""What all estimators share: parameters, checks of rows, and training."""

from dataclasses import replace
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _num_samples, check_is_fitted, validate_data

from backstory.data.dataset import Dataset
from backstory.data.load import load
from backstory.data.origins import origin_of
from backstory.data.reading import OF_RELATIONS
from backstory.data.schema import Schema
from backstory.data.tables.aligned import FrameRows, as_frame
from backstory.data.tables.foreign import library_of
from backstory.data.weights import checked_weights
from backstory.errors import InputError
from backstory.fitting.fit import fit
from backstory.sklearn.models import in_double, packed, surprises, unpacked
from backstory.sklearn.rows import Form, constant_cells, empty_column, is_mixed, value_ranges
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
        origin_: value from which a column far from zero is counted, such as times in seconds, because models
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

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Train on the rows of X; y is not used.

        Args:
            X: the training rows.
            y: ignored.
            sample_weight: (n_samples,), not negative: each epoch draws rows in proportion to it, as if a row
                of weight 2 were there twice, and validation likewise. Rows of weight 0 are left out. What is
                read of the columns, such as their kinds and scales, does not depend on positive weights.
        """
        self.model_ = self._train(self._training_rows(X, sample_weight), self._seed())
        return self

    # -- training -------------------------------------------------------------------------------------------

    def _training_rows(self, X: Any, sample_weight: Any = None) -> Dataset:
        """The training rows, without columns that do not vary; sets the attributes of the columns."""
        if sample_weight is None:
            return self._read_training(X, slice(None))
        weights = checked_weights(sample_weight, _num_samples(X))
        return self._read_training(X, weights > 0).weighted(weights[weights > 0])

    def _read_training(self, X: Any, kept: Any) -> Dataset:
        """The rows of X that are kept, by a slice or a mask, for `_training_rows`."""
        frame = as_frame(X)
        told = [name for name in ("columns", "constraints") if self._reading.get(name)]
        if told and frame is None:
            raise InputError(
                f"expected a frame for `{told[0]}`, got {type(X).__name__}; make a frame of it, or "
                f"leave `{told[0]}` out of the options"
            )
        if frame is not None and (told or is_mixed(frame)):
            return self._training_table(X, frame, kept)
        return self._training_numbers(X, frame, kept)

    @property
    def _reading(self) -> dict[str, Any]:
        """How a frame is read, as the options say."""
        names = ("columns", *OF_RELATIONS)
        return {name: value for name, value in (self.options or {}).items() if name in names}

    def _training_numbers(self, X: Any, frame: pd.DataFrame | None, kept: Any) -> Dataset:
        x = self._numbers(X if frame is None else frame, reset=True)[kept]
        rows = pd.DataFrame(x) if frame is None else frame.iloc[kept]
        self._form = Form.of_numbers(x if frame is None else X, rows)
        low, high = value_ranges(x, rows.columns.tolist())
        varies = low < high
        origins = [origin_of(*ends) for ends in zip(low.tolist(), high.tolist(), strict=True)]
        self.constant_, self.origin_ = np.where(varies, np.nan, low), np.where(varies, origins, 0.0)
        far = tuple(self.origin_[varies].tolist()) if self.origin_.any() else ()
        self._schema = Schema(kind="array", shape=(int(varies.sum()),), dtype="float64", origin=far)
        return Dataset(x[:, varies], self._schema, bool(np.isnan(x).any()))

    def _training_table(self, X: Any, frame: pd.DataFrame, kept: Any) -> Dataset:
        validate_data(self, frame, skip_check_array=True)
        data = load(frame.iloc[kept], **self._reading)
        for column in data.schema.left_out:
            if column.reason == "empty":
                raise empty_column(column.name)
        self.constant_ = np.full(len(data.schema.kinds), np.nan)
        self.origin_ = np.zeros(len(data.schema.kinds))
        self._schema, self._form = data.schema, Form(data.schema, library_of(X))
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

    def _rows(self, X: Any) -> FrameRows:
        """The rows of X, after checking them, of all columns."""
        check_is_fitted(self)
        frame = as_frame(X)
        if not self._form.of_numbers_alone:
            known = self._checked(X, frame)
            return FrameRows(known, load(known, schema=self._form.schema), X)
        x = self._numbers(X if frame is None else frame)
        data = Dataset(x, self._form.schema, source="X", places=tuple(range(x.shape[1])))
        return FrameRows(pd.DataFrame(x), data, x) if frame is None else FrameRows(frame, data, X)

    def _modelled(self, data: Dataset) -> Dataset:
        """Rows of all columns as the model takes them; warns of another value in a constant column."""
        values, varies = np.asarray(data.values), np.isnan(self.constant_)
        constants = constant_cells(values, self.constant_, data.schema.columns or ())
        for cells in constants:
            cells.warn("X")
        return replace(
            data,
            values=values[:, varies],
            schema=self._schema,
            places=tuple(np.array(data.places)[varies].tolist()),
            constants=(*data.constants, *constants),
        )

    def _data(self, X: Any) -> Dataset:
        """The rows of X as the model takes them, after checking them."""
        return self._modelled(self._rows(X).data)

    def _of_cells(self, rows: FrameRows, data: Dataset, values: np.ndarray) -> np.ndarray:
        """Numbers of all cells, (n_samples, n_features), for those of the modelled columns.

        They are 0 in columns that were constant, and NaN in others that the model leaves out.

        Args:
            rows: of all columns.
            data: the same rows as the model takes them.
            values: of the modelled columns, (n_samples, columns).
        """
        cells = np.full((len(values), rows.frame.shape[1]), np.nan)
        cells[:, list(data.places or ())] = values
        cells[:, [constant.place for constant in data.constants if constant.column.reason == "constant"]] = (
            0.0
        )
        return cells

    def _attributed(self, rows: FrameRows, data: Dataset) -> Any:
        """The surprise of each cell, see `attribute` of the estimators.

        Args:
            rows: of all columns.
            data: the same rows as the model takes them.
        """
        cells = self._of_cells(rows, data, surprises(self.model_, data))
        for constant in data.constants:
            cells[constant.empty, constant.place] = np.nan
            cells[constant.different, constant.place] = np.inf
        return rows.numbers(cells)

    def _stored(self, X: Any) -> np.ndarray:
        """Stored values of the modelled columns, (n_samples, columns), after checking X."""
        return np.asarray(self._data(X).values)

    def _checked(self, X: Any, frame: pd.DataFrame | None) -> pd.DataFrame:
        """The frame; InputError for anything but a frame with the columns of the training rows."""
        if frame is None:
            raise InputError(
                f"expected a frame with the columns of the training rows, got {type(X).__name__}; "
                "make a frame of it"
            )
        validate_data(self, frame, reset=False, skip_check_array=True)
        return frame

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

    def _with_constants(self, values: np.ndarray) -> np.ndarray:
        """Values of all columns, (…, C), for those of the modelled ones."""
        varies = np.isnan(self.constant_)
        rows = np.broadcast_to(self.constant_, (*values.shape[:-1], len(varies))).copy()
        rows[..., varies] = values
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
