"""A finished run: `config.json` and safetensors, in a folder or packed into a dict; never a pickle."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from backstory.data.schema import Schema
from backstory.errors import InputError
from backstory.files import atomic_path
from backstory.options import ModelOptions, TrainOptions
from backstory.options.choices import NotRegistered, OptionError
from backstory.runs.folder import (
    CONFIG,
    SPLITS,
    WEIGHTS,
    check_folder,
    damaged,
    missing,
    not_understood,
    read_config,
)


class Config(BaseModel):
    """The content of config.json.

    Attributes:
        backstory, torch: versions.
        source: name of the data.
        fingerprint: of its rows, see `runs.provenance.fingerprint`.
        validation: the fraction of the rows held out for validation.
        rows: number of rows in each part of the data.
        summary: numbers and events of the training; see `training.state.History`.
        data: schema of the data.
        model, training: options, with all defaults resolved.
        asked: the options that were given to `fit`, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backstory: str
    torch: str
    source: str
    fingerprint: str
    validation: float
    rows: dict[str, int]
    summary: dict[str, Any]
    data: Schema
    model: ModelOptions
    training: TrainOptions
    asked: dict[str, Any] = {}


@dataclass(frozen=True)
class Run:
    """The content of a run folder that is needed to open the model again.

    Attributes:
        config: see `Config`.
        weights: the model's state dict.
        rows: tensors about the rows: `train`, `validation` and `test` (row numbers), `train_row_hashes`, and
            the reference of `Model.score` where the run has one.
    """

    config: Config
    weights: dict[str, Tensor]
    rows: dict[str, Tensor]

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """The run in a folder; InputError where a file is missing or damaged."""
        check_folder(folder)
        return cls(load_config(folder), _tensors(folder / WEIGHTS), _tensors(folder / SPLITS))

    @classmethod
    def unpack(cls, files: dict[str, bytes]) -> "Run":
        """The run that `pack` packed."""
        config = Config(**json.loads(files[CONFIG]))
        return cls(config, load_tensors(files[WEIGHTS]), load_tensors(files[SPLITS]))

    def pack(self) -> dict[str, bytes]:
        """File contents by name; the config comes last, so a folder with a config is complete."""
        return {
            WEIGHTS: save_tensors(on_cpu(self.weights)),
            SPLITS: save_tensors(on_cpu(self.rows)),
            CONFIG: (self.config.model_dump_json(indent=2) + "\n").encode(),
        }

    def load_weights(self, model: torch.nn.Module, folder: Path) -> None:
        """Put the weights into the model; InputError where they do not fit, which names the `folder`."""
        try:
            model.load_state_dict(self.weights)
        except RuntimeError:
            raise InputError(
                f"{folder / WEIGHTS} does not belong to {folder / CONFIG}: its tensors differ"
            ) from None


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write files into a folder, in their order; each one is written whole or not at all."""
    for name, content in files.items():
        with atomic_path(folder / name, force=True) as path:
            path.write_bytes(content)


def on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU: safetensors refuses shared memory, which a head and its model have."""
    return {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}


def load_config(run: Path) -> Config:
    """The config of a finished run; InputError where it is missing or not understood."""
    try:
        return Config(**read_config(run))
    except ValidationError as error:
        raise config_error(run, error) from None


def config_error(run: Path, error: ValidationError) -> InputError:
    """The error for a config that its records refuse: a choice that is not registered, or another value."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, NotRegistered):
        return cause
    where = ".".join(map(str, first["loc"]))
    return not_understood(run, f"{where}.{cause.option}" if isinstance(cause, OptionError) else where)


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_tensors(path.read_bytes())
    except FileNotFoundError:
        raise missing(path) from None
    except SafetensorError:
        raise damaged(path) from None
