"""KL(q ‖ p) between Gaussians, term by term; and a prior of bounded support, for which it is infinite.

    KL(N(μ, σ²) ‖ N(0, 1))  =  ½ μ²  +  ½ (σ² − 1)  −  log σ

μ² pulls the codes to the middle, σ² keeps them from spreading, −log σ keeps them from becoming points.
"""

from dataclasses import dataclass

import numpy as np
import torch
from common import BLUE, GREEN, INK, ORANGE, Figure, figure, legend, main, panel, table
from matplotlib.colors import PowerNorm
from scipy import integrate, stats
from torch.distributions import Normal, Uniform, kl_divergence

import backstory
from backstory.distributions.diagonal_gaussian import DiagonalGaussian

CASES = ((0.0, 1.0), (0.0, 0.2), (0.0, 3.0), (1.5, 1.0), (-2.0, 0.3))
BOUND = 2.0


@dataclass(frozen=True)
class Result:
    rows: list[dict[str, float]]
    outside: list[tuple[float, float, float]]
    refusal: str


def measure(quick: bool = False) -> Result:
    draws = 10_000 if quick else 1_000_000
    uniform = Uniform(-BOUND, BOUND)
    outside = [
        (s, float(2 * stats.norm.sf(BOUND / s)), float(kl_divergence(Normal(0.0, s), uniform)))
        for s in (2.0, 1.0, 0.5, 0.25)
    ]
    return Result([compare(mu, sigma, draws) for mu, sigma in CASES], outside, refusal())


def gaussian(mu: float, sigma: float) -> DiagonalGaussian:
    """One unit of one observation."""
    return DiagonalGaussian(torch.tensor([[mu]]).double(), torch.tensor([[sigma]]).double().log())


def compare(mu: float, sigma: float, draws: int) -> dict[str, float]:
    """The three terms, their sum, and the same number from four other sources."""
    q, p = gaussian(mu, sigma), gaussian(0, 1)
    z = q.sample(draws, torch.Generator().manual_seed(0))
    sampled = q.log_prob(z) - p.log_prob(z)
    norm = stats.norm(mu, sigma)
    quadrature, _ = integrate.quad(
        lambda t: norm.pdf(t) * (norm.logpdf(t) - stats.norm.logpdf(t)), mu - 12 * sigma, mu + 12 * sigma
    )
    return {
        "μ": mu,
        "σ": sigma,
        "½μ²": mu**2 / 2,
        "½(σ²−1)": (sigma**2 - 1) / 2,
        "−log σ": -float(np.log(sigma)),
        "kl_per_unit": float(q.kl_per_unit(p)),
        "torch": float(kl_divergence(Normal(mu, sigma), Normal(0.0, 1.0))),
        "quadrature": quadrature,
        "sampled": float(sampled.mean()),
        "±": float(sampled.std()) / draws**0.5,
    }


def refusal() -> str:
    """The package's message about a prior that is zero somewhere."""
    try:
        backstory.fit(np.eye(8), prior="uniform", progress=False)
    except backstory.InputError as error:
        return str(error)
    return "nothing"


def report(r: Result) -> None:
    table(list(r.rows[0]), [list(row.values()) for row in r.rows], digits=4)
    rows = [[f"{sigma:g}", *numbers] for sigma, *numbers in r.outside]
    table(["σ of q", f"q outside ±{BOUND:g}", f"KL(q ‖ U(−{BOUND:g}, {BOUND:g}))"], rows, digits=4)
    print(f"the package: {r.refusal}")


def draw(r: Result) -> Figure:
    fig = figure(12, 3.6)
    left, middle, right = fig.subplots(1, 3)
    draw_terms(left)
    draw_surface(middle, r)
    draw_uniform(right, r)
    return fig


def draw_terms(axes) -> None:
    """The terms in σ, which meet their balance at σ = 1."""
    panel(axes, "Two pulls on σ", "σ", "nats")
    s = np.geomspace(0.08, 2.4, 300)
    axes.plot(s, (s**2 - 1) / 2, color=ORANGE, lw=1.8, label="½(σ² − 1): do not spread")
    axes.plot(s, -np.log(s), color=BLUE, lw=1.8, label="−log σ: do not become a point")
    axes.plot(s, (s**2 - 1) / 2 - np.log(s), color=INK, lw=2.4, label="their sum, least at σ = 1")
    axes.axvline(1, color=INK, lw=0.8, ls=":")
    axes.set_ylim(-1, 3.6)
    legend(axes)


def draw_surface(axes, r: Result) -> None:
    """KL over μ and σ, with the measured cases."""
    panel(axes, "KL(N(μ, σ²) ‖ N(0, 1)), nats", "μ", "σ")
    mu, sigma = np.linspace(-3, 3, 200), np.geomspace(0.1, 4, 200)
    m, s = (torch.from_numpy(a).reshape(-1, 1) for a in np.meshgrid(mu, sigma))
    unit = torch.zeros(1).double()
    kl = DiagonalGaussian(m, s.log()).kl_per_unit(DiagonalGaussian(unit, unit)).reshape(200, 200)
    levels = [0.05, 0.2, 0.5, 1, 2, 3, 4.5, 6, 8]
    axes.contourf(mu, sigma, kl, levels=[0, *levels, 12], cmap="YlOrBr", norm=PowerNorm(0.5), alpha=0.8)
    lines = axes.contour(mu, sigma, kl, levels=levels, colors=INK, linewidths=0.7)
    axes.clabel(lines, levels=[0.2, 1, 3, 6], fontsize=8)
    axes.scatter([row["μ"] for row in r.rows], [row["σ"] for row in r.rows], s=22, color=INK, zorder=3)
    axes.set_yscale("log")
    axes.set_yticks([0.1, 0.3, 1, 3], ["0.1", "0.3", "1", "3"])
    axes.minorticks_off()
    axes.grid(False)


def draw_uniform(axes, r: Result) -> None:
    """The mass of q where a uniform prior has none."""
    panel(axes, "A prior that is zero somewhere", "z", "density")
    z = np.linspace(-4.2, 4.2, 600)
    axes.fill_between([-BOUND, BOUND], 1 / (2 * BOUND), color=GREEN, alpha=0.3, lw=0, label="p(z) = U(−2, 2)")
    q = stats.norm(0.4, 1.1).pdf(z)
    axes.plot(z, q, color=INK, lw=1.8, label="q(z|x), never zero")
    for side in (z > BOUND, z < -BOUND):
        axes.fill_between(z[side], q[side], color=ORANGE, alpha=0.85, lw=0)
    note = {"arrowstyle": "-", "color": INK, "lw": 0.8}
    axes.annotate(
        "q > 0, p = 0:\nlog q/p = ∞", (2.35, 0.03), (2.2, 0.2), arrowprops=note, fontsize=9, color=INK
    )
    axes.set_ylim(0, 0.52)
    legend(axes, loc="upper left")


if __name__ == "__main__":
    main(measure, report, draw)
