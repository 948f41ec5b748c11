"""Draws of a model of images beside the images of a data set."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from backstory.comparing.pictures import classifier_features, frechet_distance, nearest_images
from backstory.data.conditions import by_name
from backstory.data.load import Source as Data
from backstory.data.load import load
from backstory.data.stored import StoredRows
from backstory.data.values import stored_values
from backstory.errors import InputError
from backstory.inference.moments import posterior_moments
from backstory.jobs.checks import check_images
from backstory.trained import Trained

MOST, FEWEST = 5000, 10  # images of each kind


@dataclass(frozen=True)
class ImageComparison:
    """Draws beside training images, with held-out images beside them for comparison.

    Attributes:
        frechet: the Fréchet distance of the features of draws and of training images.
        held_out_frechet: that of held-out and training images; None without held-out images.
        features: what the features are of: `classifier` or `encoder`.
        distance: the median distance of a draw to the nearest training image, in full ranges of a pixel.
        held_out_distance: that of a held-out image; None without.
        rows: the number of images of each kind.
    """

    frechet: float
    held_out_frechet: float | None
    features: str
    distance: float
    held_out_distance: float | None
    rows: dict[str, int]

    def record(self) -> dict[str, Any]:
        """The figures as plain values."""
        return asdict(self)


def compare_images(model: Trained, source: Data, seed: int = 0) -> ImageComparison:
    """Compare draws of a model with images that it was trained on, and with those that it was not.

    At most 5,000 images of each kind are compared; as many are drawn as there are training images among them.

    Args:
        model: of images.
        source: the data of its training, or other images of the same kind.
        seed: of draws, of the choice of images and of the classifier that gives the features.

    Raises:
        InputError: images of another shape, other data, fewer than ten images, or see `load`.
    """
    data = load(source, schema=model.schema)
    check_images(data, model.schema, "to compare with")
    parts = model.parts(data)
    train = data.training_rows if parts is None else parts.train
    others = np.setdiff1d(np.arange(len(data)), train) if parts is None else parts.held_out
    some = np.random.default_rng(seed).permutation
    training, held_out = some(train)[:MOST], some(others)[:MOST]
    if len(training) < FEWEST:
        raise InputError(f"expected at least {FEWEST} images to compare with, got {len(training)}; give more")
    part, rest = data.subset(training), data.subset(held_out)
    drawn = model.sample(len(part), seed=seed, given=by_name(part.schema.conditions, part.stated))
    images = {"drawn": drawn, "training": part.values, "held out": rest.values}
    x = {name: _fractions(model, values) for name, values in images.items()}
    labels = part.labels
    if labels is not None and len(np.unique([str(label) for label in labels])) > 1:
        chosen, of = "classifier", classifier_features(x["training"], labels, seed)
        features = {name: of(values) for name, values in x.items() if len(values)}
    else:
        given = {"drawn": part.given, "training": part.given, "held out": rest.given}
        chosen = "encoder"
        features = {name: _codes(model, v, given[name]) for name, v in images.items() if len(v)}
    there = "held out" in features
    return ImageComparison(
        frechet_distance(features["drawn"], features["training"]),
        frechet_distance(features["held out"], features["training"]) if there else None,
        chosen,
        float(np.median(nearest_images(x["drawn"], x["training"]).distance)),
        float(np.median(nearest_images(x["held out"], x["training"]).distance)) if there else None,
        {name: len(values) for name, values in images.items()},
    )


def _fractions(model: Trained, values: Any) -> np.ndarray:
    if not len(values):
        return np.empty((0, *model.schema.shape))
    stored = np.asarray(stored_values(values, model.schema)[:])
    return np.nan_to_num(model.schema.fractions(stored.astype(np.float64)))


def _codes(model: Trained, values: Any, given: np.ndarray | None) -> np.ndarray:
    """The means of q(z|x), or of q(z|x, c) under the conditions of the images."""
    rows = StoredRows(np.asarray(stored_values(values, model.schema)[:]), given)
    return posterior_moments(model.encode(rows)).mean.double().cpu().numpy()
