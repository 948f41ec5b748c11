"""Annealed importance sampling of the log-evidence, and a bracket around it on simulated data.

A path of densities leads from a density that is easy to sample to the joint density of x and z,

    f_t(z) = start(z)^(1 − β_t) · p(x, z)^β_t,    0 = β_0 < β_1 < … < β_T = 1

with start = p(z), so that f_t = p(z) p(x|z)^β_t, or start = q(z|x). A chain begins at z_0 ~ start, moves by
HMC, z_t ~ T_t(z | z_(t−1)), where T_t leaves f_t invariant, and has the weight

    log w = Σ_t (β_t − β_(t−1)) · log (p(x, z_(t−1)) / start(z_(t−1))),    E[w] = p(x)

(Neal 2001, "Annealed importance sampling"; for decoders Wu et al. 2017, "On the quantitative analysis of
decoder-based generative models"). The log of the mean of w over the chains is, on average, a lower bound of
log p(x); with T = 1 and start = q it is the importance-sampled one.

If the chain runs from an exact draw of p(z|x) back to the start, its weight estimates 1 / p(x), and the
negative log of the mean weight is, on average, an upper bound. Simulated data have such a draw: z* ~ p(z),
x ~ p(x|z*). On average the truth lies between the two bounds (Grosse et al. 2015, "Sandwiching the marginal
likelihood using bidirectional Monte Carlo").

E[w] = p(x) holds only if transitions do not learn from the chains that they move. So other chains, with
noise of their own, find the step sizes, one for each row and t, which then stay fixed. The scale of each unit
is set beforehand: its precision goes from 1/Var_start to 1/Var_q along β.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from backstory.data.observation import Observation
from backstory.distributions.latent import LatentDistribution
from backstory.errors import InputError
from backstory.inference.finished_rows import RowStore
from backstory.inference.hmc import (
    Point,
    RowNoise,
    Rows,
    Trajectory,
    adapted,
    first_step,
    point,
    scale_between,
    transition,
)
from backstory.inference.importance import LogMean
from backstory.inference.memory import pairs_at_once
from backstory.inference.moments import posterior_moments, prior_moments
from backstory.inference.target import Evidenced, Target, check_density, frozen
from backstory.models.vae import VAE
from backstory.options import one_of

STARTS = ("posterior", "prior")
SCHEDULES = ("sigmoid", "geometric", "linear")
SIGMOID_SLOPE = 4.0
GEOMETRIC_RATIO = 1e4  # the last increment of β divided by the first

ADAPTATION_CHAINS = 4
ADAPTATION_TRANSITIONS = 100  # the least number, for any length of the path

ADAPT, FORWARD, REVERSE, SIMULATE = range(4)  # streams of noise

Advance = Callable[[float], None]


@dataclass(frozen=True)
class Annealing:
    """Settings of annealing.

    Attributes:
        chains: C, for each observation.
        steps: T, the number of increments of β.
        leapfrog: L, leapfrog steps of a transition.
        start: `posterior`, q(z|x), or `prior`.
        schedule: of β_t over t/T. `linear`; `sigmoid`, slow at both ends (Grosse et al. 2015, sec. 6);
            `geometric`, increments growing by a constant factor.
        chunk: pairs of chain and observation decoded at once, at least all chains of one observation; it
            changes memory, not the result.

    Raises:
        InputError: a number is below 1, or a name is unknown.
    """

    chains: int = 16
    steps: int = 200
    leapfrog: int = 3
    start: str = "posterior"
    schedule: str = "sigmoid"
    chunk: int | None = None

    def __post_init__(self) -> None:
        for name in ("chains", "steps", "leapfrog"):
            value = getattr(self, name)
            if value < 1:
                raise InputError(f"{name} has to be at least 1 for annealed importance sampling, got {value}")
        one_of("start", self.start, STARTS)
        one_of("schedule", self.schedule, SCHEDULES)

    @property
    def betas(self) -> list[float]:
        """β_0 … β_T.

        >>> Annealing(steps=4, schedule="linear").betas
        [0.0, 0.25, 0.5, 0.75, 1.0]
        """
        t = torch.linspace(0, 1, self.steps + 1, dtype=torch.float64)
        if self.schedule == "geometric":
            t = torch.expm1(math.log(GEOMETRIC_RATIO) * t)
        elif self.schedule == "sigmoid":
            t = torch.sigmoid(SIGMOID_SLOPE * (2 * t - 1))
        betas: list[float] = ((t - t[0]) / (t[-1] - t[0])).tolist()
        return betas

    @property
    def cost(self) -> int:
        """Codes decoded for each observation; a gradient counts as three."""
        adaptation = ADAPTATION_CHAINS * max(ADAPTATION_TRANSITIONS, self.steps)
        return 3 * self.leapfrog * (self.chains * self.steps + adaptation)


@dataclass(frozen=True)
class Annealed:
    """The weights of C chains for each of N observations; their log-mean over C estimates log p(x).

    Attributes:
        log_weight: (C, N) of float64, nats.
        acceptance: share of accepted proposals, (N,); NaN with one step, which has no proposals.
    """

    log_weight: Tensor
    acceptance: Tensor

    @property
    def mean(self) -> LogMean:
        """The log-evidence of each observation with its error."""
        return LogMean.of(self.log_weight)


@dataclass(frozen=True)
class Bracket:
    """Two estimates of log p(x) for each of N simulated observations, (N,) of float64, nats.

    Attributes:
        lower: from forward runs, on average below log p(x).
        upper: from reverse runs, on average above it.
        lower_error, upper_error: their standard errors over the chains.
        acceptance: of the forward runs.
    """

    lower: Tensor
    upper: Tensor
    lower_error: Tensor
    upper_error: Tensor
    acceptance: Tensor

    @property
    def gap(self) -> float:
        """upper − lower, averaged over the observations: a bound on the average error of either."""
        return float((self.upper - self.lower).mean())

    @property
    def gap_error(self) -> float:
        """Standard error of the gap over the observations; NaN for a single observation."""
        return float((self.upper - self.lower).std()) / math.sqrt(len(self.lower))


def annealed(
    vae: VAE,
    batches: Iterable[Observation | Tensor],
    annealing: Annealing | None = None,
    seed: int = 0,
    resume: str | Path | None = None,
    advance: Advance = lambda rows: None,
) -> Annealed:
    """Annealed importance sampling of log p(x).

    The noise of a row depends on the seed and on the number of the row alone, so the size of batches changes
    the result by rounding at most.

    Args:
        vae: the model; z has to be continuous, x may be anything.
        batches: B observations at a time; they are split further to fit in memory.
        annealing: the settings.
        seed: of every draw.
        resume: file that keeps finished rows. Rows in it of the same model, data, settings and seed are not
            computed again.
        advance: called with the number of finished observations, in fractions.

    Raises:
        InputError: the model is a plain autoencoder, or the file holds results of something else.
    """
    check_density(vae)
    how = annealing or Annealing()
    settings = {name: value for name, value in asdict(how).items() if name != "chunk"}
    store = RowStore(resume, vae, {"method": "ais", **settings, "seed": seed})
    first = 0
    for batch in map(Observation.of, batches):
        done = store.matching(batch, first)
        advance(done)
        for part in _parts(batch.rows(slice(done, None)), vae, how):
            numbers = range(first + done, first + done + len(part))
            chains = Chains(Evidenced(vae, part), Rows(seed, numbers), how, passes=2, advance=advance)
            log_weight, acceptance = chains.forward()
            store.append(part, log_weight.T, acceptance)
            done += len(part)
        first += len(batch)
    log_weight, acceptance = store.rows(first)
    return Annealed(log_weight.T.contiguous(), acceptance)  # one layout, so one rounding, resumed or not


def _parts(batch: Observation, vae: VAE, how: Annealing) -> Iterable[Observation]:
    """The rows of a batch, as many at a time as fit in memory; a batch without rows costs nothing."""
    if len(batch):
        chunk = max(1, how.chunk // how.chains) if how.chunk else rows_at_once(vae, how.chains)
        yield from batch.split(chunk)


def bidirectional(
    vae: VAE,
    n: int,
    annealing: Annealing | None = None,
    seed: int = 0,
    advance: Advance = lambda rows: None,
    given: Tensor | None = None,
) -> Bracket:
    """A bracket around the log-evidence of n observations drawn from the model, given conditions (n, C).

    The gap shows how far `annealed` with the same settings can be trusted on real data, as far as these
    resemble draws from the model.

    Args:
        vae: the model.
        n: number of observations.
        annealing: the settings.
        seed: of every draw.
        advance: called with the number of finished observations, in fractions.

    Raises:
        InputError: the model is a plain autoencoder, or n is below 1.
    """
    check_density(vae)
    if n < 1:
        raise InputError(f"the number of simulated observations has to be at least 1, got {n}")
    how = annealing or Annealing()
    codes, simulated = _simulate(vae, n, seed, given)
    size, parts = rows_at_once(vae, how.chains), []
    for start in range(0, n, size):
        rows = range(start, min(start + size, n))
        target = Evidenced(vae, simulated.rows(slice(start, rows.stop)))
        chains = Chains(target, Rows(seed, rows), how, passes=3, advance=advance)
        log_weight, acceptance = chains.forward()
        lower, upper = LogMean.of(log_weight), LogMean.of(chains.reverse(codes[start : rows.stop])[0])
        parts.append((lower.value, -upper.value, lower.standard_error, upper.standard_error, acceptance))
    return Bracket(*(torch.cat(part) for part in zip(*parts, strict=True)))


def rows_at_once(vae: VAE, chains: int) -> int:
    """Number of rows that fit in memory with all their chains."""
    return max(1, pairs_at_once(vae, gradient=True) // chains)


@torch.no_grad()
def _simulate(vae: VAE, n: int, seed: int, given: Tensor | None = None) -> tuple[Tensor, Observation]:
    """z ~ p(z), (n, D), and x ~ p(x|z)."""
    source = Rows(seed, [0]).noise(SIMULATE, 1, vae.shift).generators[0]
    z = vae.prior(given).sample(n, source)
    some = [slice(i, i + size) for size in [rows_at_once(vae, 1)] for i in range(0, n, size)]
    c = [None if given is None else given[rows] for rows in some]
    parts = [vae.decode(z[rows], own).sample(source) for rows, own in zip(some, c, strict=True)]
    return z, Observation(torch.cat(parts), given)


class Chains:
    """Chains for some observations, with adapted step sizes.

    Args:
        target: p(z) p(y|z); the chains begin at draws of its posterior, or of p(z).
        rows: the numbers of the rows, which determine their noise.
        how: the settings.
        passes: number of passes along the path, the one that adapts the step sizes included.
        advance: called with the number of finished observations, in fractions of all passes.
    """

    def __init__(
        self,
        target: Target,
        rows: Rows,
        how: Annealing,
        passes: int = 2,
        advance: Advance = lambda rows: None,
    ):
        self.target, self.rows, self.how, self.betas = target, rows, how, how.betas
        self.start: LatentDistribution = target.prior if how.start == "prior" else target.posterior
        self.posterior_std = posterior_moments(target.posterior).std
        self.start_std = self.posterior_std
        if how.start == "prior":
            self.start_std = prior_moments(target.prior, target.vae.device).std
        self.advance = lambda: advance(len(target) / (passes * how.steps))
        with frozen(target.vae):
            self.step = self._adapt()

    def forward(self) -> tuple[Tensor, Tensor]:
        """Log-weights of p(x), (C, B), by chains from the start to the target, and acceptance (B,)."""
        noise = self._noise(FORWARD, self.how.chains)
        return self._run(noise, self._draw(noise), range(1, self.how.steps + 1))

    def reverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Log-weights of 1 / p(x), (C, B), by chains from draws z of p(z|x), (B, D), and acceptance (B,)."""
        noise = self._noise(REVERSE, self.how.chains)
        return self._run(noise, z.expand(self.how.chains, *z.shape), range(self.how.steps, 0, -1))

    def _run(self, noise: RowNoise, z: Tensor, order: range) -> tuple[Tensor, Tensor]:
        """Weigh at each increment of β, in `order`, and move by the transition of the density after it."""
        with frozen(self.target.vae):
            at = point(self._density, z)
            log_weight = torch.zeros(at.slope.shape, dtype=torch.float64, device=z.device)
            accepted = log_weight.clone()
            for t in order:
                increment = self.betas[t] - self.betas[t - 1]
                log_weight += order.step * increment * at.slope.double()
                if t != order[-1]:
                    at, probability = self._move(at, t if order.step > 0 else t - 1, noise)
                    accepted += probability
                self.advance()
        moves = self.how.steps - 1
        acceptance = accepted.mean(0) / moves if moves else torch.full_like(accepted[0], math.nan)
        return torch.where(log_weight.isnan(), -math.inf, log_weight), acceptance

    def _adapt(self) -> Tensor:
        """Step sizes (T, B) for about 65 % acceptance, found by chains that are used for nothing else."""
        noise = self._noise(ADAPT, min(self.how.chains, ADAPTATION_CHAINS))
        at = point(self._density, self._draw(noise))
        step = first_step(self.target.vae.latents.units, len(self.target), self.target.vae.device)
        self.step = step.repeat(self.how.steps, 1)
        for t in range(1, self.how.steps):
            for _ in range(math.ceil(ADAPTATION_TRANSITIONS / self.how.steps)):
                self.step[t] = step
                at, probability = self._move(at, t, noise)
                step = adapted(step, probability)
            self.advance()
        self.advance()
        return self.step

    def _move(self, at: Point, t: int, noise: RowNoise) -> tuple[Point, Tensor]:
        beta = self.betas[t]
        scale = scale_between(beta, self.start_std, self.posterior_std)
        trajectory = Trajectory(self.step[t], scale, self.how.leapfrog)
        return transition(self._density, at, beta, trajectory, noise)

    def _density(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """log start(z) and log p(x, z) − log start(z), both (C, B)."""
        with self.target.vae.one_pass():
            start, log_likelihood = self.start.log_prob(z), self.target.log_likelihood(z)
            if self.how.start == "prior":
                return start, log_likelihood
            return start, log_likelihood + self.target.prior.log_prob(z) - start

    def _noise(self, stream: int, chains: int) -> RowNoise:
        return self.rows.noise(stream, chains, self.target.posterior.centre)

    def _draw(self, noise: RowNoise) -> Tensor:
        """z_0 ~ start, (C, B, D)."""
        if self.how.start == "posterior":
            return self.target.posterior.transport(noise.normal(self.target.vae.latents.size))
        return noise.draw(self.target.prior)
