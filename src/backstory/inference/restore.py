"""Restoration: draws of x from p(x|y), for a damaged y.

    p(x|y) = ∫ p(x|z, y) p(z|y) dz

Codes z_k with weights w_k stand for p(z|y) (`inference.codes`), and p(x|z, y) is known (see
`inference.conditional`). The mean and variance of x use it without drawing from it (Rao-Blackwell):

    E[x|y]   = Σ_k w_k E[x|z_k, y]
    Var[x|y] = Σ_k w_k (Var[x|z_k, y] + E[x|z_k, y]²) − E[x|y]²

A column with levels has no mean: in its place stands the most probable level, and in place of the deviation
the probability of all others.

Draws of x come from codes resampled by their weights, so all count alike. The mean of many draws is E[x|y];
it has the least squared error, and lies between the modes where there are several.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from backstory.data.observation import Observation
from backstory.distributions.base import DataDistribution
from backstory.distributions.diagonal_gaussian import DiagonalGaussian
from backstory.distributions.latent import Posterior, Prior
from backstory.distributions.noise import RowGenerators
from backstory.errors import InputError
from backstory.inference.codes import Codes, CodeSearch
from backstory.inference.conditional import Conditional, back_projection, condition, entries_per_code
from backstory.inference.damaged import Damaged
from backstory.inference.effort import ENOUGH, FEW, MORE, NO_MEAN, Effort
from backstory.inference.hmc import Rows
from backstory.inference.importance import LogMean
from backstory.inference.memory import pairs_at_once
from backstory.inference.moments import matched
from backstory.inference.pareto import threshold, weights_k
from backstory.inference.requests import RestorationRequest
from backstory.inference.restoration import Restoration, guess_levels
from backstory.inference.target import check_density
from backstory.inference.tempering import pick
from backstory.models.vae import VAE

SWEEPS = 10  # turns between x and z before a fit
DRAWS_AT_ONCE = 64  # of one row; part of the definition of a seeded result, not a setting
LOWEST = -1e300  # the log-weight of a code that cannot have made y

SELECT, DRAW = range(20, 22)  # streams of noise, apart from those of `codes`


class Restored:
    """The target in which y is a damaged x.

    Args:
        vae: the model.
        raw: y and how it came from x.
        prepared: the same, made ready for the model (`Damaged.prepared`).
        given: the conditions c, (N, C); None for a model of p(x).
        posterior: another q(z|y) than the encoder's.
    """

    def __init__(
        self,
        vae: VAE,
        raw: Damaged,
        prepared: Damaged,
        given: Tensor | None = None,
        posterior: Posterior | None = None,
    ):
        self.vae, self.raw, self.prepared, self.given = vae, raw, prepared, given
        with torch.no_grad():
            self.posterior = posterior or self._encode()

    @cached_property
    @torch.no_grad()
    def prior(self) -> Prior:
        return self.vae.prior(self.given)

    def __len__(self) -> int:
        return len(self.raw)

    def rows(self, rows: slice | Tensor) -> "Restored":
        given = None if self.given is None else self.given[rows]
        posterior = self.posterior.select(rows)
        some = Restored(self.vae, self.raw.rows(rows), self.prepared.rows(rows), given, posterior)
        some.prior = self.prior.of_rows(rows)
        return some

    def log_likelihood(self, z: Tensor) -> Tensor:
        return self.conditional(z).log_evidence

    def conditional(self, z: Tensor) -> Conditional:
        """p(y|z) and p(x|z, y) at codes (*, B, D)."""
        return condition(self.vae.decode(z, self.given), self.prepared)

    @torch.no_grad()
    def start(self) -> DiagonalGaussian:
        """The better of two posteriors, by p(z) p(y|z) at their centres.

        One is the encoder's on x̂. The other comes from turns between x and z, x ← E[x|z, y] and
        z ← E_q[z|x] (Rezende et al. 2014, app. F, in means).
        """
        swept = self.posterior
        for _ in range(SWEEPS):
            swept = self.vae.encode(Observation(self.conditional(swept.centre).mean, self.given))
        both = (swept, self.posterior)
        heights = [self.prior.log_prob(q.centre) + self.log_likelihood(q.centre) for q in both]
        better = (heights[0] > heights[1]).unsqueeze(-1)
        one, other = (matched(self.vae.latents.base(q)) for q in both)
        mean, std = torch.where(better, one.mean, other.mean), torch.where(better, one.std, other.std)
        return DiagonalGaussian(mean, std.log())

    def with_one_variance(self) -> "Restored":
        """The same with one variance of x given z for each observation, that at the centre of q(z|y)."""
        p = self.vae.decode(self.posterior.centre, self.given)
        variance = p.rough_moments[1]
        return Restored(
            self.vae, self.raw, replace(self.prepared, variance=variance), self.given, self.posterior
        )

    def _encode(self) -> Posterior:
        """q(z|x̂): missing entries stay missing, or x̂ = E[x|y] as if the entries of x were independent."""
        if self.raw.exact and self.vae.incomplete:
            x = torch.where(self.raw.observed, self.raw.y, math.nan)
        else:
            x = back_projection(self.raw, self.vae.shift, self.vae.scale)
        return self.vae.encode(Observation(x, self.given))


def restore(
    vae: VAE,
    seen: Damaged,
    how: RestorationRequest | None = None,
    given: Tensor | None = None,
    advance: Callable[[int], None] = lambda rows: None,
) -> Restoration[Tensor]:
    """Mean, deviation and draws of x given y.

    The noise of a row depends on the seed and the number of the row alone, so how the work is cut changes
    the result by no more than rounding.

    Args:
        vae: the model; InputError if it is a plain autoencoder.
        seen: y, from `operators.observe`.
        how: method, draws, seed and effort.
        given: the conditions c of each observation, (N, C); None for a model of p(x).
        advance: called with the number of finished observations.
    """
    check_density(vae)
    how = how or RestorationRequest()
    with torch.no_grad():
        origin = torch.zeros(1, vae.latents.size).to(vae.shift)
        probe = vae.decode(origin, None if given is None else given[:1])
        if probe.refuses_noise and not seen.exact:
            raise InputError(f"expected entries of x as they are, got an operator, and {probe.refuses_noise}")
        target = Restored(vae, seen, seen.prepared(probe.constant_variance), given)
        if not target.prepared.diagonal and probe.shares_variance:
            target = target.with_one_variance()
    entries = entries_per_code(math.prod(vae.features_shape), probe, target.prepared)
    pairs = how.chunk or pairs_at_once(vae, True, entries)
    plan = how.plan(len(seen), vae.latents.units, vae.codes_to_weigh)
    effort = plan[0][1]
    work, size, kind = _Work(target, how, effort, pairs), max(1, pairs // effort.chains), _kinds(seen, probe)
    for name in ("observed", "prior", "inferred"):
        rows = torch.tensor([i for i, k in enumerate(kind) if k == name], dtype=torch.long)
        for some in rows.split(size) if len(rows) else ():
            work.run(some, plan if name == "inferred" else [(name, effort)])
            advance(len(some))
    return work.result()


def _kinds(seen: Damaged, p: DataDistribution) -> list[str]:
    """For each row: `observed` if no entry is missing or damaged, `prior` if all are, else `inferred`.

    Also `inferred` if all are missing and the mask itself says something about x.
    """
    mask = seen.observed.flatten(1)
    whole = mask.all(1) if seen.exact else torch.zeros_like(mask[:, 0])
    pairs = zip(whole.tolist(), (mask.any(1) | p.informative_mask).tolist(), strict=True)
    return ["observed" if full else "inferred" if some else "prior" for full, some in pairs]


class _Work:
    """The restoration of all rows, filled in as rows are finished."""

    def __init__(self, target: Restored, how: RestorationRequest, effort: Effort, pairs: int):
        self.target, self.how, self.effort, self.pairs = target, how, effort, pairs
        seen, latent = target.raw, target.vae.latents.size
        n, x, shape = len(seen), seen.y.new_empty(0), seen.linear.shape
        self.mean, self.std = x.new_empty(n, *shape), x.new_zeros(n, *shape)
        self.draws = x.new_empty(how.draws, n, *shape)
        self.codes = x.new_full((how.draws, n, latent), math.nan)
        self.methods = ["observed"] * n
        names = ("log_evidence", "ess", "pareto_k", "r_hat", "acceptance")
        self.numbers = {name: torch.full((n,), math.nan, dtype=torch.float64) for name in names}
        self.level_probs: list[tuple[Tensor, Tensor]] = []  # made when the groups of columns are known

    def result(self) -> Restoration[Tensor]:
        return Restoration(
            self.mean,
            self.std,
            self.draws,
            self.target.vae.latents.own(self.codes),
            tuple(self.methods),
            **self.numbers,
            rows=None,
            level_probs=tuple((columns.cpu(), probs.cpu()) for columns, probs in self.level_probs),
        )

    def run(self, rows: Tensor, plan: list[tuple[str, Effort]]) -> None:
        """Restore some rows by the first method of the plan that will do for each, or by the last."""
        if plan[0][0] == "observed":
            self.mean[rows], self.draws[:, rows] = self.target.raw.y[rows], self.target.raw.y[rows]
            return
        search = CodeSearch(self.target.rows(rows), Rows(self.how.seed, rows.tolist()), self.effort)
        for method, effort in plan:
            tried = torch.ones(len(rows), dtype=torch.bool)
            if method == "importance" and len(plan) > 1:
                tried = search.promising().cpu()
            elif effort.proposals > self.effort.proposals:  # helps only where some weights count
                tried = MORE * self.numbers["ess"][rows] >= FEW
            if tried.any():
                chosen = tried.nonzero().squeeze(1)
                some = search if tried.all() else search.take(chosen)
                self._restore(some, rows[chosen], method, effort)
            poor = (~tried | self._poor(rows, method)).nonzero().squeeze(1)
            if len(poor) == 0:
                return
            rows, search = rows[poor], search.take(poor)

    def _poor(self, rows: Tensor, method: str) -> Tensor:
        """Which rows have weights that are worth less than those of the next method."""
        last = method == "variational"
        few = self.numbers["ess"][rows] < (FEW if last else ENOUGH)
        limit = NO_MEAN if last else threshold(self.effort.proposals)
        return few | (self.numbers["pareto_k"][rows] > limit)

    def _restore(self, search: CodeSearch[Restored], rows: Tensor, method: str, effort: Effort) -> None:
        codes = search.codes(method, effort)
        target = search.target
        with torch.no_grad():
            moments = _moments(target, codes, max(1, self.pairs // len(rows)))
            self.mean[rows], self.std[rows] = moments.mean, moments.std
            self._keep_levels(rows, moments.level_probs)
            if len(self.draws):
                self._draw(target, search.rows, codes.z, moments.log_weight)
        for row in search.rows.numbers:
            self.methods[row] = method
        if codes.log_ratio is not None:
            weights = LogMean.of(moments.log_weight)
            k = weights_k(moments.log_weight)
            self._note(rows, log_evidence=weights.value, ess=weights.ess, pareto_k=k)
        else:
            self._note(rows, ess=codes.ess, r_hat=codes.r_hat, acceptance=codes.acceptance)

    def _keep_levels(self, rows: Tensor, groups: list[tuple[Tensor, Tensor]]) -> None:
        if not self.level_probs:
            n = len(self.methods)
            self.level_probs = [(c, probs.new_zeros(n, *probs.shape[1:])) for c, probs in groups]
        for (_, kept), (_, probs) in zip(self.level_probs, groups, strict=True):
            kept[rows] = probs

    def _note(self, rows: Tensor, **numbers: Tensor) -> None:
        for name in self.numbers:
            self.numbers[name][rows] = numbers[name].cpu() if name in numbers else math.nan

    def _draw(self, target: Restored, rows: Rows, z: Tensor, log_weight: Tensor) -> None:
        """Codes by their weights in a random order, and x given each."""
        u = rows.noise(SELECT, len(self.draws), z).uniform(2)
        chosen = pick(torch.softmax(log_weight, 0), u[..., 0]).gather(0, u[..., 1].argsort(0))
        codes = z.gather(0, chosen.unsqueeze(-1).expand(-1, -1, z.shape[-1]))
        self.codes[:, rows.numbers] = codes
        generators = RowGenerators(rows.noise(DRAW, 1, z).generators)
        size = max(1, self.pairs // min(DRAWS_AT_ONCE, len(codes)))
        for first in range(0, len(target), size):
            here = slice(first, first + size)
            part, sources, numbers = target.rows(here), generators[here], rows.numbers[here]
            for start in range(0, len(codes), DRAWS_AT_ONCE):
                some = slice(start, start + DRAWS_AT_ONCE)
                self.draws[some, numbers] = part.conditional(codes[some, here]).sample(sources)


@dataclass(frozen=True)
class _Moments:
    """Weighted mean and deviation of x, (B, *shape), and the log-weights of the codes, (K, B) of float64.

    `level_probs` as in `Restoration`, of these rows.
    """

    mean: Tensor
    std: Tensor
    log_weight: Tensor
    level_probs: list[tuple[Tensor, Tensor]]


def _moments(target: Restored, codes: Codes, at_once: int) -> _Moments:
    """Of x given y, a few codes at a time; sums are kept relative to the largest weight so far."""
    log_weights: list[Tensor] = []
    top = torch.full(codes.z.shape[1:2], -math.inf, dtype=torch.float64, device=codes.z.device)
    total = torch.zeros_like(top)
    origin = first = second = torch.zeros((), dtype=codes.z.dtype, device=codes.z.device)
    levels: list[Tensor] = []  # of each group of columns the weighted probabilities, (B, L, C)
    for start in range(0, len(codes.z), at_once):
        some = slice(start, start + at_once)
        given = target.conditional(codes.z[some])
        log_weights.append(_log_weight(codes, some, given))
        new_top = torch.maximum(top, log_weights[-1].amax(0))
        weight, shrink = torch.exp(log_weights[-1] - new_top), torch.exp(top - new_top)
        mean, variance = given.moments
        if not start:  # sums of distances from a point near the mean, so that squares cancel little
            origin, first, second = mean[0], torch.zeros_like(mean[0]), torch.zeros_like(mean[0])
        distance = mean - origin
        top, total = new_top, shrink * total + weight.sum(0)
        first = _scaled(shrink, first) + _weighted(weight, distance)
        second = _scaled(shrink, second) + _weighted(weight, distance.square() + variance)
        groups = given.level_probs
        more = [_weighted(weight, probs) for _, probs in groups]
        levels = [_scaled(shrink, old) + new for old, new in zip(levels or more, more, strict=True)]
    shift = _scaled(1 / total, first)
    variance = (_scaled(1 / total, second) - shift.square()).clamp(min=0)
    kept = target.prepared.observed.unsqueeze(-2)
    level_probs = [
        (columns, _scaled(1 / total, probs).masked_fill(kept[..., columns], 0))
        for (columns, _), probs in zip(groups, levels, strict=True)
    ]
    found = _Moments(origin + shift, variance.sqrt(), torch.cat(log_weights), level_probs)
    for columns, probs in level_probs:
        guess_levels(found.mean, found.std, columns, probs)
    return found


def _log_weight(codes: Codes, some: slice, given: Conditional) -> Tensor:
    if codes.log_ratio is None:
        return torch.zeros(codes.z[some].shape[:2], dtype=torch.float64, device=codes.z.device)
    log_weight = (codes.log_ratio[some] + given.log_evidence).double()
    return log_weight.nan_to_num(nan=LOWEST, neginf=LOWEST)


def _weighted(weight: Tensor, values: Tensor) -> Tensor:
    """Σ_k weight_kb values_kb for weights (K, B) and values (K, B, *shape)."""
    return torch.einsum("kb,kb...->b...", weight.to(values.dtype), values)


def _scaled(factor: Tensor, values: Tensor) -> Tensor:
    return factor.to(values.dtype).view(-1, *[1] * (values.dim() - 1)) * values
