"""Initial weights depend on the seed alone: not on other threads, nor on the generator of the process."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import backstory
from backstory.data.schema import Schema
from backstory.models import build
from backstory.models.defaults import resolve
from backstory.models.initial import drawn_from
from backstory.options import ModelOptions

TABLE = Schema(kind="table", shape=(6,), dtype="float32", columns=tuple("abcdef"))
IMAGES = Schema(kind="images", shape=(12, 12), dtype="uint8", levels=256, maximum=255)
CHOICES = [
    (TABLE, {"prior": "flow"}),
    (TABLE, {"prior": "vamp", "network": "residual"}),
    (TABLE, {"prior": "mixture", "posterior": "full"}),
    (TABLE, {"hierarchy": (3, 2), "network": "plain"}),
    (IMAGES, {"network": "conv"}),
    (IMAGES, {"network": "resnet"}),
]


def weights(choice, seed):
    schema, options = choice
    return build.build(*resolve(schema, ModelOptions(**options)), seed).state_dict()


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_the_draws_are_those_of_a_seeded_process():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        expected = torch.nn.Linear(7, 5).weight, torch.randn(20), torch.randperm(9), torch.nn.LSTM(3, 4)
    with drawn_from(5):
        drawn = torch.nn.Linear(7, 5).weight, torch.randn(20), torch.randperm(9), torch.nn.LSTM(3, 4)
    assert all(torch.equal(a, b) for a, b in zip(drawn[:3], expected[:3], strict=True))
    assert same(drawn[3].state_dict(), expected[3].state_dict())


@pytest.mark.parametrize("choice", CHOICES)
def test_models_made_in_threads_are_those_made_in_sequence(choice):
    expected = [weights(choice, seed) for seed in range(24)]
    before = torch.get_rng_state()
    with ThreadPoolExecutor(8) as threads:
        drawn = list(threads.map(lambda seed: weights(choice, seed), range(24)))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(same, drawn, expected))
    assert not same(expected[0], expected[1])


def test_fits_in_threads_are_those_in_sequence():
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)

    def fitted(seed):
        model = backstory.fit(x, seed=seed, epochs=2, hidden=(8,), latent=2, progress=False)
        return model.vae.state_dict()

    expected = [fitted(seed) for seed in range(16)]
    before = torch.get_rng_state()
    with ThreadPoolExecutor(8) as threads:
        drawn = list(threads.map(fitted, range(16)))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(same, drawn, expected))


def test_a_prior_of_codes_leaves_the_global_state():
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    before = torch.get_rng_state()
    model = backstory.fit(x, posterior="delta", epochs=1, hidden=(8,), latent=2, progress=False)
    model.fit_prior(x, components=2, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
