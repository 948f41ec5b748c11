"""Fixtures that all tests may use."""

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # the workers share the cores; small models are faster on one anyway

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of data for development beside the repository, which a newcomer's clone does not have."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no folder ../shared/data beside the repository: its real data is for development only")
    return SHARED_DATA


@pytest.fixture
def generator() -> torch.Generator:
    """A source of draws that starts at the same place in every test."""
    return torch.Generator().manual_seed(0)
