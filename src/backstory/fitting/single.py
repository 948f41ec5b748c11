"""The training of one model, from its data to its run folder."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from backstory import console
from backstory.data.dataset import Dataset
from backstory.data.missing_levels import warn_of_unlabelled
from backstory.data.splits import row_hashes
from backstory.data.stored import StoredRows
from backstory.data.tables.statistics import column_statistics
from backstory.errors import InputError, TrainingFailed
from backstory.files import writing
from backstory.fitting.begun import check_same_data
from backstory.fitting.job import Job
from backstory.fitting.options import (
    SEED,
    VALIDATION,
    Decided,
    as_labelled,
    as_modelled,
    decide_options,
    split_rows,
)
from backstory.fitting.progress import announce, report, run_trainer, summary
from backstory.fitting.second_stage import second_stage
from backstory.inference import scoring
from backstory.inference.unusual import kept_rows
from backstory.model import Model
from backstory.models import build
from backstory.models.statistics import data_statistics
from backstory.models.vae import VAE
from backstory.runs import checkpoint
from backstory.runs.checkpoint import Checkpoint
from backstory.runs.folder import METRICS
from backstory.runs.making import new_folder
from backstory.runs.provenance import Provenance, fingerprint
from backstory.runs.run import write_files
from backstory.training.devices import Alone
from backstory.training.divergence import DIVERGED
from backstory.training.state import Autosave, History, State
from backstory.training.trainer import Trainer

# A second attempt has a tenth of the learning rate, at most this rate, and at least this share of the minutes
SLOWER, HIGHEST_RETRIED, LEAST_SHARE = 10, 1e-3, 0.1


def train_single(dataset: Dataset, job: Job) -> Model:
    """A trained model; its run folder is written by the first process."""
    whole = as_modelled(dataset, job.asked)
    dataset = as_labelled(whole, job.asked)
    model, rows = untrained(dataset, job, whole.given)
    warn_of_unlabelled(whole, dataset, model.splits.train)
    held_out = dataset.stored.take(model.splits.validation)
    if len(held_out):
        held_out = held_out.by_weight(model.training.seed)
    history = _trained(model, rows, held_out, job)
    model.summary = summary(history)
    if history.stopped != "interrupted":  # the run goes on with the prior that it began with
        second_stage(model, rows, held_out, job.progress)
    _finish(model, rows, dataset)
    if job.written is not None:
        write_files(job.written, model.pack())
        if history.stopped != "interrupted":
            checkpoint.remove_checkpoint(job.written)
    report(history, model, job.progress)
    return model


def _trained(model: Model, rows: StoredRows, held_out: StoredRows, job: Job) -> History:
    """Train a model; if training diverges, once more with a lower learning rate."""

    def trainer() -> Trainer:
        options, autosave = model.training, _autosave(model, job)
        return Trainer(model.vae, model.schema, rows, held_out, options, autosave, job.group)

    first = trainer()
    if job.earlier is not None:
        first.load(job.earlier.state)
    _begin_folder(job)
    announce(model, first, job)
    try:
        history = run_trainer(first, job)
    except TrainingFailed:
        if first.history.diverged_at is not None:
            raise
    else:
        if history.stopped != DIVERGED or history.diverged_at is not None:
            return history
    _begin_anew(model, first.spent, job)
    second = trainer()
    second.history.diverged_at = first.options.lr
    return run_trainer(second, job)


def _begin_anew(model: Model, spent: float, job: Job) -> None:
    """Give a model that diverged its initial weights, a lower learning rate and the rest of its time."""
    before = model.training
    lr = min((before.lr or 1.0) / SLOWER, HIGHEST_RETRIED)
    console.warn(f"training diverged with lr {before.lr:g}, so it begins anew with lr {lr:g}")
    minutes = before.minutes and before.minutes * max(1 - spent, LEAST_SHARE)
    model.training = before.model_copy(update={"lr": lr, "minutes": minutes})
    model.provenance = replace(model.provenance, training=model.training)
    fresh = build.build(model.schema, model.options, before.seed)
    with torch.no_grad():
        for parameter, initial in zip(model.vae.parameters(), fresh.parameters(), strict=True):
            parameter.copy_(initial)
    if job.written is not None:
        checkpoint.prepare_resume(job.written, [])


def untrained(dataset: Dataset, job: Job, given: np.ndarray | None) -> tuple[Model, StoredRows]:
    """A model before its first step, with all options decided, and its training rows.

    Args:
        dataset: the rows, with the conditions that the model is told.
        job: what was asked for.
        given: codes of all conditions that came with the data.
    """
    hashes, splits = row_hashes(dataset.values), split_rows(dataset, job.asked)
    name = fingerprint(hashes, given)
    _check_same_rows(name, dataset, job.group)
    if job.earlier is None:
        decided = decide_options(dataset, job.asked, splits.train, job.group)
    else:
        config = job.earlier.config
        check_same_data(config, dataset, name)
        decided = Decided(config.data, config.model, config.training)
    rows = dataset.stored.take(splits.train)
    vae = _build(decided, None if job.earlier is not None else rows.values, job.asked.get("seed", SEED))
    validation = job.asked.get("validation", VALIDATION)
    hashes = hashes[splits.train]
    total = None if dataset.weights is None else float(dataset.weights.sum())
    left = {} if dataset.weightless is None else {"weightless": dataset.weightless}
    provenance = Provenance(
        dataset.source, name, validation, splits, hashes, decided.training, job.asked, total, **left
    )
    return Model(vae.to(job.group.device), decided.schema, decided.model, provenance), rows


def _check_same_rows(name: str, dataset: Dataset, group: Alone) -> None:
    """InputError unless all processes have the data with this fingerprint."""
    if name != group.first(lambda: name):
        raise InputError(
            f"every process has to train on the same data, got other rows of {dataset.source} in process "
            f"{group.rank} than in the first; copy the same files to all machines"
        )


def _build(decided: Decided, rows: Any, seed: int) -> VAE:
    """The network, with the statistics of the training rows; without rows a checkpoint has them."""
    statistics = columns = None
    if rows is not None:
        statistics = data_statistics(rows, decided.schema)
        if decided.model.likelihood.mixed:
            columns = column_statistics(rows, decided.schema)
    return build.build(decided.schema, decided.model, seed, statistics, columns)


def _autosave(model: Model, job: Job) -> Autosave:
    folder, config = job.written, model.config

    def write(state: State) -> None:
        assert folder is not None
        checkpoint.save_checkpoint(folder, Checkpoint(config, job.asked, state))

    return Autosave(None if folder is None else write, job.saving.every)


def _begin_folder(job: Job) -> None:
    """Prepare the folder of the run: the first thing that is written."""
    folder = job.written
    if folder is None:
        return
    if job.earlier is not None:
        checkpoint.prepare_resume(folder, job.earlier.state.values["history"]["epochs"])
        return
    new_folder(folder)
    with writing(folder):
        (folder / METRICS).touch()


def _finish(model: Model, rows: StoredRows, dataset: Dataset) -> None:
    """Fit the prior of an autoencoder that has one, and keep the reference rows of `Model.score`."""
    if model.is_autoencoder:
        if model.options.prior.name == "mixture":
            model.fit_prior(rows, model.options.prior.values["components"], model.training.seed)
    elif model.schema.kind != "images":
        _keep_rows(model, rows, dataset)


def _keep_rows(model: Model, rows: StoredRows, dataset: Dataset) -> None:
    """Keep the rows that `Model.score` compares with."""
    if len(model.splits.validation):
        most = min(scoring.MOST_ROWS, max(1, scoring.MOST_NUMBERS // model.schema.numel))
        model.keep_reference(dataset.stored.take(model.splits.validation[:most]))
    few_columns = len(model.schema.shape) == 1 and model.schema.numel <= scoring.MOST_ENTRIES
    if few_columns and not model.schema.conditions and len(rows.values) > 1:
        model.keep_known(rows.take(kept_rows(len(rows.values))))
