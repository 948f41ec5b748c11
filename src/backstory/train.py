"""Training: maximise an objective over the rows of a data set that stays in memory.

Rows are visited in a new random order each epoch, the last short batch included. Each step ascends the
batch mean of the objective with Adam; the learning rate rises over the first tenth of the run and falls to
zero along a cosine; β rises linearly from 0 over the warm-up epochs (Bowman et al. 2016; Sønderby et al.
2016). Validation uses the same objective with the final β and the same draws in every epoch, so that epochs
can be compared; the best weights are kept as a copy.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from backstory.build import one_of
from backstory.data.schema import Schema
from backstory.diagnostics import code_use
from backstory.errors import InputError, TrainingFailed
from backstory.objectives import OBJECTIVES
from backstory.vae import VAE, Terms

TARGET_STEPS = 10_000
MAX_EPOCHS = 200
MAX_FAILURES = 20  # steps in a row
PROBE_ROWS = 2_000  # rows that show the use of the codes where there is no validation set
EVALUATION_BATCH = 500

Metrics = dict[str, Any]


class TrainOptions(BaseModel):
    """How a model is trained; None leaves the choice to the size of the data.

    Attributes:
        objective: one of `OBJECTIVES`.
        samples: draws of z for each observation and step, L (ELBO) or K (importance-weighted).
        beta: final factor of the KL term; 1 is the ELBO.
        warmup: epochs over which β rises from 0 to its final value.
        epochs: passes over the training rows.
        minutes: a time budget; training ends, with its learning rate run down, at whichever comes first.
        batch_size: rows of a step.
        lr: the highest learning rate of Adam.
        patience: epochs without a better validation value before training stops.
        seed: of the initial weights, the order, and every draw.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: str = "elbo"
    samples: int = 1
    beta: float = 1.0
    warmup: int | None = None
    epochs: int | None = None
    minutes: float | None = None
    batch_size: int | None = None
    lr: float | None = None
    patience: int | None = None
    seed: int = 0


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


def resolve(options: TrainOptions, rows: int, lr: float) -> TrainOptions:
    """Check the options and decide what was left open, from the number of training rows.

    Args:
        options: as they were given.
        rows: training rows.
        lr: the highest learning rate where none was given (`build.default_learning_rate`).
    """
    one_of("objective", options.objective, list(OBJECTIVES))
    for name, lowest in {
        "samples": 1,
        "epochs": 1,
        "batch_size": 1,
        "warmup": 0,
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
    epochs = options.epochs or min(MAX_EPOCHS, max(10, round(TARGET_STEPS / math.ceil(rows / batch_size))))
    warmup = options.warmup if options.warmup is not None else min(epochs // 4, 50)
    return options.model_copy(
        update={
            "batch_size": batch_size,
            "epochs": epochs,
            "warmup": warmup,
            "lr": options.lr or lr,
            "patience": options.patience or max(10, epochs // 5),
        }
    )


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
    """

    def __init__(self, vae: VAE, schema: Schema, rows: Tensor, validation: Tensor, options: TrainOptions):
        self.vae, self.schema, self.options = vae, schema, options
        self.device = vae.shift.device
        self.rows, self.validation = rows.to(self.device), validation.to(self.device)
        self.objective = OBJECTIVES[options.objective]
        self.generator = torch.Generator(self.device).manual_seed(options.seed)
        self.optimiser = torch.optim.Adam(vae.parameters(), fused=True)
        self.parameters = [p for p in vae.parameters() if p.requires_grad]
        self.epochs, self.warmup = options.epochs or 1, options.warmup or 0
        self.batch_size, self.highest_lr = options.batch_size or 1, options.lr or 1e-3
        self.history = History()
        self.failures = 0
        self.started = time.monotonic()

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
            TrainingFailed: after 20 steps in a row without a finite loss and gradient.
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
            self.history.stopped = "interrupted"
        if best is not None:
            self.vae.load_state_dict(best)
        self.vae.eval()
        return self.history

    def _stop(self, epoch: int) -> bool:
        waited = epoch - max(self.history.best_epoch, self.warmup)
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
        beta = self._beta(epoch)
        sums = torch.zeros(3, device=self.device)
        finite_rows = 0
        steps = math.ceil(len(self.rows) / self.batch_size)
        for step, index in enumerate(self._batches()):
            progress = max((epoch - 1 + step / steps) / self.epochs, self._time_progress())
            values = self._step(index, beta, learning_rate(progress, self.highest_lr))
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
            "beta": beta,
            "lr": self.optimiser.param_groups[0]["lr"],
            "skipped": self.history.skipped - skipped,
            "seconds": time.monotonic() - start,
        }

    def _beta(self, epoch: int) -> float:
        return self.options.beta * min(1.0, epoch / (self.warmup + 1))

    def _step(self, index: Tensor, beta: float, lr: float) -> Tensor | None:
        """One step of Adam; batch sums of objective, reconstruction and KL, or None if it was skipped."""
        x = self.schema.prepare(self.rows[index], self.generator)
        terms = self.vae.terms(x, samples=self.options.samples, generator=self.generator)
        objective = self.objective(terms, beta=beta)
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
            sums += _sums(self.objective(terms, beta=self.options.beta), terms)
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
