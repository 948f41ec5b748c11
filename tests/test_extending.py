"""Choices from outside the package: the examples of docs/extending.md, and what is refused."""

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import backstory
from backstory.cli.main import main
from backstory.errors import InputError
from backstory.models.registry import BUILDERS
from backstory.objectives.registry import OBJECTIVES
from backstory.options.choices import CHOICES, IMPLEMENTED
from backstory.register import adopted

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)
OWN = "\n".join(block for block in BLOCKS if "backstory.fit(" not in block)
USES = [block for block in BLOCKS if "backstory.fit(" in block]

USE = """
import sys, numpy, backstory
from own import *
for number, use in enumerate({uses!r}):
    space = dict(globals())
    exec(use, space)
    model = space["model"]
    model.save(f"run{{number}}")
    again = backstory.open(f"run{{number}}", device="cpu")
    x = backstory.load("digits").values[:5]
    c = {{"label": 3}} if model.schema.conditions else None
    assert numpy.array_equal(again.sample(3, seed=0, given=c), model.sample(3, seed=0, given=c))
    first, second = (m.evaluate(x, samples=5, given=c) for m in (model, again))
    assert first == second and numpy.isfinite(first.elbo)
    print(again.options.flat() | again.training.flat())
"""

OPENS = """
import backstory
for number in range({uses}):
    try: backstory.open(f"run{{number}}")
    except backstory.InputError as error: print(error)
"""


@pytest.fixture
def run(tmp_path):
    """Runs Python in a folder with the module of the page."""
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")

    def python(*arguments: str, status: int = 0) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == status, done.stderr
        return done

    return python


def test_each_definition_is_short():
    definitions = [block.rstrip() for block in BLOCKS if "@backstory.register" in block]
    assert len(definitions) == 6  # a second network, for models of p(x|c)
    for group in ("network", "prior", "posterior", "likelihood", "objective"):
        own = sum(f"@backstory.register.{group}(" in block for block in definitions)
        assert own == 1 + (group == "network")
    for block in definitions:
        assert len(block[block.index("@backstory") :].splitlines()) < 25


def test_the_examples_of_the_page(run, tmp_path):
    out = run("-c", USE.format(uses=USES)).stdout
    options = ("neurons': 30", "spread': 2.0", "steepness': 1.0", "fraction': 0.3", "bend': 4.0")
    assert all(option in out for option in options)
    config = json.loads((tmp_path / "run2" / "config.json").read_text())
    assert config["model"]["prior"] == {"name": "scaled", "path": "own.Scaled", "spread": 2.0}
    # opened where nothing has registered it: refused, and its module is not imported though it could be
    (tmp_path / "own.py").write_text("raise SystemExit('imported')")
    said = run("-c", OPENS.format(uses=len(USES))).stdout.splitlines()
    assert len(said) == len(USES)
    assert all("is not registered here; import its module first (import own" in line for line in said)
    unknown = run("-m", "backstory", "sample", "run1", "-n", "1", "-o", "new.npy", status=2)
    assert "is not registered here" in unknown.stderr


