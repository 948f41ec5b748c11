"""The lowest versions that pyproject.toml declares are those that `make test-lowest` installs."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def test_the_lowest_set_is_the_declared_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *extras["parquet"], *extras["tensorboard"], *extras["distributed"]]
    lines = (ROOT / "requirements-lowest.txt").read_text().splitlines()
    installed = dict(re.fullmatch(r"([\w-]+)==(.+)", line).groups() for line in lines if line[0] != "#")
    for requirement in map(Requirement, declared):
        (bound,) = requirement.specifier
        if requirement.name != "torch":  # only one release of it was at hand
            assert (bound.operator, Version(bound.version)) == (">=", Version(installed[requirement.name]))
