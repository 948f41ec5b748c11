"""p(z) and p(x|z) are Gaussian, but p(x) = ∫ p(x|z) p(z) dz need not be.

With an affine decoder, x = Wz + b + σε is Gaussian. With a non-linear decoder every p(x|z) is still Gaussian,
but p(x), a mixture of infinitely many of them, is not. The data is x = (t, t² − 1) + 0.2 ε, t ~ N(0, 1). Two
models are trained on it. Many independent samples are drawn from each, and the second coordinate of each
sample is tested for normality (D'Agostino & Pearson 1973): a test at the 5 % level rejects 5 % of Gaussians.
"""

from dataclasses import dataclass

import numpy as np
import torch
from common import BLUE, GREEN, GREY, INK, ORANGE, Figure, figure, fit, legend, main, panel, table
from scipy import stats

import backstory

SOURCES = {
    "p(x), affine decoder": BLUE,
    "p(x), non-linear decoder": ORANGE,
    "p(x|z), non-linear decoder": GREEN,
}


NOISE = 0.2


@dataclass(frozen=True)
class Result:
    data: np.ndarray
    draws: dict[str, np.ndarray]
    p_values: dict[str, np.ndarray]
    log_evidence: dict[str, float]


def measure(quick: bool = False) -> Result:
    n, samples = (500, 40) if quick else (2000, 200)
    x = bent_data(2 * n)
    train, test = x[:n], x[n:]
    options = {"likelihood": "gaussian-per-entry", "latent": 2}
    small = {"epochs": 20, "batch_size": 32, "lr": 2e-2}
    options |= {"warmup": 0, **(small if quick else {"epochs": 80, "batch_size": 128, "lr": 5e-3})}
    affine = fit(train, network="linear", **options)
    bent = fit(train, network="mlp", hidden=(32,) if quick else (64, 64), **options)
    draws = {
        "p(x), affine decoder": affine.sample(samples * n, seed=0),
        "p(x), non-linear decoder": bent.sample(samples * n, seed=0),
        "p(x|z), non-linear decoder": given_one_code(bent, samples * n),
    }
    p_values = {name: stats.normaltest(d[:, 1].reshape(n, samples)).pvalue for name, d in draws.items()}
    evidence = {
        name: float(model.log_evidence(test[:500], samples=200).log_evidence.mean())
        for name, model in {"affine decoder": affine, "non-linear decoder": bent}.items()
    }
    evidence["the data's own"] = float(true_log_density(test[:500]).mean())
    return Result(train, draws, p_values, evidence)


def bent_data(n: int) -> np.ndarray:
    """Observations that a decoder m(z) = (z, z² − 1) with σ = 0.2 would draw."""
    rng = np.random.default_rng(0)
    t = rng.normal(size=n)
    return (np.stack([t, t**2 - 1], 1) + NOISE * rng.normal(size=(n, 2))).astype(np.float32)


def true_log_density(x: np.ndarray) -> np.ndarray:
    """log ∫ p(x|t) p(t) dt, by the trapezoidal rule."""
    t = np.linspace(-6, 6, 4001)
    log_p = stats.norm.logpdf(t) + stats.norm.logpdf(x[:, :1], t, NOISE)
    log_p += stats.norm.logpdf(x[:, 1:], t**2 - 1, NOISE)
    return np.log(np.exp(log_p).sum(1) * (t[1] - t[0]))


def given_one_code(model: backstory.Model, n: int) -> np.ndarray:
    """Draws of p(x|z) at one z."""
    z = torch.tensor([[0.8, 0.8]]).expand(n, 2)
    return model.decode(z).sample(torch.Generator().manual_seed(0)).numpy()


def report(r: Result) -> None:
    rows = [
        [name, f"{(p < 0.05).mean():.0%}", f"{np.median(p):.1e}", stats.kurtosis(r.draws[name][:, 1])]
        for name, p in r.p_values.items()
    ]
    table(["draws of", "samples rejected", "median p-value", "excess kurtosis of x₂"], rows)
    for name, value in r.log_evidence.items():
        print(f"test log p(x), {name}: {value:.2f} nats")


def draw(r: Result) -> Figure:
    fig = figure(12, 3.3)
    first, second, third, fourth = fig.subplots(1, 4, width_ratios=(1, 1, 1, 1.1))
    scatter = {"s": 2, "lw": 0, "alpha": 0.55}
    titles = {"data": r.data, "affine decoder": r.draws["p(x), affine decoder"]}
    titles["non-linear decoder"] = r.draws["p(x), non-linear decoder"]
    for axes, (name, x), colour in zip(
        (first, second, third), titles.items(), (GREY, BLUE, ORANGE), strict=True
    ):
        panel(axes, "Data" if name == "data" else f"p(x), {name}", "$x_1$", "$x_2$")
        axes.scatter(*x[:1500].T, color=colour, **scatter)
        axes.set(xlim=(-3.6, 3.6), ylim=(-4.5, 6.5))
    one = r.draws["p(x|z), non-linear decoder"]
    third.scatter(*one[:400].T, color=GREEN, label="p(x|z) at one z", **{**scatter, "s": 4})
    legend(third, loc="upper right", markerscale=3)
    panel(fourth, "A line is a Gaussian", "normal quantile", "standardised $x_2$")
    for name, colour in SOURCES.items():
        x = r.draws[name][:4000, 1]
        q, y = stats.probplot((x - x.mean()) / x.std(), fit=False)
        fourth.plot(q, y, color=colour, lw=2, label=name.removesuffix(" decoder"))
    fourth.plot([-3.5, 3.5], [-3.5, 3.5], color=INK, lw=0.8, ls=":")
    legend(fourth, loc="upper left", fontsize=8)
    fourth.set_ylim(-4, 6)
    return fig


if __name__ == "__main__":
    main(measure, report, draw)
