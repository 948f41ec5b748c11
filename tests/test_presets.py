"""Presets: what each sets, what wins over it, and how runs keep it."""

import json

import numpy as np
import pandas as pd
import pytest
from interrupting import interrupted_at

import backstory
from backstory.cli.main import main
from backstory.errors import InputError
from backstory.options import PRESETS, Preset, VampPrior
from backstory.options.catalogue import page
from backstory.options.given import asked_options
from backstory.options.presets import over, with_preset

IMAGES = np.random.default_rng(0).integers(0, 2, (60, 6, 5)).astype(np.uint8)
QUICK = {"epochs": 1, "progress": False}


@pytest.fixture
def small(monkeypatch):
    """A preset that trains in a moment."""
    options = {"likelihood": "bernoulli", "prior": "mixture", "components": 3, "hidden": (8,), "latent": 3}
    options |= {"validation": 0.2, "epochs": 2, "batch_size": 16}
    small = Preset("small", "Tests.", options)
    monkeypatch.setitem(PRESETS, "small", small)
    return small


def test_each_preset_has_options_of_fit_and_a_line_of_the_page():
    for name, preset in PRESETS.items():
        assert preset.name == name
        assert asked_options(with_preset({"preset": name})) == asked_options(
            {"preset": name, **preset.options}
        )
        assert f"| `{name}` | {preset.purpose} |" in page()


def test_what_is_given_beside_a_preset_wins():
    given = with_preset({"preset": "restore", "components": 50, "epochs": 2, "prior": "auto", "latent": None})
    assert (given["components"], given["epochs"], given["prior"], given["latent"]) == (50, 2, "mixture", 64)


@pytest.mark.parametrize("prior", ["vamp", VampPrior(pseudo_inputs=9), "normal"], ids=str)
def test_another_choice_takes_the_place_of_the_choice_of_a_preset_with_its_options(prior):
    given = with_preset({"preset": "restore", "prior": prior})
    assert given["prior"] == prior
    assert "components" not in given
    assert given["sigma_floor"] == 0.2
    asked_options(given)


def test_another_size_of_z_takes_the_place_of_its_levels_and_another_objective_of_its_arguments():
    assert "latent" not in over({"latent": "2x14x14,16"}, {"hierarchy": (4, 2)})
    assert over({"hierarchy": (4, 2)}, {"latent": 8}) == {"latent": 8}
    renyi = {"objective": "renyi", "objective_args": {"alpha": 0.5}}
    assert over(renyi, {"objective": "elbo"}) == {"objective": "elbo"}
    assert over(renyi, {"lr": 0.1}) == {**renyi, "lr": 0.1}


def test_a_preset_that_does_not_exist_is_refused_with_the_list():
    with pytest.raises(
        InputError, match=r"preset is one of mnist-mlp, .*restore, got 'restor'; did you mean"
    ):
        backstory.fit(IMAGES, preset="restor")


def test_a_run_keeps_the_options_and_the_name(small, tmp_path):
    model = backstory.fit(IMAGES, tmp_path / "run", preset="small", latent=2, **QUICK)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert model.schema.presentation == "exact"
    assert (config["model"]["latent"], config["model"]["prior"]["components"]) == (2, 3)
    assert config["rows"]["validation"] == 12
    assert config["asked"]["preset"] == "small"
    assert config["asked"]["hidden"] == [8]


@pytest.mark.parametrize("again", [{}, {"preset": "small"}, {"components": 3}, {"latent": 2}], ids=str)
def test_resume_takes_the_preset_again_or_does_without(small, tmp_path, monkeypatch, again):
    whole = backstory.fit(IMAGES, preset="small", latent=2, progress=False)
    with interrupted_at(5, monkeypatch):
        cut = backstory.fit(IMAGES, tmp_path / "run", preset="small", latent=2, progress=False)
    assert cut.summary["stopped"] == "interrupted"
    model = backstory.fit(IMAGES, tmp_path / "run", resume=True, progress=False, **again)
    assert model.summary["elbo"] == whole.summary["elbo"]


def test_resume_refuses_another_preset(small, tmp_path):
    backstory.fit(IMAGES, tmp_path / "run", preset="small", **QUICK)
    with pytest.raises(InputError, match="begun with preset small, got restore"):
        backstory.fit(IMAGES, tmp_path / "run", preset="restore", resume=True)
    with pytest.raises(InputError, match="begun with components 3, got 5"):
        backstory.fit(IMAGES, tmp_path / "run", components=5, resume=True)


def test_a_preset_that_the_data_refuse_is_named():
    table = pd.DataFrame({"sex": ["f", "m"] * 20, "x": np.arange(40.0)})
    with pytest.raises(InputError, match="cannot use preset restore here: this likelihood is for numbers"):
        backstory.fit(table, preset="restore", **QUICK)
    with pytest.raises(InputError, match="cannot use preset mnist-ladder here: "):
        backstory.fit(table[["x"]].assign(y=table["x"] ** 2), preset="mnist-ladder", **QUICK)
    with pytest.raises(InputError, match=r"^this likelihood is for numbers"):
        backstory.fit(table, likelihood="gaussian", **QUICK)


def test_the_command_names_presets(small, tmp_path, capfd):
    np.save(tmp_path / "x.npy", IMAGES)
    command = ["fit", str(tmp_path / "x.npy"), "-o", str(tmp_path / "run"), "--epochs", "1"]
    assert main([*command, "--preset", "smal"]) == 2
    assert "preset is one of mnist-mlp" in capfd.readouterr().err
    assert main([*command, "--preset", "small", "--latent", "2"]) == 0
    assert ["preset", "small"] in [line.split() for line in capfd.readouterr().out.splitlines()]
    assert backstory.open(tmp_path / "run").options.latent == 2
    assert main(["info", str(tmp_path / "run")]) == 0
    assert ["preset", "small"] in [line.split() for line in capfd.readouterr().out.splitlines()]
