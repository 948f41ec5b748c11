"""Draws of images beside real ones: the Fréchet distance of Gaussians, nearest images, the commands."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.linalg import sqrtm

import backstory
from backstory.cli.main import main
from backstory.comparing.pictures import frechet_distance, frechet_of_gaussians, nearest_images
from backstory.jobs.compare_images import compare_images

RNG = np.random.default_rng(0)


def test_the_frechet_distance_is_that_of_two_gaussians() -> None:
    a, b = (RNG.normal(size=(3, 3)) for _ in "12")
    first, second, means = a @ a.T, b @ b.T, RNG.normal(size=(2, 3))
    root = sqrtm(first @ second).real
    expected = np.square(means[0] - means[1]).sum() + np.trace(first + second - 2 * root)
    found = frechet_of_gaussians(means[0], first, means[1], second)
    assert found == pytest.approx(expected, rel=1e-6)
    x = RNG.multivariate_normal(means[0], first, 200_000)
    y = RNG.multivariate_normal(means[1], second, 200_000)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=0.02)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    one = frechet_of_gaussians(np.zeros(1), np.array([[4.0]]), np.ones(1), np.array([[9.0]]))
    assert one == pytest.approx(1 + (2 - 3) ** 2)


def test_nearest_images_are_those_of_all_distances() -> None:
    images, others = RNG.random((6, 4, 4)), RNG.random((50, 4, 4))
    found = nearest_images(images, others, 3)
    distances = np.sqrt(np.square(images[:, None] - others).sum((2, 3)))
    np.testing.assert_array_equal(found.index, distances.argsort(1)[:, :3])
    np.testing.assert_allclose(found.distance, np.sort(distances, 1)[:, :3])
    assert nearest_images(images, others[:2], 3).index.shape == (6, 2)


def test_draws_beside_training_images(tmp_path, capsys) -> None:
    run = str(tmp_path / "run")
    backstory.fit("digits", run, epochs=2, hidden=(16,), latent=3, progress=False)
    sheet = tmp_path / "sheet.png"
    assert main(["sample", run, "-n", "6", "-o", str(sheet), "--nearest", "digits", "--seed", "0"]) == 0
    assert "three nearest training images" in capsys.readouterr().err
    with Image.open(sheet) as picture:
        assert picture.height == 4 * 66 + 2  # the draws, and three lines of training images
        assert picture.width > 6 * 66 + 2  # with their labels
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n5,9\n")
    refused = ["sample", run, "-o", str(tmp_path / "other.png"), "--nearest", str(tmp_path / "t.csv")]
    assert main(refused) == 2
    assert "expected images of shape (8, 8)" in capsys.readouterr().err
    assert main(["compare", run, "digits", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["features"] == "classifier"
    assert found["frechet"] > found["held_out_frechet"] >= 0
    assert main(["compare", run, "digits"]) == 0
    assert "a classifier of their labels" in " ".join(capsys.readouterr().out.split())
    assert main(["sample", run, "-o", str(tmp_path / "x.npy"), "--nearest", "digits"]) == 2
    assert "--nearest" in capsys.readouterr().err


def test_images_without_labels_are_compared_by_codes() -> None:
    images = (np.linspace(0, 255, 60)[:, None, None] * RNG.random((60, 4, 4)) ** 0.2).astype(np.uint8)
    model = backstory.fit(images, epochs=2, hidden=(8,), latent=2, progress=False)
    done = compare_images(model, images)
    assert done.features == "encoder"
    assert np.isfinite([done.frechet, done.distance]).all()
    assert done.rows["drawn"] == done.rows["training"]
    with pytest.raises(
        backstory.InputError, match=r"expected images of shape \(4, 4\) .* got images of shape \(8"
    ):
        compare_images(model, "digits")
    with pytest.raises(
        backstory.InputError, match=r"expected images of shape \(4, 4\) .* got table of shape \(2"
    ):
        compare_images(model, pd.DataFrame({"x": [1.5, 2, 3], "y": [3, 1.5, 0]}))
