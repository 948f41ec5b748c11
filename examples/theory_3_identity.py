"""log p(x) = ELBO + KL(q(z|x) ‖ p(z|x)), exactly, on the linear-Gaussian model.

In this model p(x), p(z|x) and the ELBO have closed forms: log p(x|z) is quadratic in z, and the mean of a
quadratic under a diagonal Gaussian in D units is its mean over the 2D points μ ± √D σ_d e_d. With these
points as draws, the package's own ELBO has no Monte Carlo error.

The joint derivation: with the data's own density d(x),

    KL(d(x) q(z|x) ‖ p(x, z))  =  −H(d) − E_d[ELBO(x)]

so minimising the left side maximises the ELBO, because H(d) depends on no parameter.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from common import BLUE, INK, ORANGE, PURPLE, Figure, figure, legend, main, panel, table, trainer
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

import backstory
from backstory.inference.linear_gaussian import LinearGaussian
from backstory.models.vae import VAE
from backstory.objectives.bounds import elbo

ENTRIES, UNITS = 6, 2


@dataclass(frozen=True)
class Truth:
    """d(x) = N(mean, covariance), the density of the data."""

    mean: Tensor
    covariance: Tensor

    @property
    def density(self) -> MultivariateNormal:
        return MultivariateNormal(self.mean, self.covariance)


@dataclass(frozen=True)
class Moment:
    """One epoch: averages over test rows, the largest error of a row, and the two sides of the joint form."""

    epoch: int
    log_evidence: float
    elbo: float
    kl: float
    error: float
    joint_kl: float
    minus_expected_elbo: float


@dataclass(frozen=True)
class Result:
    moments: list[Moment]
    entropy: float


def measure(quick: bool = False) -> Result:
    truth, generator = make_truth(), torch.Generator().manual_seed(1)
    rows = 300 if quick else 1000
    x = truth.mean + torch.randn(2 * rows, ENTRIES, generator=generator).double() @ factor(truth.covariance).T
    train, test = x[:rows].numpy(), x[rows:]
    model = {"network": "linear", "likelihood": "gaussian-per-entry", "latent": UNITS}
    training = {"epochs": 8 if quick else 40, "warmup": 0, "batch_size": 50, "lr": 1e-2}
    run = trainer(backstory.load(train), model, training, validation=0)
    hold_posterior_width(run.vae)
    moments = [moment(0, run.vae, truth, test)]
    run.run(lambda metrics: moments.append(moment(metrics["epoch"], run.vae, truth, test)))
    return Result(moments, float(truth.density.entropy()))


def make_truth() -> Truth:
    """A linear-Gaussian d(x) with noise of its own in each entry."""
    rng = np.random.default_rng(0)
    w, noise = rng.normal(size=(ENTRIES, UNITS)), rng.uniform(0.2, 1.0, ENTRIES)
    return Truth(torch.from_numpy(rng.normal(size=ENTRIES)), torch.from_numpy(w @ w.T + np.diag(noise**2)))


def hold_posterior_width(vae: VAE) -> None:
    """Make σ(x) the same for all x, as that of p(z|x) is; then q(x, z) is Gaussian and its KL known."""
    weight = vae.encoder.layers[-1].weight  # rows: means, then log σ
    keep = (torch.arange(len(weight)) < UNITS).unsqueeze(1)
    with torch.no_grad():
        weight.mul_(keep)
    weight.register_hook(lambda gradient: gradient * keep)


def factor(covariance: Tensor) -> Tensor:
    """L with L Lᵀ the covariance."""
    return torch.linalg.cholesky(covariance)


def moment(epoch: int, trained: VAE, truth: Truth, x: Tensor) -> Moment:
    """All quantities at the current weights, in double precision."""
    vae = double(trained)
    exact = LinearGaussian.of(vae)
    log_evidence, bound, kl = exact.log_evidence(x), exact_elbo(vae, x), kl_to_posterior(vae, exact, x)
    return Moment(
        epoch,
        float(log_evidence.mean()),
        float(bound.mean()),
        float(kl.mean()),
        float((log_evidence - bound - kl).abs().max()),
        joint_kl(vae, exact, truth),
        -float(exact_elbo(vae, sigma_points(truth.mean, factor(truth.covariance))).mean()),
    )


def double(vae: VAE) -> VAE:
    """A copy in double precision."""
    return copy.deepcopy(vae).double().eval()


@torch.no_grad()
def exact_elbo(vae: VAE, x: Tensor) -> Tensor:
    """`objectives.elbo` of draws that integrate a quadratic without error."""
    q = vae.encode(x)
    noise = sigma_points(torch.zeros(UNITS).double(), torch.eye(UNITS).double())
    return elbo(vae.terms_at(x, q, q.transport(noise.unsqueeze(1))))


def sigma_points(mean: Tensor, root: Tensor) -> Tensor:
    """μ ± √D L e_d, (2D, D), whose mean and covariance are μ and L Lᵀ."""
    step = len(mean) ** 0.5 * root.T
    return torch.cat([mean + step, mean - step])


@torch.no_grad()
def kl_to_posterior(vae: VAE, exact: LinearGaussian, x: Tensor) -> Tensor:
    """KL(q(z|x) ‖ p(z|x)), (N,)."""
    q, p = vae.encode(x), exact.posterior(x)
    return kl_divergence(
        MultivariateNormal(q.mean, torch.diag_embed(q.std.square())),
        MultivariateNormal(p.mean, p.covariance),
    )


@torch.no_grad()
def joint_kl(vae: VAE, exact: LinearGaussian, truth: Truth) -> float:
    """KL(d(x) q(z|x) ‖ p(x, z)), both Gaussian in (x, z): the encoder's mean is affine, its σ constant."""
    origin = vae.encode(torch.zeros(1, ENTRIES).double())
    slope = (vae.encode(torch.eye(ENTRIES).double()).mean - origin.mean).T
    cross = slope @ truth.covariance
    own = cross @ slope.T + torch.diag(origin.std[0].square())
    q = joint(truth.mean, truth.mean @ slope.T + origin.mean[0], truth.covariance, cross, own)
    w, identity = exact.weight, torch.eye(UNITS).double()
    p = joint(exact.bias, torch.zeros(UNITS).double(), exact.covariance, w.T, identity)
    return float(kl_divergence(q, p))