def test_the_command_line_imports_what_it_is_told(run, tmp_path, monkeypatch, capsys):
    def told(*arguments: str, status: int = 0) -> str:
        capsys.readouterr()
        assert main(arguments) == status
        return "".join(capsys.readouterr())

    fit = ("fit", "digits", "-o", "run", "--latent", "2", "--hidden", "8", "--epochs", "1")
    command = ("-m", "backstory", "--import", "own")
    run(*command, *fit, "--prior", "scaled", "--spread", "2", "--ensemble", "2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert "--spread" not in told("fit", "--help")
    refused = told("sample", "run", "-o", "y.npy", status=2)
    assert "prior 'scaled' is own.Scaled, which is not registered here" in refused
    assert "--import expects a Python module" in told("--import", "nothing_like_it", "info", status=2)
    assert "--spread" in run(*command, "fit", "--help").stdout
    assert "prior scaled" in run(*command, "info", "run").stdout
    told("--import", "own", "sample", "run", "-o", "x.npy", "-n", "3")
    assert np.load(tmp_path / "x.npy", allow_pickle=False).shape == (3, 8, 8)
    wrong = told("--import", "own", "fit", "digits", "-o", "other", "--spread", "2", status=2)
    assert "prior normal has no spread; scaled has it" in wrong


# -- objects, and what is refused -------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def forget():
    """What a test registers is gone after it."""
    registries: list[dict[Any, Any]] = [*CHOICES.values(), IMPLEMENTED, OBJECTIVES, BUILDERS]
    before = [dict(known) for known in registries]
    yield
    for registry, known in zip(registries, before, strict=True):
        registry.clear()
        registry.update(known)
    sys.modules.pop("own", None)


class Point(nn.Module):
    """A standard normal prior, not registered."""

    def __init__(self, latent: int, sharpness: float = 1.0):
        super().__init__()
        self.sharpness = sharpness
        self.normal = backstory.models.priors.StandardNormal(latent)

    def forward(self):
        return self.normal()


SMALL = {"latent": 2, "hidden": (4,), "epochs": 1, "progress": False}


@pytest.mark.parametrize(
    "value", [Point(2, 3.0), partial(Point, sharpness=3.0), Point], ids=["object", "partial", "class"]
)
def test_an_object_that_is_not_registered_is_so_under_its_import_path(value, tmp_path):
    model = backstory.fit("digits", tmp_path / "run", prior=value, **SMALL)
    name = f"{__name__}.Point"
    assert model.options.flat()["prior"] == name
    assert model.options.flat()["sharpness"] == (1.0 if value is Point else 3.0)
    assert backstory.open(tmp_path / "run", device="cpu").options == model.options
    del CHOICES["prior"][name]
    with pytest.raises(
        InputError, match=rf"prior '{re.escape(name)}' is .*which is not registered here; import"
    ):
        backstory.open(tmp_path / "run", device="cpu")


def test_a_run_does_not_open_with_another_class_of_the_same_name(tmp_path):
    backstory.register.prior("point")(Point)
    backstory.fit("digits", tmp_path / "run", prior="point", **SMALL)

    @backstory.register.prior("point")
    class Other(Point):
        def __init__(self, latent: int, sharpness: float = 1.0):
            super().__init__(latent, sharpness)

    with pytest.raises(InputError, match=r"is .*\.Point, and another one is registered here under this name"):
        backstory.open(tmp_path / "run", device="cpu")


def test_what_cannot_be_registered():
    with pytest.raises(InputError, match=r"prior 'mixture' is one of Backstory's own; choose another name"):
        backstory.register.prior("mixture")(Point)

    class Untyped(nn.Module):
        def __init__(self, latent, power=2.0): ...

    with pytest.raises(InputError, match=r"parameter 'power' of .*Untyped becomes an option; give it a type"):
        backstory.register.prior("untyped")(Untyped)

    class Taken(nn.Module):
        def __init__(self, latent: int, width: int = 3): ...

    with pytest.raises(InputError, match=r"prior taken has an option 'width', which is one of network conv"):
        backstory.register.prior("taken")(Taken)


def test_an_object_has_to_keep_its_options():
    class Forgetful(nn.Module):
        def __init__(self, latent: int, power: float = 2.0):
            super().__init__()

    with pytest.raises(InputError, match=r"Forgetful does not keep its option 'power'; set self.power"):
        backstory.fit("digits", prior=Forgetful(2), **SMALL)


def test_backstorys_own_classes_have_names_and_records():
    with pytest.raises(
        InputError, match="StandardNormal is one of Backstory's own; give its name or its record"
    ):
        backstory.fit("digits", prior=backstory.models.priors.StandardNormal(2), **SMALL)


def test_an_object_and_the_model_have_the_same_latent():
    class Scaled(nn.Module):
        def __init__(self, latent: int):
            super().__init__()
            self.latent = latent

    assert adopted({"prior": Scaled(5)})["latent"] == 5
    assert adopted({"prior": Scaled(5), "latent": 5})["latent"] == 5
    with pytest.raises(InputError, match="prior was made with latent 5, got latent 4 for the model"):
        backstory.fit("digits", prior=Scaled(5), **SMALL | {"latent": 4})
