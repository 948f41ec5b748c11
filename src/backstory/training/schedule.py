"""The defaults of training that depend on the number of rows, the learning rate, and the warm-up of β.

The learning rate rises over the first tenth of a run, stays until `hold`, and falls to zero along a cosine.
β rises linearly from 0 over the warm-up (Bowman et al. 2016; Sønderby et al. 2016), once or in cycles (Fu et
al. 2019).

A run is as long as its epochs or its minutes, whichever end first. How many epochs the minutes allow shows
only while it runs, so in such a run the learning rate, and a warm-up that is not given in epochs, follow the
larger of the two shares that are over.
"""

import math
from dataclasses import dataclass
from typing import Any

from backstory import console
from backstory.errors import InputError, counted
from backstory.models.defaults import ScheduleDefaults
from backstory.objectives.registry import SUPPLIED, arguments
from backstory.options import ObjectiveOptions, TrainOptions
from backstory.options.choices import make

RISE = 0.1  # share of a run in which the learning rate rises
LONG = 15_000  # steps from which on the default of the learning rate is lower


def resolve(options: TrainOptions, rows: int, defaults: ScheduleDefaults) -> TrainOptions:
    """Check the options and decide what was left open, from the number of training rows.

    A run of so many minutes has no other end: its epochs and its patience stay open. So does its warm-up,
    which follows the time.

    Args:
        options: as they were given.
        rows: training rows.
        defaults: see `models.defaults.default_schedule`.

    Raises:
        InputError: for options that exclude each other.
    """
    options = _with_objective(options, defaults)
    keep = options.keep or ("best" if options.patience is not None else defaults.keep)
    if keep == "last" and options.patience is not None:
        raise InputError(
            f"patience waits for a better epoch, got {options.patience} with keep last; leave one out"
        )
    usual = defaults.batch_size or (128 if rows >= 5000 else 64 if rows >= 500 else 32)
    batch_size = min(options.batch_size or usual, rows)
    steps = math.ceil(rows / batch_size)
    most = max(defaults.longest, min(1000, defaults.least_steps // steps))
    epochs = options.epochs
    if epochs is None and options.minutes is None:
        epochs = min(most, max(10, round(defaults.steps / steps)))
    patience = options.patience
    if patience is None and epochs is not None:
        patience = defaults.patience or max(10, epochs // 5)
    return options.model_copy(
        update={
            "batch_size": batch_size,
            "epochs": epochs,
            "warmup": _warmup(options, epochs),
            "lr": options.lr or _rate(defaults.lr, steps * (epochs or 0)),
            "hold": options.hold or defaults.hold,
            "ema": options.ema or defaults.ema,
            "patience": patience,
            "keep": keep,
        }
    )


def _rate(usual: float, steps: int) -> float:
    """The highest learning rate of a run of so many steps.

    With the usual one the loss of a long run can jump after tens of thousands of steps: on MNIST by hundreds
    of nats, twice in 83 epochs with a rate of 0.003, and never in 300 epochs with 0.001 and `skip_spikes` 5
    (preset mnist-mlp).

    >>> _rate(0.003, 10_000), _rate(0.003, 4 * LONG)
    (0.003, 0.0015)
    """
    return usual * min(1.0, math.sqrt(LONG / max(1, steps)))


def _with_objective(options: TrainOptions, defaults: ScheduleDefaults) -> TrainOptions:
    """The options with the objective and its draws; InputError for a β that the objective does not have."""
    chosen: Any = options.objective
    samples = 1
    if not chosen.decided:
        chosen, samples = make("objective", defaults.objective, chosen.values), defaults.samples
    update = {"objective": chosen, "samples": samples if options.samples is None else options.samples}
    options = options.model_copy(update=update)
    _check_objective(options, chosen)
    return options


def _warmup(options: TrainOptions, epochs: int | None) -> int | None:
    """The number of epochs over which β rises; None for a share of the time.

    InputError if all cycles need more epochs than there are.
    """
    cycles, warmup = options.warmup_cycles, options.warmup
    if warmup is None and options.minutes is not None:
        return None
    if warmup is None:
        assert epochs is not None
        warmup = min(epochs // _parts(cycles), 50 if cycles == 1 else epochs)
    if cycles > 1 and epochs is not None and not 0 < warmup_end(warmup, cycles) < epochs:
        raise InputError(
            f"{cycles} warm-up cycles with rises of {counted(max(warmup, 1), 'epoch')} need at least "
            f"{warmup_end(max(warmup, 1), cycles) + 1} epochs, got warmup {warmup} and "
            f"{counted(epochs, 'epoch')}; change warmup, warmup_cycles or epochs"
        )
    return warmup


def _parts(cycles: int) -> int:
    """How many times as long as a rise of β the whole run is, by default."""
    return max(4, 2 * cycles)


def _check_objective(options: TrainOptions, chosen: ObjectiveOptions) -> None:
    """InputError for a β that the objective does not have; a warning if it needs more draws."""
    takes = arguments(chosen.name)
    if options.beta != 1 and "beta" not in takes:
        own = ", ".join(argument for argument in takes if argument not in SUPPLIED)
        raise InputError(f"objective {chosen.name} has no beta; its arguments are {own}")
    if options.samples == 1 and chosen.many_draws:
        console.warn(
            f"objective {chosen.name} with a single draw of z is the ELBO; give it more with `samples`"
        )


@dataclass(frozen=True)
class Schedule:
    """The learning rate and the warm-up over the progress of a run.

    Attributes:
        lr: the highest learning rate.
        hold: the share of the run after which it falls.
        epochs: of the run; None for a run that only its minutes limit.
        warmup: epochs over which β rises; None for a share of the run.
        cycles: number of rises.
    """

    lr: float
    hold: float
    epochs: int | None
    warmup: int | None
    cycles: int = 1

    @classmethod
    def of(cls, options: TrainOptions) -> "Schedule":
        """The schedule of options from `resolve`."""
        rate, hold = options.lr or 1e-3, options.hold or RISE
        return cls(rate, hold, options.epochs, options.warmup, options.warmup_cycles)

    def progress(self, passes: float, spent: float) -> float:
        """The share of a run that is over, after so many passes over the rows and this share of its time."""
        return max(spent, passes / self.epochs if self.epochs else 0.0)

    def learning_rate(self, progress: float) -> float:
        return learning_rate(progress, self.lr, self.hold)

    def warmup_fraction(self, epoch: int, progress: float) -> float:
        """The factor of β in this epoch of a run, or at this progress."""
        if self.warmup is None:
            return _rise(progress * _parts(self.cycles), self.cycles)
        return warmup_fraction(epoch, self.warmup, self.cycles)

    def is_warm(self, epoch: int, progress: float) -> bool:
        """Whether the warm-up is over: the factor of β is 1 in this epoch, and stays there."""
        if self.warmup is None:
            return progress * _parts(self.cycles) >= 2 * self.cycles - 1
        return epoch > warmup_end(self.warmup, self.cycles)


def _rise(position: float, cycles: int) -> float:
    """The factor of β at a position in units of one rise: up and on the plateau, once in each cycle."""
    cycle = min(int(position / 2), cycles - 1)
    return min(1.0, position - 2 * cycle)


def warmup_end(warmup: int, cycles: int) -> int:
    """The last epoch in which the factor of β is below 1: all rises, and the plateaus between them."""
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


def learning_rate(progress: float, highest: float, hold: float = RISE) -> float:
    """The learning rate at a progress from 0 to 1: a rise, `highest` until `hold`, then a cosine down to 0.

    >>> [round(learning_rate(p, 1.0), 3) for p in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    >>> [round(learning_rate(p, 1.0, 0.6), 3) for p in (0.05, 0.1, 0.6, 0.8, 1.0)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    if progress < RISE:
        return highest * max(progress, 1e-3) / RISE
    fall = min(1.0, max(0.0, progress - hold) / (1 - hold))
    return highest * 0.5 * (1 + math.cos(math.pi * fall))
