"""What people are told during the training and after it: a progress bar, metrics, warnings."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backstory import console
from backstory.data.tables import summary as column_table
from backstory.errors import InputError, counted
from backstory.fitting.job import Job
from backstory.model import Model
from backstory.models import build
from backstory.models.diagnostics import collapse_warning
from backstory.options import TrainOptions
from backstory.runs import checkpoint
from backstory.training.divergence import attained
from backstory.training.schedule import Schedule
from backstory.training.state import History, Metrics
from backstory.training.trainer import Trainer

WATCHED, LONG = 2.0, 60.0  # seconds after which the duration is estimated, and from which it is told


def board_writer(folder: Path | None) -> Any:
    """The class that writes for TensorBoard; InputError where it is not installed or there is no folder."""
    if folder is None:
        raise InputError("tensorboard needs a folder for the run")
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError("TensorBoard is not installed; pip install 'backstory[tensorboard]'") from None
    return SummaryWriter


def announce(model: Model, trainer: Trainer, job: Job) -> None:
    """Say which choices were made, and where an earlier run is taken up."""
    if job.progress:
        column_table.show(model.schema)
    for line in build.describe(model.schema, model.options):
        console.say(line, job.progress)
    if trainer.step.graph is not None:
        console.say("step        compiled, which takes 10 to 30 seconds the first time", job.progress)
    if job.earlier is not None:
        done = trainer.position
        console.say(
            f"going on with epoch {_of(done.epoch, trainer.schedule)}, after {counted(done.step, 'step')}",
            job.progress,
        )


def run_trainer(trainer: Trainer, job: Job) -> History:
    """Train, with a progress bar; the first process writes the metrics of each epoch."""
    folder, board = job.written, job.saving.board
    log = board(folder / "tensorboard", purge_step=1) if folder and board else None
    for metrics in trainer.history.epochs if log else ():  # also those that were trained without TensorBoard
        _write_scalars(log, metrics)
    shown = trainer.progress
    limit = trainer.options.minutes
    forecast = Forecast(1 - shown, None if limit else console.say if job.progress else console.warn)
    with console.progress("fit", 1.0, job.progress, shown) as bar:

        def advance(rows: int) -> None:
            nonlocal shown
            more = trainer.progress - shown
            forecast.advance(more)
            bar.advance(more)
            shown += more

        def on_epoch(metrics: Metrics) -> None:
            if folder is not None:
                checkpoint.append_metrics(folder, metrics)
            if log:
                _write_scalars(log, metrics)
            bar.describe(_epoch_line(metrics, trainer.options, trainer.schedule))

        try:
            return trainer.run(on_epoch, advance)
        finally:
            if log:
                log.close()


class Forecast:
    """Tells once how long a training takes, measured from its first steps, if that is over a minute.

    Args:
        rest: the fraction of the training that is still to come.
        tell: prints a line; None for silence.
    """

    def __init__(self, rest: float, tell: Callable[[str], None] | None):
        self.rest, self.tell = rest, tell
        self.done, self.started = 0.0, math.nan

    def advance(self, fraction: float) -> None:
        """Take note of a step, which was this fraction of the training."""
        if self.tell is None:
            return
        if math.isnan(self.started):  # the first step is not counted: it may be compiled
            self.started = time.monotonic()
            return
        self.done += fraction
        elapsed = time.monotonic() - self.started
        if elapsed >= WATCHED and self.done > 0:
            if (seconds := elapsed * self.rest / self.done) > LONG:
                self.tell(
                    f"this training takes about {math.ceil(seconds / 60)} minutes; fewer epochs take less"
                )
            self.tell = None


def _of(epoch: int, schedule: Schedule) -> str:
    return f"{epoch} of {schedule.epochs}" if schedule.epochs else str(epoch)


def _epoch_line(metrics: Metrics, options: TrainOptions, schedule: Schedule) -> str:
    """The metrics of an epoch: what is maximised, and the two parts of the ELBO."""
    name = _maximised(options)
    values = {name: "elbo" if name == "elbo" else "objective", "reconstruction": "reconstruction", "kl": "kl"}
    shown = (f"{word} {_held_out(metrics, key):.2f}" for word, key in values.items())
    return "  ".join((f"epoch {_of(metrics['epoch'], schedule)}", *shown))


def _held_out(metrics: Metrics, name: str) -> Any:
    """A metric of the validation rows; without any, of the training rows."""
    return metrics.get(f"validation_{name}", metrics.get(name))


def _maximised(options: TrainOptions) -> str:
    """What training maximises, in words."""
    name, beta = options.objective.name, "" if options.beta == 1 else f" with beta {options.beta:g}"
    return f"{name}{beta}"


def _write_scalars(log: Any, metrics: Metrics) -> None:
    for name, value in metrics.items():
        if isinstance(value, int | float) and name != "epoch":
            log.add_scalar(name, value, metrics["epoch"])


def summary(history: History) -> dict[str, Any]:
    """Numbers and events of a training, for the config of its run."""
    best = history.epochs[history.best_epoch - 1] if history.epochs else {}
    names = ("objective", "elbo", "reconstruction", "kl", "active_units")
    return {
        "epochs": len(history.epochs),
        "best_epoch": history.best_epoch,
        "skipped_steps": history.skipped,
        "spikes": history.spikes,
        "stopped": history.stopped,
        **({} if history.diverged_at is None else {"diverged_at": history.diverged_at}),
        **{name: _held_out(best, name) for name in names},
    }


def report(history: History, model: Model, show: bool) -> None:
    """Say how training ended, and warn of skipped steps and of a collapsed posterior."""
    s = model.summary
    if history.epochs:
        where = "validation" if model.provenance.validation else "training"
        value = f"elbo {s['elbo']:.2f} = reconstruction {s['reconstruction']:.2f} - kl {s['kl']:.2f} nats"
        name = _maximised(model.training)
        if name != "elbo":
            value = f"{name} {s['objective']:.2f} nats ({value})"
        console.say(
            f"{s['stopped']} after {counted(s['epochs'], 'epoch')}; weights of epoch {s['best_epoch']}: "
            f"{where} {value}, {s['active_units']} of {counted(model.options.latent or 0, 'unit')} active",
            show,
        )
    if history.skipped:
        steps = counted(history.skipped, "step was", "steps were")
        console.warn(f"{steps} skipped because the loss or a gradient was not finite")
    if history.spikes:
        steps = counted(history.spikes, "step was", "steps were")
        console.warn(f"{steps} skipped because of a spike of the gradient")
    if history.epochs and not model.is_autoencoder:
        beta = model.training.beta
        if _warn_of_warmup(history.epochs[-1]["beta"], beta) or _warn_of_divergence(history, beta):
            return
        collapsed = collapse_warning(s["kl"], s["active_units"], model.options.latent or 1)
        if collapsed:
            console.warn(collapsed)


def _warn_of_warmup(reached: float, beta: float) -> bool:
    """Warn of a warm-up that was not over; returns whether there was need to."""
    if reached >= beta:
        return False
    console.warn(
        f"training ended during the warm-up, at beta {reached:.2g} of {beta:g}, so the KL counted for "
        "less than it should; train for longer, or with a shorter `warmup`"
    )
    return True


def _warn_of_divergence(history: History, beta: float) -> bool:
    """Warn of a bound that a model without z has, too; returns whether there was need to."""
    measured, value = history.yardstick, attained(history.epochs[history.best_epoch - 1], beta)
    if measured is None or not measured.is_trivial(value):
        return False
    console.warn(
        f"the model is worse than one of independent entries: its bound is {value:.2f} nats, and their "
        f"marginal distributions alone have {measured.trivial:.2f}; try more `epochs`, a lower `lr`, or "
        "another `likelihood`"
    )
    return True
