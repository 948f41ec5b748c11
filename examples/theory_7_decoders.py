"""Cross-entropy and squared error are log-likelihoods, up to constants that are stated here.

    Bernoulli   log p(x|z) = −cross-entropy                                         constant 0
    Gaussian    log p(x|z) = −‖x − m(z)‖² / (2σ²) − D log σ − (D/2) log 2π          D entries

With a fixed σ, the squared error has the weight 1/(2σ²) relative to the KL: σ acts as β does. If σ² is
learned by maximum likelihood, it is the mean squared error, and nobody has to choose the weight.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
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

import backstory

SIGMAS = (0.04, 0.08, 0.14, 0.25, 0.5)  # fractions of the full range
SHOWN = 7


@dataclass(frozen=True)
class Fit:
    """A trained Gaussian decoder on held-out rows; nats, σ and root mean squared error as fractions."""

    sigma: float
    elbo: float
    reconstruction: float
    kl: float
    rmse: float
    draws: np.ndarray


@dataclass(frozen=True)
class Result:
    identities: list[tuple[str, float, float, float]]
    fixed: list[Fit]
    learned: Fit


def measure(quick: bool = False) -> Result:
    data = digits(quick)
    options = {"hidden": (32,), "epochs": 3} if quick else {"hidden": (128,), "epochs": 40, "lr": 5e-3}
    sigmas = SIGMAS[1::2] if quick else SIGMAS
    fixed = [train(data, likelihood="gaussian-fixed", sigma=s, **options) for s in sigmas]
    learned = train(data, likelihood="gaussian", **options)
    return Result(identities(data, options), fixed, learned)


def identities(data: backstory.Dataset, options: dict) -> list[tuple[str, float, float, float]]:
    """Mean log-likelihood, the familiar loss, and the largest error of the formula over rows."""
    rows, generator = held_out_values(data), torch.Generator().manual_seed(0)
    options = {**options, "latent": 8, "epochs": 2}
    lines = []
    for likelihood in ("bernoulli", "gaussian"):
        model = fit(data, likelihood=likelihood, **options)
        x = model.schema.prepare(rows, generator)
        with torch.no_grad():
            p = model.vae.decode(model.vae.encode(x).mean)
            log_p = p.log_prob(x).double()
            if likelihood == "bernoulli":
                loss = F.binary_cross_entropy_with_logits(p.logits, x, reduction="none").flatten(1).sum(1)
                formula = -loss
            else:
                loss = F.mse_loss(p.mean, x, reduction="none").flatten(1).sum(1)
                d, sigma = x[0].numel(), float(p.log_std.exp())
                formula = -loss / (2 * sigma**2) - d * np.log(sigma) - d / 2 * np.log(2 * np.pi)
        name = "cross-entropy" if likelihood == "bernoulli" else "squared error"
        lines.append((name, float(loss.mean()), float(log_p.mean()), float((log_p - formula).abs().max())))
    return lines


def train(data: backstory.Dataset, **options) -> Fit:
    """A Gaussian decoder, measured on held-out rows with 50 draws each."""
    model = fit(data, latent=8, **options)
    top, rows = data.schema.maximum, held_out_values(data)
    terms = model.terms(rows, samples=50, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x = model.schema.prepare(rows, torch.Generator().manual_seed(0))
        p = model.vae.decode(terms.z)
        rmse = float((p.mean - x).square().mean().sqrt()) / top
        reconstruction, kl = float(terms.log_likelihood.mean()), float(terms.kl.mean())
    sigma = float(p.log_std.exp()) / top
    return Fit(sigma, reconstruction - kl, reconstruction, kl, rmse, model.sample(SHOWN, mean=True, seed=1))


def report(r: Result) -> None:
    table(["loss", "mean loss", "mean log p(x|z)", "error of the formula"], r.identities, digits=3)
    rows = [["learned" if f is r.learned else "fixed", *numbers(f)] for f in [*r.fixed, r.learned]]
    table(["σ", "σ / range", "ELBO", "reconstruction", "KL", "root mean squared error"], rows, digits=3)


def numbers(f: Fit) -> list[float]:
    """Print a line of the table."""
    return [f.sigma, f.elbo, f.reconstruction, f.kl, f.rmse]


def draw(r: Result) -> Figure:
    fig = figure(12, 3.4)
    left, middle, right = fig.subfigures(1, 3, width_ratios=(1, 0.9, 1))
    sigma = [f.sigma for f in r.fixed]
    axes = panel(
        left.subplots(), "σ fixed against learned", "σ of the decoder, fraction of the range", "nats"
    )
    axes.plot(sigma, [f.elbo for f in r.fixed], "o-", color=INK, lw=2, ms=4, label="test ELBO, σ fixed")
    axes.scatter(
        [r.learned.sigma], [r.learned.elbo], marker="*", s=200, color=ORANGE, zorder=3, label="σ learned"
    )
    low = np.sort([f.elbo for f in r.fixed])
    axes.set_ylim(max(low[0], low[-1] - 250) - 10, low[-1] + 15)
    axes.set_xscale("log")
    legend(axes, loc="lower right")
    axes = panel(middle.subplots(), "What σ buys", "σ of the decoder", "KL, nats")
    axes.plot(sigma, [f.kl for f in r.fixed], "o-", color=BLUE, lw=2, ms=4)
    axes.scatter([r.learned.sigma], [r.learned.kl], marker="*", s=200, color=ORANGE, zorder=3)
    axes.set_xscale("log")
    axes.set_ylim(0, None)
    for a, ticks in ((axes, SIGMAS), (left.axes[0], SIGMAS)):
        a.set_xticks(ticks, [f"{t:g}" for t in ticks])
        a.minorticks_off()
    pictures(right, [r.fixed[0], r.fixed[1], r.learned, r.fixed[-1]])
    return fig


def pictures(fig: SubFigure, fits: list[Fit]) -> None:
    """Decoded draws of the prior, as means, to show the effect of σ on them."""
    axes = fig.subplots()
    axes.set_axis_off()
    axes.set_title("E[x|z], z ~ p(z)", loc="left", fontsize=11, color=INK, fontweight="bold", pad=8)
    strips = [np.concatenate(list(np.pad(f.draws, ((0, 0), (1, 1), (0, 1)))), 1) for f in fits]
    axes.imshow(np.concatenate(strips), cmap="gray_r", vmin=0, vmax=16)
    for row, f in enumerate(fits):
        axes.text(-2, 10 * row + 4.5, f"σ = {f.sigma:.2f}", ha="right", va="center", fontsize=10, color=INK)


if __name__ == "__main__":
    main(measure, report, draw)
