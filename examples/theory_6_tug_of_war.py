"""The tug-of-war: reconstruction is best for codes without noise, the KL is least for nothing but noise.

While the decoder is poor, a nat of KL gains much reconstruction, and the noise σ(x) of the code falls. Once
it is good, the last nats gain little, the KL falls, and σ(x) rises, first in units that are given up. The
decoder's own σ sets the gain of a nat of KL. If it is fixed at a small value, and there are units to give up,
the turn is clear. If it is learned, it falls along with the error, and a nat of KL gains more.
"""

from dataclasses import dataclass

import numpy as np
import torch
from common import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    Figure,
    digits,
    figure,
    legend,
    main,
    panel,
    table,
    trainer,
)
from matplotlib.axes import Axes

import backstory

LIKELIHOODS = {
    "σ fixed": {"likelihood": "gaussian-fixed", "sigma": 0.1},
    "σ learned": {"likelihood": "gaussian"},
}


@dataclass(frozen=True)
class Run:
    """A number per epoch, on validation rows: nats, widths of q(z|x), the decoder's σ, error / range."""

    epoch: np.ndarray
    reconstruction: np.ndarray
    kl: np.ndarray
    width: np.ndarray
    units: np.ndarray
    sigma: np.ndarray
    error: np.ndarray


def measure(quick: bool = False) -> dict[str, Run]:
    data = digits(quick)
    return {name: run(data, likelihood, quick) for name, likelihood in LIKELIHOODS.items()}


def run(data: backstory.Dataset, likelihood: dict, quick: bool) -> Run:
    """Train without a warm-up of β, and measure after every epoch."""
    model = {**likelihood, "latent": 64, "hidden": (64,) if quick else (128,)}
    training = {"epochs": 20 if quick else 80, "warmup": 0}
    t = trainer(data, model, training)
    x = t.schema.prepare(t.validation.values, torch.Generator().manual_seed(0))
    looks = [look(t.vae, x, 0)]
    t.run(lambda metrics: looks.append(look(t.vae, x, metrics["epoch"])))
    return Run(*(np.array(column) for column in zip(*looks, strict=True)))


@torch.no_grad()
def look(vae: backstory.VAE, x: torch.Tensor, epoch: int) -> tuple:
    """The numbers of `Run` at the current weights."""
    vae.eval()
    terms = vae.terms(x, samples=20, generator=torch.Generator().manual_seed(0))
    p = vae.decode(terms.z)
    units = terms.posterior.std.mean(0)
    return (
        epoch,
        float(terms.log_likelihood.mean()),
        float(terms.kl.mean()),
        float(units.mean()),
        units.numpy(),
        float(p.std.mean()) / 16,
        float((p.mean - x).square().mean().sqrt()) / 16,
    )


def turn(r: Run) -> int:
    """The measurement at which σ(x) is smallest."""
    return int(r.width.argmin())


def report(results: dict[str, Run]) -> None:
    rows = []
    for name, r in results.items():
        for i in sorted({0, 1, 5, turn(r), len(r.epoch) - 1} & set(range(len(r.epoch)))):
            mark = f"{int(r.epoch[i])}{' (turn)' if i == turn(r) else ''}"
            rows.append([name, mark, r.reconstruction[i], r.kl[i], r.width[i], r.error[i], r.sigma[i]])
    table(["decoder", "epoch", "E log p(x|z)", "KL", "σ(x)", "error", "σ of p(x|z)"], rows, digits=3)


def draw(results: dict[str, Run]) -> Figure:
    fig = figure(12, 5.8)
    for row, (name, r) in zip(fig.subplots(2, 3), results.items(), strict=True):
        draw_terms(row[0], f"Decoder's {name}", r)
        draw_width(row[1], r)
        draw_decoder(row[2], r)
    return fig


def draw_terms(axes: Axes, title: str, r: Run) -> None:
    """Reconstruction and KL, on scales of their own."""
    panel(axes, title, "epoch", "−E log p(x|z), nats")
    axes.plot(r.epoch[1:], -r.reconstruction[1:], color=BLUE, lw=2, label="−reconstruction (left)")
    twin = axes.twinx()
    twin.plot(r.epoch[1:], r.kl[1:], color=ORANGE, lw=2, label="KL (right)")
    twin.spines[:].set_visible(False)
    twin.tick_params(colors=ORANGE, length=0, labelsize=9)
    twin.set_ylim(0, None)
    legend(axes, handles=[*axes.get_lines(), *twin.get_lines()], loc="center right")


def draw_width(axes: Axes, r: Run) -> None:
    """The mean of σ(x) over units, and some of the units."""
    panel(axes, "Noise of the code", "epoch", "σ(x) of q(z|x)")
    axes.plot(r.epoch, r.units[:, ::3], color=PURPLE, lw=0.6, alpha=0.35)
    axes.plot(r.epoch, r.width, color=PURPLE, lw=2.6, label="mean over the units")
    i = turn(r)
    axes.plot(
        r.epoch[i], r.width[i], "o", color=INK, ms=6, label=f"least, {r.width[i]:.2f}: epoch {r.epoch[i]}"
    )
    axes.set_ylim(0, 1.25)
    legend(axes, loc="lower right")


def draw_decoder(axes: Axes, r: Run) -> None:
    """The decoder's error, and its own σ."""
    panel(axes, "Noise of the decoder", "epoch", "fraction of the range")
    axes.plot(r.epoch[1:], r.error[1:], color=GREEN, lw=2, label="root mean squared error")
    axes.plot(r.epoch[1:], r.sigma[1:], color=INK, lw=1.6, ls="--", label="σ of p(x|z)")
    axes.set_ylim(0, 0.42)
    legend(axes)


if __name__ == "__main__":
    main(measure, report, draw)
