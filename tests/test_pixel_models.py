"""Likelihoods pixels and pixels-bernoulli from fit to run folder."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import backstory
from backstory import InputError
from backstory.cli.main import main

OPTIONS = {
    "pixel_width": 4,
    "pixel_layers": 1,
    "maps": 2,
    "hidden": (8,),
    "latent": 2,
    "epochs": 2,
    "progress": False,
    "compile": False,
}


def digits(rows=120):
    return load_digits().images[:rows].astype(np.uint8)


@pytest.fixture(scope="module", params=["pixels", "pixels-bernoulli"])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    backstory.fit("digits", folder, likelihood=request.param, **OPTIONS)
    return folder


def test_a_reopened_run_gives_the_same_numbers(run):
    first, second = backstory.open(run), backstory.open(run)
    assert np.array_equal(first.sample(5, seed=1), second.sample(5, seed=1))
    x = digits(4)
    both = [model.log_evidence(x, samples=20).log_evidence for model in (first, second)]
    assert np.isfinite(both[0]).all()
    assert np.array_equal(*both)


def test_the_lower_half_is_restored_from_the_upper_one(run):
    model, x = backstory.open(run), digits(3).astype(np.float32)
    x[:, 4:] = np.nan
    restored = model.restore(x, draws=2, seed=0)
    assert np.isfinite(restored.mean).all()
    assert restored.draws.shape == (2, *x.shape)


@pytest.mark.parametrize("damage", [["--missing", "0.5"], ["--noise", "0.2"]])
def test_other_damage_is_refused_in_a_sentence(run, damage, tmp_path, capsys):
    target = tmp_path / "restored.png"
    assert main(["restore", str(run), "digits", "-o", str(target), "--damage", *damage]) == 2
    assert "the pixels of the model depend on each other given z" in capsys.readouterr().err
    assert not target.exists()


def test_tables_and_gaps_are_refused_in_training():
    with pytest.raises(InputError, match="likelihood pixels is for images, got"):
        backstory.fit(np.arange(60).reshape(20, 3), likelihood="pixels", **OPTIONS)
    gaps = digits().astype(np.float32)
    gaps[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="pixels-bernoulli learns from complete images"):
        backstory.fit(gaps / 16, likelihood="pixels-bernoulli", **OPTIONS)


def test_colour_images_are_drawn_and_weighed():
    x = torch.randint(0, 256, (40, 8, 9, 3), generator=torch.Generator().manual_seed(0)).byte().numpy()
    model = backstory.fit(x, likelihood="pixels", **OPTIONS)
    assert model.sample(3).shape == (3, 8, 9, 3)
    assert np.isfinite(model.log_evidence(x[:2], samples=5).log_evidence).all()
    assert np.isfinite(model.reconstruct(x[:2])).all()
