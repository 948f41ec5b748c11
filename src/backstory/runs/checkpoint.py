"""A run folder: `config.json` and `model.safetensors`, both written beside and renamed; never a pickle.

While the run is going on, `checkpoint.safetensors` holds its whole state: the tensors, and as JSON in the
file's metadata the config and everything else. One file, renamed when it is complete, cannot be half new.
"""

import csv
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from safetensors.torch import save_file
from torch import Tensor

from backstory.data.schema import Schema
from backstory.data.write import atomic_path
from backstory.errors import InputError
from backstory.options import ModelOptions, TrainOptions
from backstory.runs.folder import (
    BOARD,
    CHECKPOINT,
    CONFIG,
    ENSEMBLE,
    FILES,
    MEMBERS,
    METRICS,
    PICTURE,
    SPLITS,
    TABLE,
    WEIGHTS,
    check_folder,
    damaged,
    members_of,
    missing,
    read_config,
    read_text,
)
from backstory.runs.record import config_error
from backstory.training.state import Metrics, State


class Config(BaseModel):
    """What a run folder's config.json holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backstory: str
    torch: str
    source: str
    validation: float
    rows: dict[str, int]
    summary: dict[str, Any]
    data: Schema
    model: ModelOptions
    training: TrainOptions


def prepare_folder(run: Path, force: bool) -> None:
    """Make the folder of one run; InputError if it holds something already and `force` is not given."""
    clear_folder(run, force)
    with _writing_to(run):
        (run / METRICS).touch()


def clear_folder(run: Path, force: bool) -> None:
    """Make a folder without a run; InputError if it holds something already and `force` is not given."""
    if run.exists() and not run.is_dir():
        raise InputError(f"{run} is a file; give a folder for the run")
    if run.is_dir() and any(run.iterdir()):
        if not force:
            raise InputError(f"{run} is not empty; choose another folder, or overwrite the run with --force")
        for name in (*FILES, ENSEMBLE):
            (run / name).unlink(missing_ok=True)
        _remove_members(run / MEMBERS)
        for events in (run / BOARD).glob("events.out.tfevents.*"):
            events.unlink()
    with _writing_to(run):
        run.mkdir(parents=True, exist_ok=True)


def _remove_members(folder: Path) -> None:
    """The runs of an ensemble, and nothing else that may be there."""
    for member in folder.glob("[0-9]*"):
        clear_folder(member, force=True)
        (member / PICTURE).unlink(missing_ok=True)
        for part in (member / BOARD, member):
            if part.is_dir() and not any(part.iterdir()):
                part.rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


@contextmanager
def _writing_to(run: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write to {run}: {error.strerror or error}; choose another folder") from None


def pack(config: Config, weights: dict[str, Tensor], splits: dict[str, Tensor]) -> dict[str, bytes]:
    """The files of a run by name; the config comes last, so that a folder with one is complete."""
    return {
        WEIGHTS: save_tensors(_on_cpu(weights)),
        SPLITS: save_tensors(_on_cpu(splits)),
        CONFIG: (config.model_dump_json(indent=2) + "\n").encode(),
    }


def save(run: Path, files: dict[str, bytes]) -> None:
    """Write the files of a run in their order."""
    for name, content in files.items():
        write_file(run / name, content)


def write_file(whole: Path, content: bytes) -> None:
    """Write a file of a run beside and rename it."""
    with atomic_path(whole, force=True) as path:
        path.write_bytes(content)


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies: safetensors refuses shared memory, and a head shares shift and scale with its model."""
    return {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}


# -- a run that is going on -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Checkpoint:
    """A run that is going on.

    Attributes:
        config: as config.json will have it, but for the summary.
        asked: the options that were given, by name; the config has them with all defaults decided.
        state: of the trainer.
    """

    config: Config
    asked: dict[str, Any]
    state: State


