"""A finished run: `config.json` and safetensors, in a folder or packed into a dict; never a pickle."""

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
    file_checksum,
    missing,
    not_understood,
    read_config,
    sealed,
    unsealed,
)
from backstory.tensor_files import on_cpu

TENSORS = (WEIGHTS, SPLITS)


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
        files: checksums of the files of tensors, by their name.
        asked: the options that were given to `fit`, by name.
        total_weight: of all rows; None where each counts as one.
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
    files: dict[str, str] = {}
    asked: dict[str, Any] = {}
    total_weight: float | None = None


@dataclass(frozen=True)
class Run:
    """The content of a run folder that is needed to open the model again.

    Attributes:
        config: see `Config`.
        weights: the model's state dict.
        rows: tensors about the rows: `train`, `validation` and `test` (row numbers), `train_row_hashes`, and
            the reference of `Model.score` where the run has one; `weightless` where rows of weight 0 left.
    """

    config: Config
    weights: dict[str, Tensor]
    rows: dict[str, Tensor]

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """The run in a folder; InputError where a file is missing or damaged."""
        check_folder(folder)
        config = load_config(folder)
        return cls._of({name: _content(folder / name) for name in TENSORS}, config, folder)

    @classmethod
    def unpack(cls, files: dict[str, bytes], folder: Path) -> "Run":
        """The run that `pack` packed; errors name the folder."""
        return cls._of(files, _config(unsealed(files[CONFIG], folder / CONFIG), folder), folder)

    @classmethod
    def _of(cls, files: dict[str, bytes], config: Config, folder: Path) -> "Run":
        weights, rows = (_tensors(files[name], config, folder / name) for name in TENSORS)
        return cls(config, weights, rows)

    def pack(self) -> dict[str, bytes]:
        """File contents by name; the config comes last, so a folder with a config is complete."""
        files = {WEIGHTS: save_tensors(on_cpu(self.weights)), SPLITS: save_tensors(on_cpu(self.rows))}
        checksums = {name: file_checksum(content) for name, content in files.items()}
        config = self.config.model_copy(update={"files": checksums})
        return files | {CONFIG: sealed(config.model_dump(mode="json"))}

    def check_weights(self, model: torch.nn.Module, folder: Path) -> None:
        """InputError, which names the folder, unless the weights are those of such a model, and finite."""
        if _shapes(model.state_dict()) != _shapes(self.weights):
            raise InputError(f"{folder / WEIGHTS} does not belong to {folder / CONFIG}: its tensors differ")
        for name, _ in model.named_parameters():
            if not torch.isfinite(self.weights[name]).all():
                raise InputError(
                    f"{folder / WEIGHTS} is damaged: {name} has values that are not finite; train again"
                )


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write files into a folder, in their order; each one is written whole or not at all."""
    for name, content in files.items():
        with atomic_path(folder / name, force=True) as path:
            path.write_bytes(content)


def load_config(run: Path) -> Config:
    """The config of a finished run; InputError where it is missing or not understood."""
    return _config(read_config(run), run)


def _config(record: dict[str, Any], run: Path) -> Config:
    try:
        return Config(**record)
    except ValidationError as error:
        raise config_error(run, error) from None


def config_error(run: Path, error: ValidationError) -> InputError:
    """The error for a config that its records refuse: a choice that is not registered, or another value."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, NotRegistered):
        return cause
    where = ".".join(map(str, first["loc"]))
    if isinstance(cause, OptionError):
        where = f"{where}.{cause.option}"
    return not_understood(run / CONFIG, where)


def _shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[torch.dtype, torch.Size]]:
    """Type and shape of each tensor; a model of double precision counts as one of single precision."""
    return {
        name: (torch.float32 if value.dtype == torch.float64 else value.dtype, value.shape)
        for name, value in tensors.items()
    }


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise missing(path) from None


def _tensors(content: bytes, config: Config, path: Path) -> dict[str, Tensor]:
    """The tensors of a file, after its checksum; InputError, which names the path, if it is another file."""
    try:
        tensors = load_tensors(content)
    except SafetensorError:
        raise damaged(path) from None
    if file_checksum(content) != config.files.get(path.name):
        raise InputError(
            f"{path} does not belong to {path.with_name(CONFIG)}, or is damaged: its checksum differs; "
            "restore it, or train again"
        )
    return tensors
