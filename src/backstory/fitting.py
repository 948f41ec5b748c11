"""From data to a trained model: `fit`, which begins a run or goes on with one."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from backstory import console
from backstory.data.dataset import Dataset
from backstory.data.load import load
from backstory.data.rows import Rows, subset
from backstory.data.schema import Schema
from backstory.data.splits import check_for_training, row_hashes, split
from backstory.data.tables import summary as column_table
from backstory.data.tables.statistics import as_numbers, data_marginals, only_numbers
from backstory.ensemble import Ensemble, config_of
from backstory.ensemble import open as open_any
from backstory.errors import InputError
from backstory.inference import scoring
from backstory.inference.importance import check_density
from backstory.model import Model, check_components, fingerprint, open
from backstory.models import build
from backstory.models.defaults import default_schedule, resolve
from backstory.models.diagnostics import collapse_warning
from backstory.models.statistics import data_statistics
from backstory.models.vae import VAE
from backstory.options import ModelOptions, TrainOptions, given_options, sort_options
from backstory.options.choices import Undecided
from backstory.register import adopted
from backstory.runs import checkpoint
from backstory.runs.checkpoint import Checkpoint
from backstory.runs.folder import CONFIG, ENSEMBLE, member_folder, read_config, read_text
from backstory.training import distributed, schedule
from backstory.training.compile import decide
from backstory.training.devices import Alone
from backstory.training.state import Autosave, History, Metrics, State
from backstory.training.trainer import Trainer

VALIDATION, SEED = 0.1, 0  # by default
OURS = ("split_seed", "validation")  # options that are neither of the model nor of its training


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
    strategy: str = "ddp",
    force: bool = False,
    resume: bool = False,
    checkpoint_every: float = 60.0,
    tensorboard: bool = False,
    progress: bool = True,
    columns: Mapping[str, Any] | None = None,
    resize: int | tuple[int, int] | None = None,
    stream: bool | None = None,
    **options: Any,
) -> Model:
    """Train a model on data.

    Args:
        data: a `Dataset`, anything that `load` takes, or a function that returns one of these, which is
            called when all processes run.
        run: folder to write the run to, as it goes; None keeps the model in memory.
        ensemble: how many models are trained one after the other, with seed, seed + 1, …, on the same rows;
            an `Ensemble` averages what they say. By default one. `minutes` are for all of them together.
        split_seed: of the split alone, by default the seed.
        validation: fraction of the rows kept for choosing, by default 0.1; 0 for none.
        seed: of the split, the initial weights and every draw, by default 0.
        device: `auto`, `cpu`, `cuda`, …
        devices: processes on each machine, each with a GPU of its own, or all on processors; by default as
            many as torchrun or SLURM started, or else one. `batch_size` is of all of them together. More
            than one need `pip install 'backstory[distributed]'`, and run the calling script once more each.
        nodes: machines, by default likewise; all of them see the data and the folder of the run.
        strategy: `ddp`, a whole model on each device, or `fsdp`, a part of each parameter.
        force: overwrite the run that the folder holds.
        resume: go on with the run that the folder holds, to the weights that it would have had without the
            interruption, bit for bit; begin it if there is none. Options may be left out.
        checkpoint_every: seconds between two states of the run on the disk; one more is written at the end
            of an epoch where it costs less than a hundredth of the time since the last.
        tensorboard: also write the metrics to RUN/tensorboard; needs `pip install 'backstory[tensorboard]'`.
        progress: show a progress bar and what was chosen, on standard error.
        columns: what some columns of a table hold, by name, see `load`. The others are found out, and what
            all hold is shown. A run that goes on knows them.
        resize, stream: see `load`.
        options: any option of a model or of its training, see docs/options.md: a choice by its name, as a
            record or as an object of your own (see `backstory.register`), and its options by their names.

    Raises:
        InputError: for data or options that cannot work, or that are not those of the run to go on with;
            nothing has been written then.
        TrainingFailed: if the loss stays non-finite.
    """
    options = adopted(options)
    if not checkpoint_every > 0:
        raise InputError(f"checkpoint_every has to be positive, got {checkpoint_every:g}")
    folder = None if run is None else Path(run)
    if ensemble not in (None, 1) or (resume and folder is not None and _is_ensemble(folder)):
        if distributed.processes(devices, nodes) > 1:
            raise InputError(
                "an ensemble trains in one process; leave devices and nodes out, or train its members apart"
            )
        begun = _Begun.of(folder, ensemble, resume, force)
        if begun is not None and begun.finished:
            assert folder is not None
            console.say(f"{folder} is finished: there is nothing to go on with", progress)
            return open_any(folder, device)
        said = {"validation": validation, "seed": seed, **options}
        asked = _asked({name: value for name, value in said.items() if value is not None})
        how = {"checkpoint_every": checkpoint_every, "tensorboard": tensorboard, "progress": progress}
        known = None if begun is None or columns else begun.schema
        source = data() if callable(data) else data
        dataset = source if isinstance(source, Dataset) else load(source, resize, stream, columns, known)
        return _fit_ensemble(dataset, folder, ensemble, asked, begun, force, device, how)
    group = distributed.start(device, devices, nodes, strategy)
    with group.together():
        board = _board_writer(folder) if tensorboard else None
        if resume and group.first(lambda: _finished(folder, force)):
            assert folder is not None
            if group.rank == 0:
                checkpoint.remove_checkpoint(folder)  # a kill may have come just before
            console.say(f"{folder} is finished: there is nothing to go on with", progress)
            return open(folder, str(group.device))
        given = {"split_seed": split_seed, "validation": validation, "seed": seed, **options}
        asked = _asked({name: value for name, value in given.items() if value is not None})
        earlier = group.first(lambda: checkpoint.load_checkpoint(folder)) if resume and folder else None
        source = data() if callable(data) else data
        if isinstance(source, Dataset):
            dataset = source
        else:
            known = None if earlier is None or columns else earlier.config.data
            dataset = load(source, resize, stream, columns, known)
        if earlier is not None:
            _check_options(earlier, asked)
            asked = earlier.asked
        dataset = _as_modelled(dataset, asked)
        model, train = _untrained(dataset, asked, group, earlier)
        written = folder if group.rank == 0 else None
        trainer = Trainer(
            model.vae,
            model.schema,
            train,
            subset(dataset.values, model.splits.validation),
            model.training,
            Autosave(None if written is None else _writer(written, model, asked), checkpoint_every),
            group,
        )
        if earlier is not None:
            trainer.load(earlier.state)
        if written is not None:
            _prepare(written, earlier, force, resume)
        if progress:
            column_table.show(model.schema)
        for line in build.describe(model.schema, model.options):
            console.say(line, progress)
        if trainer.step.graph is not None:
            console.say("step        compiled, which takes 10 to 30 seconds the first time", progress)
        if earlier is not None:
            done = trainer.position
            console.say(
                f"going on with epoch {done.epoch} of {trainer.epochs}, after {done.step} steps", progress
            )
        history = _run(trainer, written, board, progress)
        if group.sharded:
            model.vae = _in_one_piece(model, group)
        model.summary = {**_summary(history), **model.summary}
        if model.vae.is_autoencoder and model.options.prior.name == "mixture":
            model.fit_prior(train, model.options.prior.values["components"], model.training.seed)
        if model.schema.kind != "images" and not model.vae.is_autoencoder and len(model.splits.validation):
            model.keep_reference(subset(dataset.values, model.splits.validation[: scoring.MOST_ROWS]))
        if written is not None:
            model.write(written)
            if history.stopped != "interrupted":
                checkpoint.remove_checkpoint(written)
        _report(history, model, progress)
        return model


def _in_one_piece(model: Model, group: Alone) -> VAE:
    """The trained model, whose parameters are spread over the processes, as an ordinary one in each."""
    weights = {name: group.whole(value) for name, value in model.vae.state_dict().items()}
    vae = build.build(*resolve(model.schema, model.options))
    vae.load_state_dict(weights)
    return vae.to(group.device).eval()


# -- options ----------------------------------------------------------------------------------------------


def _asked(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, checked, flat, and as JSON has them."""
    ours = {name: options.pop(name) for name in OURS if name in options}
    return {**given_options(options), **ours}


