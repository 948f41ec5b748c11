"""Training: maximise an objective over the rows of a data set.

Each epoch visits the rows in a new random order, including the last short batch. Each step maximises the
batch mean of the objective with Adam. Validation uses the same objective with the final β, and the same
draws in every epoch, so that epochs can be compared. The best weights are kept as a copy. Between two steps
the whole run is a `State`, from which another `Trainer` goes on to the same weights, bit for bit.

Nothing waits for the device within an epoch: sums, and whether a step failed, stay on the device, and Adam
leaves out a step that is marked as failed.
"""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backstory import console
from backstory.data.loader import Loader
from backstory.data.rows import FileRows
from backstory.data.schema import Schema
from backstory.data.stored import Stored, StoredRows
from backstory.errors import InputError, TrainingFailed
from backstory.models.diagnostics import CodeUse, code_use
from backstory.models.vae import VAE
from backstory.options import TrainOptions
from backstory.training.average import Average
from backstory.training.devices import Alone
from backstory.training.schedule import learning_rate, warmup_end, warmup_fraction
from backstory.training.spikes import Spikes
from backstory.training.state import (
    Autosave,
    History,
    Metrics,
    Position,
    State,
    load_optimiser,
    optimiser_tensors,
    prefixed,
    under,
)
from backstory.training.step import Batch, Bound, Outcome, Pass, Step

MAX_FAILURES = 20  # in a row; checked once in so many steps
PROBE_ROWS = 1_000  # training rows that show the use of the codes if there are no validation rows
EVALUATION_BATCH = 500

Rows = np.ndarray | FileRows | Tensor


