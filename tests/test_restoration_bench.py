"""bench/restoration.py and bench/classical.py: damage, methods, and a comparison from training to page."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits

import backstory
from backstory import Noise
from backstory.data.load import load
from backstory.inference.linear_gaussian import LinearGaussian

pytest.importorskip("skimage", reason="needs the extra `bench`")
pytest.importorskip("pywt", reason="needs the extra `bench`")

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture(autouse=True)
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))


@pytest.fixture
def digits():
    """Digits as images of 28 × 28 pixels in [0, 1]."""
    small = load_digits().images[:12] / 16
    return gaussian_filter(np.pad(small.repeat(3, 1).repeat(3, 2), ((0, 0), (2, 2), (2, 2))), (0, 1, 1))


@pytest.fixture
def model(digits):
    images = np.rint(255 * digits).astype(np.uint8)
    options = {"hidden": (16,), "latent": 2, "epochs": 1, "progress": False, "device": "cpu"}
    return backstory.fit(np.concatenate([images] * 4), likelihood="gaussian", **options)


def test_every_task_is_helped_by_its_methods(digits, model):
    """Better than what was seen, or than its mean where there is no such image."""
    from classical import Known, psnr, tuned
    from restoration import TASKS

    for task in TASKS.values():
        y = task.damage(model, 255 * digits, 0) / 255
        known = Known((28, 28), task.noise, task.blur)
        pairs = list(zip(digits, y, strict=True))
        blind = [
            np.where(np.isnan(b), np.nanmean(b), b) if b.shape == a.shape else b.mean() for a, b in pairs
        ]
        before = np.mean([psnr(guess, a) for guess, a in zip(blind, digits, strict=True)])
        for method in task.methods.values():
            parameter = tuned(method, pairs, known)
            assert parameter in method.parameters
            assert np.mean([psnr(method(b, known, parameter), a) for a, b in pairs]) > before


def test_damage_is_what_the_task_says(digits, model):
    from restoration import TASKS

    y = {name: task.damage(model, 255 * digits, 0) / 255 for name, task in TASKS.items()}
    assert np.isnan(y["50 % missing"]).mean() == pytest.approx(0.5, abs=0.02)
    assert np.isnan(y["lower half missing"][:, 14:]).all()
    np.testing.assert_allclose(y["lower half missing"][:, :14], digits[:, :14])
    assert (y["noise σ = 110/255"] - digits).std() == pytest.approx(110 / 255, rel=0.02)
    assert y["downscaled 4 ×"].shape == (12, 7, 7)
    blurred = gaussian_filter(digits, (0, 1.5, 1.5), mode="reflect")
    assert (y["blur σ = 1.5, noise 0.02"] - blurred).std() == pytest.approx(0.02, rel=0.05)


def test_the_map_estimate_is_the_mode_of_a_linear_model():
    """Where p(z|y) is Gaussian its mode is its mean, so E[x|z, y] there is E[x|y]."""
    from restoration import maximum_a_posteriori

    x = load_digits().images[:60].astype(np.uint8)
    options = {"network": "linear", "latent": 3, "epochs": 20, "progress": False, "device": "cpu"}
    model = backstory.fit(x, likelihood="gaussian", **options)
    exact = LinearGaussian.of(model.vae)
    y = model.damage(x[:5], Noise(0.3))
    residual = torch.from_numpy(y).flatten(1) - exact.bias
    covariance, noise = exact.covariance, (0.3 * 16) ** 2 * torch.eye(64).double()
    mean = exact.bias + residual @ torch.linalg.solve(covariance + noise, covariance)
    found = maximum_a_posteriori(model, Noise(0.3), y, steps=500)
    np.testing.assert_allclose(found, mean.view(5, 8, 8).clamp(0, 16).numpy(), atol=0.05)


def test_a_comparison_from_training_to_page(digits, tmp_path, monkeypatch, capsys):
    import restoration

    images = load(np.rint(255 * digits).astype(np.uint8))
    monkeypatch.setattr(restoration, "parts", lambda name, source: (images, images))
    small = {"hidden": (16,), "latent": 2, "epochs": 1}
    models = {
        "mnist": {"gaussian-predicted": {**small, "sigma_floor": 0.1}, "gaussian": small},
        "frey": {"gaussian": {**small, "ensemble": 2}},
    }
    monkeypatch.setattr(restoration, "MODELS", models)
    ways = {"encoder": [{"proposals": 20}], "MAP": [{"steps": 2}]}
    monkeypatch.setattr(restoration, "WAYS", ways)
    monkeypatch.setattr(restoration, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["bench/restoration.py", "mnist"])
    tasks = ["--tasks", "50 % missing", "downscaled 4 ×"]
    for name in ("mnist", "frey"):
        shared = ["--run", str(tmp_path / name), "--rows", "3", "--tuning-rows", "2"]
        output = ["--output", str(tmp_path / f"restoration_{name}.json")]
        restoration.main([name, *shared, *tasks, *output, "--method", "importance", "--draws", "12"])
    record = json.loads((tmp_path / "restoration_mnist.json").read_text())
    assert record["command"] == "python bench/restoration.py mnist"
    found = record["tasks"]["50 % missing"]
    assert (record["model"]["likelihood"], record["model"]["sigma_floor"]) == ("gaussian-predicted", 0.1)
    other = json.loads((tmp_path / "restoration_frey.json").read_text())["model"]
    assert (other["likelihood"], other["sigma_floor"], other["ensemble"]) == ("gaussian", None, 2)
    assert found["backstory"]["methods"] == {"importance": 3}
    assert found["backstory"]["best_of_10"]["psnr"] > 0
    assert 0 < found["biharmonic"]["ssim"] < 1
    output = str(tmp_path / "restoration_methods.json")
    restoration.main(
        ["methods", "--runs", str(tmp_path / "mnist"), "--rows", "2", *tasks, "--output", output]
    )
    assert "MAP" in capsys.readouterr().out

    page = tmp_path / "page.md"
    names = ("mnist", "frey", "methods")
    page.write_text("".join(f"<!-- {n}: begin -->\n<!-- {n}: end -->\n" for n in names))
    places = ["--results", str(tmp_path), "--page", str(page), "--figure", str(tmp_path / "cost.png")]
    restoration.main(["render", *places])
    text = page.read_text()
    assert text.count("\n| 50 % missing |") == 2
    assert f"**{found['backstory']['psnr']:.1f}**" in text
    assert "| mnist | MAP |" in text
    assert (tmp_path / "cost.png").stat().st_size < 150_000


def test_a_run_of_another_length_is_refused(digits, model, tmp_path, monkeypatch):
    import restoration

    images = load(np.rint(255 * digits).astype(np.uint8))
    monkeypatch.setattr(restoration, "parts", lambda name, source: (images, images))
    model.save(tmp_path / "run")
    with pytest.raises(SystemExit, match="was trained for 1 epochs"):
        restoration.main(["mnist", "--run", str(tmp_path / "run"), "--epochs", "2"])


def test_workers_find_what_one_process_finds(digits, model, tmp_path):
    import restoration

    np.save(tmp_path / "images.npy", np.concatenate([np.rint(255 * digits).astype(np.uint8)] * 100))
    model.save(tmp_path / "run")
    shared = ["frey", "--data", str(tmp_path / "images.npy"), "--run", str(tmp_path / "run"), "--epochs", "1"]
    shared += ["--rows", "2", "--tuning-rows", "2", "--method", "importance", "--draws", "10"]
    found = []
    for workers in ("1", "2"):
        output = tmp_path / f"{workers}.json"
        more = ["--workers", workers, "--tasks", "80 % missing", "lower half missing"]
        restoration.main([*shared, *more, "--output", str(output)])
        tasks = json.loads(output.read_text())["tasks"]
        found.append([(name, way, r["psnr"]) for name, task in tasks.items() for way, r in task.items()])
    assert found[0] == found[1]
    assert len(found[0]) == 4
