"""`fit`: begin a run or go on with one, of a single model or an ensemble."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from backstory import console
from backstory.data.reading import NAMES, Reading
from backstory.data.stated_values import names_and_values
from backstory.data.weights import name_of
from backstory.ensemble import Ensemble
from backstory.errors import InputError, TrainingFailed
from backstory.files import CannotWrite
from backstory.fitting.begun import Begun
from backstory.fitting.job import Job, Saving, Source
from backstory.fitting.members import train_members
from backstory.fitting.progress import board_writer
from backstory.fitting.single import train_single
from backstory.model import Model
from backstory.opening import open
from backstory.options.given import asked_options
from backstory.options.presets import over, with_preset
from backstory.register import adopted
from backstory.runs import checkpoint
from backstory.runs.folder import CHECKPOINT, ENSEMBLE, is_ensemble
from backstory.runs.lock import only_writer
from backstory.runs.replacement import complete, discard, in_training, place_of, take_place
from backstory.training import distributed
from backstory.training.devices import Alone


def fit(
    data: Any,
    run: str | Path | None = None,
    *,
    ensemble: int | None = None,
    split_seed: int | None = None,
    validation: float | None = None,
    seed: int | None = None,
    device: str = "auto",
    devices: int | None = None,
    nodes: int | None = None,
    force: bool = False,
    resume: bool = False,
    checkpoint_every: float = 60.0,
    tensorboard: bool = False,
    progress: bool = True,
    columns: Mapping[str, Any] | None = None,
    resize: int | tuple[int, int] | None = None,
    stream: bool | None = None,
    given: Any = None,
    weights: Any = None,
    **options: Any,
) -> Model | Ensemble:
    """Train a model on data.

    Args:
        data: a `Dataset`, anything that `load` takes, or a function that returns one of these.
        run: folder to write the run to during training; None keeps the model in memory.
        ensemble: number of models, with seed, seed + 1, …, on the same rows, by default one; the result of
            several is an `Ensemble`, which averages their answers. `minutes` are for all of them together.
        split_seed: of the split alone, by default the seed.
        validation: fraction of the rows held out for choosing, by default 0.1; 0 for none.
        seed: of the split, the initial weights and every draw, by default 0.
        device: `auto`, `cpu`, `cuda`, …
        devices: processes on each machine, each with a GPU of its own, or all on processors; by default as
            many as torchrun or SLURM started, or else one. `batch_size` is of all of them together. More
            than one need `pip install 'backstory[distributed]'`, and run the calling script once more each.
        nodes: machines, by default likewise; all need the data and the folder of the run.
        force: replace the run in the folder when the new one, in RUN/replacement until then, is finished.
        resume: go on with the run in the folder, bit for bit as without the interruption; begin it if there
            is none. Options may be left out. A run that is to replace another one comes first.
        checkpoint_every: seconds between two checkpoints; one more is written at the end of an epoch where it
            costs less than a hundredth of the time since the last.
        tensorboard: also write the metrics to RUN/tensorboard; needs `pip install 'backstory[tensorboard]'`.
        progress: show a progress bar and the choices made, on standard error.
        columns, resize, stream: see `load`, whose other ways to read are given among the options.
        given: the conditions c of each observation, so that p(x|c) is learned: `class` for the labels of
            images, names of columns of a table, which leave x, an array of labels or numbers, (N,), or
            several by name, see `data.stated_values`. The level of one may be missing.
        weights: of the rows, (N,), not negative, or the name of a column of a table, which leaves x: each
            epoch draws rows in proportion to it, as if a row of weight 2 were there twice, and validation
            likewise. Rows of weight 0 are left out. What is read of the columns, such as their kinds and
            scales, does not depend on positive weights.
        options: any option of a model or of its training, see docs/options.md: a choice by its name, as a
            record or an object of your own (`backstory.register`), and its options; `preset`, the name of
            a set of such options; and `labelled`, how many training rows keep their label.

    Raises:
        InputError: for data or options that cannot work, or that differ from those of the run to go on with;
            where another process writes to the folder; for a full disk, after which `resume` goes on.
        TrainingFailed: if the loss stays non-finite.
    """
    ways = {name: options.pop(name) for name in NAMES if name in options}
    reading = Reading.of(resize=resize, stream=stream, columns=columns, **ways)
    options = adopted(options)
    folder = None if run is None else Path(run)
    _check_request(force, resume, checkpoint_every)
    if _is_of_several(ensemble, folder if resume else None):
        _check_one_process(devices, nodes)
    group = distributed.start(device, devices, nodes)
    with group.together(), _run_folder(folder, force, resume, group) as place:
        board = board_writer(folder) if tensorboard else None
        named, values = names_and_values(given)
        asked: dict[str, Any] = {"split_seed": split_seed, "validation": validation, "seed": seed}
        asked |= {"given": named, "weights": name_of(weights), **options}
        job = Job({}, Saving(place, resume, checkpoint_every, board), group, progress)
        if place != folder:
            console.say(f"replacing   {folder} stays as it is until the run in {place} is finished", progress)
        return _fit(Source(data, reading, values, weights), asked, job, ensemble)


def _check_request(force: bool, resume: bool, checkpoint_every: float) -> None:
    if not checkpoint_every > 0:
        raise InputError(f"checkpoint_every has to be positive, got {checkpoint_every:g}")
    if resume and force:
        raise InputError("resume goes on with a run and force replaces it; leave one of them out")


def _check_one_process(devices: int | None, nodes: int | None) -> None:
    if distributed.processes(devices, nodes) > 1:
        raise InputError(
            "an ensemble trains in one process; leave devices and nodes out, or train its members apart"
        )


def _is_of_several(ensemble: int | None, begun: Path | None) -> bool:
    """Whether an ensemble is asked for, or the run in a folder is one."""
    return ensemble not in (None, 1) or (begun is not None and is_ensemble(in_training(begun)))


@contextmanager
def _run_folder(folder: Path | None, force: bool, resume: bool, group: Alone) -> Iterator[Path | None]:
    """The folder in which the run is written; at the end a finished run replaces the one that is replaced.

    No other process writes to the run meanwhile. In all processes but the first nothing is done.
    """
    if folder is None or group.rank:
        yield None if folder is None else group.first(lambda: folder)
        return
    with only_writer(folder):
        complete(folder)
        place = group.first(lambda: place_of(folder, force, resume))
        try:
            yield place
        except TrainingFailed:
            if place != folder:
                discard(place)
            raise
        except CannotWrite as error:
            if not any((place / name).exists() for name in (CHECKPOINT, ENSEMBLE)):
                raise
            advice = "free some space and go on with `resume`: all is kept up to the last checkpoint"
            raise CannotWrite(error.path, error.reason, advice) from error
        if place != folder and checkpoint.is_finished(place):
            take_place(folder, place)


def _fit(source: Source, options: dict[str, Any], job: Job, ensemble: int | None) -> Model | Ensemble:
    """`fit` in each of the processes."""
    group, folder = job.group, job.saving.folder
    begun = group.first(lambda: Begun.read(job.saving, ensemble))
    given = {name: value for name, value in options.items() if value is not None}
    asked = asked_options(with_preset(given) if begun is None else over(begun.asked, given))
    if begun is not None:
        begun.check_options(asked)
    if begun is not None and begun.finished:
        assert folder is not None
        if group.rank == 0:
            checkpoint.remove_checkpoint(folder)  # a kill may have come just before
        console.say(f"{folder} is finished: there is nothing to go on with", job.progress)
        return open(folder, str(group.device))
    named = (asked if begun is None else begun.asked).get("given", ())
    source = source.weighted_as(None if begun is None else begun.asked.get("weights"))
    dataset = source.load(None if begun is None else begun.schema, named)
    if begun is not None:
        job = replace(job, asked=begun.asked, earlier=begun.checkpoint)
        count = begun.members
    else:
        job = replace(job, asked=asked)
        count = None if ensemble == 1 else ensemble
    if count is None:
        return train_single(dataset, job)
    return train_members(dataset, count, job, begun is not None)
