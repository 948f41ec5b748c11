"""Records of what people ask of an estimate, made once from their options."""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from backstory.errors import InputError
from backstory.inference.effort import METHODS, Effort, affordable
from backstory.options import check_option, one_of

COSTLY = 2_000_000  # codes of all observations together, where p(x|z) is costly


@dataclass(frozen=True)
class RestorationRequest:
    """What people ask of a restoration.

    Attributes:
        draws: M, for each observation; 0 for means alone.
        method: `encoder`, `importance`, `variational`, `hmc` or `auto`.
        seed: of every draw.
        presentation_seed: of the presentation of y, where that is at random.
        effort: spent on each observation.
        budget: of method `auto`, in codes decoded for each observation; None for `effort.usual_budget`.
        chunk: pairs of code and observation decoded at once; None for the default of the device.

    Raises:
        InputError: for an unknown method, or numbers that are too small or not whole.
    """

    draws: int = 10
    method: str = "auto"
    seed: int = 0
    presentation_seed: int = 0
    effort: Effort = field(default_factory=Effort)
    budget: int | None = None
    chunk: int | None = None

    def __post_init__(self) -> None:
        one_of("method", self.method, ["auto", *METHODS])
        for name, least in (("draws", 0), ("chunk", 1), ("budget", 1)):
            value = getattr(self, name)
            if value is not None and (value < least or value != int(value)):
                raise InputError(f"{name} has to be at least {least} and whole, got {value:g}")

    def plan(self, rows: int, units: int, codes: int | None = None) -> list[tuple[str, Effort]]:
        """Methods with their efforts, in the order in which they are tried.

        Args:
            rows: number of observations.
            units: dimensions of z.
            codes: see `distributions.base.Head`.
        """
        if self.method != "auto":
            return [(self.method, self.effort)]
        if codes is not None:
            affordable_codes = max(1, COSTLY // max(1, rows)) if self.budget is None else self.budget
            fewer = min(codes, self.effort.proposals, affordable_codes)
            return [("importance" if fewer > 1 else "encoder", replace(self.effort, proposals=fewer))]
        return affordable(self.effort, rows, units, self.budget)

    def weighed(self, rows: int, units: int, codes: int | None = None) -> int:
        """The most codes that `plan` weighs for an observation; arguments are those of `plan`."""
        return max(effort.proposals for _, effort in self.plan(rows, units, codes))

    @classmethod
    def of(cls, draws: int, method: str, seed: int, **options: Any) -> "RestorationRequest":
        """From the options of `Model.restore`; InputError for an unknown one."""
        own = {name: options.pop(name) for name in ("budget", "chunk") if name in options}
        for name in options:
            check_option("restore", name, [known.name for known in fields(Effort)])
        return cls(draws, method, seed, seed, Effort(**options), **own)

    def with_seed(self, seed: int) -> "RestorationRequest":
        """The same request with another seed of the draws and of the presentation."""
        return replace(self, seed=seed, presentation_seed=seed)


@dataclass(frozen=True)
class EvidenceRequest:
    """What people ask of an estimate of log p(x).

    Attributes:
        method: `auto`, `is`, `variational`, `ais` or `exact`.
        samples: K, draws or chains for each observation; None for the default of the method. Method `auto`
            with a number of samples is `is`.
        seed: of every draw.
        presentation_seed: of the presentation of x, where that is at random.
        budget: of `auto`, in codes decoded for each observation; None for `adaptive.usual_budget`.
        chunk: pairs of draw and observation decoded at once; None for the default of the device.
        resume: of `ais`: a file that keeps finished rows, from which they are taken up again.
        annealing: other settings of `ais` by name: steps, leapfrog, start and schedule.
    """

    method: str = "auto"
    samples: int | None = None
    seed: int = 0
    presentation_seed: int = 0
    budget: int | None = None
    chunk: int | None = None
    resume: Path | None = None
    annealing: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, method: str, samples: int | None, seed: int, **options: Any) -> "EvidenceRequest":
        """From the options of `Model.log_evidence`."""
        budget, chunk, resume = (options.pop(name, None) for name in ("budget", "chunk", "resume"))
        if method == "auto" and samples is not None:
            method = "is"
        path = None if resume is None else Path(resume)
        return cls(method, samples, seed, seed, budget, chunk, path, options)
