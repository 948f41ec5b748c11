"""Training: maximise an objective over the rows of a data set that stays in memory.

Rows are visited in a new random order each epoch, the last short batch included. Each step ascends the
batch mean of the objective with Adam; the learning rate rises over the first tenth of the run and falls to
zero along a cosine; β rises linearly from 0 over the warm-up epochs (Bowman et al. 2016; Sønderby et al.
2016), once or in cycles (Fu et al. 2019). Validation uses the same objective with the final β and the same
draws in every epoch, so that epochs can be compared; the best weights are kept as a copy.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from backstory import console
from backstory.build import one_of
from backstory.data.schema import Schema
from backstory.diagnostics import code_use
from backstory.errors import InputError, TrainingFailed
from backstory.objectives import MANY_DRAWS, OBJECTIVES, SUPPLIED, arguments
from backstory.vae import VAE, Terms

TARGET_STEPS = 10_000
LEAST_STEPS = 3_000
MAX_FAILURES = 20  # steps in a row
PROBE_ROWS = 2_000  # rows that show the use of the codes where there is no validation set
EVALUATION_BATCH = 500

Metrics = dict[str, Any]


class TrainOptions(BaseModel):
    """How a model is trained; None leaves the choice to the size of the data.

    Attributes:
        objective: one of `OBJECTIVES`.
        objective_args: arguments of the objective by name, such as `alpha` of `renyi`; see its function.
        samples: draws of z for each observation and step, L (ELBO), K (importance-weighted), M · K (miwae).
        beta: final factor of the KL term; 1 is the ELBO.
        warmup: epochs over which β rises from 0 to its final value, as does the capacity of `capacity`.
        warmup_cycles: how often it does so; before each rise but the first, β stays final for as many epochs.
        epochs: passes over the training rows.
        minutes: a time budget; training ends, with its learning rate run down, at whichever comes first.
        batch_size: rows of a step.
        lr: the highest learning rate of Adam.
        patience: epochs without a better validation value before training stops.
        seed: of the initial weights, the order, and every draw.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: str = "elbo"
    objective_args: dict[str, float] = Field(default_factory=dict)
    samples: int = 1
    beta: float = 1.0
    warmup: int | None = None
    warmup_cycles: int = 1
    epochs: int | None = None
    minutes: float | None = None
    batch_size: int | None = None
    lr: float | None = None
    patience: int | None = None
    seed: int = Field(0, ge=0, lt=2**63)


@dataclass
class History:
    """What happened in a run.

    Attributes:
        epochs: the metrics of each epoch, as in metrics.jsonl.
        best_epoch: the epoch whose weights were kept; the last one without validation.
        skipped: steps left out because the loss or a gradient was not finite.
        stopped: why training ended: `finished`, `no improvement`, `time` or `interrupted`.
    """

    epochs: list[Metrics] = field(default_factory=list)
    best_epoch: int = 0
    skipped: int = 0
    stopped: str = "finished"