def joint(x: Tensor, z: Tensor, xx: Tensor, zx: Tensor, zz: Tensor) -> MultivariateNormal:
    """A Gaussian of (x, z) from its blocks."""
    return MultivariateNormal(
        torch.cat([x, z]), torch.cat([torch.cat([xx, zx.T], 1), torch.cat([zx, zz], 1)])
    )


def report(r: Result) -> None:
    shown = [m for m in r.moments if m.epoch in (0, 1, 2, 5, 10, 20, len(r.moments) - 1)]
    header = ["epoch", "log p(x)", "ELBO", "KL(q‖p(z|x))", "largest error"]
    table(header, [[m.epoch, m.log_evidence, m.elbo, m.kl, m.error] for m in shown], digits=4)
    print(f"\nentropy of the data's density: {r.entropy:.4f} nats")
    rows = [[m.epoch, m.joint_kl, m.minus_expected_elbo, m.minus_expected_elbo - m.joint_kl] for m in shown]
    table(["epoch", "KL(q(x,z)‖p(x,z))", "−E[ELBO]", "difference"], rows, digits=4)
    error = max(abs(m.minus_expected_elbo - m.joint_kl - r.entropy) for m in r.moments)
    print(f"largest error of the difference as the entropy: {error:.1e}")


def draw(r: Result) -> Figure:
    fig = figure(12, 3.6)
    left, middle, right = fig.subplots(1, 3)
    epochs = [m.epoch for m in r.moments]
    panel(left, "log p(x) = ELBO + KL(q ‖ p(z|x))", "epoch", "nats per observation")
    evidence, bound = [m.log_evidence for m in r.moments], [m.elbo for m in r.moments]
    left.fill_between(epochs, bound, evidence, color=ORANGE, alpha=0.35, lw=0, label="KL(q(z|x) ‖ p(z|x))")
    left.plot(epochs, evidence, color=INK, lw=2, label="log p(x)")
    left.plot(epochs, bound, color=BLUE, lw=2, label="ELBO")
    left.set_ylim(min(bound) - 0.3, evidence[-1] + 0.5)
    legend(left, loc="lower right")
    panel(middle, "The joint form", "epoch", "nats")
    joint_kl = [m.joint_kl for m in r.moments]
    minus = [m.minus_expected_elbo for m in r.moments]
    middle.plot(epochs, minus, color=BLUE, lw=2, label="−E[ELBO]")
    middle.plot(epochs, joint_kl, color=PURPLE, lw=2, label="KL(q(x, z) ‖ p(x, z))")
    middle.set_ylim(-0.3, r.entropy + 6)
    at = epochs[len(epochs) * 3 // 5]
    middle.annotate(
        "", (at, minus[at]), (at, joint_kl[at]), arrowprops={"arrowstyle": "<->", "color": INK, "lw": 1}
    )
    middle.text(at + 1, (minus[at] + joint_kl[at]) / 2, f"H = {r.entropy:.2f}", color=INK, va="center")
    legend(middle, loc="upper right")
    panel(right, "What is left of the identities", "epoch", "absolute error, nats")
    right.semilogy(
        epochs, [m.error for m in r.moments], "o-", ms=3, color=ORANGE, label="log p(x), worst row"
    )
    left_over = [abs(m.minus_expected_elbo - m.joint_kl - r.entropy) for m in r.moments]
    right.semilogy(epochs, np.maximum(left_over, 1e-16), "o-", ms=3, color=PURPLE, label="joint form")
    right.set_ylim(1e-16, 1e-6)
    legend(right, loc="upper right")
    return fig


if __name__ == "__main__":
    main(measure, report, draw)
