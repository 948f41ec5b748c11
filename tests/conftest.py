"""Fixtures that all tests may use."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from backstory.data.schema import Schema
from backstory.distributions.base import soft_clamp_inverse
from backstory.inference import annealing
from backstory.models import build
from backstory.models.defaults import resolve
from backstory.models.posteriors import LOG_STD_HIGH, LOG_STD_LOW
from backstory.models.vae import VAE
from backstory.options import ModelOptions

torch.set_num_threads(1)  # the workers share the cores; small models are faster on one anyway

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


FUZZ = 200  # damaged files that a test tries by default


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--fuzz N`: how many damaged files each of the tests of damaged files tries."""
    parser.addoption("--fuzz", type=int, default=FUZZ, metavar="N", help="damaged files to try in each test")


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> int:
    """How many damaged files a test tries."""
    return int(request.config.getoption("--fuzz"))


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


@pytest.fixture
def short_burn_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Annealing with few transitions to adapt its steps, for tests that do not look at the steps."""
    monkeypatch.setattr(annealing, "ADAPTATION_TRANSITIONS", 3)


@dataclass(frozen=True)
class LinearGaussian:
    """A model whose every answer is known: y = Wz + b + σε, x = shift + scale · y, W's columns orthogonal.

    The evidence is N(x; shift + scale · b, S (WWᵀ + σ²I) S), the posterior N(M⁻¹Wᵀ(y − b), σ²M⁻¹) with
    M = WᵀW + σ²I, diagonal because WᵀW is (Tipping & Bishop 1999, eqs. 6 to 8).
    """

    vae: VAE
    x: Tensor
    log_evidence: Tensor
    mean: Tensor
    covariance: Tensor
    posterior_mean: Tensor
    posterior_std: Tensor


def make_linear_gaussian(
    rows: int = 20, encoder_error: float = 0.0, entries: int = 6, latent: int = 2, sigma: float = 0.4
) -> LinearGaussian:
    rng = np.random.default_rng(0)
    shift, scale = rng.normal(0, 3, entries), rng.uniform(0.2, 5, entries)
    schema = Schema(kind="table", shape=(entries,), dtype="float64", columns=tuple("abcdefghij"[:entries]))
    schema, options = resolve(schema, ModelOptions(network="linear", likelihood="gaussian", latent=latent))
    statistics = tuple(torch.as_tensor(v, dtype=torch.float32) for v in (shift, scale))
    vae = build.build(schema, options, statistics=statistics).double().eval()
    vae.head.log_scale.copy_(vae.scale.log())

    w = np.linalg.qr(rng.normal(size=(entries, latent)))[0] * np.linspace(1.5, 0.7, latent)
    b = rng.normal(0, 0.5, entries)
    m = w.T @ w + sigma**2 * np.eye(latent)
    back = np.linalg.solve(m, w.T)
    std = sigma / np.sqrt(np.diag(m))
    wrong = rng.normal(size=(latent, entries))
    encoder, decoder = vae.encoder.layers[-1], vae.decoder.layers[-1]
    with torch.no_grad():
        decoder.weight.copy_(torch.from_numpy(w))
        decoder.bias.copy_(torch.from_numpy(b))
        log_sigma = torch.tensor(math.log(sigma), dtype=torch.float64)
        vae.head.log_sigma.copy_(soft_clamp_inverse(log_sigma, -7.0, 4.0))
        encoder.weight.zero_()
        encoder.weight[:latent] = torch.from_numpy(back + encoder_error * wrong)
        encoder.bias[:latent] = -torch.from_numpy(back @ b)
        raw = soft_clamp_inverse(torch.from_numpy(np.log(std)), LOG_STD_LOW, LOG_STD_HIGH)
        encoder.bias[latent:] = raw + encoder_error

    shift, scale = vae.shift.numpy(), vae.scale.numpy()
    mean, covariance = shift + scale * b, np.outer(scale, scale) * (w @ w.T + sigma**2 * np.eye(entries))
    x = rng.multivariate_normal(mean, covariance, rows)
    log_evidence = stats.multivariate_normal(mean, covariance).logpdf(x).reshape(rows)
    posterior_mean = ((x - shift) / scale - b) @ back.T
    return LinearGaussian(
        vae, *map(torch.from_numpy, (x, log_evidence, mean, covariance, posterior_mean, std))
    )


@pytest.fixture
def linear_gaussian() -> Callable[..., LinearGaussian]:
    """Makes a `LinearGaussian`; with `encoder_error` its q(z|x) is not p(z|x)."""
    return make_linear_gaussian


def make_vae(seed: int = 0, **options: Any) -> VAE:
    """A small model of 3 × 4 images of five levels, in double precision, with weights that matter."""
    schema = Schema(kind="images", shape=(3, 4), dtype="uint8", levels=5, maximum=4)
    values = {"latent": 3, "hidden": (16,), **options}
    schema, resolved = resolve(schema, ModelOptions(**values))
    vae = build.build(schema, resolved, seed, (torch.tensor(2.0), torch.tensor(1.4))).double().eval()
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.mul_(2)
    return vae


@pytest.fixture
def small_vae() -> Callable[..., VAE]:
    """Makes a `VAE` that is not linear; its options are those of `ModelOptions`."""
    return make_vae


@pytest.fixture
def levels() -> Callable[..., Tensor]:
    """Makes data for `small_vae`."""

    def make(rows: int = 7, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(5, (rows, 3, 4), generator=generator).double()

    return make