def _sorted(asked: dict[str, Any]) -> tuple[ModelOptions, TrainOptions]:
    return sort_options({name: value for name, value in asked.items() if name not in OURS})


# -- beginning and going on -------------------------------------------------------------------------------


def _finished(folder: Path | None, force: bool) -> bool:
    if folder is None:
        raise InputError("resume needs the folder of a run")
    if force:
        raise InputError("resume goes on with a run and force replaces it; leave one of them out")
    return checkpoint.is_finished(folder)


def _check_options(earlier: Checkpoint, asked: dict[str, Any]) -> None:
    """InputError for an option that is neither what was given at the run's beginning nor what it meant."""
    config = earlier.config
    decided = {**config.model.flat(), **config.training.flat()}
    decided["validation"] = config.validation
    decided["split_seed"] = earlier.asked.get("split_seed", config.training.seed)
    for name, value in asked.items():
        if value not in (decided.get(name), earlier.asked.get(name)):
            raise InputError(
                f"the run was begun with {name} {decided.get(name)}, got {value}; "
                "leave it out to go on with the run, or begin another"
            )


def _untrained(
    dataset: Dataset, asked: dict[str, Any], group: Alone, earlier: Checkpoint | None
) -> tuple[Model, Rows]:
    """A model with all options decided, before its first step, and its training rows."""
    validation, seed = asked.get("validation", VALIDATION), asked.get("seed", SEED)
    splits = split(dataset, validation, asked.get("split_seed", seed))
    hashes = row_hashes(dataset.values)
    name = fingerprint(hashes)
    if name != group.first(lambda: name):
        raise InputError(
            f"every process has to train on the same data, got other rows of {dataset.source} in process "
            f"{group.rank} than in the first; copy the same files to all machines"
        )
    if earlier is None:
        schema, options, training = _decided(dataset, asked, splits.train, group)
    else:
        _check_data(earlier, dataset, name)
        schema, options, training = earlier.config.data, earlier.config.model, earlier.config.training
    train = subset(dataset.values, splits.train)
    statistics, marginals = None, None  # the checkpoint has them
    if earlier is None:
        statistics = data_statistics(train, schema)
        marginals = data_marginals(train, schema) if options.likelihood.mixed else None
    vae = build.build(schema, options, seed, statistics, marginals).to(group.device)
    ids, summary = hashes[splits.train], {"fingerprint": name}
    model = Model(vae, schema, options, training, splits, ids, validation, dataset.source, summary)
    return model, train


