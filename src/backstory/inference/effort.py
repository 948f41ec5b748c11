"""How much work to spend on each observation, and in which order methods are tried.

`auto` spends as little as it has to. It begins with importance weights if a few of them show that they may
do. Observations whose weights are worth too few draws (an effective sample size under `ENOUGH`, or a tail too
heavy by Pareto k̂) go on to the variational proposal. Where its weights are worth fewer draws than chains
would be (`FEW`, `NO_MEAN`), more weights of it follow, unless chains cost less, and then HMC. A method that
costs more codes for an observation than the budget allows is not begun. Beyond 750 observations the budget
of each shrinks, so that a table of a hundred thousand rows takes as long as one of a thousand: first no
chains, then fewer steps and fewer codes.
"""

import math
from dataclasses import dataclass, fields, replace

from backstory.errors import InputError

METHODS = ("encoder", "importance", "variational", "hmc")
GRADIENTS_PER_DIMENSION = 4  # from which an expected Hessian is regressed
WARM_UP = 0.5  # transitions at β = 1 before those that are kept, as a share of these

ENOUGH = 100.0  # effective draws with which importance weights are trusted
FEW, NO_MEAN = 25.0, 1.0  # effective draws, and k̂, from which chains of the usual length do no better
MORE = 8  # times the weights if they are worth few: less than half of what chains cost
BUDGET = 40_000  # codes decoded for each observation: all methods at their defaults
TOTAL = 3 * 10**7  # codes decoded for all observations: minutes of one processor core for a table
FEWEST = 200  # importance weights, and codes for each observation


@dataclass(frozen=True)
class Effort:
    """How much to spend on each observation.

    Attributes:
        proposals: K codes that are weighed.
        steps: of Adam, for the diagonal Gaussian.
        gradient_draws: of z in each of these.
        rounds: of natural gradients after them.
        chains, temperatures, transitions, leapfrog: C chains of HMC, the increments of β, the transitions at
            β = 1 that are kept, and the leapfrog steps of each.

    Raises:
        InputError: for numbers that are too small or not whole.
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
        for option in fields(self):
            value, least = getattr(self, option.name), 4 if option.name == "transitions" else 1
            if value < least or value != int(value):
                raise InputError(
                    f"{option.name} has to be at least {least} for restoration and whole, got {value:g}"
                )
        if self.chains < 2:
            raise InputError(f"chains has to be at least 2, so that they can be compared, got {self.chains}")

    def cost(self, method: str, units: int) -> int:
        """Codes of so many dimensions that are decoded for each observation; a gradient counts as three."""
        optimising = 3 * self.steps * self.gradient_draws
        regressing = 3 * GRADIENTS_PER_DIMENSION * units * self.rounds
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
        steps, regression = 3 * self.gradient_draws, 3 * GRADIENTS_PER_DIMENSION * units
        return replace(
            self,
            steps=max(1, min(self.steps, int(0.1 * budget) // steps)),
            rounds=max(1, min(self.rounds, int(0.5 * budget) // regression)),
            proposals=max(1, min(self.proposals, int(0.4 * budget))),
        )


def usual_budget(rows: int) -> int:
    """Codes decoded for each of so many observations.

    >>> usual_budget(1_000), usual_budget(20_000), usual_budget(1_000_000)
    (30000, 1500, 200)
    """
    return max(FEWEST, min(BUDGET, TOTAL // max(1, rows)))


def _within(how: Effort, budget: int, units: int) -> Effort:
    """The effort that a budget leaves: that of the variational method if it suffices, else fewer weights."""
    less = how.within(budget, units)
    if less.proposals >= FEWEST and less.cost("variational", units) <= budget:
        return less
    return replace(how, proposals=budget) if FEWEST <= budget < how.proposals else how


def affordable(how: Effort, rows: int, units: int, budget: int | None = None) -> list[tuple[str, Effort]]:
    """The methods of `auto` with their efforts, in the order in which they are tried.

    Args:
        how: the most to spend on each observation.
        rows: number of observations.
        units: dimensions of z.
        budget: codes decoded for each observation; by default `usual_budget(rows)`.
    """
    budget = usual_budget(rows) if budget is None else budget
    how = _within(how, budget, units)
    more = replace(how, proposals=MORE * how.proposals)
    plan = [("importance", how), ("variational", how), ("variational", more), ("hmc", how)]
    plan = [(m, e) for m, e in plan if e.cost(m, units) <= budget] or [("encoder", how)]
    if ("hmc", how) in plan and how.cost("hmc", units) < more.cost("variational", units):
        plan.remove(("variational", more))
    return plan
