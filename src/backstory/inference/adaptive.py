"""The log-evidence with as much work for each observation as it needs.

Every observation gets a few draws of q(z|x), which suffice where q(z|x) is close to p(z|x). The others go
on, as far as the budget reaches:

    is           importance sampling with q(z|x)
    variational  importance sampling with r(z), which mixes q*(z), a wider q*(z) and p(z); q* is the Gaussian
                 with correlations nearest to p(z|x)                              (`inference.variational`)
    ais          annealed importance sampling from q*(z)                          (`inference.annealing`)

Where p(x|z) is costly (`distributions.base.Head.codes_to_weigh`) the first draws are fewer, and z explains
little, so that more of the rows stop at them: at a standard error of 0.3 nats at most.

An observation stops at q* if its weights are worth `ENOUGH` draws without a heavy tail, which leaves a
standard error of 0.16 nats at most and a bias of about half of its square. Where the first weights show that
q(z|x) is out of reach (`HOPELESS`), no more is spent.

The budget is in bytes that decoding allocates (`memory.pair_bytes`): they are the same on each machine, and
time is proportional to them within a factor of two.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from backstory.data.observation import Observation
from backstory.inference.annealing import Advance, Annealing, Chains
from backstory.inference.codes import CodeSearch
from backstory.inference.effort import BUDGET, Effort
from backstory.inference.hmc import Rows, mixed_seed
from backstory.inference.importance import Evidence, LogMean, joined, target_evidence
from backstory.inference.memory import pair_bytes, pairs_at_once
from backstory.inference.pareto import threshold, weights_k
from backstory.inference.requests import EvidenceRequest
from backstory.inference.target import Evidenced
from backstory.models.vae import VAE

FIRST = 100  # draws of q(z|x) for every observation
SURE = 0.8  # share of effective draws among these: weights of a too narrow q(z|x) look good for a while
SURE_IF_COSTLY = 0.25
ENOUGH = 40.0  # effective draws of r(z), and of chains from q*
HOPELESS = 10.0  # Pareto k̂ of the first weights
WORK = 2**39  # bytes allocated for all observations: tens of minutes of one processor core
FITS = (Effort(proposals=300, steps=20, rounds=3), Effort(proposals=200, steps=10, rounds=2))
CHAINS = Annealing(chains=16, steps=50, schedule="linear")


@dataclass(frozen=True)
class Plan:
    """What follows the first draws.

    Attributes:
        fit: of q* and its weights; None if the budget is too small for it.
        annealing: from q*; None if the budget is too small for it.
    """

    fit: Effort | None
    annealing: Annealing | None

    @classmethod
    def within(cls, budget: float, units: int, first: int = FIRST) -> "Plan":
        """The most that so many decoded codes for each observation allow.

        Args:
            budget: codes.
            units: dimensions of z.
            first: codes of the first draws.
        """
        costs = {effort: first + effort.cost("variational", units) for effort in FITS}
        fit = next((effort for effort, cost in costs.items() if cost <= budget), None)
        chains = fit is not None and costs[fit] + CHAINS.cost <= budget
        return cls(fit, CHAINS if chains else None)


def usual_budget(vae: VAE, rows: int) -> float:
    """Codes decoded for each of so many observations."""
    return min(BUDGET, WORK / (max(1, rows) * pair_bytes(vae)))


def adaptive_evidence(
    vae: VAE,
    batches: Iterable[Observation | Tensor],
    rows: int,
    request: EvidenceRequest,
    generator: torch.Generator,
    advance: Advance = lambda rows: None,
) -> Evidence:
    """The log-evidence of each observation by the cheapest method that will do.

    Args:
        vae: the model.
        batches: B observations at a time.
        rows: number of all observations.
        request: `budget`, `seed` and `chunk` are used.
        generator: source of the first draws.
        advance: called with the number of finished observations.
    """
    first = vae.codes_to_weigh or FIRST
    plan = Plan.within(request.budget or usual_budget(vae, rows), vae.latents.units, first)
    parts = []
    for work in _works(vae, batches, request, generator):
        work.follow(plan, advance)
        parts.append(work.result)
    return joined(parts)


def fitted_evidence(
    vae: VAE,
    batches: Iterable[Observation | Tensor],
    request: EvidenceRequest,
    generator: torch.Generator,
    advance: Advance = lambda rows: None,
) -> Evidence:
    """The log-evidence of every observation by weights of r(z); arguments as `adaptive_evidence`."""
    effort = replace(FITS[0], proposals=request.samples or FITS[0].proposals)
    parts = []
    for work in _works(vae, batches, request, generator):
        for some in work.pieces(torch.arange(len(work.target))):
            work.weigh_fit(work.search(some, effort), some)
            advance(len(some))
        parts.append(work.result)
    return replace(joined(parts), samples=effort.proposals)


def _works(
    vae: VAE,
    batches: Iterable[Observation | Tensor],
    request: EvidenceRequest,
    generator: torch.Generator,
) -> Iterator["_Batch"]:
    """The estimates of each batch from its first draws."""
    first = 0
    for batch in map(Observation.of, batches):
        yield _Batch(Evidenced(vae, batch), first, request, generator)
        first += len(batch)


class _Batch:
    """The evidence of a batch, improved row by row.

    Args:
        target: p(z) p(x|z) of the batch.
        first: number of its first row in the data.
        request: of the estimate.
        generator: source of the first draws.
    """

    def __init__(self, target: Evidenced, first: int, request: EvidenceRequest, generator: torch.Generator):
        self.target, self.first, self.request = target, first, request
        self.draws = target.vae.codes_to_weigh or FIRST
        base = target_evidence(target, self.draws, generator, request.chunk)
        # a copy of what is improved in place
        names = ("log_evidence", "standard_error", "ess", "pareto_k", "acceptance")
        self.numbers = {name: getattr(base, name).clone() for name in names}
        self.base, self.methods = base, list(base.methods)

    @property
    def result(self) -> Evidence:
        """The estimates so far."""
        return replace(self.base, method=self.request.method, methods=tuple(self.methods), **self.numbers)

    @cached_property
    def pairs(self) -> int:
        """Pairs of draw and observation decoded at once with a gradient."""
        return self.request.chunk or pairs_at_once(self.target.vae, gradient=True)

    def follow(self, plan: Plan, advance: Advance) -> None:
        """Improve the rows whose first weights are worth too little, as far as the plan goes."""
        hopeful = ~(self.numbers["pareto_k"] > HOPELESS)  # of few weights there is no k̂
        sure = self.draws * (SURE_IF_COSTLY if self.target.vae.codes_to_weigh else SURE)
        rows = (self._poor(sure) & hopeful).nonzero().squeeze(1) if plan.fit else torch.arange(0)
        advance(len(self.target) - len(rows))
        for some in self.pieces(rows):
            assert plan.fit is not None
            search = self.search(some, plan.fit)
            self.weigh_fit(search, some)
            poor = self._poor(ENOUGH)[some]
            if plan.annealing and poor.any():
                chosen = poor.nonzero().squeeze(1)
                self._anneal(search.take(chosen), some[chosen], plan.annealing)
            advance(len(some))

    def pieces(self, rows: Tensor) -> Iterator[Tensor]:
        """The rows, as many at a time as fit in memory."""
        size = max(1, self.pairs // CHAINS.chains)
        yield from rows.split(size) if len(rows) else ()

    def search(self, rows: Tensor, effort: Effort) -> CodeSearch[Evidenced]:
        """The search for codes of some rows."""
        numbers = [self.first + row for row in rows.tolist()]
        seed = mixed_seed(self.request.seed, FIRST)
        return CodeSearch(self.target.rows(rows), Rows(seed, numbers), effort)

    def weigh_fit(self, search: CodeSearch[Evidenced], rows: Tensor) -> None:
        """Estimates of some rows by weights of r(z)."""
        codes = search.codes("variational", search.effort)
        assert codes.log_ratio is not None
        at_once = max(1, self.pairs // len(rows))
        with torch.no_grad():
            log_likelihood = torch.cat([search.target.log_likelihood(z) for z in codes.z.split(at_once)])
        log_weight = (codes.log_ratio + log_likelihood).double().nan_to_num(-math.inf, neginf=-math.inf)
        self._keep(rows, "variational", log_weight)

    def _anneal(self, search: CodeSearch[Evidenced], rows: Tensor, how: Annealing) -> None:
        """Estimates of some rows by chains from q*."""
        vae, target = self.target.vae, search.target
        near = Evidenced(vae, target.observation, vae.latents.lift(search.fit.full))
        log_weight, acceptance = Chains(near, search.rows, how).forward()
        self._keep(rows, "ais", log_weight)
        self.numbers["acceptance"][rows] = acceptance

    def _keep(self, rows: Tensor, method: str, log_weight: Tensor) -> None:
        mean = LogMean.of(log_weight)
        kept = (mean.value, mean.standard_error, mean.ess, weights_k(log_weight))
        for name, value in zip(("log_evidence", "standard_error", "ess", "pareto_k"), kept, strict=True):
            self.numbers[name][rows] = value
        for row in rows.tolist():
            self.methods[row] = method

    def _poor(self, enough: float) -> Tensor:
        """Whether the weights of each row are worth too few draws or have a heavy tail, (B,)."""
        heavy = self.numbers["pareto_k"] > threshold(self.draws)
        return heavy | ~(self.numbers["ess"] >= enough)
