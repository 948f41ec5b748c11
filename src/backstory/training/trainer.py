"""Training: maximise an objective over the rows of a data set.

Each epoch visits the rows in a new random order, including the last short batch. Each step maximises the
batch mean of the objective with Adam. Validation uses the same objective with the final β, and the same
draws in every epoch, so that epochs can be compared. The best weights are kept as a copy. Between two steps
the whole run is a `State`, from which another `Trainer` goes on to the same weights, bit for bit.

Nothing waits for the device within an epoch: sums, and whether a step failed, stay on the device, and Adam
leaves out a step that is marked as failed.
"""

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from backstory import console
from backstory.data.rows import FileRows
from backstory.data.schema import Schema
from backstory.data.shuffle import ShuffledRows
from backstory.data.stored import Stored, StoredRows
from backstory.errors import InputError, TrainingFailed
from backstory.models.vae import VAE
from backstory.options import TrainOptions
from backstory.training import compile
from backstory.training.best import Best
from backstory.training.devices import Alone
from backstory.training.divergence import DIVERGED, Yardstick, attained, yardstick
from backstory.training.evaluation import Evaluation
from backstory.training.exemplars import Exemplars
from backstory.training.schedule import Schedule
from backstory.training.state import Autosave, History, Metrics, Position, State, prefixed, under
from backstory.training.step import Batch, Bound, Step
from backstory.training.update import Updates

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
        self.schedule, self.batch_size = Schedule.of(options), options.batch_size or 1
        self.steps = math.ceil(len(self.rows) / self.batch_size)  # of an epoch
        own = slice(self.devices.rank, None, self.devices.world)
        self.shuffled = ShuffledRows(self.rows, self.batch_size, self.device, own)
        self.generator = torch.Generator(self.device).manual_seed(options.seed)
        self.bound = Bound(vae, schema, options, _labelled(vae, self.rows))
        self._try_objective()
        self.exemplars = Exemplars.of(vae, schema, self.rows, options.seed)
        self.step = Step(self.bound, len(self.rows), self.batch_size, self.devices)
        if self._compiles():
            self.step.compile()
        self.updates = Updates(vae, options)
        self.evaluate = Evaluation(self.step, self.rows, self.validation, options.seed)
        self.autosave = autosave or Autosave()
        self.history, self.position = History(), Position()
        self.order = self.generator.get_state()  # the order of this epoch is drawn from it
        self.sums = torch.zeros(4, device=self.device)  # over the epoch: objective, reconstruction, KL, rows
        self.best = Best(vae, options.keep)
        self.elapsed, self.spent = 0.0, 0.0  # seconds before a resume; the share of the minutes, as agreed

    def _try_objective(self) -> None:
        """Evaluate the objective for two rows, so that its InputErrors come before any work."""
        self.vae.eval()
        batch, generator = self._first_batch(2)
        self.bound(batch, 1.0, len(self.rows), generator)

    def _first_batch(self, rows: int) -> tuple[Batch, torch.Generator]:
        """The first rows as a batch for trials, with a generator that the run does not use."""
        generator = torch.Generator(self.device).manual_seed(self.options.seed)
        stored = self.rows.on(self.device, slice(rows))
        return self.bound.batch(stored, len(stored.values), generator), generator

    def _compiles(self) -> bool:
        """Whether the step is compiled; a run of so many minutes times a few steps to decide it."""
        if self.options.compile is not None or self.options.minutes is None:
            return bool(self.options.compile)
        return compile.pays(self.options, len(self.rows), self._try_step)

    def _try_step(self) -> None:
        """One step without an update of the weights."""
        self.vae.train()
        batch, generator = self._first_batch(self.batch_size)
        self.step(batch, torch.ones((), device=self.device), self.batch_size, generator)

    # -- the run as a state ---------------------------------------------------------------------------------

    def state(self) -> State:
        """The run between two steps, the same in every process; its tensors may be the live ones."""
        tensors = {
            **prefixed("model", self.vae.state_dict()),
            **self.best.tensors(),
            **self.updates.tensors(),
            "generator": self.generator.get_state(),
            "order": self.order,
            "sums": self.sums,
        }
        now = time.monotonic()
        seconds = self.position.seconds + now - self.epoch_started
        values = {
            "position": {**asdict(self.position), "seconds": seconds},
            "history": asdict(self.history),
            "best_value": self.best.value,
            **self.updates.values(),
            "device": self.device.type,
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
        self.updates.load(tensors, values)
        self.best.load(tensors, values)
        self.generator.set_state(tensors["generator"])
        self.order, self.sums = tensors["order"], tensors["sums"].to(self.device)
        self.position, self.history = Position(**values["position"]), History.of(values["history"])
        self.elapsed = values["elapsed"]

    # -- the run --------------------------------------------------------------------------------------------

    def run(
        self,
        on_epoch: Callable[[Metrics], None] = lambda metrics: None,
        advance: Callable[[int], None] = lambda rows: None,
    ) -> History:
        """Train; afterwards the model has the best weights and is in evaluation mode.

        Ctrl-C or SIGTERM ends the training after the current step, with a last checkpoint.

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
            if self.best.weights is None:  # nothing was learned that would be worth keeping
                raise
            self.history.stopped = "interrupted"
        if self.best.weights is None:
            raise TrainingFailed(
                "no epoch had a finite validation objective; "
                "try a smaller `lr`, or look for extreme values in the data"
            )
        self.vae.load_state_dict(self.best.weights)
        self.vae.eval()
        return self.history

    def _train(self, on_epoch: Callable[[Metrics], None], advance: Callable[[int], None]) -> None:
        if self.step.graph is not None:
            self._try_step()  # compiles, and the clock of the run starts after it
        if self.exemplars is not None and self.position == Position():
            self.exemplars.refresh()
        if self.history.yardstick is None:
            self.history.yardstick = self.devices.first(self._yardstick)
        self.epoch_started = time.monotonic()
        self.started = self.epoch_started - self.elapsed
        kept, self.spent = self.devices.total(self.autosave.write is not None, self._time_progress())
        if kept:
            self.autosave.save(self.state())  # from now on the run can be resumed
        first, end = self.position.epoch, self.schedule.epochs
        for epoch in itertools.count(first) if end is None else range(first, end + 1):
            metrics = self._epoch(epoch, advance)
            self.history.epochs.append(metrics)
            last = self._stop(epoch) or epoch == end
            self.position, self.order = Position(epoch + 1), self.generator.get_state()
            self.epoch_started = time.monotonic()
            self.sums.zero_()
            on_epoch(metrics)
            if last:
                break
            self._between_steps(end_of_epoch=True)

    def _yardstick(self) -> Yardstick:
        return yardstick(self.bound, self.rows, self.validation, self.options.seed)

    def _judge(self, epoch: int) -> Metrics:
        """Evaluate the weights that would be kept, and copy them if they are the best."""
        with self.updates.averaged():
            if self.exemplars is not None:
                self.exemplars.refresh()
            metrics = self.evaluate()
            if self.best.offer(metrics):
                self.history.best_epoch = epoch
        return metrics

    def _stop(self, epoch: int) -> bool:
        if not self.schedule.is_warm(epoch, self.schedule.progress(epoch, self.spent)):
            self.history.warm = epoch
        elif self._has_diverged():
            self.history.stopped = DIVERGED
            return True
        waited = epoch - max(self.history.best_epoch, self.history.warm)
        if waited >= (self.options.patience or math.inf) and epoch != self.schedule.epochs:
            self.history.stopped = "no improvement"
        elif self.spent >= 1:
            self.history.stopped = "time"
        return self.history.stopped != "finished"

    def _has_diverged(self) -> bool:
        """Whether the last epoch is far below the initial weights, and no epoch was of use."""
        measured = self.history.yardstick
        assert measured is not None
        values = [attained(metrics, self.options.beta) for metrics in self.history.epochs]
        return measured.is_diverged(values[-1]) and all(map(measured.is_trivial, values))

    @property
    def progress(self) -> float:
        """The share of the run that is over."""
        position = self.position
        return self.schedule.progress(position.epoch - 1 + position.step / self.steps, self.spent)

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
        order = self.shuffled.order(self.generator)
        if self.position.step:
            self.generator.set_state(here)
        return order

    def _epoch(self, epoch: int, advance: Callable[[int], None]) -> Metrics:
        position, total = self.position, len(self.rows)
        self.vae.train()
        fraction = self.schedule.warmup_fraction(epoch, self.progress)
        warmup = torch.tensor(fraction, device=self.device)
        for stored in self.shuffled.batches(self._order(), position.step):
            count = min(self.batch_size, total - position.step * self.batch_size)
            progress = self.progress
            fraction = self.schedule.warmup_fraction(epoch, progress)
            self._step(stored, count, warmup.fill_(fraction), self.schedule.learning_rate(progress))
            position.step += 1
            advance(count)
            self._between_steps()
            if self.spent >= 1:
                break
        *sums, rows = self.sums.tolist()
        objective, reconstruction, kl = (value / max(rows, 1) for value in sums)
        skipped = int(self.updates.failed) - self.history.skipped
        self.history.skipped += skipped
        return {
            "epoch": epoch,
            "elbo": reconstruction - kl,
            "objective": objective,
            "reconstruction": reconstruction,
            "kl": kl,
            **self._judge(epoch),
            "beta": fraction * self.options.beta,
            "lr": self.updates.lr,
            "skipped": skipped,
            **({"spikes": position.spikes} if self.updates.spikes else {}),
            "seconds": position.seconds + time.monotonic() - self.epoch_started,
        }

    def _step(self, stored: Stored, count: int, warmup: Tensor, lr: float) -> None:
        """One step of Adam on this process's part of a batch of `count` rows."""
        rank, world = self.devices.rank, self.devices.world
        batch = self.bound.batch(stored, count, self.generator, rank, world)
        batch = self.bound.with_labelled(batch, count, self.generator, rank, world)
        if self.exemplars is not None and stored.numbers is not None:
            batch = batch._replace(own=self.exemplars.own(stored.numbers))
        own = self.devices.own_generator(self.generator, self.options.seed, self.updates.taken)
        outcome = self.step(batch, warmup, count, own)
        if self.updates.apply(outcome, lr):
            self.history.spikes += 1
            self.position.spikes += 1
        else:
            self.sums += outcome.sums


def _labelled(vae: VAE, rows: StoredRows) -> StoredRows | None:
    """The training rows with a level of the condition that may be missing; None without such a condition.

    InputError if there are none.
    """
    if vae.levels is None or rows.given is None:
        return None
    known = np.flatnonzero(~np.asarray(vae.levels.missing.gaps(rows.given)))
    if not len(known):
        name = vae.levels.missing.condition.name
        raise InputError(
            f"expected a value of the condition {name!r} in some of the training rows, got none; give more "
            "rows with one, or a smaller `validation`"
        )
    return rows.take(known)