def _as_modelled(dataset: Dataset, asked: dict[str, Any]) -> Dataset:
    """A table with all columns continuous where the likelihood is of numbers alone."""
    likelihood = _sorted(asked)[0].likelihood
    mixed = not only_numbers(dataset.schema) if isinstance(likelihood, Undecided) else likelihood.mixed
    return dataset if mixed else as_numbers(dataset)


def _decided(
    dataset: Dataset, asked: dict[str, Any], train: np.ndarray, group: Alone
) -> tuple[Schema, ModelOptions, TrainOptions]:
    """All that was left open; InputError for options that cannot be, or data that cannot be trained on."""
    check_for_training(dataset, train)
    options, training = _sorted(asked)
    schema, options = resolve(dataset.schema, options, dataset.observed is not None)
    defaults = default_schedule(schema, options, dataset.observed is not None)
    training = schedule.resolve(training, len(train), **defaults)
    training = decide(training, len(train), group.device, group.world)
    if options.posterior.name == "delta" and options.prior.name == "mixture":
        check_components(options.prior.values["components"], len(train))
    return schema, options, training


def _check_data(earlier: Checkpoint, dataset: Dataset, name: str) -> None:
    config = earlier.config
    same = config.summary["fingerprint"] == name and sum(config.rows.values()) == len(dataset)
    test = 0 if dataset.test_rows is None else len(dataset.test_rows)
    if not (same and config.rows["test"] == test and config.data.shape == dataset.schema.shape):
        raise InputError(
            f"the run was begun with other data, {config.source} with {sum(config.rows.values())} rows, "
            f"got {dataset.source} with {len(dataset)}; go on with the same data, or begin another run"
        )
    for mine, now in zip(config.data.kinds, dataset.schema.kinds, strict=False):
        if (mine.kind, mine.levels, mine.values) != (now.kind, now.levels, now.values):
            raise InputError(
                f"the run was begun with column {mine.name!r} as {mine.kind}, got {now.kind} or other "
                "levels; say nothing of columns to go on with the run, or begin another"
            )
    if config.torch != torch.__version__:
        console.warn(f"the run was begun with torch {config.torch}; its last digits may now differ")


