"""A mask that depends on x, against quadrature, and what is learned of it on data that is known."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import nn

import backstory
from backstory.distributions.gaussian import Gaussian
from backstory.distributions.self_masked import SPEED, SelfMasked, SelfMasking
from backstory.errors import InputError

# m, s, w and c of single entries: no, weak, strong and nearly sharp dependence; rare and common
CASES = [
    (0.3, 1.2, 0.0, -0.4),
    (0.3, 1.2, 0.8, 0.2),
    (-1.0, 0.5, -2.5, 0.7),
    (2.0, 0.7, 3.0, -9.0),
    (-0.5, 1.5, 20.0, -10.0),
    (4.0, 0.3, -1.0, -3.0),
]


def masked(m, s, w, c):
    values = [torch.tensor([float(v)], dtype=torch.float64) for v in (m, np.log(s), w, c)]
    return SelfMasked(Gaussian(values[0], values[1], 1), values[2], values[3])


def quadrature(m, s, w, c, function):
    """∫ function(x) N(x; m, s²) Φ(w x + c) dx."""
    edge = -c / w if w else m
    points = [float(np.clip(edge, m - 11 * s, m + 11 * s)), m]

    def integrand(x):
        return function(x) * stats.norm.pdf(x, m, s) * stats.norm.cdf(w * x + c)

    return integrate.quad(integrand, m - 12 * s, m + 12 * s, points=points, epsabs=1e-13, limit=200)[0]


@pytest.mark.parametrize("case", CASES)
def test_probability_mean_and_variance_of_missing_entries_against_quadrature(case):
    share = quadrature(*case, lambda x: 1.0)
    mean = quadrature(*case, lambda x: x) / share
    variance = quadrature(*case, lambda x: (x - mean) ** 2) / share
    p = masked(*case)
    missing = p.log_prob(torch.full((1,), torch.nan), torch.tensor([False]))
    assert missing.item() == pytest.approx(np.log(share), abs=1e-8)
    assert p.missing.mean.item() == pytest.approx(mean, abs=1e-7)
    assert p.missing.variance.item() == pytest.approx(variance, rel=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_an_entry_is_either_observed_or_missing(case):
    p, x = masked(*case), torch.linspace(case[0] - 12 * case[1], case[0] + 12 * case[1], 20_001).double()
    observed = p.log_prob(x.unsqueeze(-1), torch.ones(len(x), 1, dtype=torch.bool)).exp()
    missing = p.log_prob(torch.zeros(1), torch.tensor([False])).exp()
    assert torch.trapezoid(observed, x).item() + missing.item() == pytest.approx(1, abs=1e-7)
    assert torch.equal(p.log_prob(x.unsqueeze(-1)).exp(), observed)  # whole rows are all observed


@pytest.mark.parametrize("case", CASES)
def test_draws_of_missing_entries_have_their_distribution(case):
    m, s, w, c = case
    p = masked(m, s, w, c)
    many = Gaussian(p.p.mean.expand(20_000, 1), p.p.log_std.expand(20_000, 1), 1)
    draws = SelfMasked(many, p.slope, p.intercept).missing.sample(torch.Generator().manual_seed(0))
    share = quadrature(m, s, w, c, lambda x: 1.0)

    def below(t):
        return quadrature(m, s, w, c, lambda x: float(x <= t)) / share

    for quantile in (0.1, 0.5, 0.9):
        t = float(np.quantile(draws, quantile))
        assert below(t) == pytest.approx(quantile, abs=4 * np.sqrt(quantile * (1 - quantile) / 20_000) + 1e-3)


def test_gradients_are_those_of_finite_differences():
    x, observed = torch.tensor([[0.3, torch.nan, -1.0]]).double(), torch.tensor([[True, False, True]])
    parameters = [torch.randn(2, 3, generator=torch.Generator().manual_seed(k)).double() for k in range(4)]

    def log_prob(mean, log_std, slope, intercept):
        return SelfMasked(Gaussian(mean, log_std, 1), slope, intercept).log_prob(x, observed)

    assert torch.autograd.gradcheck(log_prob, [p.requires_grad_() for p in parameters])


def test_everything_is_finite_far_out():
    far = torch.tensor([-60.0, 60.0])
    mean, slope = (grid.flatten().requires_grad_() for grid in torch.meshgrid(far, far, indexing="ij"))
    p = SelfMasked(Gaussian(mean, torch.zeros(4), 1), slope, torch.zeros(4))
    mask = torch.zeros(4, dtype=torch.bool)
    p.log_prob(torch.zeros(4), mask).backward()
    for value in (p.missing.mean, p.missing.variance, p.missing.sample(), mean.grad, slope.grad):
        assert torch.isfinite(value).all()
    assert (p.missing.variance >= 0).all()


class Fixed(nn.Module):
    """A head whose p(x|z) is given."""

    shape, features_shape = (2,), (1, 2)

    def forward(self, features):
        return Gaussian(features[..., 0, :], torch.zeros(2), 1)


@pytest.mark.parametrize("sign", [1, -1, 0])
def test_slope_has_the_sign_that_is_known_and_the_units_of_x(sign):
    shift, scale = torch.tensor([100.0, -3.0]), torch.tensor([10.0, 0.5])
    head = SelfMasking(Fixed(), sign, shift, scale)
    speed = SPEED if sign else 1.0
    nn.init.constant_(head.slope, -1.5 / speed)
    nn.init.constant_(head.intercept, 0.25 / speed)
    p = head(torch.zeros(1, 1, 2))
    y = torch.tensor([0.7, -0.2])
    slope = {1: 0.2014, -1: -0.2014, 0: -1.5}[sign]  # softplus(−1.5) = 0.2014
    assert torch.allclose(p.slope * (shift + scale * y) + p.intercept, slope * y + 0.25, atol=1e-4)


def censored(rows=1000, seed=0):
    """A factor of five columns; of the first two, values vanish with probability Φ(3 y) each."""
    rng = np.random.default_rng(seed)
    z, w = rng.normal(size=(rows, 1)), np.array([[1.0, -0.9, 1.0, 0.9, -0.8]])
    x = z @ w + 0.4 * rng.normal(size=(rows, 5)) + np.array([3.0, 0, 0, 0, -2])
    y = (x - x.mean(0)) / x.std(0)
    gone = (rng.random(x.shape) < stats.norm.cdf(3 * y)) & (np.arange(5) < 2)
    return x, np.where(gone, np.nan, x)


def bias(model, x, holes):
    """The mean error of missing entries, in deviations of their columns."""
    mean = model.restore(holes, draws=1, method="importance").mean
    return ((mean - x) / x.std(0))[np.isnan(holes)].mean()


@pytest.mark.slow
def test_known_mechanism_is_found_and_what_it_hides_is_not_biased():
    x, holes = censored()
    options = {"network": "linear", "likelihood": "gaussian-per-entry", "latent": 1, "progress": False}
    options |= {"objective": "iwae", "samples": 5, "epochs": 200, "seed": 0}
    assert bias(backstory.fit(holes, missingness="random", **options), x, holes) < -0.15
    for missingness in ("self", "self-high"):
        model = backstory.fit(holes, missingness=missingness, **options)
        assert abs(bias(model, x, holes)) < 0.08
        slope = model.vae.head(torch.zeros(1, 1, 5)).slope.detach().numpy()[:2] * x.std(0)[:2]
        assert ((slope > 1.5) & (slope < 6)).all()


def test_what_cannot_be_is_said():
    x, holes = censored(50)
    with pytest.raises(InputError, match="likelihood student has no missingness; gaussian"):
        backstory.fit(holes, missingness="self", likelihood="student")
    with pytest.raises(InputError, match="got data without any"):
        backstory.fit(np.nan_to_num(holes), missingness="self")
    with pytest.raises(InputError, match="did you mean 'self-high'"):
        backstory.fit(holes, missingness="self-hihg")
    model = backstory.fit(holes, missingness="self", likelihood="gaussian", epochs=1, progress=False)
    with pytest.raises(InputError, match="hidden at random say nothing"):
        model.evaluate_restoration(x, missing=0.5)


def test_noise_and_maps_are_refused_where_missing_means_high():
    """p(y|z) would leave out what the mask says of x."""
    x = np.random.default_rng(0).normal(size=(80, 3))
    x[x > 1] = np.nan
    model = backstory.fit(x, missingness="self-high", latent=1, epochs=1, progress=False, hidden=(4,))
    assert np.isfinite(model.restore(x[:5], draws=2).mean).all()
    with pytest.raises(InputError, match="missing by its own value"):
        model.restore(x[:5], backstory.Noise(0.1), draws=2)
