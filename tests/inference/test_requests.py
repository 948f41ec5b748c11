"""Options of people as records: each goes to its field; an unknown one is refused with the nearest name."""

from pathlib import Path

import pytest

from backstory import InputError
from backstory.inference.requests import EvidenceRequest, RestorationRequest


def test_options_of_a_restoration():
    request = RestorationRequest.of(5, "hmc", 3, budget=100, chains=4)
    assert (request.draws, request.method, request.budget, request.chunk) == (5, "hmc", 100, None)
    assert request.effort.chains == 4
    assert (request.seed, request.presentation_seed) == (3, 3)
    again = request.with_seed(8)
    assert (again.seed, again.presentation_seed, again.effort) == (8, 8, request.effort)
    with pytest.raises(InputError, match="restore has no option 'chain'; did you mean 'chains'"):
        RestorationRequest.of(1, "auto", 0, chain=4)


def test_options_of_an_estimate():
    request = EvidenceRequest.of("ais", None, 2, chunk=7, resume="rows.safetensors", steps=9)
    assert (request.chunk, request.resume) == (7, Path("rows.safetensors"))
    assert request.annealing == {"steps": 9}
    assert EvidenceRequest.of("is", 10, 0).resume is None
