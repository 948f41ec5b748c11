"""The defaults of training that depend on the number of rows, the learning rate, and the warm-up of β.

The learning rate rises over the first tenth of a run and falls to zero along a cosine. β rises linearly from
0 over the warm-up epochs (Bowman et al. 2016; Sønderby et al. 2016), once or in cycles (Fu et al. 2019).
"""

import math
from typing import Any

from backstory import console
from backstory.errors import InputError
from backstory.models.defaults import ScheduleDefaults
from backstory.objectives.registry import SUPPLIED, arguments
from backstory.options import ObjectiveOptions, TrainOptions
from backstory.options.choices import make

TARGET_STEPS = 10_000


def resolve(options: TrainOptions, rows: int, defaults: ScheduleDefaults) -> TrainOptions:
    """Check the options and decide what was left open, from the number of training rows.

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
    batch_size = min(options.batch_size or (128 if rows >= 5000 else 64 if rows >= 500 else 32), rows)
    steps = math.ceil(rows / batch_size)
    most = max(defaults.longest, min(1000, defaults.least_steps // steps))
    epochs = options.epochs or min(most, max(10, round(TARGET_STEPS / steps)))
    return options.model_copy(
        update={
            "batch_size": batch_size,
            "epochs": epochs,
            "warmup": _warmup(options, epochs),
            "lr": options.lr or defaults.lr,
            "ema": options.ema or defaults.ema,
            "patience": options.patience or defaults.patience or max(10, epochs // 5),
            "keep": keep,
        }
    )


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


def _warmup(options: TrainOptions, epochs: int) -> int:
    """The number of epochs over which β rises; InputError if all cycles need more epochs than there are."""
    cycles = options.warmup_cycles
    slowest = 50 if cycles == 1 else epochs
    warmup = options.warmup if options.warmup is not None else min(epochs // max(4, 2 * cycles), slowest)
    if cycles > 1 and not 0 < warmup_end(warmup, cycles) < epochs:
        raise InputError(
            f"{cycles} warm-up cycles with rises of {max(warmup, 1)} epochs need at least "
            f"{warmup_end(max(warmup, 1), cycles) + 1} epochs, got warmup {warmup} and {epochs} epochs; "
            "change warmup, warmup_cycles or epochs"
        )
    return warmup


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


def learning_rate(progress: float, highest: float) -> float:
    """The learning rate at a progress from 0 to 1: a rise over the first tenth, then a cosine down to 0.

    >>> [round(learning_rate(p, 1.0), 3) for p in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    if progress < 0.1:
        return highest * max(progress, 1e-3) / 0.1
    return highest * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - 0.1) / 0.9)))
