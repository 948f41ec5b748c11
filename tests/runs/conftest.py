"""A run folder, and copies of it that tests may damage."""

import shutil
from pathlib import Path

import pytest
from test_model import SMALL, digits

import backstory


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """A run folder, not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    backstory.fit(digits(), folder, **SMALL)
    return folder


@pytest.fixture
def copy(run, tmp_path) -> Path:
    return shutil.copytree(run, tmp_path / "copy")
