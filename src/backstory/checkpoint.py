"""A run folder: `config.json` and `model.safetensors`, both written beside and renamed; never a pickle."""

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from backstory.build import ModelOptions
from backstory.data.schema import Schema
from backstory.data.write import atomic_path
from backstory.errors import InputError
from backstory.train import TrainOptions

CONFIG, WEIGHTS, SPLITS, METRICS = "config.json", "model.safetensors", "splits.safetensors", "metrics.jsonl"


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
    """Make the run folder; InputError if it holds something already and `force` is not given."""
    if run.exists() and not run.is_dir():
        raise InputError(f"{run} is a file; give a folder for the run")
    if run.is_dir() and any(run.iterdir()):
        if not force:
            raise InputError(f"{run} is not empty; choose another folder, or overwrite the run with --force")
        for name in (CONFIG, WEIGHTS, SPLITS, METRICS):
            (run / name).unlink(missing_ok=True)
    try:
        run.mkdir(parents=True, exist_ok=True)
        (run / METRICS).touch()
    except OSError as error:
        raise InputError(f"cannot write to {run}: {error.strerror or error}; choose another folder") from None


def save(run: Path, config: Config, weights: dict[str, Tensor], splits: dict[str, Tensor]) -> None:
    """Write a run; the config comes last, so that a folder with one is complete."""
    for name, tensors in ((WEIGHTS, weights), (SPLITS, splits)):
        # safetensors refuses tensors that share memory, as a head and its model share shift and scale
        cpu = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
        with atomic_path(run / name, force=True) as path:
            path.write_bytes(save_tensors(cpu))
    with atomic_path(run / CONFIG, force=True) as path:
        path.write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load(run: Path) -> tuple[Config, dict[str, Tensor], dict[str, Tensor]]:
    """Config, weights and splits of a run; InputError where something is missing or damaged."""
    if not run.is_dir():
        raise InputError(f"no run at {run}: expected a folder made by backstory fit")
    return load_config(run), _tensors(run / WEIGHTS), _tensors(run / SPLITS)


def load_config(run: Path) -> Config:
    """The config of a run."""
    path = run / CONFIG
    try:
        return Config(**json.loads(_read(path)))
    except (UnicodeDecodeError, json.JSONDecodeError, TypeError):
        raise InputError(f"{path} is damaged: it is not valid JSON; train the model again") from None
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "the file"
        raise InputError(
            f"{path} is not a config of this version of Backstory: {where} is missing or not understood"
        ) from None


def load_weights(model: torch.nn.Module, weights: dict[str, Tensor], run: Path) -> None:
    """Put the weights into the model; InputError where they do not fit its config."""
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise InputError(f"{run / WEIGHTS} does not belong to {run / CONFIG}: its tensors differ") from None


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl."""
    try:
        return [json.loads(line) for line in _read(run / METRICS).splitlines()]
    except json.JSONDecodeError:
        raise InputError(f"{run / METRICS} is damaged: a line is not valid JSON") from None


def append_metrics(run: Path, metrics: dict[str, Any]) -> None:
    """One more line in metrics.jsonl."""
    with (run / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(metrics) + "\n")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path.parent} is not a run: {path.name} is missing") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is damaged: it is not text") from None


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_tensors(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path.parent} is not a run: {path.name} is missing") from None
    except SafetensorError:
        raise InputError(f"{path} is damaged or truncated; train the model again") from None