def resolve(options: TrainOptions, rows: int, lr: float, longest: int = 200) -> TrainOptions:
    """Check the options and decide what was left open, from the number of training rows.

    Args:
        options: as they were given.
        rows: training rows.
        lr, longest: the highest learning rate and the most epochs (more if they make few steps) where
            none were given; see `build.default_schedule`.
    """
    one_of("objective", options.objective, list(OBJECTIVES))
    _check_arguments(options)
    for name, lowest in {
        "samples": 1,
        "epochs": 1,
        "batch_size": 1,
        "warmup": 0,
        "warmup_cycles": 1,
        "patience": 1,
        "beta": 0,
    }.items():
        value = getattr(options, name)
        if value is not None and not lowest <= value < math.inf:
            raise InputError(f"{name} has to be at least {lowest}, got {value}")
    for name in ("lr", "minutes"):
        value = getattr(options, name)
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise InputError(f"{name} has to be positive, got {value}")
    batch_size = options.batch_size or (128 if rows >= 5000 else 64 if rows >= 500 else 32)
    batch_size = min(batch_size, rows)
    steps = math.ceil(rows / batch_size)
    most = max(longest, min(1000, LEAST_STEPS // steps))
    epochs = options.epochs or min(most, max(10, round(TARGET_STEPS / steps)))
    cycles = options.warmup_cycles
    slowest = 50 if cycles == 1 else epochs
    warmup = options.warmup if options.warmup is not None else min(epochs // max(4, 2 * cycles), slowest)
    if cycles > 1 and not 0 < warmup_end(warmup, cycles) < epochs:
        raise InputError(
            f"{cycles} warm-up cycles with rises of {max(warmup, 1)} epochs need at least "
            f"{warmup_end(max(warmup, 1), cycles) + 1} epochs, got warmup {warmup} and {epochs} epochs; "
            "change warmup, warmup_cycles or epochs"
        )
    return options.model_copy(
        update={
            "batch_size": batch_size,
            "epochs": epochs,
            "warmup": warmup,
            "lr": options.lr or lr,
            "patience": options.patience or max(10, epochs // 5),
        }
    )


def _check_arguments(options: TrainOptions) -> None:
    """InputError for arguments that the objective does not take; a note where more draws are needed."""
    name, takes = options.objective, arguments(options.objective)
    free = [argument for argument in takes if argument not in SUPPLIED]
    for argument, value in options.objective_args.items():
        if not free:
            raise InputError(
                f"objective {name} takes no arguments, got {argument!r}; leave objective_args out"
            )
        one_of(f"an argument of objective {name}", argument, free)
        if not math.isfinite(value):
            raise InputError(f"{argument} has to be a finite number, got {value}")
    if options.beta != 1 and "beta" not in takes:
        raise InputError(f"objective {name} has no beta; its arguments are {', '.join(free)}")
    if options.samples == 1 and name in MANY_DRAWS:
        console.warn(f"objective {name} with a single draw of z is the ELBO; give it more with --samples")


def warmup_end(warmup: int, cycles: int) -> int:
    """The last epoch with a factor below 1: all rises, and the stays at the top between them."""
    return warmup * (2 * cycles - 1)


def warmup_fraction(epoch: int, warmup: int, cycles: int = 1) -> float:
    """The factor of β in an epoch, from 1 on: a linear rise over `warmup` epochs, then 1.

    Each cycle but the last lasts twice as long as its rise (Fu et al. 2019, eqs. 6 and 7, with R = ½).

    >>> [warmup_fraction(epoch, 3) for epoch in (1, 2, 3, 4, 5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    >>> [warmup_fraction(epoch, 1, 2) for epoch in (1, 2, 3, 4, 5)]
    [0.5, 1.0, 0.5, 1.0, 1.0]
    """
    cycle = min((epoch - 1) // max(1, 2 * warmup), cycles - 1)
    return min(1.0, (epoch - 2 * warmup * cycle) / (warmup + 1))


def learning_rate(progress: float, highest: float) -> float:
    """One cycle over progress from 0 to 1: up over the first tenth, then down a cosine to zero.

    >>> [round(learning_rate(p, 1.0), 3) for p in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    if progress < 0.1:
        return highest * max(progress, 1e-3) / 0.1
    return highest * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - 0.1) / 0.9)))


class Trainer:
    """One training run of one model. `run` may be called once.

    Args:
        vae: the model, on the device where training happens; trained in place.
        schema: how stored rows become the model's x.
        rows, validation: stored values, (N, *shape) and (V, *shape), V may be 0.
        options: from `resolve`.

    Raises:
        InputError: for an objective that this model does not have.
    """

    def __init__(self, vae: VAE, schema: Schema, rows: Tensor, validation: Tensor, options: TrainOptions):
        self.vae, self.schema, self.options = vae, schema, options
        self.device = vae.shift.device
        self.rows, self.validation = rows.to(self.device), validation.to(self.device)
        self.objective, self.supplied = OBJECTIVES[options.objective], set(arguments(options.objective))
        self.generator = torch.Generator(self.device).manual_seed(options.seed)
        self.optimiser = torch.optim.Adam(vae.parameters(), fused=True)
        self.parameters = [p for p in vae.parameters() if p.requires_grad]
        self.epochs, self.warmup = options.epochs or 1, options.warmup or 0
        self.batch_size, self.highest_lr = options.batch_size or 1, options.lr or 1e-3
        self.history = History()
        self.failures = 0
        self._try_objective()
        self.started = time.monotonic()

    def _try_objective(self) -> None:
        """The objective of two rows, for its complaints about the model, the draws or its arguments."""
        self.vae.eval()
        generator = torch.Generator(self.device).manual_seed(self.options.seed)
        x = self.schema.prepare(self.rows[:2], generator)
        terms = self.vae.terms(x, samples=self.options.samples, generator=generator)
        self._objective(terms, 1.0, len(self.rows), generator)

    def _objective(self, terms: Terms, warmup: float, rows: int, generator: torch.Generator) -> Tensor:
        """The objective's values; it is given what its signature names of what training alone knows.

        Args:
            warmup: fraction of the warm-up that is done, which scales β.
            rows: number of rows of the set that the batch is from.
        """
        beta = warmup * self.options.beta
        known = {"beta": beta, "warmup": warmup, "rows": rows, "generator": generator}
        supplied = {name: value for name, value in known.items() if name in self.supplied}
        return self.objective(terms, **supplied, **self.options.objective_args)

    def run(
        self,
        on_epoch: Callable[[Metrics], None] = lambda metrics: None,
        advance: Callable[[int], None] = lambda rows: None,
    ) -> History:
        """Train; the model is left in evaluation mode with the best weights.

        Args:
            on_epoch: called with the metrics of each epoch.
            advance: called with the number of rows of each step.

        Raises:
            TrainingFailed: after 20 steps in a row without a finite loss and gradient, or if no epoch's
                validation objective was finite.
        """
        best, best_value = None, -math.inf
        try:
            for epoch in range(1, self.epochs + 1):
                metrics = self._epoch(epoch, advance)
                self.history.epochs.append(metrics)
                on_epoch(metrics)
                value = metrics.get("validation_objective", math.inf)
                # Epochs of the warm-up compete too: their weights are judged at the final β like all others.
                if value > best_value or value == math.inf:
                    best_value, self.history.best_epoch = value, epoch
                    best = {name: v.detach().clone() for name, v in self.vae.state_dict().items()}
                if self._stop(epoch):
                    break
        except KeyboardInterrupt:
            if best is None:  # nothing was learned that would be worth keeping
                raise
            self.history.stopped = "interrupted"
        if best is None:
            raise TrainingFailed(
                "no epoch had a finite validation objective; "
                "try a smaller --lr, or look for extreme values in the data"
            )
        self.vae.load_state_dict(best)
        self.vae.eval()
        return self.history

    def _stop(self, epoch: int) -> bool:
        waited = epoch - max(self.history.best_epoch, warmup_end(self.warmup, self.options.warmup_cycles))
        if waited >= (self.options.patience or math.inf) and epoch < self.epochs:
            self.history.stopped = "no improvement"
        elif self._time_progress() >= 1:
            self.history.stopped = "time"
        return self.history.stopped != "finished"

    def _time_progress(self) -> float:
        if self.options.minutes is None:
            return 0.0
        return (time.monotonic() - self.started) / (60 * self.options.minutes)

    def _batches(self) -> Iterator[Tensor]:
        order = torch.randperm(len(self.rows), generator=self.generator, device=self.device)
        yield from order.split(self.batch_size)

    def _epoch(self, epoch: int, advance: Callable[[int], None]) -> Metrics:
        start, skipped = time.monotonic(), self.history.skipped
        self.vae.train()
        warmup = warmup_fraction(epoch, self.warmup, self.options.warmup_cycles)
        sums = torch.zeros(3, device=self.device)
        finite_rows = 0
        steps = math.ceil(len(self.rows) / self.batch_size)
        for step, index in enumerate(self._batches()):
            progress = max((epoch - 1 + step / steps) / self.epochs, self._time_progress())
            values = self._step(index, warmup, learning_rate(progress, self.highest_lr))
            if values is not None:
                sums += values
                finite_rows += len(index)
            advance(len(index))
            if self._time_progress() >= 1:
                break
        means = dict(
            zip(("objective", "reconstruction", "kl"), (sums / max(finite_rows, 1)).tolist(), strict=True)
        )
        return {
            "epoch": epoch,
            "elbo": means["reconstruction"] - means["kl"],
            **means,
            **self._evaluate(),
            "beta": warmup * self.options.beta,
            "lr": self.optimiser.param_groups[0]["lr"],
            "skipped": self.history.skipped - skipped,
            "seconds": time.monotonic() - start,
        }

    def _step(self, index: Tensor, warmup: float, lr: float) -> Tensor | None:
        """One step of Adam; batch sums of objective, reconstruction and KL, or None if it was skipped."""
        x = self.schema.prepare(self.rows[index], self.generator)
        terms = self.vae.terms(x, samples=self.options.samples, generator=self.generator)
        objective = self._objective(terms, warmup, len(self.rows), self.generator)
        self.optimiser.zero_grad(set_to_none=True)
        (-objective.mean()).backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        if not bool(torch.isfinite(norm) & torch.isfinite(objective.detach().sum())):
            self._count_failure()
            return None
        self.failures = 0
        self.optimiser.param_groups[0]["lr"] = lr
        self.optimiser.step()
        return _sums(objective, terms)

    def _count_failure(self) -> None:
        self.history.skipped += 1
        self.failures += 1
        if self.failures >= MAX_FAILURES:
            raise TrainingFailed(
                f"training stopped: {self.failures} steps in a row had a loss or gradient that was not "
                "finite; try a smaller --lr, or look for extreme values in the data"
            )

    @torch.no_grad()
    def _evaluate(self) -> Metrics:
        """Validation values with the final β, and the use of the codes; the same draws in every epoch."""
        self.vae.eval()
        generator = torch.Generator(self.device).manual_seed(self.options.seed + 1)
        rows = self.validation if len(self.validation) else self.rows[:PROBE_ROWS]
        sums, means, kls = torch.zeros(3, device=self.device), [], []
        for part in rows.split(EVALUATION_BATCH):
            x = self.schema.prepare(part, generator)
            terms = self.vae.terms(x, samples=self.options.samples, generator=generator)
            sums += _sums(self._objective(terms, 1.0, len(rows), generator), terms)
            means.append(terms.posterior.mean)
            kls.append(terms.kl_per_unit)
        use = code_use(
            torch.cat(means), None if kls[0] is None else torch.cat([k for k in kls if k is not None])
        )
        metrics: Metrics = {}
        if len(self.validation):
            objective, reconstruction, kl = (sums / len(rows)).tolist()
            metrics = {
                "validation_objective": objective,
                "validation_elbo": reconstruction - kl,
                "validation_reconstruction": reconstruction,
                "validation_kl": kl,
            }
        per_unit = None if use.kl_per_unit is None else use.kl_per_unit.tolist()
        return {**metrics, "kl_per_unit": per_unit, "active_units": use.active_units}


def _sums(objective: Tensor, terms: Terms) -> Tensor:
    """Sums over the batch of the objective, log p(x|z) and the KL."""
    parts = (objective, terms.log_likelihood.mean(0), terms.kl)
    return torch.stack([part.detach().sum() for part in parts])
