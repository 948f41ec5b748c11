from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backstory.errors import InputError

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def refusal() -> Callable[..., str]:
    """Calls a function that has to refuse its input, and returns the one sentence that it says."""

    def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
        with pytest.raises(InputError) as caught:
            function(*args, **kwargs)
        sentence = str(caught.value)
        assert "\n" not in sentence
        assert len(sentence) > 20
        assert ";" in sentence  # what was wrong; what to do
        return sentence

    return call


@pytest.fixture
def shared() -> Path:
    """A folder of real data beside the repository, which a clone need not have."""
    if not SHARED.is_dir():
        pytest.skip("needs the real data sets in ../shared/data beside the repository")
    return SHARED
