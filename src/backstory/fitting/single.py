"""The training of one model, from its data to its run folder."""

from typing import Any

from backstory.data.dataset import Dataset
from backstory.data.splits import row_hashes
from backstory.data.stored import StoredRows
from backstory.data.tables.statistics import data_marginals
from backstory.errors import InputError
from backstory.fitting.begun import check_same_data
from backstory.fitting.job import Job
from backstory.fitting.options import SEED, VALIDATION, Decided, as_modelled, decide_options, split_rows
from backstory.fitting.progress import announce, report, run_trainer, summary
from backstory.inference import scoring
from backstory.model import Model
from backstory.models import build
from backstory.models.statistics import data_statistics
from backstory.models.vae import VAE
from backstory.runs import checkpoint
from backstory.runs.checkpoint import Checkpoint
from backstory.runs.folder import has_begun, prepare_folder
from backstory.runs.provenance import Provenance, fingerprint
from backstory.runs.run import write_files
from backstory.training.devices import Alone
from backstory.training.state import Autosave, State
from backstory.training.trainer import Trainer


def train_single(dataset: Dataset, job: Job) -> Model:
    """A trained model; its run folder is written by the first process."""
    dataset = as_modelled(dataset, job.asked)
    model, rows = untrained(dataset, job)
    held_out = dataset.stored.take(model.splits.validation)
    trainer = Trainer(
        model.vae, model.schema, rows, held_out, model.training, _autosave(model, job), job.group
    )
    if job.earlier is not None:
        trainer.load(job.earlier.state)
    _begin_folder(job)
    announce(model, trainer, job)
    history = run_trainer(trainer, job)
    model.summary = summary(history)
    _finish(model, rows, dataset)
    if job.written is not None:
        write_files(job.written, model.pack())
        if history.stopped != "interrupted":
            checkpoint.remove_checkpoint(job.written)
    report(history, model, job.progress)
    return model


def untrained(dataset: Dataset, job: Job) -> tuple[Model, StoredRows]:
    """A model before its first step, with all options decided, and its training rows."""
    hashes, splits = row_hashes(dataset.values), split_rows(dataset, job.asked)
    name = fingerprint(hashes, dataset.given)
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
    provenance = Provenance(dataset.source, name, validation, splits, hashes, decided.training, job.asked)
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
    statistics = marginals = None
    if rows is not None:
        statistics = data_statistics(rows, decided.schema)
        if decided.model.likelihood.mixed:
            marginals = data_marginals(rows, decided.schema)
    return build.build(decided.schema, decided.model, seed, statistics, marginals)


def _autosave(model: Model, job: Job) -> Autosave:
    folder, config = job.written, model.config

    def write(state: State) -> None:
        assert folder is not None
        checkpoint.save_checkpoint(folder, Checkpoint(config, job.asked, state))

    return Autosave(None if folder is None else write, job.saving.every)


def _begin_folder(job: Job) -> None:
    """Prepare the folder of the run: the first thing that is written."""
    folder, saving = job.written, job.saving
    if folder is None:
        return
    if job.earlier is not None:
        checkpoint.prepare_resume(folder, job.earlier.state.values["history"]["epochs"])
    else:
        prepare_folder(folder, saving.force or (saving.resume and not has_begun(folder)))


def _finish(model: Model, rows: StoredRows, dataset: Dataset) -> None:
    """Fit the prior of an autoencoder that has one, and keep the reference rows of `Model.score`."""
    if model.is_autoencoder:
        if model.options.prior.name == "mixture":
            model.fit_prior(rows, model.options.prior.values["components"], model.training.seed)
    elif model.schema.kind != "images" and len(model.splits.validation):
        most = min(scoring.MOST_ROWS, max(1, scoring.MOST_NUMBERS // model.schema.numel))
        model.keep_reference(dataset.stored.take(model.splits.validation[:most]))