def _prepare(folder: Path, earlier: Checkpoint | None, force: bool, resume: bool) -> None:
    """Nothing has been written before."""
    if earlier is not None:
        checkpoint.prepare_resume(folder, earlier.state.values["history"]["epochs"])
    else:
        checkpoint.prepare_folder(folder, force or (resume and not checkpoint.has_begun(folder)))


def _writer(folder: Path, model: Model, asked: dict[str, Any]) -> Callable[[State], None]:
    config = model.config
    return lambda state: checkpoint.save_checkpoint(folder, Checkpoint(config, asked, state))


# -- several runs -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Begun:
    """An ensemble that the folder holds already.

    Attributes:
        count: of its members.
        asked: the options that were given.
        schema: of its data, where the first member was begun.
        finished: whether all members are there.
    """

    count: int
    asked: dict[str, Any]
    schema: Schema | None
    finished: bool

    @classmethod
    def of(cls, folder: Path | None, count: int | None, resume: bool, force: bool) -> "_Begun | None":
        """InputError if what the folder holds cannot be gone on with."""
        if not resume:
            return None
        finished = _finished(folder, force)
        assert folder is not None
        begun = checkpoint.has_begun(folder)
        if begun and not _is_ensemble(folder):
            raise InputError(f"{folder} was begun as a single model; go on with it without ensemble")
        if not begun:
            return None
        record = json.loads(read_text(folder / ENSEMBLE)) if not finished else read_config(folder)
        found = cls(record["ensemble"], record.get("asked", {}), _schema_of_first(folder), finished)
        if count not in (None, found.count):
            raise InputError(
                f"the run was begun with ensemble {found.count}, got {count}; leave it out to go on with the "
                "run, or begin another"
            )
        return found


def _is_ensemble(folder: Path) -> bool:
    if (folder / ENSEMBLE).exists():
        return True
    return (folder / CONFIG).exists() and "ensemble" in read_config(folder)


def _schema_of_first(folder: Path) -> Schema | None:
    first = folder / member_folder(0)
    earlier = checkpoint.load_checkpoint(first)
    if earlier is not None:
        return earlier.config.data
    return checkpoint.load_config(first).data if (first / CONFIG).exists() else None


