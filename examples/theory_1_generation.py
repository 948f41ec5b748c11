"""Ancestral generation: z ~ p(z), then x ~ p(x|z).

A plain autoencoder has no distribution of its codes, so draws of N(0, I) decode badly; a VAE is trained for
them. A density fitted to the codes afterwards repairs the autoencoder.

Draws are compared with held-out digits, in pixels: by the Fréchet distance of their first two moments, and by
a two-sample test, the accuracy of telling them from digits by the nearest neighbour (½: they cannot be told
apart; 1: every draw is recognised).
"""

from dataclasses import dataclass

import numpy as np
import torch
from common import (
    BLUE,
    INK,
    ORANGE,
    Figure,
    SubFigure,
    digits,
    figure,
    fit,
    held_out_values,
    legend,
    main,
    panel,
    table,
)
from scipy.linalg import sqrtm
from sklearn.neighbors import NearestNeighbors

import backstory
from backstory.inference import generate
from backstory.models.priors import StandardNormal

SHOWN = 10


@dataclass(frozen=True)
class Result:
    draws: dict[str, np.ndarray]
    frechet: dict[str, float]
    accuracy: dict[str, float]
    codes: dict[str, np.ndarray]


def measure(quick: bool = False) -> Result:
    data = digits(quick)
    held_out = held_out_values(data)
    train = np.delete(data.values, data.test_rows, 0)
    options = {"latent": 8, "hidden": (32,) if quick else (128, 128), "epochs": 15 if quick else 60}
    ae = fit(data, posterior="delta", **options)
    vae = fit(data, **options)
    n = len(held_out)
    some = np.random.default_rng(0).permutation(len(train))[:n]  # rows are in the order of their writers
    draws = {"digits, other rows": train[some], "autoencoder, z ~ N(0, I)": standard_normal_draws(ae, n)}
    codes = {"autoencoder": ae.encode(train).mean.numpy(), "VAE": vae.encode(train).sample()[0].numpy()}
    draws["VAE, z ~ p(z) = N(0, I)"] = vae.sample(n, seed=0)
    draws["autoencoder, one Gaussian"] = ae.fit_prior(train, components=1).sample(n, seed=0)
    draws["autoencoder, fitted p(z)"] = ae.fit_prior(train, components=30).sample(n, seed=0)
    draws["VAE, fitted p(z)"] = vae.fit_prior(train, components=30).sample(n, seed=0)
    return Result(
        draws,
        {name: frechet(held_out, x) for name, x in draws.items()},
        {name: two_sample_accuracy(held_out, x) for name, x in draws.items()},
        codes,
    )


def standard_normal_draws(model: backstory.Model, n: int) -> np.ndarray:
    """Decoded draws of N(0, I), which `Model.sample` refuses for a plain autoencoder."""
    generator = torch.Generator().manual_seed(0)
    z = StandardNormal(model.options.latent)().sample(n, generator)
    with torch.no_grad():
        return model.schema.restore(model.decode(z).sample(generator))


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """|μ_a − μ_b|² + tr(C_a + C_b − 2 (C_a C_b)^½), of pixels as fractions of the full range."""
    a, b = (x.reshape(len(x), -1) / 16 for x in (a, b))
    ca, cb = np.cov(a.T), np.cov(b.T)
    root = sqrtm(ca @ cb + 1e-10 * np.eye(len(ca))).real
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(ca + cb - 2 * root))


def two_sample_accuracy(a: np.ndarray, b: np.ndarray) -> float:
    """How often the nearest other observation is of the same kind (Lopez-Paz & Oquab 2017, with 1-NN)."""
    x = np.concatenate([a, b]).reshape(len(a) + len(b), -1).astype(float)
    kind = np.arange(len(x)) < len(a)
    nearest = NearestNeighbors(n_neighbors=2).fit(x).kneighbors(x, return_distance=False)[:, 1]
    return float((kind[nearest] == kind).mean())


def report(r: Result) -> None:
    rows = [[name, r.frechet[name], r.accuracy[name]] for name in r.draws]
    table(["draws", "Fréchet distance", "told apart"], rows)
    for name, codes in r.codes.items():
        std = codes.std(0)
        print(f"codes of the {name}: standard deviation of a unit {std.min():.2f} to {std.max():.2f}")
    print(f"generate.sample for an autoencoder: {refusal()}")


def refusal() -> str:
    """The package's message when an autoencoder is asked for samples."""
    try:
        generate.sample(fit(np.eye(8), posterior="delta", epochs=1, latent=2, validation=0).vae, 1)
    except backstory.InputError as error:
        return str(error)
    return "nothing"


def draw(r: Result) -> Figure:
    fig = figure(13, 3.7)
    left, right = fig.subfigures(1, 2, width_ratios=(1.5, 1))
    draw_pictures(left, r)
    draw_codes(right, r.codes)
    return fig


def draw_pictures(fig: SubFigure, r: Result) -> None:
    """Draw a strip of draws with its two numbers for each source."""
    axes = fig.subplots()
    axes.set_axis_off()
    strips = [np.pad(x[:SHOWN].astype(float), ((0, 0), (1, 1), (0, 2))) for x in r.draws.values()]
    axes.imshow(np.concatenate([np.concatenate(list(s), 1) for s in strips]), cmap="gray_r", vmin=0, vmax=16)
    text = {"va": "center", "fontsize": 9.5, "color": INK}
    axes.text(105, -2, "Fréchet", ha="right", weight="bold", **text)
    axes.text(121, -2, "told apart", ha="right", weight="bold", **text)
    for row, name in enumerate(r.draws):
        y = 10 * row + 4.5
        axes.text(-2, y, name.replace(", ", "\n", 1), ha="right", **text)
        axes.text(105, y, f"{r.frechet[name]:.2f}", ha="right", **text)
        axes.text(121, y, f"{100 * r.accuracy[name]:.0f} %", ha="right", **text)
    axes.set_xlim(-1, 122)
    axes.set_ylim(10 * len(r.draws), -4)


def draw_codes(fig: SubFigure, codes: dict[str, np.ndarray]) -> None:
    """Draw the two units that vary most, against the prior."""
    circle = np.exp(1j * np.linspace(0, 2 * np.pi, 100))
    pairs = zip(fig.subplots(1, 2, sharex=True, sharey=True), codes.items(), (ORANGE, BLUE), strict=True)
    for axes, (name, z), colour in pairs:
        i, j = np.argsort(-z.var(0))[:2]
        panel(axes, f"Codes of the {name}", f"$z_{{{i}}}$", f"$z_{{{j}}}$")
        axes.scatter(z[:, i], z[:, j], s=3, color=colour, lw=0, alpha=0.7)
        axes.plot(2 * circle.real, 2 * circle.imag, color=INK, lw=1.2, label="N(0, I), 2σ")
        axes.set_aspect("equal")
        axes.set(xlim=(-8.5, 8.5), ylim=(-8.5, 8.5))
        legend(axes, loc="lower right")


if __name__ == "__main__":
    main(measure, report, draw)
