"""Expectation maximisation where p(z|x) is tractable, and a VAE on the same data.

EM needs p(z|x) in closed form: there is one for a mixture (z is the component) and for the linear-Gaussian
model (factor analysis). There EM maximises log p(x) itself, and a VAE, which maximises a bound, can at best
equal it. If the decoder is non-linear, as for pictures of digits, EM has no E-step. It can only cover the
data with components, while the VAE needs no change.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from common import BLUE, GREY, INK, ORANGE, Figure, digits, figure, fit, legend, main, panel, table
from matplotlib.axes import Axes
from scipy import stats
from sklearn.decomposition import FactorAnalysis
from sklearn.mixture import GaussianMixture

import backstory
from backstory.inference.linear_gaussian import LinearGaussian

ENTRIES, UNITS = 8, 3
CENTRES = np.array([[-2.0, 0.0], [2.0, 1.0], [0.0, 2.5], [0.5, -2.0]])
COVARIANCES = np.array(
    [[[0.3, 0.2], [0.2, 0.3]], [[0.2, 0], [0, 0.5]], [[0.6, -0.2], [-0.2, 0.2]], [[0.5, 0], [0, 0.1]]]
)
SIDE = np.linspace(-3.6, 3.6, 61)


@dataclass(frozen=True)
class Line:
    """Test log-likelihood of one model, nats per observation, with the error of its gap to the truth."""

    data: str
    model: str
    log_evidence: float
    error: float
    elbo: float | None = None


@dataclass(frozen=True)
class Result:
    lines: list[Line]
    points: np.ndarray
    densities: dict[str, np.ndarray]
    components: dict[str, dict[int, float]]

    def value(self, data: str, model: str) -> float:
        """A test log-likelihood, by the beginning of the model's name."""
        return next(x.log_evidence for x in self.lines if x.data == data and x.model.startswith(model))


