"""What a run writes while it trains: its checkpoint, and a line of metrics for each epoch.

`checkpoint.safetensors` holds the whole state of the run: tensors, and as JSON in the file's metadata the
config and all other values. It is one file, renamed when it is complete, so it is never half new.
"""

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from backstory.errors import InputError
from backstory.files import atomic_path
from backstory.runs.folder import (
    CHECKPOINT,
    CONFIG,
    METRICS,
    TABLE,
    leftovers,
    members_of,
    read_config,
    read_text,
)
from backstory.runs.run import Config, config_error, load_config, on_cpu
from backstory.training.state import Metrics, State


@dataclass(frozen=True)
class Checkpoint:
    """A run in training.

    Attributes:
        config: as config.json will have it, but for the summary.
        asked: the options that were given, by name; `config` has all options, with defaults resolved.
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
        path.touch()  # with the rights of other files; safetensors would give it fewer
        save_file(on_cpu(checkpoint.state.tensors), path, text)
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
            f"{path} is damaged, or of another version of Backstory; train anew with `force`"
        ) from None


def is_finished(run: Path) -> bool:
    """Whether training came to its end; an interrupted run did not."""
    if not (run / CONFIG).exists():
        return False
    if members_of(run, read_config(run)) is not None:  # an ensemble's config is written after its last member
        return True
    return load_config(run).summary.get("stopped") != "interrupted"


def remove_checkpoint(run: Path) -> None:
    """Delete the checkpoint of a finished run, and the temporary files of killed processes."""
    for path in (run / CHECKPOINT, *leftovers(run)):
        path.unlink(missing_ok=True)


def prepare_resume(run: Path, epochs: list[Metrics]) -> None:
    """Cut the metrics back to the epochs of the checkpoint, and delete leftover temporary files."""
    for path in leftovers(run):
        path.unlink()
    with atomic_path(run / METRICS, force=True) as path:
        path.write_text("", encoding="utf-8")
    (run / TABLE).unlink(missing_ok=True)
    for metrics in epochs:
        append_metrics(run, metrics)


def read_metrics(run: Path) -> list[Metrics]:
    """The lines of metrics.jsonl; InputError where one is not valid JSON."""
    try:
        return [json.loads(line) for line in read_text(run / METRICS).splitlines()]
    except json.JSONDecodeError:
        raise InputError(f"{run / METRICS} is damaged: a line is not valid JSON") from None


def append_metrics(run: Path, metrics: Metrics) -> None:
    """Add a line to metrics.jsonl, and one without lists to metrics.csv."""
    with (run / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(metrics) + "\n")
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    with (run / TABLE).open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, numbers)
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(numbers)