def _fit_ensemble(
    dataset: Dataset,
    folder: Path | None,
    count: int | None,
    asked: dict[str, Any],
    begun: _Begun | None,
    force: bool,
    device: str,
    how: dict[str, Any],
) -> Ensemble:
    """Members one after the other, each an ordinary run; those of `begun` that are finished are opened."""
    if begun is not None:
        _check_same(begun.asked, asked)
        count, asked = begun.count, begun.asked
    if count is None or count < 1:
        raise InputError(f"ensemble has to be at least 1, got {count}")
    _check_members(dataset, asked, device)
    if folder is not None and begun is None:
        checkpoint.clear_folder(folder, force)
        record = json.dumps({"ensemble": count, "asked": asked}, indent=2) + "\n"
        checkpoint.write_file(folder / ENSEMBLE, record.encode())
    members = []
    for number in range(count):
        console.say(f"member      {number + 1} of {count}", how["progress"])
        own = None if folder is None else folder / member_folder(number)
        if own is not None and checkpoint.is_finished(own):
            members.append(open(own, device))
            continue
        options = asked | {"seed": asked.get("seed", SEED) + number, "split_seed": asked.get("seed", SEED)}
        if "minutes" in asked:
            options["minutes"] = asked["minutes"] / count
        member = fit(dataset, own, resume=own is not None, device=device, **how, **options)
        if member.summary["stopped"] == "interrupted":
            raise KeyboardInterrupt
        members.append(member)
    if folder is not None:
        checkpoint.write_file(folder / CONFIG, config_of(members[0], count))
        (folder / ENSEMBLE).unlink(missing_ok=True)
    return Ensemble(members)


def _check_same(begun: dict[str, Any], asked: dict[str, Any]) -> None:
    for name, value in asked.items():
        if begun.get(name) != value:
            raise InputError(
                f"the run was begun with {name} {begun.get(name, 'left to its default')}, got {value}; "
                "leave it out to go on with the run, or begin another"
            )


def _check_members(dataset: Dataset, asked: dict[str, Any], device: str) -> None:
    """InputError for options or data that cannot be, before anything is written."""
    group = distributed.start(device, None, None, "ddp")
    dataset = _as_modelled(dataset, asked)
    splits = split(dataset, asked.get("validation", VALIDATION), asked.get("seed", SEED))
    schema, options, _ = _decided(dataset, asked, splits.train, group)
    check_density(build.build(schema, options))


# -- the run ----------------------------------------------------------------------------------------------


def _board_writer(folder: Path | None) -> Any:
    """The class that writes for TensorBoard."""
    if folder is None:
        raise InputError("tensorboard needs a folder for the run")
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError("TensorBoard is not installed; pip install 'backstory[tensorboard]'") from None
    return SummaryWriter


def _run(trainer: Trainer, folder: Path | None, board: Any, show: bool) -> History:
    log = board(folder / "tensorboard", purge_step=1) if folder and board else None
    for metrics in trainer.history.epochs if log else ():  # also those that were trained without TensorBoard
        _write_scalars(log, metrics)
    done, rows = trainer.position, len(trainer.rows)
    with console.progress("fit", trainer.epochs * rows, show) as bar:
        bar.advance((done.epoch - 1) * rows + done.step * trainer.batch_size)

        def on_epoch(metrics: Metrics) -> None:
            if folder is not None:
                checkpoint.append_metrics(folder, metrics)
            if log:
                _write_scalars(log, metrics)
            text = f"epoch {metrics['epoch']}/{trainer.epochs}"
            for name in ("elbo", "reconstruction", "kl"):
                text += f"  {name} {metrics.get('validation_' + name, metrics[name]):.2f}"
            bar.describe(text)

        try:
            return trainer.run(on_epoch, bar.advance)
        finally:
            if log:
                log.close()


def _write_scalars(log: Any, metrics: Metrics) -> None:
    for name, value in metrics.items():
        if isinstance(value, int | float) and name != "epoch":
            log.add_scalar(name, value, metrics["epoch"])


def _summary(history: History) -> dict[str, Any]:
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


def _report(history: History, model: Model, show: bool) -> None:
    s = model.summary
    if history.epochs:
        where = "validation" if model.validation else "training"
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
    if history.epochs and not model.vae.is_autoencoder:
        collapsed = collapse_warning(s["kl"], s["active_units"], model.options.latent or 1)
        if collapsed:
            console.warn(collapsed)
