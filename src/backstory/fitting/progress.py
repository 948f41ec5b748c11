"""What people are told during the training and after it: a progress bar, metrics, warnings."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backstory import console
from backstory.data.tables import summary as column_table
from backstory.errors import InputError
from backstory.fitting.job import Job
from backstory.model import Model
from backstory.models import build
from backstory.models.diagnostics import collapse_warning
from backstory.runs import checkpoint
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
            f"going on with epoch {done.epoch} of {trainer.epochs}, after {done.step} steps", job.progress
        )


def run_trainer(trainer: Trainer, job: Job) -> History:
    """Train, with a progress bar; the first process writes the metrics of each epoch."""
    folder, board = job.written, job.saving.board
    log = board(folder / "tensorboard", purge_step=1) if folder and board else None
    for metrics in trainer.history.epochs if log else ():  # also those that were trained without TensorBoard
        _write_scalars(log, metrics)
    done, rows = trainer.position, len(trainer.rows)
    total, before = trainer.epochs * rows, (done.epoch - 1) * rows + done.step * trainer.batch_size
    with console.progress("fit", total, job.progress) as bar:
        bar.advance(before)
        tell = console.warn if not job.progress else console.say
        forecast = Forecast(total - before, tell if trainer.options.minutes is None else None)

        def on_epoch(metrics: Metrics) -> None:
            if folder is not None:
                checkpoint.append_metrics(folder, metrics)
            if log:
                _write_scalars(log, metrics)
            bar.describe(_epoch_line(metrics, trainer.epochs))

        def advance(count: int) -> None:
            forecast.advance(count)
            bar.advance(count)

        try:
            return trainer.run(on_epoch, advance)
        finally:
            if log:
                log.close()


class Forecast:
    """Tells once how long a training takes, measured from its first steps, if that is over a minute.

    Args:
        rows: that are still to be trained on, in all epochs.
        tell: prints a line; None for silence.
    """

    def __init__(self, rows: int, tell: Callable[[str], None] | None):
        self.rows, self.tell = rows, tell
        self.done, self.started = 0, math.nan

    def advance(self, count: int) -> None:
        """Take note of a step with so many rows."""
        if self.tell is None:
            return
        if math.isnan(self.started):  # the first step is not counted: it may be compiled
            self.started = time.monotonic()
            return
        self.done += count
        elapsed = time.monotonic() - self.started
        if elapsed >= WATCHED:
            if (seconds := elapsed * self.rows / self.done) > LONG:
                self.tell(
                    f"this training takes about {math.ceil(seconds / 60)} minutes; fewer epochs take less"
                )
            self.tell = None


def _epoch_line(metrics: Metrics, epochs: int) -> str:
    text = f"epoch {metrics['epoch']}/{epochs}"
    for name in ("elbo", "reconstruction", "kl"):
        text += f"  {name} {metrics.get('validation_' + name, metrics[name]):.2f}"
    return text


def _write_scalars(log: Any, metrics: Metrics) -> None:
    for name, value in metrics.items():
        if isinstance(value, int | float) and name != "epoch":
            log.add_scalar(name, value, metrics["epoch"])


def summary(history: History) -> dict[str, Any]:
    """Numbers and events of a training, for the config of its run."""
    best = history.epochs[history.best_epoch - 1] if history.epochs else {}
    names = ("elbo", "reconstruction", "kl", "active_units")
    return {
        "epochs": len(history.epochs),
        "best_epoch": history.best_epoch,
        "skipped_steps": history.skipped,
        "spikes": history.spikes,
        "stopped": history.stopped,
        **{name: best.get(f"validation_{name}", best.get(name)) for name in names},
    }


def report(history: History, model: Model, show: bool) -> None:
    """Say how training ended, and warn of skipped steps and of a collapsed posterior."""
    s = model.summary
    if history.epochs:
        where = "validation" if model.provenance.validation else "training"
        console.say(
            f"{s['stopped']} after {s['epochs']} epochs; weights of epoch {s['best_epoch']}: {where} "
            f"elbo {s['elbo']:.2f} = reconstruction {s['reconstruction']:.2f} - kl {s['kl']:.2f} nats, "
            f"{s['active_units']} of {model.options.latent} units active",
            show,
        )
    if history.skipped:
        console.warn(f"{history.skipped} steps were skipped because the loss or a gradient was not finite")
    if history.spikes:
        console.warn(f"{history.spikes} steps were skipped because their gradient was a spike")
    if history.epochs and not model.is_autoencoder:
        collapsed = collapse_warning(s["kl"], s["active_units"], model.options.latent or 1)
        if collapsed:
            console.warn(collapsed)
