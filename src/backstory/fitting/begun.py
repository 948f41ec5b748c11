"""A run that was begun earlier: what its folder holds, and whether it can be gone on with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from backstory import console
from backstory.data.conditions import Condition
from backstory.data.dataset import Dataset
from backstory.data.schema import Schema
from backstory.errors import InputError, counted, named
from backstory.fitting.job import Saving
from backstory.runs.checkpoint import Checkpoint, is_finished, load_checkpoint
from backstory.runs.folder import (
    CONFIG,
    ENSEMBLE,
    is_ensemble,
    member_folder,
    members_of,
    not_understood,
    read_record,
)
from backstory.runs.making import is_blank
from backstory.runs.run import Config, load_config


@dataclass(frozen=True)
class Begun:
    """A run in the folder, to go on with.

    Attributes:
        finished: whether there is nothing left to do; its options are compared all the same.
        members: the number of members of an ensemble; None for a single model.
        asked: the options that were given.
        decided: all options, with defaults resolved; of an ensemble those of its first member.
        schema: of the data; None where an ensemble's first member was not begun.
        checkpoint: of a single model.
    """

    finished: bool
    members: int | None = None
    asked: dict[str, Any] = field(default_factory=dict)
    decided: dict[str, Any] = field(default_factory=dict)
    schema: Schema | None = None
    checkpoint: Checkpoint | None = None

    @classmethod
    def read(cls, saving: Saving, ensemble: int | None) -> "Begun | None":
        """The run in the folder; None where there is none, or `fit` is not asked to resume.

        InputError if the folder holds a run of another kind, or resume cannot be.
        """
        if not saving.resume:
            return None
        if saving.folder is None:
            raise InputError("resume needs the folder of a run")
        if is_blank(saving.folder):
            return None
        if is_ensemble(saving.folder):
            return cls._ensemble(saving.folder, ensemble)
        if ensemble not in (None, 1):
            raise InputError(f"{saving.folder} was begun as a single model; go on with it without ensemble")
        return cls._single(saving.folder)

    @classmethod
    def _single(cls, folder: Path) -> "Begun | None":
        if is_finished(folder):
            config = load_config(folder)
            return cls(True, None, config.asked, _decided(config, config.asked), config.data)
        held = load_checkpoint(folder)
        if held is None:
            return None
        decided = _decided(held.config, held.asked)
        return cls(False, None, held.asked, decided, held.config.data, held)

    @classmethod
    def _ensemble(cls, folder: Path, ensemble: int | None) -> "Begun":
        finished = is_finished(folder)
        path = folder / (CONFIG if finished else ENSEMBLE)
        record = read_record(path)
        members, asked = members_of(path, record), record.get("asked", {})
        if members is None or not isinstance(asked, dict):
            raise not_understood(path, "ensemble")
        if ensemble not in (None, members):
            raise InputError(
                f"the run was begun with ensemble {members}, got {ensemble}; leave it out to go on with the "
                "run, or begin another"
            )
        first = _first_member(folder / member_folder(0))
        if first is None:
            return cls(finished, members, asked)
        config, own = first
        together = {"minutes": own["minutes"] * members} if "minutes" in own else {}
        decided = _decided(config, own) | together
        return cls(finished, members, record.get("asked", own | together), decided, config.data)

    def check_options(self, asked: dict[str, Any]) -> None:
        """InputError for an option that differs from what was given or resolved when the run began."""
        for name, value in asked.items():
            if value not in (self.decided.get(name), self.asked.get(name)):
                before = self.decided.get(name, self.asked.get(name, "left to its default"))
                raise InputError(
                    f"the run was begun with {name} {before}, got {value}; "
                    "leave it out to go on with the run, or begin another"
                )


def _decided(config: Config, asked: dict[str, Any]) -> dict[str, Any]:
    """All options of a single model, flat, with defaults resolved."""
    return {
        **config.model.flat(),
        **config.training.flat(),
        "validation": config.validation,
        "given": [condition.name for condition in config.data.conditions],
        "split_seed": asked.get("split_seed", config.training.seed),
    }


def _first_member(folder: Path) -> tuple[Config, dict[str, Any]] | None:
    """The config of an ensemble's first member, and the options that it was given; None before it begins."""
    earlier = load_checkpoint(folder)
    if earlier is not None:
        return earlier.config, earlier.asked
    if not (folder / CONFIG).exists():
        return None
    config = load_config(folder)
    return config, config.asked


def check_same_data(config: Config, dataset: Dataset, fingerprint: str) -> None:
    """InputError unless the data set is the one that the run was begun with; warns of another PyTorch."""
    same = config.fingerprint == fingerprint and sum(config.rows.values()) == len(dataset)
    test = 0 if dataset.test_rows is None else len(dataset.test_rows)
    if not (same and config.rows["test"] == test and config.data.shape == dataset.schema.shape):
        raise InputError(
            f"the run was begun with other data, {config.source} with "
            f"{counted(sum(config.rows.values()), 'row')}, "
            f"got {dataset.source} with {len(dataset)}; go on with the same data, or begin another run"
        )
    if config.data.conditions != dataset.schema.conditions:
        raise InputError(
            f"the run was begun with the {_named(config.data.conditions)}, got "
            f"{_named(dataset.schema.conditions)} or other levels; give the same data, or begin another run"
        )
    for before, now in zip(config.data.kinds, dataset.schema.kinds, strict=False):
        if (before.kind, before.levels, before.values) != (now.kind, now.levels, now.values):
            raise InputError(
                f"the run was begun with column {before.name!r} as {before.kind}, got {now.kind} or other "
                "levels; leave columns out to go on with the run, or begin another"
            )
    if config.torch != torch.__version__:
        console.warn(f"the run was begun with torch {config.torch}; its last digits may now differ")


def _named(conditions: Sequence[Condition]) -> str:
    return named("condition", [condition.name for condition in conditions])
