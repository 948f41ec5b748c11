"""The training of an ensemble: its members one after the other, each an ordinary run."""

from dataclasses import replace
from typing import Any

from backstory import console
from backstory.data.dataset import Dataset
from backstory.ensemble import Ensemble, config_of
from backstory.errors import InputError
from backstory.fitting.job import Job
from backstory.fitting.options import SEED, as_labelled, as_modelled, decide_options, split_rows
from backstory.fitting.single import train_single
from backstory.inference.target import check_density
from backstory.model import Model
from backstory.models import build
from backstory.opening import open_single
from backstory.runs.checkpoint import is_finished, load_checkpoint
from backstory.runs.folder import CONFIG, ENSEMBLE, sealed
from backstory.runs.making import check_links, new_folder
from backstory.runs.run import write_files


def train_members(dataset: Dataset, count: int, job: Job, begun: bool) -> Ensemble:
    """A trained ensemble; members that a `begun` run has finished are opened.

    InputError, before anything is written, for what any member would refuse.
    """
    if count < 1:
        raise InputError(f"ensemble has to be at least 1, got {count}")
    _check_members(dataset, job)
    folder = job.saving.folder
    if folder is not None and begun:
        check_links(folder)
    elif folder is not None:
        new_folder(folder)
        write_files(folder, {ENSEMBLE: sealed({"ensemble": count, "asked": job.asked})})
    members = []
    for number in range(count):
        console.say(f"member      {number + 1} of {count}", job.progress)
        members.append(_train_member(dataset, number, count, job))
    if folder is not None:
        write_files(folder, {CONFIG: config_of(members[0], count)})
        (folder / ENSEMBLE).unlink(missing_ok=True)
    return Ensemble(members)


def _check_members(dataset: Dataset, job: Job) -> None:
    dataset = as_labelled(as_modelled(dataset, job.asked), job.asked)
    decided = decide_options(dataset, job.asked, split_rows(dataset, job.asked).train, job.group)
    check_density(build.build(decided.schema, decided.model))


def _train_member(dataset: Dataset, number: int, count: int, job: Job) -> Model:
    saving = job.saving.of_member(number)
    earlier = None
    if saving.folder is not None:
        if is_finished(saving.folder):
            return open_single(saving.folder, str(job.group.device))
        earlier = load_checkpoint(saving.folder)
    asked = _member_options(job.asked, number, count) if earlier is None else earlier.asked
    member = train_single(dataset, replace(job, asked=asked, saving=saving, earlier=earlier))
    if member.summary["stopped"] == "interrupted":
        raise KeyboardInterrupt
    return member


def _member_options(asked: dict[str, Any], number: int, count: int) -> dict[str, Any]:
    """The options of a member: a seed of its own, the common split, and its part of the time."""
    seed = asked.get("seed", SEED)
    options = asked | {"seed": seed + number, "split_seed": asked.get("split_seed", seed)}
    if "minutes" in asked:
        options["minutes"] = asked["minutes"] / count
    return options