def save_checkpoint(run: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint of a run; a kill at any moment leaves the old or the new one."""
    text = {
        "config": checkpoint.config.model_dump_json(),
        "asked": json.dumps(checkpoint.asked),
        "values": json.dumps(checkpoint.state.values),
    }
    with atomic_path(run / CHECKPOINT, force=True) as path:
        path.touch()  # with the rights of other files; safetensors would give it less
        save_file(_on_cpu(checkpoint.state.tensors), path, text)
        with path.open("rb") as file:
            os.fsync(file.fileno())  # before the rename: a machine may lose its power


def load_checkpoint(run: Path) -> Checkpoint | None:
    """The checkpoint of a run, None without one; InputError if it is damaged."""
    path = run / CHECKPOINT
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            text = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        values, asked = json.loads(text["values"]), json.loads(text["asked"])
        return Checkpoint(Config(**json.loads(text["config"])), asked, State(tensors, values))
    except ValidationError as error:
        raise config_error(run, error) from None
    except (SafetensorError, OSError, KeyError, ValueError):
        raise InputError(
            f"{path} is damaged, or of another version of Backstory; train anew with --force"
        ) from None


def has_begun(run: Path) -> bool:
    """Whether a folder holds more than a run that was killed before its first checkpoint leaves."""
    return run.is_dir() and any(
        path.name not in (METRICS, TABLE, BOARD) and path not in _leftovers(run) for path in run.iterdir()
    )


def _leftovers(run: Path) -> list[Path]:
    """What a kill left half written."""
    return [path for name in (*FILES, ENSEMBLE) for path in run.glob(f".{'[0-9a-f]' * 8}-{name}")]


def is_finished(run: Path) -> bool:
    """Whether a run came to its end; an interrupted one did not."""
    if not (run / CONFIG).exists():
        return False
    config = read_config(run)
    if members_of(run, config) is not None:  # which is written when all of them are finished
        return True
    return load_config(run).summary.get("stopped") != "interrupted"


def remove_checkpoint(run: Path) -> None:
    """When the run is finished, and its config written; what a kill left half written goes, too."""
    for path in (run / CHECKPOINT, *_leftovers(run)):
        path.unlink(missing_ok=True)


def prepare_resume(run: Path, epochs: list[Metrics]) -> None:
    """Make the metrics those of the checkpoint, and remove what a kill left half written."""
    for path in _leftovers(run):
        path.unlink()
    with atomic_path(run / METRICS, force=True) as path:
        path.write_text("", encoding="utf-8")
    (run / TABLE).unlink(missing_ok=True)
    for metrics in epochs:
        append_metrics(run, metrics)


# -- reading ----------------------------------------------------------------------------------------------


def load(run: Path) -> tuple[Config, dict[str, Tensor], dict[str, Tensor]]:
    """Config, weights and splits of a run; InputError where something is missing or damaged."""
    check_folder(run)
    return load_config(run), _tensors(run / WEIGHTS), _tensors(run / SPLITS)


def unpack(files: dict[str, bytes]) -> tuple[Config, dict[str, Tensor], dict[str, Tensor]]:
    """What `pack` packed."""
    return Config(**json.loads(files[CONFIG])), load_tensors(files[WEIGHTS]), load_tensors(files[SPLITS])


def load_config(run: Path) -> Config:
    """The config of a run that has ended."""
    try:
        return Config(**read_config(run))
    except ValidationError as error:
        raise config_error(run, error) from None


def load_weights(model: torch.nn.Module, weights: dict[str, Tensor], run: Path) -> None:
    """Put the weights into the model; InputError where they do not fit its config."""
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise InputError(f"{run / WEIGHTS} does not belong to {run / CONFIG}: its tensors differ") from None


def read_metrics(run: Path) -> list[Metrics]:
    """The lines of metrics.jsonl."""
    try:
        return [json.loads(line) for line in read_text(run / METRICS).splitlines()]
    except json.JSONDecodeError:
        raise InputError(f"{run / METRICS} is damaged: a line is not valid JSON") from None


def append_metrics(run: Path, metrics: Metrics) -> None:
    """One more line in metrics.jsonl, and without its lists in metrics.csv."""
    with (run / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(metrics) + "\n")
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    with (run / TABLE).open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, numbers)
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(numbers)


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_tensors(path.read_bytes())
    except FileNotFoundError:
        raise missing(path) from None
    except SafetensorError:
        raise damaged(path) from None
