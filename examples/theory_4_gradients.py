"""Gradients through a sample: the score function against reparameterisation.

    score function       ∇ E_q[r] = E_q[r ∇ log q(z|x)]            any z; uses the value of r alone
    … with a baseline    ∇ E_q[r] = E_q[(r − b) ∇ log q(z|x)]      the same mean, as E_q[∇ log q] = 0
    reparameterisation   ∇ E_q[r] = E_ε[∇ r(μ + σε)]               uses the slope of r

All three estimate the same gradient of the ELBO with respect to the encoder. The experiment measures their
variance (summed over the encoder's weights, for one draw per row and a fixed batch) at points along a
training run, and then trains a model with each.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from common import BLUE, GREY, INK, ORANGE, Figure, digits, figure, legend, main, panel, table, trainer
from torch import Tensor

from backstory.models.vae import VAE, Terms
from backstory.objectives.registry import OBJECTIVES

Estimator = Callable[[Terms], Tensor]


def plain_score(terms: Terms) -> Tensor:
    """The textbook's first estimator, without a baseline; its gradient is that of E_q[log p(x|z)] − KL."""
    reward = terms.log_likelihood.detach()
    return (reward * terms.posterior.log_prob(terms.z.detach())).mean(0) - terms.kl


ESTIMATORS: dict[str, Estimator] = {
    "score function": plain_score,
    "score function, baseline": OBJECTIVES["score"],
    "reparameterisation": OBJECTIVES["elbo"],
}
COLOURS = dict(zip(ESTIMATORS, (GREY, ORANGE, BLUE), strict=True))
TRAINED = {"score function, baseline": "score", "reparameterisation": "elbo"}


@dataclass(frozen=True)
class Result:
    epochs: list[int]
    variance: dict[str, list[float]]
    squared_norm: list[float]
    agreement: dict[str, float]
    curves: dict[str, list[float]]


def measure(quick: bool = False) -> Result:
    data = digits(quick)
    epochs, repeats, batch = (4, 20, 16) if quick else (40, 150, 64)
    looks = sorted({0, *np.geomspace(1, epochs, 3 if quick else 7).round().astype(int).tolist()})
    model = {"likelihood": "bernoulli", "latent": 8, "hidden": (32,) if quick else (64,)}
    training = {"epochs": epochs, "warmup": 0}
    run = trainer(data, model, training)
    x = run.schema.prepare(run.validation.values[:batch], torch.Generator().manual_seed(0))
    variance: dict[str, list[float]] = {name: [] for name in ESTIMATORS}
    norms: list[float] = []
    agreement: dict[str, float] = {}

    def look() -> None:
        gradients = {name: encoder_gradients(run.vae, x, f, repeats) for name, f in ESTIMATORS.items()}
        for name, g in gradients.items():
            variance[name].append(float(g.var(0).sum()))
        reference = encoder_gradients(
            run.vae, x, ESTIMATORS["reparameterisation"], 4, samples=100, seed=1
        ).mean(0)
        norms.append(float(reference.square().sum()))
        agreement.update({name: z_score(g, reference) for name, g in gradients.items()})

    look()
    curves = {"reparameterisation": follow(run, lambda epoch: look() if epoch in looks else None)}
    slow = trainer(data, model, {**training, "objective": "score"})
    curves["score function, baseline"] = follow(slow)
    return Result(looks, variance, norms, agreement, curves)


def follow(run, at_epoch: Callable[[int], None] = lambda epoch: None) -> list[float]:
    """Train; the validation ELBO of each epoch."""
    values: list[float] = []

    def on_epoch(metrics: dict) -> None:
        values.append(metrics["validation_elbo"])
        at_epoch(metrics["epoch"])

    run.run(on_epoch)
    return values


def encoder_gradients(
    vae: VAE, x: Tensor, objective: Estimator, repeats: int, samples: int = 1, seed: int = 0
) -> Tensor:
    """The gradient of the batch mean, once for each draw of the noise, (repeats, weights)."""
    generator, parameters = torch.Generator().manual_seed(seed), list(vae.encoder.parameters())
    rows = []
    for _ in range(repeats):
        value = objective(vae.terms(x, samples=samples, generator=generator)).mean()
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, parameters)]))
    return torch.stack(rows)


def z_score(gradients: Tensor, reference: Tensor) -> float:
    """How far the mean lies from the reference along its direction, in standard errors: ±3 without a bias."""
    u = reference / reference.norm()
    projected = gradients @ u
    return float((projected.mean() - reference @ u) / (projected.std() / len(gradients) ** 0.5))


def report(r: Result) -> None:
    best = r.variance["reparameterisation"]
    header = ["epoch", "‖∇‖²", *ESTIMATORS, "ratio", "ratio, baseline"]
    rows = []
    for i, epoch in enumerate(r.epochs):
        values = [r.variance[name][i] for name in ESTIMATORS]
        rows.append([epoch, r.squared_norm[i], *values, values[0] / best[i], values[1] / best[i]])
    print("\nvariance of the encoder's gradient")
    table(header, rows, digits=3)
    for name, z in r.agreement.items():
        print(f"{name}: mean differs from the reference, of 400 draws, by {z:+.1f} standard errors")
    for name, curve in r.curves.items():
        print(f"validation ELBO after {len(curve)} epochs by {name}: {curve[-1]:.2f}")


def draw(r: Result) -> Figure:
    fig = figure(11, 3.8)
    left, right = fig.subplots(1, 2)
    panel(left, "Variance of the encoder's gradient, one draw", "epoch", "sum over the weights, nats²")
    for name, values in r.variance.items():
        left.plot(r.epochs, values, "o-", ms=4, lw=2, color=COLOURS[name], label=name)
    left.plot(r.epochs, r.squared_norm, ":", color=INK, lw=1.4, label="squared length of the gradient")
    left.set_yscale("log")
    left.set(ylim=(0.05, 3e6), xlim=(-0.2, 1.2 * r.epochs[-1]))
    left.set_xscale("symlog", linthresh=1, linscale=0.4)
    left.set_xticks(r.epochs, [str(e) for e in r.epochs])
    left.minorticks_off()
    legend(left)
    panel(right, "What it does to training", "epoch", "validation ELBO, nats")
    for name, curve in r.curves.items():
        right.plot(range(1, len(curve) + 1), curve, color=COLOURS[name], lw=2, label=name)
    legend(right, loc="lower right")
    return fig


if __name__ == "__main__":
    main(measure, report, draw)