def measure(quick: bool = False) -> Result:
    rng = np.random.default_rng(0)
    plane, points, densities = mixture(rng, quick)
    grey, components = pictures(quick)
    return Result([*linear_gaussian(rng, quick), *plane, *grey], points, densities, components)


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean over test rows."""
    return float(np.std(values) / len(values) ** 0.5)


def linear_gaussian(rng: np.random.Generator, quick: bool) -> list[Line]:
    """Factor analysis by EM, and a linear VAE with a σ for each entry, which is the same model."""
    w, sigma = rng.normal(size=(ENTRIES, UNITS)), rng.uniform(0.3, 1.0, ENTRIES)
    x = rng.normal(size=(2000, UNITS)) @ w.T + sigma * rng.normal(size=(2000, ENTRIES))
    train, test = x[:1000], x[1000:]
    truth = stats.multivariate_normal(np.zeros(ENTRIES), w @ w.T + np.diag(sigma**2)).logpdf(test)
    em = FactorAnalysis(UNITS, tol=1e-6, max_iter=5000).fit(train).score_samples(test)
    options = {"epochs": 30, "batch_size": 50} if quick else {"epochs": 100, "batch_size": 100}
    options |= {"warmup": 0, "lr": 0.02, "validation": 0}
    vae = fit(train, network="linear", likelihood="gaussian-per-entry", latent=UNITS, **options)
    exact = LinearGaussian.of(vae.vae).log_evidence(torch.from_numpy(test)).numpy()
    elbo = float(vae.log_evidence(test, samples=100).elbo.mean())
    name = "linear-Gaussian"
    return [
        Line(name, "the truth", truth.mean(), standard_error(truth)),
        Line(name, "EM, factor analysis", em.mean(), standard_error(em - truth)),
        Line(name, "VAE, linear", exact.mean(), standard_error(exact - truth), elbo),
    ]


def mixture(rng: np.random.Generator, quick: bool) -> tuple[list[Line], np.ndarray, dict[str, np.ndarray]]:
    """A mixture by EM, and VAEs with a normal prior and with a mixture prior."""
    train, test = mixture_sample(rng, 500 if quick else 2000), mixture_sample(rng, 1000)
    truth = mixture_density(test)
    em = GaussianMixture(4, n_init=3, random_state=0).fit(train)
    scores = em.score_samples(test)
    lines = [
        Line("mixture", "the truth", truth.mean(), standard_error(truth)),
        Line("mixture", "EM, 4 components", scores.mean(), standard_error(scores - truth)),
    ]
    densities = {"EM": np.exp(em.score_samples(grid()))}
    options = {"hidden": (32,), "epochs": 8} if quick else {"hidden": (64, 64), "epochs": 80}
    options |= {"likelihood": "gaussian-per-entry", "latent": 2, "batch_size": 128, "lr": 5e-3}
    priors: dict[str, dict[str, Any]] = {
        "VAE, normal prior": {},
        "VAE, mixture prior": {"prior": "mixture", "components": 4},
    }
    for name, prior in priors.items():
        vae = fit(train, **prior, **options)
        e = vae.log_evidence(test, samples=100 if quick else 1000)
        error = standard_error(e.log_evidence.numpy() - truth)
        lines.append(Line("mixture", name, float(e.log_evidence.mean()), error, float(e.elbo.mean())))
        densities[name] = vae_density(vae, 300 if quick else 3000)
    return lines, train, densities


def pictures(quick: bool) -> tuple[list[Line], dict[str, dict[int, float]]]:
    """Dequantised digits: the best mixture of many sizes, by validation, and a VAE."""
    data = digits(quick)
    options = {"hidden": (32,), "epochs": 6} if quick else {"hidden": (256,), "epochs": 80}
    vae = fit(data, likelihood="gaussian-predicted", latent=16, **options)
    generator = torch.Generator().manual_seed(0)
    parts = [data.values[rows] for rows in (vae.splits.train, vae.splits.validation, vae.splits.test)]
    train, chosen, test = (vae.schema.prepare(x, generator).flatten(1).double().numpy() for x in parts)
    curves: dict[str, dict[int, float]] = {"diag": {}, "full": {}}
    best, best_value = None, -np.inf
    for kind, curve in curves.items():
        for size in (1, 10) if quick else (1, 2, 5, 10, 20, 40, 80) if kind == "diag" else (1, 2, 5, 10):
            em = GaussianMixture(size, covariance_type=kind, reg_covar=1e-2, random_state=0).fit(train)
            curve[size] = em.score(test)
            if em.score(chosen) > best_value:
                best, best_value = em, em.score(chosen)
    scores = best.score_samples(test)
    e = vae.log_evidence(parts[2], samples=100 if quick else 1000)
    values = e.log_evidence.numpy()
    name = f"EM, {best.n_components} components, {best.covariance_type}"
    return [
        Line("digits", name, scores.mean(), standard_error(scores)),
        Line("digits", "VAE", values.mean(), standard_error(values), float(e.elbo.mean())),
    ], curves


def mixture_sample(rng: np.random.Generator, n: int) -> np.ndarray:
    """Four Gaussians in the plane."""
    roots = np.linalg.cholesky(COVARIANCES)
    which = rng.integers(4, size=n)
    return CENTRES[which] + np.einsum("nij,nj->ni", roots[which], rng.normal(size=(n, 2)))


def mixture_density(x: np.ndarray) -> np.ndarray:
    """log p(x) of `mixture_sample`."""
    parts = [stats.multivariate_normal(m, c).pdf(x) for m, c in zip(CENTRES, COVARIANCES, strict=True)]
    return np.log(np.mean(parts, 0))


def grid() -> np.ndarray:
    """Points of the plane, row by row."""
    return np.stack(np.meshgrid(SIDE, SIDE), -1).reshape(-1, 2)


@torch.no_grad()
def vae_density(model: backstory.Model, draws: int) -> np.ndarray:
    """p(x) = E_p(z)[p(x|z)] over the plane, by draws of the prior: right also far from the data."""
    x = torch.from_numpy(grid()).float()
    z = model.prior().sample(draws, torch.Generator().manual_seed(0)).reshape(draws, 2)
    total = torch.zeros(len(x))
    for part in z.split(100):
        total += model.decode(part.unsqueeze(1)).log_prob(x).exp().sum(0)
    return (total / draws).numpy()


def report(r: Result) -> None:
    truths = {line.data: line.log_evidence for line in r.lines if line.model == "the truth"}
    rows = []
    for line in r.lines:
        gap = line.log_evidence - truths[line.data] if line.data in truths else ""
        rows.append([line.data, line.model, line.log_evidence, gap, line.error, line.elbo or ""])
    table(["data", "model", "test log p(x)", "minus the truth", "±", "ELBO"], rows, digits=3)


def draw(r: Result) -> Figure:
    fig = figure(13, 3.2)
    left, right = fig.subfigures(1, 2, width_ratios=(1.45, 1))
    for axes, (name, density) in zip(left.subplots(1, 3), r.densities.items(), strict=True):
        panel(axes, name)
        side = len(SIDE)
        axes.contourf(
            SIDE, SIDE, density.reshape(side, side) ** 0.5, 10, cmap="Oranges" if name == "EM" else "Blues"
        )
        axes.scatter(*r.points[:400].T, s=1.5, color=INK, lw=0, alpha=0.5)
        axes.set(aspect="equal", xticks=[], yticks=[])
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set_visible(False)
    gaps, sizes = right.subplots(1, 2)
    draw_gaps(gaps, r)
    draw_digits(sizes, r)
    return fig


def draw_gaps(axes: Axes, r: Result) -> None:
    """How far below the truth each model is."""
    panel(axes, "Below the truth", "nats")
    lines = [line for line in r.lines if line.data != "digits" and line.model != "the truth"]
    for row, line in enumerate(lines):
        colour = ORANGE if line.model.startswith("EM") else BLUE
        gap = r.value(line.data, "the truth") - line.log_evidence
        axes.barh(row, gap, 0.6, color=colour, xerr=line.error, ecolor=GREY)
    axes.set_yticks(range(len(lines)), [line.model.replace(", ", ",\n") for line in lines])
    axes.invert_yaxis()


def draw_digits(axes: Axes, r: Result) -> None:
    """Mixtures of all sizes against one VAE."""
    panel(axes, "Digits", "components", "test log p(x), nats")
    for (kind, curve), style in zip(r.components.items(), ("o-", "s--"), strict=True):
        axes.plot(list(curve), list(curve.values()), style, ms=3.5, color=ORANGE, label=f"EM, {kind}")
    axes.axhline(r.value("digits", "VAE"), color=BLUE, lw=2, label="VAE")
    axes.set_xscale("log")
    axes.set_xticks([1, 10, 80], ["1", "10", "80"])
    axes.minorticks_off()
    legend(axes, loc="lower right", fontsize=8)


if __name__ == "__main__":
    main(measure, report, draw)
