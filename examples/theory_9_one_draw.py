"""One draw of z for each observation and step is enough.

A gradient's variance has a part from the draws and a part from the choice of the rows. Averaging L draws
divides the first part by L. The second part stays, and each step takes longer, so there are fewer steps in
the same time. The experiment trains on digits with L = 1, 5, 25, for equal epochs and for equal time, that of
L = 25.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch
from common import (
    BLUE,
    FAINT,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    Figure,
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
from backstory.objectives.bounds import elbo

DRAWS = (1, 5, 25)


@dataclass(frozen=True)
class Trained:
    """A run: L, test ELBO in nats, and its cost."""

    draws: int
    elbo: float
    seconds: float
    epochs: int


@dataclass(frozen=True)
class Result:
    epochs: list[Trained]
    time: list[Trained]
    variance: dict[int, float]
    from_rows: float
    widths: np.ndarray
    kl_per_unit: np.ndarray


def measure(quick: bool = False) -> Result:
    data = digits(quick)
    epochs, seeds = (2, 1) if quick else (20, 2)
    options = {"likelihood": "gaussian", "latent": 8, "hidden": (32,) if quick else (128,), "warmup": 0}
    fit(data, **options, epochs=1)  # the first run in a process is slower than others
    equal_epochs, equal_time = [], []
    for seed in range(seeds):
        models, runs = zip(*(train(data, draws, seed, epochs, options) for draws in DRAWS), strict=True)
        equal_epochs += runs
        longer = [round(epochs * runs[-1].seconds / run.seconds) for run in runs[:-1]]
        pairs = zip(DRAWS, longer, strict=False)
        equal_time += [*(train(data, draws, seed, more, options)[1] for draws, more in pairs), runs[-1]]
    model, repeats = models[0], 10 if quick else 300
    variance = {draws: gradient_variance(model, data, draws, repeats) for draws in DRAWS}
    # variance(L) = rows + draws / L, from the smallest and the largest L
    first, last = DRAWS[0], DRAWS[-1]
    from_draws = (variance[first] - variance[last]) / (1 / first - 1 / last)
    q = model.encode(held_out_values(data))
    kl = q.kl_per_unit(model.prior()).mean(0).numpy()
    return Result(equal_epochs, equal_time, variance, variance[first] - from_draws, q.std.numpy(), kl)


def train(
    data: backstory.Dataset, draws: int, seed: int, epochs: int, options: dict
) -> tuple[backstory.Model, Trained]:
    """Train with L draws; the ELBO of held-out rows, with 200 draws each. Seconds are of the processor."""
    started = time.process_time()
    model = fit(data, samples=draws, seed=seed, epochs=epochs, **options)
    seconds = time.process_time() - started
    with torch.no_grad():
        terms = model.terms(held_out_values(data), samples=200, generator=torch.Generator().manual_seed(0))
    return model, Trained(draws, float(elbo(terms).mean()), seconds, epochs)


def gradient_variance(model: backstory.Model, data: backstory.Dataset, draws: int, repeats: int) -> float:
    """Variance of the ELBO's gradient over batches of 64 random rows and their draws, summed over weights."""
    generator, gradients = torch.Generator().manual_seed(0), []
    rows, parameters = torch.from_numpy(data.values[model.splits.train]), list(model.vae.parameters())
    for _ in range(repeats):
        batch = rows[torch.randperm(len(rows), generator=generator)[:64]]
        value = elbo(model.terms(batch, samples=draws, generator=generator)).mean()
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, parameters)]))
    return float(torch.stack(gradients).var(0).sum())


def report(r: Result) -> None:
    for name, runs in (("equal epochs", r.epochs), ("equal time", r.time)):
        rows = []
        for draws in DRAWS:
            mine = [run for run in runs if run.draws == draws]
            values = np.array([run.elbo for run in mine])
            spread, seconds = float(np.ptp(values)), float(np.mean([run.seconds for run in mine]))
            rows.append([draws, float(values.mean()), spread, seconds, np.mean([run.epochs for run in mine])])
        print(f"\n{name}")
        table(["L", "test ELBO", "range over seeds", "seconds", "epochs"], rows)
    print("\nvariance of the gradient at the end of training")
    table(
        ["L", "total", "share of the choice of rows"],
        [[d, v, r.from_rows / v] for d, v in r.variance.items()],
    )
    used = r.kl_per_unit > 0.1
    width = np.median(r.widths[:, used])
    print(f"\nmedian width of q(z|x): {width:.2f} in the {used.sum()} units with KL > 0.1 nats")


def draw(r: Result) -> Figure:
    fig = figure(12, 3.5)
    left, middle, right = fig.subplots(1, 3)
    panel(left, "Test ELBO", "draws L of each observation and step", "nats")
    for runs, colour, name, shift in (
        (r.epochs, BLUE, "equal epochs", 0.94),
        (r.time, ORANGE, "equal time", 1.06),
    ):
        left.scatter(
            [run.draws * shift for run in runs], [run.elbo for run in runs], s=30, color=colour, label=name
        )
        means = [np.mean([run.elbo for run in runs if run.draws == draws]) for draws in DRAWS]
        left.plot([d * shift for d in DRAWS], means, color=colour, lw=1.6)
    left.set_xscale("log")
    legend(left, loc="center left")
    panel(middle, "Variance of the gradient", "draws L", "variance over steps, nats²")
    names, totals = [str(d) for d in DRAWS], list(r.variance.values())
    middle.bar(names, [r.from_rows] * len(DRAWS), color=GREY, width=0.6, label="the choice of rows")
    rest = [max(0.0, v - r.from_rows) for v in totals]
    middle.bar(names, rest, bottom=r.from_rows, color=ORANGE, width=0.6, label="the draws of z")
    middle.grid(False, axis="x")
    middle.set_ylim(0, 1.45 * max(totals))
    legend(middle)
    panel(right, "Width of q(z|x)", "σ(x), the prior's is 1", "share of test rows and units")
    order = np.argsort(-r.kl_per_unit)
    bins = np.linspace(0, 1.2, 49)
    weights = np.full(r.widths.shape, 1 / r.widths.size)
    right.hist(
        list(r.widths[:, order].T), bins, weights=list(weights.T), stacked=True, color=shades(len(order))
    )
    right.set_ylim(0, 0.2)
    right.axvline(1, color=INK, lw=1, ls=":")
    right.text(
        0.03,
        0.97,
        "a shade for each unit,\ndarkest: the most KL",
        transform=right.transAxes,
        va="top",
        fontsize=9,
        color=INK,
    )
    left.set_xticks(DRAWS, [str(draws) for draws in DRAWS])
    left.minorticks_off()
    return fig


def shades(count: int) -> list[tuple[float, float, float]]:
    """From PURPLE to FAINT."""
    ends = [np.array([int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)]) for c in (PURPLE, FAINT)]
    return [tuple(ends[0] + t * (ends[1] - ends[0])) for t in np.linspace(0, 1, count)]


if __name__ == "__main__":
    main(measure, report, draw)
