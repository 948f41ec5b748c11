"""Restoration: draws of x from p(x|y), where y is what is left of it.

    p(x|y) = ∫ p(x|z, y) p(z|y) dz

Codes z_k with weights w_k stand for p(z|y) (`inference.codes`), and p(x|z, y) is known (see
`inference.conditional`). The mean and variance of x use it without drawing from it (Rao-Blackwell):

    E[x|y]   = Σ_k w_k E[x|z_k, y]
    Var[x|y] = Σ_k w_k (Var[x|z_k, y] + E[x|z_k, y]²) − E[x|y]²

Of a column with levels, where there is no mean, the mean is the most probable level, and the deviation the
probability of all others.

Draws of x come from codes resampled by their weights, so all count alike. The mean of many draws is E[x|y];
it has the least squared error, and lies between the modes where there are several.

`auto` spends as little as it has to. It begins with importance weights, where a few of them show that they
may do. The observations for which they are worth too few draws (an effective sample size under `ENOUGH`, or a
tail too heavy by Pareto k̂) go on to the variational proposal, and those for which that is worth fewer than
chains are (`FEW`, `NO_MEAN`) to more weights of it, unless chains cost less, then to HMC, as far as the
budget reaches: a method whose cost (`Effort.cost`, codes decoded for each observation) is above it is not
begun. Of more than 2,500 observations each gets less, so that a table of a hundred thousand rows is done in
the time of a few thousand: first no chains, then fewer steps and fewer codes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from backstory.distributions.base import DataDistribution
from backstory.distributions.joint import Joint
from backstory.distributions.self_masked import SelfMasked
from backstory.errors import InputError
from backstory.inference.conditional import Conditional, condition, constant_variance, level_count
from backstory.inference.damaged import Damaged
from backstory.inference.hmc import RowNoise
from backstory.inference.importance import LogMean, check_density, entries_at_once
from backstory.inference.latent_posterior import Codes, Effort, Finder, pick
from backstory.inference.pareto import pareto_k, tail_size, threshold
from backstory.models.vae import VAE
from backstory.options import one_of

METHODS = ("encoder", "importance", "variational", "hmc")
ENOUGH = 100.0  # effective draws with which importance weights are trusted
FEW, NO_MEAN = 25.0, 1.0  # effective draws, and k̂, from which chains of the usual length do no better
MORE = 8  # times the weights, where they are worth few: less than half of what chains cost
BUDGET = 40_000  # codes decoded for each observation: all methods at their defaults
TOTAL = 10**8  # codes decoded for all observations of `auto`, which of many gets less for each
LEAST = 1000  # for each: what the variational method needs of a table
FEWEST = 200  # importance weights

DRAWS_AT_ONCE = 64  # of one row; part of the definition of a seeded result, not a setting
LOWEST = -1e300  # the log-weight of a code that cannot have made y

SELECT, DRAW = range(20, 22)  # streams of noise, apart from those of `codes`

T = TypeVar("T", Tensor, np.ndarray)


@dataclass(frozen=True)
class Restoration(Generic[T]):
    """What p(x|y) says of each of N observations.

    Attributes:
        mean: E[x|y], (N, *shape); of a table's columns with levels the most probable level.
        std: standard deviation of each entry, (N, *shape); of columns with levels the probability of others.
        draws: of p(x|y), (M, N, *shape), each with the same weight.
        codes: the z of each draw, (M, N, D).
        methods: how the codes of each observation were found; `prior` where nothing was seen, and `observed`
            where nothing was missing, so that x is y.
        log_evidence: estimate of log p(y), (N,) nats; NaN without importance weights.
        ess: effective sample size, (N,), of the weights or of the chains; NaN for independent draws.
        pareto_k: shape of the tail of the weights, (N,), see `inference.pareto`; NaN without weights.
        r_hat, acceptance: of the chains, (N,); NaN without.
        level_probs: of each group of columns with levels its columns, (C,), and the probabilities of their
            levels given y, (N, L, C); zeros where they were seen.
    """

    mean: T
    std: T
    draws: T
    codes: Tensor
    methods: tuple[str, ...]
    log_evidence: Tensor
    ess: Tensor
    pareto_k: Tensor
    r_hat: Tensor
    acceptance: Tensor
    level_probs: tuple[tuple[Tensor, Tensor], ...] = ()


def coverage(
    restoration: Restoration[T], truth: T, level: float = 0.9, where: np.ndarray | Tensor | None = None
) -> float:
    """The share of true entries that lie in the central interval of `level` of the draws: at best, `level`.

    Of M draws and the truth, all ranks of the truth are equally likely if the draws are right. An entry
    counts by the share of its rank, [r, r + 1] / (M + 1), that lies within ½ ± level / 2; with ties r + 1 is
    r + 1 + ties. So the number is right for any M, and for data with levels.

    Args:
        restoration: of `truth`.
        truth: (N, *shape).
        level: of the interval, in (0, 1).
        where: (N, *shape) of bool: the entries to count, such as those that were missing; all without it.

    Raises:
        InputError: for a truth of another shape, or nothing to count.
    """
    draws, x = torch.as_tensor(restoration.draws), torch.as_tensor(truth)
    if x.shape != draws.shape[1:]:
        raise InputError(f"expected a truth of shape {tuple(draws.shape[1:])}, got {tuple(x.shape)}")
    if not 0 < level < 1:
        raise InputError(f"the level of an interval lies between 0 and 1, got {level:g}")
    below, equal = (draws < x).sum(0).double(), (draws == x).sum(0).double()
    first, last = (below / (len(draws) + 1), (below + equal + 1) / (len(draws) + 1))
    inside = last.clamp(max=0.5 + level / 2) - first.clamp(min=0.5 - level / 2)
    share = inside.clamp(min=0) / (last - first)
    share = share if where is None else share[torch.as_tensor(where)]
    if share.numel() == 0:
        raise InputError("there is no entry to count: `where` is false everywhere")
    return float(share.mean())


def restore(
    vae: VAE,
    seen: Damaged,
    draws: int = 10,
    method: str = "auto",
    seed: int = 0,
    effort: Effort | None = None,
    budget: int | None = None,
    chunk: int | None = None,
    advance: Callable[[int], None] = lambda rows: None,
) -> Restoration[Tensor]:
    """Mean, deviation and draws of x given y.

    The noise of a row depends on the seed and the number of the row alone, so how the work is cut changes
    the result by no more than rounding.

    Args:
        vae: the model; InputError if it is a plain autoencoder.
        seen: what was seen, from `operators.observe`.
        draws: M.
        method: `encoder`, `importance`, `variational`, `hmc`, or `auto`, see above.
        seed: of every draw.
        effort: how much to spend on each observation.
        budget: of `auto`, in codes decoded for each observation; by default `usual_budget`.
        chunk: pairs of code and observation decoded at once; changes memory, not the result.
        advance: called with the number of observations finished.
    """
    one_of("method", method, ["auto", *METHODS])
    check_density(vae)
    for name, value in (("draws", draws), ("chunk", chunk), ("budget", budget)):
        if value is not None and (value < 1 or value != int(value)):
            raise InputError(f"{name} has to be at least 1 and whole, got {value:g}")
    how, budget = effort or Effort(), usual_budget(len(seen)) if budget is None else budget
    units = len(vae.prior().mean)
    if method == "auto":
        how = _within(how, budget, units)
    with torch.no_grad():
        probe = vae.decode(vae.prior().mean[None])
        if isinstance(probe, SelfMasked) and not seen.exact:
            raise InputError(
                "expected entries of x as they are, got an operator, and the model takes what is missing as "
                "missing by its own value; train one with missingness random for noise and maps"
            )
        prepared = seen.prepared(constant_variance(probe))
    entries = _entries_per_code(math.prod(vae.features_shape), probe, prepared)
    pairs = chunk or max(1, entries_at_once(vae.shift.device) // entries)
    work = _Work(vae, seen, prepared, draws, seed, how, pairs)
    plan = [(method, how)] if method != "auto" else _affordable(how, budget, units)
    size = max(1, pairs // how.chains)
    kind = _kinds(seen, isinstance(probe, SelfMasked))
    for name in ("observed", "prior", "inferred"):
        rows = torch.tensor([i for i, k in enumerate(kind) if k == name], dtype=torch.long)
        for some in rows.split(size) if len(rows) else ():
            work.run(some, plan if name == "inferred" else [(name, how)])
            advance(len(some))
    return work.result()


def usual_budget(rows: int) -> int:
    """Codes decoded for each of so many observations.

    >>> usual_budget(1_000), usual_budget(20_000), usual_budget(1_000_000)
    (40000, 5000, 1000)
    """
    return max(LEAST, min(BUDGET, TOTAL // max(1, rows)))


def _within(how: Effort, budget: int, units: int) -> Effort:
    """The effort that a budget leaves: the variational method if it can be had for it, else fewer weights."""
    less = how.within(budget, units)
    if less.proposals >= FEWEST and less.cost("variational", units) <= budget:
        return less
    return replace(how, proposals=budget) if FEWEST <= budget < how.proposals else how


def _affordable(how: Effort, budget: int, units: int) -> list[tuple[str, Effort]]:
    """Methods with their efforts, in the order in which they are tried."""
    more = replace(how, proposals=MORE * how.proposals)
    plan = [("importance", how), ("variational", how), ("variational", more), ("hmc", how)]
    plan = [(m, e) for m, e in plan if e.cost(m, units) <= budget] or [("encoder", how)]
    if ("hmc", how) in plan and how.cost("hmc", units) < more.cost("variational", units):
        plan.remove(("variational", more))
    return plan


def _kinds(seen: Damaged, telling: bool) -> list[str]:
    """`observed` where an observation is there as it was, `prior` where nothing is, else `inferred`.

    Also `inferred` where nothing is there, if that is `telling`: what is missing depends on what it is.
    """
    mask = seen.seen.flatten(1)
    whole = mask.all(1) if seen.exact else torch.zeros_like(mask[:, 0])
    pairs = zip(whole.tolist(), (mask.any(1) | telling).tolist(), strict=True)
    return ["observed" if full else "inferred" if some else "prior" for full, some in pairs]


def _entries_per_code(features: int, p: DataDistribution, seen: Damaged) -> int:
    """How many numbers are held for each code that is decoded."""
    if not seen.diagonal:
        return features + math.prod(seen.linear.out) ** 2
    return features if seen.exact or not seen.direct else features * max(1, level_count(p))


class _Work:
    """The restoration of all rows, filled in as their posteriors are found."""

    def __init__(
        self, vae: VAE, seen: Damaged, prepared: Damaged, draws: int, seed: int, how: Effort, pairs: int
    ):
        self.vae, self.seen, self.prepared = vae, seen, prepared
        self.seed, self.how, self.pairs = seed, how, pairs
        n, x = len(seen), seen.y.new_empty(0)
        shape, latent = seen.linear.shape, vae.prior().mean.shape[-1]
        self.mean, self.std = x.new_empty(n, *shape), x.new_zeros(n, *shape)
        self.draws, self.codes = x.new_empty(draws, n, *shape), x.new_full((draws, n, latent), math.nan)
        self.methods = ["observed"] * n
        names = ("log_evidence", "ess", "pareto_k", "r_hat", "acceptance")
        self.numbers = {name: torch.full((n,), math.nan, dtype=torch.float64) for name in names}
        self.level_probs: list[tuple[Tensor, Tensor]] = []  # made when the groups of columns are known

    def result(self) -> Restoration[Tensor]:
        return Restoration(
            self.mean,
            self.std,
            self.draws,
            self.codes,
            tuple(self.methods),
            **self.numbers,
            level_probs=tuple((columns.cpu(), probs.cpu()) for columns, probs in self.level_probs),
        )

    def run(self, rows: Tensor, plan: list[tuple[str, Effort]]) -> None:
        """Restore some rows by the first method of the plan that will do for each, or by the last."""
        if plan[0][0] == "observed":
            self.mean[rows], self.draws[:, rows] = self.seen.y[rows], self.seen.y[rows]
            return
        finder = Finder(
            self.vae, self.seen.rows(rows), self.prepared.rows(rows), rows.tolist(), self.how, self.seed
        )
        for method, effort in plan:
            finder.effort = effort
            tried = torch.ones(len(rows), dtype=torch.bool)
            if method == "importance" and len(plan) > 1:
                tried = finder.promising().cpu()
            elif effort.proposals > self.how.proposals:  # more of what was worth next to nothing is in vain
                tried = MORE * self.numbers["ess"][rows] >= FEW
            if tried.any():
                chosen = tried.nonzero().squeeze(1)
                self._restore(finder if tried.all() else finder.take(chosen), rows[chosen], method)
            poor = (~tried | self._poor(rows, method)).nonzero().squeeze(1)
            if len(poor) == 0:
                return
            rows, finder = rows[poor], finder.take(poor)

    def _poor(self, rows: Tensor, method: str) -> Tensor:
        """Which rows' weights are not worth what the next method's are."""
        last = method == "variational"
        few = self.numbers["ess"][rows] < (FEW if last else ENOUGH)
        return few | (self.numbers["pareto_k"][rows] > (NO_MEAN if last else threshold(self.how.proposals)))

    def _restore(self, finder: Finder, rows: Tensor, method: str) -> None:
        numbers, prepared, found = finder.rows, finder.seen, finder.find(method)
        with torch.no_grad():
            moments = _moments(self.vae, prepared, found, max(1, self.pairs // len(rows)))
            self.mean[rows], self.std[rows] = moments.mean, moments.std
            self._keep_levels(rows, moments.level_probs)
            self._draw(numbers, prepared, found.z, moments.log_weight)
        for row in numbers:
            self.methods[row] = method
        if found.log_ratio is not None:
            weights = LogMean.of(moments.log_weight)
            largest = moments.log_weight.T.topk(min(len(found.z), tail_size(len(found.z)) + 1)).values
            self._note(rows, log_evidence=weights.value, ess=weights.ess, pareto_k=pareto_k(largest))
        else:
            self._note(rows, ess=found.ess, r_hat=found.r_hat, acceptance=found.acceptance)

    def _keep_levels(self, rows: Tensor, groups: list[tuple[Tensor, Tensor]]) -> None:
        if not self.level_probs:
            n = len(self.methods)
            self.level_probs = [(c, probs.new_zeros(n, *probs.shape[1:])) for c, probs in groups]
        for (_, kept), (_, probs) in zip(self.level_probs, groups, strict=True):
            kept[rows] = probs

    def _note(self, rows: Tensor, **numbers: Tensor) -> None:
        for name in self.numbers:
            self.numbers[name][rows] = numbers[name].cpu() if name in numbers else math.nan

    def _draw(self, numbers: list[int], seen: Damaged, z: Tensor, log_weight: Tensor) -> None:
        """Codes by their weights in an order that is random, and x given each."""
        u = RowNoise(self.seed, SELECT, numbers, len(self.draws), z).uniform(2)
        chosen = pick(torch.softmax(log_weight, 0), u[..., 0]).gather(0, u[..., 1].argsort(0))
        codes = z.gather(0, chosen.unsqueeze(-1).expand(-1, -1, z.shape[-1]))
        self.codes[:, numbers] = codes
        sources = RowNoise(self.seed, DRAW, numbers, 1, z).generators
        for index, (row, source) in enumerate(zip(numbers, sources, strict=True)):
            here = slice(index, index + 1)
            for start in range(0, len(codes), DRAWS_AT_ONCE):
                some = slice(start, start + DRAWS_AT_ONCE)
                p = self.vae.decode(codes[some, here])
                self.draws[some, row] = condition(p, seen.rows(here)).sample(source)[:, 0]


@dataclass(frozen=True)
class _Moments:
    """Weighted mean and deviation of x, (B, *shape), and the log-weights of the codes, (K, B) of float64.

    `level_probs` as in `Restoration`, of these rows.
    """

    mean: Tensor
    std: Tensor
    log_weight: Tensor
    level_probs: list[tuple[Tensor, Tensor]]


def _moments(vae: VAE, seen: Damaged, codes: Codes, at_once: int) -> _Moments:
    """Of x given y, a few codes at a time; sums are kept relative to the largest weight so far."""
    log_weights: list[Tensor] = []
    top = torch.full(codes.z.shape[1:2], -math.inf, dtype=torch.float64, device=codes.z.device)
    total = torch.zeros_like(top)
    origin = condition(vae.decode(codes.z[:1]), seen).mean[0]  # near the mean: its square cancels little
    first, second = torch.zeros_like(origin), torch.zeros_like(origin)
    levels: list[Tensor] = []  # of each group of columns the weighted probabilities, (B, L, C)
    for start in range(0, len(codes.z), at_once):
        some = slice(start, start + at_once)
        p = vae.decode(codes.z[some])
        given = condition(p, seen)
        log_weights.append(_log_weight(codes, some, given))
        new_top = torch.maximum(top, log_weights[-1].amax(0))
        weight, shrink = torch.exp(log_weights[-1] - new_top), torch.exp(top - new_top)
        mean, variance = _mean_and_variance(p, given, seen)
        distance = mean - origin
        top, total = new_top, shrink * total + weight.sum(0)
        first = _scaled(shrink, first) + _weighted(weight, distance)
        second = _scaled(shrink, second) + _weighted(weight, distance.square() + variance)
        if isinstance(p, Joint) and seen.exact:
            more = [_weighted(weight, probs) for _, probs in p.level_probs]
            levels = [_scaled(shrink, old) + new for old, new in zip(levels or more, more, strict=True)]
    shift = _scaled(1 / total, first)
    variance = (_scaled(1 / total, second) - shift.square()).clamp(min=0)
    groups = zip(p.level_probs if isinstance(p, Joint) else (), levels, strict=False)
    kept = seen.seen.unsqueeze(-2)
    level_probs = [
        (columns, _scaled(1 / total, probs).masked_fill(kept[..., columns], 0))
        for (columns, _), probs in groups
    ]
    found = _Moments(origin + shift, variance.sqrt(), torch.cat(log_weights), level_probs)
    for columns, probs in level_probs:
        guess_levels(found.mean, found.std, columns, probs)
    return found


def _mean_and_variance(p: DataDistribution, given: Conditional, seen: Damaged) -> tuple[Tensor, Tensor]:
    """Of x given z and y; columns with levels, of whose codes probabilities are summed, have none."""
    if not (isinstance(p, Joint) and seen.exact):
        return given.mean, given.variance
    mean, variance = p.moments
    return torch.where(seen.seen, seen.y, mean), torch.where(seen.seen, 0.0, variance)


def guess_levels(mean: Tensor, std: Tensor, columns: Tensor, probs: Tensor) -> None:
    """The most probable levels in place of means, and the probability of others in place of deviations.

    Args:
        mean, std: (N, C), of which the columns are changed where their levels have probabilities.
        columns, probs: as in `Restoration.level_probs`.
    """
    best, guessed = probs.max(-2), probs.sum(-2) > 0
    mean[:, columns] = torch.where(guessed, best.indices.to(mean), mean[:, columns])
    std[:, columns] = torch.where(guessed, (1 - best.values).clamp(min=0).to(std), std[:, columns])


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
