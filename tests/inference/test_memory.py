"""A chunk of pairs stays within its budget, and does not shrink for networks of an ordinary width."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from backstory.distributions.bernoulli import BernoulliHead
from backstory.inference import memory
from backstory.inference.memory import Allocations, pair_bytes, pairs_at_once
from backstory.models.posteriors import DiagonalPosterior
from backstory.models.priors import StandardNormal
from backstory.models.vae import VAE

# Measures what the process really holds while one chunk is decoded and its gradient taken.
PROGRAM = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
from test_memory import wide
from backstory.inference import memory
memory.BUDGET = int(sys.argv[2])
torch.set_num_threads(1)

def peak():  # of this process; that of getrusage may be its parent's
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

vae = wide(128)
pairs = memory.pairs_at_once(vae, gradient=True)
before = peak()
z = torch.zeros(pairs, 1, 2, requires_grad=True)
torch.autograd.grad(vae.log_likelihood(torch.zeros(1, 64, 64), z).sum(), z)
print(pairs, peak() - before)
"""


def wide(width: int) -> VAE:
    """A model of 64 × 64 images, with a decoder of `width` channels at the full resolution."""
    layers = [nn.Linear(2, 4096), nn.Unflatten(1, (1, 64, 64)), nn.Conv2d(1, width, 1), nn.SiLU()]
    decoder = nn.Sequential(*layers, nn.Conv2d(width, width, 1), nn.SiLU(), nn.Conv2d(width, 1, 1))
    return VAE(nn.Identity(), decoder, BernoulliHead((64, 64)), StandardNormal(2), DiagonalPosterior(2))


@pytest.mark.parametrize(
    "options",
    [
        {"likelihood": "bernoulli"},
        {"likelihood": "categorical"},
        {"likelihood": "gaussian", "prior": "mixture"},
        {"likelihood": "student", "network": "residual"},
    ],
)
@pytest.mark.parametrize("gradient", [False, True])
def test_a_pair_costs_what_many_pairs_cost_each(small_vae, levels, options, gradient):
    vae, pairs = small_vae(**options), 50
    x = levels(1)
    z = torch.zeros(pairs, 1, vae.prior().mean.shape[-1], dtype=x.dtype, requires_grad=gradient)
    with torch.set_grad_enabled(gradient), Allocations() as allocations:
        value = vae.log_likelihood(x, z)
        if gradient:
            torch.autograd.grad(value.sum(), z)
    assert 0.5 * pairs * pair_bytes(vae, gradient) < allocations.peak <= pairs * pair_bytes(vae, gradient)


def test_allocations_are_counted_until_they_are_freed():
    with Allocations() as allocations:
        a = torch.zeros(100)  # 400 bytes
        a.view(10, 10).add_(1)  # no memory of its own
        b = a + 1
        del a, b
        torch.zeros(150)
    assert allocations.peak == 800


def test_a_gradient_costs_more(small_vae):
    vae = small_vae()
    assert pair_bytes(vae, gradient=True) > pair_bytes(vae) > 0
    assert 1.9 < pair_bytes(vae.double()) / pair_bytes(vae.float()) < 2.1


@pytest.mark.parametrize("gradient", [False, True])
def test_ordinary_models_are_limited_by_their_outputs(small_vae, gradient):
    vae = small_vae()
    outputs = math.prod(vae.features_shape)
    assert pairs_at_once(vae, gradient) == 2**19 // outputs
    assert pairs_at_once(vae, gradient, outputs=10 * outputs) == 2**19 // (10 * outputs)
    assert pairs_at_once(vae, gradient, outputs=2**30) == 1


@pytest.mark.parametrize("gradient", [False, True])
def test_wide_decoders_are_limited_by_their_activations(gradient, monkeypatch):
    vae = wide(512)
    assert pair_bytes(vae, gradient) > 100 * 4 * 64 * 64
    pairs = pairs_at_once(vae, gradient)
    assert 1 < pairs < 2**19 // (64 * 64)
    assert 0.9 * 2**30 < pairs * pair_bytes(vae, gradient) <= 2**30
    monkeypatch.setattr(memory, "BUDGET", 1)
    assert pairs_at_once(vae, gradient) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
def test_the_process_stays_within_the_budget():
    budget = 2**28
    command = [sys.executable, "-c", PROGRAM, str(__file__).rpartition("/")[0], str(budget)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    pairs, peak = map(int, done.stdout.split())
    assert 1 < pairs < 2**19 // (64 * 64)
    assert 0.5 * budget < peak < 1.5 * budget  # kernels take work space of their own


def test_the_global_random_state_is_left_alone(small_vae):
    state = torch.get_rng_state()
    pairs_at_once(small_vae())
    assert torch.equal(torch.get_rng_state(), state)
