"""Draws of images beside real images: nearest images, and the Fréchet distance of features.

    d² = |m₁ − m₂|² + tr(S₁ + S₂ − 2 (S₁ S₂)^½)

is the Fréchet distance of two Gaussians with these means and covariances (Dowson & Landau 1982). Heusel et
al. 2017 take it of the features of a network, as the distance of two sets of images.

Features are those of the hidden layer of a classifier of the real images, which is trained on the spot, where
they have labels; else they are given, such as the codes of a model. Distances of different features cannot be
compared with each other, hence the distance of held-out images beside that of draws.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from backstory.comparing.privacy import neighbours

WIDTH, PASSES = 64, 30  # of the hidden layer of the classifier, and over the rows at most

Features = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Nearest:
    """The images that are nearest to each of N images, the nearest first.

    Attributes:
        index: their row numbers, (N, K).
        distance: Euclidean over all pixels, (N, K), in the units of the images.
    """

    index: np.ndarray
    distance: np.ndarray


def nearest_images(images: np.ndarray, others: np.ndarray, count: int = 1) -> Nearest:
    """The `count` nearest of the other images, (M, …), to each image, (N, …), at most all of them.

    >>> nearest_images(np.array([[[0.9]]]), np.array([[[0.0]], [[1.0]]])).index
    array([[1]])
    """
    flat = [np.asarray(part, np.float64).reshape(len(part), -1) for part in (images, others)]
    distance, index = neighbours(flat[0], flat[1], min(count, len(others)))
    return Nearest(index, distance)


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """d² of two sets of features, (N, D) and (M, D), by their means and covariances.

    >>> round(frechet_distance(np.array([[0.0], [2.0]]), np.array([[3.0], [5.0]])), 6)
    9.0
    """
    means = [x.mean(0) for x in (first, second)]
    covariances = [np.atleast_2d(np.cov(x, rowvar=False, bias=True)) for x in (first, second)]
    return frechet_of_gaussians(means[0], covariances[0], means[1], covariances[1])


def frechet_of_gaussians(
    mean: np.ndarray, covariance: np.ndarray, other_mean: np.ndarray, other_covariance: np.ndarray
) -> float:
    """d² of N(mean, covariance) and another Gaussian.

    The eigenvalues of S₁ S₂ are those of S₁^½ S₂ S₁^½, which is symmetric.
    """
    values, basis = np.linalg.eigh(covariance)
    root = (basis * np.sqrt(np.clip(values, 0, None))) @ basis.T
    product = np.linalg.eigvalsh(root @ other_covariance @ root)
    both = np.trace(covariance) + np.trace(other_covariance)
    shift = np.square(mean - other_mean).sum()
    return float(max(0.0, shift + both - 2 * np.sqrt(np.clip(product, 0, None)).sum()))


def classifier_features(images: np.ndarray, labels: np.ndarray, seed: int = 0) -> Features:
    """The map from images, (N, …), to the hidden layer of a network that tells the labels, (N, 64)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    network: Any = MLPClassifier((WIDTH,), max_iter=PASSES, early_stopping=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # few passes are enough for features
        network.fit(images.reshape(len(images), -1), [str(label) for label in labels])
    weights, bias = network.coefs_[0], network.intercepts_[0]
    return lambda x: np.maximum(x.reshape(len(x), -1) @ weights + bias, 0)