class Trainer:
    """One training run of one model. `run` may be called once.

    Args:
        vae: the model, on the device of the training; it is trained in place.
        schema: turns stored rows into the model's x.
        rows, validation: N and V stored rows; V may be 0.
        options: from `schedule.resolve`.
        autosave: writes the run's state from time to time.
        devices: by default the device of the model.

    Raises:
        InputError: the objective does not go with the model.
    """

    def __init__(
        self,
        vae: VAE,
        schema: Schema,
        rows: StoredRows | Rows,
        validation: StoredRows | Rows,
        options: TrainOptions,
        autosave: Autosave | None = None,
        devices: Alone | None = None,
    ):
        self.vae, self.schema, self.options = vae, schema, options
        self.device = vae.shift.device
        self.devices = devices or Alone(self.device)
        self.rows, self.validation = StoredRows.of(rows), StoredRows.of(validation)
        self.epochs, self.warmup = options.epochs or 1, options.warmup or 0
        self.batch_size, self.highest_lr = options.batch_size or 1, options.lr or 1e-3
        self.loader = Loader(self.rows, self.batch_size, self.device, self.devices.rank, self.devices.world)
        self.generator = torch.Generator(self.device).manual_seed(options.seed)
        self.bound = Bound(vae, schema, options)
        self._try_objective()
        self.step = Step(self.bound, len(rows), self.batch_size, self.devices, bool(options.compile))
        self.parameters = self.step.parameters
        self.optimiser: Any = torch.optim.Adam(vae.parameters(), fused=True)
        self.autosave = autosave or Autosave()
        self.history, self.position = History(), Position()
        self.order = self.generator.get_state()  # the order of this epoch is drawn from it
        self.sums = torch.zeros(4, device=self.device)  # over the epoch: objective, reconstruction, KL, rows
        self.failed = torch.zeros((), device=self.device)  # number of failed steps since the start
        self.best: dict[str, Tensor] | None = None
        self.best_value = -math.inf
        self.taken, self.failed_before = 0, 0  # all steps; failed ones at the last check
        self.average = None if options.ema is None else Average(self.parameters, options.ema)
        self.spikes = None if options.skip_spikes is None else Spikes(options.skip_spikes)
        self.started, self.spent = time.monotonic(), 0.0  # share of the time limit, the same in all processes

    def _try_objective(self) -> None:
        """Evaluate the objective for two rows, so that its InputErrors come before any work."""
        self.vae.eval()
        generator = torch.Generator(self.device).manual_seed(self.options.seed)
        stored = self.rows.on(self.device, slice(2))
        batch = self.bound.batch(stored, len(stored.values), generator)
        self.bound(batch, 1.0, len(self.rows), generator)

    # -- the run as a state ---------------------------------------------------------------------------------

    def state(self) -> State:
        """The run between two steps, the same in every process; its tensors may be the live ones."""
        tensors = {
            **prefixed("model", self.vae.state_dict()),
            **prefixed("best", self.best or {}),
            **prefixed("average", self.average.tensors() if self.average else {}),
            **prefixed("optimiser", optimiser_tensors(self.optimiser)),
            "generator": self.generator.get_state(),
            "order": self.order,
            "sums": self.sums,
            "failed": self.failed,
        }
        now = time.monotonic()
        seconds = self.position.seconds + now - self.epoch_started
        values = {
            "position": {**asdict(self.position), "seconds": seconds},
            "history": asdict(self.history),
            "best_value": self.best_value,
            "taken": self.taken,
            "failed_before": self.failed_before,
            "norms": list(self.spikes.norms) if self.spikes else [],
            "device": self.device.type,
            "lr": self.optimiser.param_groups[0]["lr"],
            "elapsed": now - self.started,
        }
        return State(tensors, values)

    def load(self, state: State) -> None:
        """Go on from a state of a run; this trainer has to be made with the same arguments.

        The number of processes may differ, which changes the last digits.

        Raises:
            InputError: the state comes from another kind of device, which draws other numbers.
        """
        tensors, values = state.tensors, state.values
        if values["device"] != self.device.type:
            raise InputError(
                f"the run was started on device {values['device']}, got {self.device.type}; "
                f"go on with `device` {values['device']}"
            )
        self.vae.load_state_dict(under("model", tensors))
        load_optimiser(self.optimiser, under("optimiser", tensors))
        self.optimiser.param_groups[0]["lr"] = values["lr"]
        best = under("best", tensors)
        self.best = {name: value.to(self.device) for name, value in best.items()} or None
        self.generator.set_state(tensors["generator"])
        self.order, self.sums = tensors["order"], tensors["sums"].to(self.device)
        self.position, self.history = Position(**values["position"]), History(**values["history"])
        self.failed, self.failed_before = tensors["failed"].to(self.device), values["failed_before"]
        self.best_value, self.taken = values["best_value"], values["taken"]
        if self.average:
            self.average.load(under("average", tensors))
        if self.spikes:
            self.spikes = Spikes(self.spikes.factor, values["norms"])
        self.started = time.monotonic() - values["elapsed"]

    # -- the run --------------------------------------------------------------------------------------------

    def run(
        self,
        on_epoch: Callable[[Metrics], None] = lambda metrics: None,
        advance: Callable[[int], None] = lambda rows: None,
    ) -> History:
        """Train; afterwards the model has the best weights and is in evaluation mode.

        Ctrl-C ends the training after the current step, with a last checkpoint.

        Args:
            on_epoch: called with the metrics of each epoch.
            advance: called with the number of rows of each step.

        Returns:
            The metrics of all epochs, and how the training ended.

        Raises:
            TrainingFailed: 20 steps in a row had a loss or gradient that was not finite, or no epoch had a
                finite validation objective.
            KeyboardInterrupt: Ctrl-C came before the end of the first epoch.
        """
        try:
            with console.patient_interrupt() as self.interrupted:
                self._train(on_epoch, advance)
        except KeyboardInterrupt:
            if self.best is None:  # there are no weights to keep yet
                raise
            self.history.stopped = "interrupted"
        if self.best is None:
            raise TrainingFailed(
                "no epoch had a finite validation objective; "
                "try a smaller `lr`, or look for extreme values in the data"
            )
        self.vae.load_state_dict(self.best)
        self.vae.eval()
        return self.history

    def _train(self, on_epoch: Callable[[Metrics], None], advance: Callable[[int], None]) -> None:
        self.epoch_started = time.monotonic()
        kept, self.spent = self.devices.total(self.autosave.write is not None, self._time_progress())
        if kept:
            self.autosave.save(self.state())  # from now on the run can be resumed
        for epoch in range(self.position.epoch, self.epochs + 1):
            metrics = self._epoch(epoch, advance)
            self.history.epochs.append(metrics)
            last = self._stop(epoch) or epoch == self.epochs
            self.position, self.order = Position(epoch + 1), self.generator.get_state()
            self.epoch_started = time.monotonic()
            self.sums.zero_()
            on_epoch(metrics)
            if last:
                break
            self._between_steps(end_of_epoch=True)

    def _judge(self, epoch: int) -> Metrics:
        """Validation metrics of the weights to keep, which are copied if they are the best."""
        with self.average.in_place() if self.average else nullcontext():
            metrics = self._evaluate()
            self._keep_if_best(epoch, metrics)
        return metrics

    def _keep_if_best(self, epoch: int, metrics: Metrics) -> None:
        value = metrics.get("validation_objective", math.inf)
        if self.options.keep == "last" and math.isfinite(value):
            value = math.inf
        # Epochs of the warm-up count too: validation has the final β for all epochs
        if value > self.best_value or value == math.inf:
            self.best_value, self.history.best_epoch = value, epoch
            self.best = {name: v.detach().clone() for name, v in self.vae.state_dict().items()}

    def _stop(self, epoch: int) -> bool:
        waited = epoch - max(self.history.best_epoch, warmup_end(self.warmup, self.options.warmup_cycles))
        if waited >= (self.options.patience or math.inf) and epoch < self.epochs:
            self.history.stopped = "no improvement"
        elif self.spent >= 1:
            self.history.stopped = "time"
        return self.history.stopped != "finished"

    def _time_progress(self) -> float:
        """The share of the time limit that is over, by the clock of the first process; 0 in the others."""
        if self.options.minutes is None or self.devices.rank:
            return 0.0
        return (time.monotonic() - self.started) / (60 * self.options.minutes)

    def _between_steps(self, end_of_epoch: bool = False) -> None:
        """Write a due checkpoint, answer Ctrl-C and check the time, in all processes at the same step."""
        if not end_of_epoch and self.position.step % self.devices.pause:
            return
        asked, due, self.spent = self.devices.total(
            self.interrupted(), self.autosave.due(end_of_epoch), self._time_progress()
        )
        if asked or due:
            self.autosave.save(self.state())
        if asked:
            raise KeyboardInterrupt

    def _order(self) -> Tensor:
        """The order of this epoch, also of one that is resumed."""
        here = self.generator.get_state()
        self.generator.set_state(self.order)
        order = self.loader.order(self.generator)
        if self.position.step:
            self.generator.set_state(here)
        return order

    def _epoch(self, epoch: int, advance: Callable[[int], None]) -> Metrics:
        position, total = self.position, len(self.rows)
        self.vae.train()
        fraction = warmup_fraction(epoch, self.warmup, self.options.warmup_cycles)
        warmup = torch.tensor(fraction, device=self.device)
        steps = math.ceil(total / self.batch_size)
        for stored in self.loader.batches(self._order(), position.step):
            count = min(self.batch_size, total - position.step * self.batch_size)
            progress = max((epoch - 1 + position.step / steps) / self.epochs, self.spent)
            self._step(stored, count, warmup, learning_rate(progress, self.highest_lr))
            position.step += 1
            advance(count)
            self._between_steps()
            if self.spent >= 1:
                break
        *sums, rows = self.sums.tolist()
        objective, reconstruction, kl = (value / max(rows, 1) for value in sums)
        skipped = int(self.failed) - self.history.skipped
        self.history.skipped += skipped
        return {
            "epoch": epoch,
            "elbo": reconstruction - kl,
            "objective": objective,
            "reconstruction": reconstruction,
            "kl": kl,
            **self._judge(epoch),
            "beta": fraction * self.options.beta,
            "lr": self.optimiser.param_groups[0]["lr"],
            "skipped": skipped,
            **({"spikes": position.spikes} if self.spikes else {}),
            "seconds": position.seconds + time.monotonic() - self.epoch_started,
        }

    def _step(self, stored: Stored, count: int, warmup: Tensor, lr: float) -> None:
        """One step of Adam on this process's part of a batch of `count` rows."""
        batch = self.bound.batch(stored, count, self.generator, self.devices.rank, self.devices.world)
        outcome = self.step(batch, warmup, count, self._own_generator(self.generator, self.taken))
        self.failed += outcome.failed
        left_out = outcome.failed
        if self.spikes and self._is_spike(outcome):
            left_out = torch.ones_like(left_out)
        else:
            self.sums += outcome.sums
        if self.options.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.options.clip, outcome.norm)
        self.optimiser.param_groups[0]["lr"] = lr
        if self.device.type != "cpu":
            self.optimiser.found_inf = left_out  # the fused kernel reads it, and changes nothing if it is 1
            self.optimiser.step()
        elif not left_out:  # on a processor, reading the flag does not wait
            self.optimiser.step()
        self.taken += 1
        if self.average:
            self.average.update(self.taken)
        if self.taken % MAX_FAILURES == 0:
            self._check_failures()

    def _own_generator(self, common: torch.Generator, number: int) -> torch.Generator:
        """The generator of an objective's own draws; one for each pass and process, if there are several."""
        if self.devices.world == 1:
            return common
        seed = self.options.seed + 1 + number * self.devices.world + self.devices.rank
        return torch.Generator(self.device).manual_seed(seed % 2**63)

    def _is_spike(self, outcome: Outcome) -> bool:
        assert self.spikes is not None
        spike = not outcome.failed and self.spikes.is_spike(float(outcome.norm))
        self.history.spikes += spike
        self.position.spikes += spike
        return spike

    def _check_failures(self) -> None:
        failed = int(self.failed)
        if failed - self.failed_before >= MAX_FAILURES:
            raise TrainingFailed(
                f"training stopped: {MAX_FAILURES} steps in a row had a loss or gradient that was not "
                "finite; try a smaller `lr`, or look for extreme values in the data"
            )
        self.failed_before = failed

    @torch.no_grad()
    def _evaluate(self) -> Metrics:
        """Validation metrics with the final β, and the use of the codes; the same draws in every epoch."""
        self.vae.eval()
        generator = torch.Generator(self.device).manual_seed(self.options.seed + 1)
        rows, count = self.validation, len(self.validation)
        if not count:
            rows, count = self.rows, min(PROBE_ROWS, len(self.rows))
        sums, use = torch.zeros(4, device=self.device), None
        for start in range(0, count, EVALUATION_BATCH):
            total = min(EVALUATION_BATCH, count - start)
            batch = self._part(rows, start, total, generator)
            if len(self.validation):
                parts: Pass = self.step.module(batch, 1.0, count, self._own_generator(generator, start))
                sums += parts.sums()
                means, per_unit = parts.means, parts.kl_per_unit
            else:
                means, per_unit = self.step.module.codes(batch)
            use = self._code_use(means, per_unit, total, use)
        assert use is not None
        kl_per_unit = None if use.kl_per_unit is None else use.kl_per_unit.tolist()
        metrics: Metrics = {"kl_per_unit": kl_per_unit, "active_units": use.active_units}
        if not len(self.validation):
            return metrics
        objective, reconstruction, kl, _ = (self.devices.sum(sums) / count).tolist()
        return {
            "validation_objective": objective,
            "validation_elbo": reconstruction - kl,
            "validation_reconstruction": reconstruction,
            "validation_kl": kl,
            **metrics,
        }

    def _part(self, rows: StoredRows, start: int, total: int, generator: torch.Generator) -> Batch:
        """The part of `total` rows that belongs to this process."""
        rank, world = self.devices.rank, self.devices.world
        stored = rows.on(self.device, slice(start + rank, start + total, world))
        return self.bound.batch(stored, total, generator, rank, world)

    def _code_use(self, means: Tensor, kl: Tensor | None, total: int, before: CodeUse | None) -> CodeUse:
        """The use of the codes of all `total` rows in all processes, joined with the rows before."""
        kl = None if kl is None else self.devices.rows(kl, total)
        return code_use(self.devices.rows(means, total), kl, before)
