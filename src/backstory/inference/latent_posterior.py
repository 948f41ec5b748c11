"""Draws of z given a damaged observation y, by methods of rising cost.

    p(z|y) ∝ p(z) p(y|z),    p(y|z) by `inference.conditional`

    encoder      q(z|y): the encoder's, on x̂ = E[x|y] as if entries were independent (missing ones average)
    importance   K codes of r(z) with weights w = p(z) p(y|z) / r(z), where r is q, a wider q, and p(z)
    variational  the same, where r is q* with correlations, a wider one, and p(z)
    hmc          chains from p(z) to p(z|y) and on in it

r is a mixture with fixed numbers of draws of each part, whose density is that of the whole (Veach & Guibas
1995; Owen & Zhou 2000): the part of p(z) bounds the weights by p(y|z) / share, wherever q misses.

q* is the diagonal Gaussian with the highest E_q[log p(y|z)] − KL(q ‖ p(z)), found by Adam as in
`inference.gap`. It starts from the better of two codes: the encoder's on x̂, and the one reached by reading x
off z and z off x in turns, x ← E[x|z, y], z ← E_q[z|x] (Rezende et al. 2014, app. F, in means). From there
the mean μ and the precision Λ of a Gaussian with correlations go by natural gradients, a share ρ of the way
each:

    Λ ← (1 − ρ) Λ + ρ (Λ_prior + E_q*[−∇² log p(y|z)])
    μ ← μ + ρ Λ⁻¹ (E_q*[∇ log p(y|z)] − Λ_prior (μ − μ_prior))

whose fixed point is the best of all Gaussians (Opper & Archambeau 2009; Khan & Lin 2017, for a Gaussian prior
that has p(z)'s moments). The expected Hessian is the linear regression of the gradient on z ~ q* (Salimans &
Knowles 2013), its negative eigenvalues set to zero; a step of μ is at most two deviations long.

The chains are tempered by f_β(z) = p(z) p(y|z)^β with β growing by a constant factor. Within a row they are
resampled by their weights p(y|z)^Δβ wherever these are worth fewer than half of them, so that modes end with
the chains that they deserve (Del Moral et al. 2006, "Sequential Monte Carlo samplers"). HMC's mass is
that of q* on the way; at β = 1 the chains move in coordinates in which q* with correlations is a standard
normal, and the step sizes adapt a while before they stay.

The noise of a row depends on the seed and the number of the row alone.
"""

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from backstory.distributions.base import LOG_2PI, Posterior
from backstory.distributions.gaussian import DiagonalGaussian
from backstory.errors import InputError
from backstory.inference.annealing import ADAPTATION_RATE, TARGET_ACCEPTANCE, Annealing, frozen
from backstory.inference.conditional import back_projection, condition
from backstory.inference.damaged import Damaged
from backstory.inference.hmc import Density, Point, RowNoise, point, transition
from backstory.models.vae import VAE

SHARES = (0.6, 0.3, 0.1)  # of the two Gaussians and of p(z) among the proposals
WIDER = 1.5  # the larger σ, as a multiple
GRADIENTS_PER_UNIT = 4  # from which an expected Hessian is regressed
DAMPING, FARTHEST = 0.7, 2.0  # ρ, and the longest step of μ in deviations
SWEEPS = 10  # turns between x and z before the optimisation
LR = 0.1  # of Adam, in units of (σ_q σ_p)^½
NOISE_STEPS = 10  # steps of Adam whose noise is drawn together
PROBED, WORTH = 100, 0.1  # draws that show whether importance weights will do, and the share they are worth
WARM_UP = 0.5  # transitions at β = 1 before those that are kept, as a share of these

PROPOSE, PRIOR, OPTIMISE, REGRESS, CHAINS = range(10, 15)  # streams of noise, apart from those of annealing


@dataclass(frozen=True)
class Effort:
    """How much to spend on each observation.

    Attributes:
        proposals: K codes that are weighed.
        steps: of Adam, for q*.
        gradient_draws: of z in each of these.
        rounds: of natural gradients after them.
        chains, temperatures, transitions, leapfrog: C chains of HMC, the increments of β, the transitions at
            β = 1 that are kept, and the leapfrog steps of each.

    Raises:
        InputError: for what cannot be.
    """

    proposals: int = 1000
    steps: int = 30
    gradient_draws: int = 4
    rounds: int = 6
    chains: int = 8
    temperatures: int = 60
    transitions: int = 100
    leapfrog: int = 4

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 4 if field.name == "transitions" else 1
            if value < least or value != int(value):
                raise InputError(
                    f"{field.name} has to be at least {least} for restoration and whole, got {value:g}"
                )
        if self.chains < 2:
            raise InputError(f"chains has to be at least 2, so that they can be compared, got {self.chains}")

    def cost(self, method: str, units: int) -> int:
        """Codes of so many units that are decoded for each observation, a gradient counted as three."""
        optimising = 3 * self.steps * self.gradient_draws
        regressing = 3 * GRADIENTS_PER_UNIT * units * self.rounds
        moves = self.temperatures + math.ceil((1 + WARM_UP) * self.transitions)
        walking = 3 * self.chains * self.leapfrog * moves + self.chains * self.transitions
        return {
            "encoder": self.proposals,
            "importance": self.proposals,
            "variational": optimising + regressing + self.proposals,
            "hmc": optimising + regressing + walking,
        }[method]

    def within(self, budget: int, units: int) -> "Effort":
        """At most what a budget allows for the variational method, in shares that suit each other.

        >>> Effort().within(1000, units=8).cost("variational", units=8) <= 1000
        True
        """
        if self.cost("variational", units) <= budget:
            return self
        steps, regression = 3 * self.gradient_draws, 3 * GRADIENTS_PER_UNIT * units
        return replace(
            self,
            steps=max(1, min(self.steps, int(0.1 * budget) // steps)),
            rounds=max(1, min(self.rounds, int(0.5 * budget) // regression)),
            proposals=max(1, min(self.proposals, int(0.4 * budget))),
        )


@dataclass(frozen=True)
class Codes:
    """Codes for each of B observations.

    Attributes:
        z: (K, B, D).
        log_ratio: log p(z) − log r(z), (K, B), of codes that still have to be weighed by p(y|z); None where
            they count alike.
        acceptance, r_hat, ess: of chains, (B,); NaN for codes that are independent.
    """

    z: Tensor
    log_ratio: Tensor | None
    acceptance: Tensor
    r_hat: Tensor
    ess: Tensor

    @classmethod
    def independent(cls, z: Tensor, log_ratio: Tensor | None = None) -> "Codes":
        nothing = torch.full((z.shape[1],), math.nan, dtype=torch.float64, device=z.device)
        return cls(z, log_ratio, nothing, nothing, nothing)


@dataclass(frozen=True)
class Correlated:
    """N(mean, (L Lᵀ)⁻¹) for each of B observations, from a Cholesky factor of the precision.

    Attributes:
        mean: (B, D).
        factor: L, (B, D, D).
    """

    mean: Tensor
    factor: Tensor

    def select(self, rows: Tensor) -> "Correlated":
        """The distributions of some rows."""
        return Correlated(self.mean[rows], self.factor[rows])

    def transport(self, noise: Tensor) -> Tensor:
        """Standard normal noise, (K, B, D), carried to this distribution."""
        upper = self.factor.mT
        z = torch.linalg.solve_triangular(upper, noise.movedim(0, -1), upper=True)
        return self.mean + z.movedim(-1, 0)

    def wider(self, times: float) -> "Correlated":
        """The same with larger deviations."""
        return Correlated(self.mean, self.factor / times)

    def whiten(self, z: Tensor) -> Tensor:
        """The noise, (K, B, D), that is carried to z."""
        return ((z - self.mean).transpose(0, 1) @ self.factor).transpose(0, 1)

    def log_prob(self, z: Tensor) -> Tensor:
        """log N(z), (K, B), nats."""
        y = self.whiten(z).square().sum(-1)
        log_det = self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return log_det - 0.5 * (y + LOG_2PI * z.shape[-1])


class Finder:
    """Finds codes for some observations.

    Args:
        vae: the model.
        seen: what was seen of them; `prepared`: the same, made ready for the model (`Damaged.prepared`).
        rows: their numbers, which decide their noise.
        effort, seed: see `restore`.
    """

    def __init__(
        self, vae: VAE, seen: Damaged, prepared: Damaged, rows: Sequence[int], effort: Effort, seed: int
    ):
        self.vae, self.raw, self.seen, self.rows = vae, seen, prepared, list(rows)
        self.effort, self.seed = effort, seed
        self._found: tuple[DiagonalGaussian, Correlated] | None = None
        with torch.no_grad():
            self.prior = vae.prior()
            self.q = self._encode()

    def take(self, rows: Tensor) -> "Finder":
        """The same for some of the observations, with the Gaussians that were found for them."""
        some = copy.copy(self)
        some.raw, some.seen = self.raw.rows(rows), self.seen.rows(rows)
        some.rows, some.q = [self.rows[row] for row in rows.tolist()], self.q.select(rows)
        if self._found is not None:
            best, correlated = self._found
            some._found = best.select(rows), correlated.select(rows)
        return some

    def find(self, method: str) -> Codes:
        """Codes by `prior`, `encoder`, `importance`, `variational` or `hmc`."""
        if method == "prior":
            return Codes.independent(self._noise(PROPOSE, self.effort.proposals).draw(self.prior))
        if method == "encoder":
            noise = self._noise(PROPOSE, self.effort.proposals)
            return Codes.independent(self.q.transport(noise.normal(self.q.mean.shape[-1])))
        if method == "importance":
            q = DiagonalGaussian(self.q.mean, self.q.std.log())
            return self._propose(q, DiagonalGaussian(q.mean, q.log_std + math.log(WIDER)))
        if self._found is None:
            best = self._optimise()
            self._found = best, self._correlated(best)
        best, correlated = self._found
        if method == "hmc":
            return self._chains(best, correlated)
        # in many dimensions a little wider is as much as a lot in few
        return self._propose(correlated, correlated.wider(1 + math.sqrt(2 / correlated.mean.shape[-1])))

    @torch.no_grad()
    def promising(self) -> Tensor:
        """Of which observations some importance weights are worth enough, (B,), to draw all of them."""
        few = copy.copy(self)
        few.effort = replace(self.effort, proposals=PROBED)
        codes = few.find("importance")
        assert codes.log_ratio is not None
        weight = torch.softmax((codes.log_ratio + self._log_evidence(codes.z)).double().nan_to_num(-1e300), 0)
        return 1 / weight.square().sum(0) >= WORTH * PROBED

    def _noise(self, stream: int, draws: int) -> RowNoise:
        return RowNoise(self.seed, stream, self.rows, draws, self.prior.mean)

    def _log_evidence(self, z: Tensor) -> Tensor:
        """log p(y|z), (*, B)."""
        return condition(self.vae.decode(z), self.seen).log_evidence

    def _encode(self) -> Posterior:
        if self.raw.exact:
            return self.vae.encode(self.raw.y, self.raw.seen)
        return self.vae.encode(back_projection(self.raw, self.vae.shift, self.vae.scale))

    @torch.no_grad()
    def _propose(self, first: DiagonalGaussian | Correlated, second: DiagonalGaussian | Correlated) -> Codes:
        """K codes of the mixture of two proposals and p(z)."""
        count = self.effort.proposals
        numbers = [int(share * count) for share in SHARES[1:]]
        numbers = [count - sum(numbers), *numbers]
        noise = self._noise(PROPOSE, numbers[0] + numbers[1]).normal(second.mean.shape[-1])
        z = torch.cat([
            first.transport(noise[: numbers[0]]),
            second.transport(noise[numbers[0] :]),
            self._noise(PRIOR, numbers[2]).draw(self.prior),
        ])  # fmt: skip
        log_r = torch.full(z.shape[:2], -math.inf, dtype=z.dtype, device=z.device)
        for part, number in zip((first, second, self.prior), numbers, strict=True):
            if number:
                log_r = torch.logaddexp(log_r, part.log_prob(z) + math.log(number / count))
        return Codes.independent(z, self.prior.log_prob(z) - log_r)

    def _correlated(self, q: DiagonalGaussian) -> Correlated:
        """The Gaussian with correlations that natural gradients lead to from q."""
        found = Correlated(q.mean, torch.diag_embed(1 / q.std))
        noise = self._noise(REGRESS, GRADIENTS_PER_UNIT * q.mean.shape[-1] // 2)
        with frozen(self.vae):
            for index in range(self.effort.rounds):
                found = self._moved(found, noise, DAMPING if index else 1.0)
        return found

    def _moved(self, q: Correlated, noise: RowNoise, share: float) -> Correlated:
        """q after a round, whose precision goes a share of the way to the new one.

        With z = μ + L⁻ᵀ ε, the expected Hessian is the linear regression of L⁻¹ ∇ log p(y|z) on ε.
        """
        half = noise.normal(q.mean.shape[-1])
        e, size = torch.cat([half, -half]), 2 * self.effort.gradient_draws
        parts = [self._gradient(q.transport(some)) for some in e.split(size)]
        e, gradient = (part.transpose(0, 1).double() for part in (e, torch.cat(parts)))
        factor, prior = q.factor.double(), self.prior.std.double() ** -2
        white = torch.linalg.solve_triangular(factor, gradient.mT, upper=False).mT
        hessian = torch.linalg.solve(e.mT @ e, e.mT @ white)
        values, vectors = torch.linalg.eigh(-0.5 * (hessian + hessian.mT))
        told = factor @ (vectors * values.clamp(min=0).unsqueeze(-2)) @ vectors.mT @ factor.mT
        precision = (1 - share) * factor @ factor.mT + share * (told + torch.diag(prior))
        factor = torch.linalg.cholesky(precision)
        slope = gradient.mean(1) - prior * (q.mean - self.prior.mean).double()
        step = torch.cholesky_solve(slope.unsqueeze(-1), factor)
        deviations = (factor.mT @ step).norm(dim=-2, keepdim=True)
        step = DAMPING * step * (FARTHEST / deviations).clamp(max=1)
        return Correlated(q.mean + step.squeeze(-1).to(q.mean), factor.to(q.mean))

    def _gradient(self, z: Tensor) -> Tensor:
        """∇ log p(y|z), zero where it is not finite."""
        z = z.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self._log_evidence(z).sum(), z)
        return gradient.nan_to_num(0, 0, 0)

    @torch.no_grad()
    def _start(self) -> DiagonalGaussian:
        """The better of q and of the q that turns between x and z end with, by p(z) p(y|z) at its mean."""
        swept = self.q
        for _ in range(SWEEPS):
            swept = self.vae.encode(condition(self.vae.decode(swept.mean), self.seen).mean)
        height = [self.prior.log_prob(q.mean) + self._log_evidence(q.mean) for q in (swept, self.q)]
        better = (height[0] > height[1]).unsqueeze(-1)
        mean, std = (
            torch.where(better, a, b) for a, b in ((swept.mean, self.q.mean), (swept.std, self.q.std))
        )
        return DiagonalGaussian(mean, std.log())

    def _optimise(self) -> DiagonalGaussian:
        """q*(z|y)."""
        start, draws, steps = self._start(), self.effort.gradient_draws, self.effort.steps
        unit = (start.std * self.prior.std).sqrt()
        shift, widen = (torch.zeros_like(unit).requires_grad_() for _ in "12")
        optimiser = torch.optim.Adam([shift, widen], lr=LR)
        noise = self._noise(OPTIMISE, draws)

        def current() -> DiagonalGaussian:
            return DiagonalGaussian(start.mean + unit * shift, start.log_std + widen)

        for step in range(steps):
            if step % NOISE_STEPS == 0:
                ahead = noise.normal(NOISE_STEPS * unit.shape[-1]).unflatten(-1, (NOISE_STEPS, -1))
            optimiser.param_groups[0]["lr"] = LR * 0.5 * (1 + math.cos(math.pi * step / steps))
            q = current()
            z = q.transport(ahead[..., step % NOISE_STEPS, :])
            kl = self.vae.kl(q)
            kl = (q.log_prob(z) - self.prior.log_prob(z)).mean(0) if kl is None else kl
            loss = (kl - self._log_evidence(z).mean(0)).sum()
            gradients = torch.autograd.grad(loss, [shift, widen])
            shift.grad, widen.grad = (part.nan_to_num(0, 0, 0) for part in gradients)
            optimiser.step()
        with torch.no_grad():
            return current()

    def _chains(self, q: DiagonalGaussian, white: Correlated) -> Codes:
        """HMC from p(z) to p(z|y) with the mass of q, then on in it, where `white` is a standard normal."""
        noise = self._noise(CHAINS, self.effort.chains)
        step = torch.full_like(q.mean[:, 0], q.mean.shape[-1] ** -0.25, dtype=torch.float64)
        with frozen(self.vae):
            start = white.whiten(self._annealed(q, step, noise).z)
            u, acceptance = self._walked(lambda u: self._density(white.transport(u)), start, step, noise)
        z = white.transport(u)
        r_hat, ess = convergence(z.unflatten(0, (-1, self.effort.chains)))
        return Codes(z, None, acceptance, r_hat, ess)

    def _annealed(self, q: DiagonalGaussian, step: Tensor, noise: RowNoise) -> Point:
        """Chains brought from p(z) to p(z|y)."""
        at = point(self._density, noise.draw(self.prior))
        log_weight = torch.zeros_like(at.slope, dtype=torch.float64)
        betas = Annealing(steps=self.effort.temperatures, schedule="geometric").betas
        for before, beta in itertools.pairwise(betas):
            log_weight = log_weight + (beta - before) * at.slope.double()
            at, log_weight = _resampled(at, log_weight, noise, always=beta == 1)
            precision = (1 - beta) / self.prior.std.square() + beta / q.std.square()
            scale, leapfrog = precision.rsqrt(), self.effort.leapfrog
            at, probability = transition(self._density, at, beta, step, scale, leapfrog, noise)
            step = _adapted(step, probability)
        return at

    def _walked(self, density: Density, u: Tensor, step: Tensor, noise: RowNoise) -> tuple[Tensor, Tensor]:
        """Draws of chains in a density, (S · C, B, D), and the acceptance, after steps of a good size."""
        at, kept, accepted = point(density, u), [], torch.zeros_like(step)
        scale, count = torch.ones_like(u[0]), self.effort.transitions
        for index in range(-math.ceil(WARM_UP * count), count):
            at, probability = transition(density, at, 1.0, step, scale, self.effort.leapfrog, noise)
            if index < 0:
                step = _adapted(step, probability)
            else:
                kept.append(at.z)
                accepted = accepted + probability.mean(0) / count
        return torch.cat(kept), accepted

    def _density(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.prior.log_prob(z), self._log_evidence(z)


def _adapted(step: Tensor, probability: Tensor) -> Tensor:
    return step * torch.exp(ADAPTATION_RATE * (probability.mean(0) - TARGET_ACCEPTANCE))


def _resampled(at: Point, log_weight: Tensor, noise: RowNoise, always: bool) -> tuple[Point, Tensor]:
    """Chains drawn by their weights, in the rows where these are worth fewer than half of the chains."""
    log_weight = torch.where(log_weight.isnan(), -math.inf, log_weight)
    chains, weight = len(log_weight), torch.softmax(log_weight, 0)
    poor = (1 / weight.square().sum(0) < chains / 2) | always
    chosen = pick(weight, noise.uniform(1)[..., 0])
    same = torch.arange(chains, device=weight.device).unsqueeze(1).expand_as(chosen)
    return at.take(torch.where(poor, chosen, same)), torch.where(poor, 0.0, log_weight)


def pick(weight: Tensor, u: Tensor) -> Tensor:
    """Numbers of codes, (M, B), one from each of M equal shares of the total weight of each row.

    Args:
        weight: (K, B), adding up to 1.
        u: uniform numbers, (M, B).
    """
    draws = torch.arange(len(u), device=u.device).unsqueeze(1)
    at, cumulative = (draws + u) / len(u), weight.cumsum(0)
    index = torch.searchsorted(cumulative.T.contiguous(), at.T.contiguous()).T
    last = (weight > 0).long().cumsum(0).argmax(0)  # where rounding leaves a sum below 1
    return torch.minimum(index, last)


def convergence(z: Tensor) -> tuple[Tensor, Tensor]:
    """Split R̂, the largest over the units, and the effective number of draws, their median over the units.

    With m halves of chains of n draws each, W their mean variance and B / n the variance of their means:

        var⁺ = (n − 1)/n W + B/n,    R̂ = √(var⁺ / W),    ess = min(m n, m n var⁺ / B)

    (Gelman et al. 2004, "Bayesian data analysis", eqs. 11.3 and 11.4; halves as in the 3rd edition.)

    Args:
        z: (S, C, B, D), the draws in order.
    """
    n = len(z) // 2
    halves = torch.cat([z[:n], z[n : 2 * n]], 1).double()
    within, between = halves.var(0).mean(0), halves.mean(0).var(0)
    total = (n - 1) / n * within + between
    ess = (halves.shape[1] * total / between.clamp(min=1e-300)).clamp(max=halves.shape[1] * n)
    r_hat = torch.sqrt(total / within)
    return r_hat.nan_to_num(math.inf).amax(-1), ess.median(-1).values
