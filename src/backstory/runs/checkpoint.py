"""What a run writes while it trains: its checkpoint, and a line of metrics for each epoch.

`checkpoint.safetensors` holds the whole state of the run: tensors, and as JSON in the file's metadata the
config and all other values. It is one file, renamed when it is complete, so it is never half new.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backstory.errors import InputError
from backstory.files import atomic_path, parse_json, writing
from backstory.runs.folder import (
    CHECKPOINT,
    CONFIG,
    METRICS,
    TABLE,
    members_of,
    read_config,
    read_text,
)
from backstory.runs.making import check_links, leftovers
from backstory.runs.run import Config, config_error, load_config
from backstory.tensor_files import read_tensors, write_tensors
from backstory.training.state import Metrics, State

LARGEST = 2**63  # whole numbers in the metrics are smaller


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
    write_tensors(run / CHECKPOINT, checkpoint.state.tensors, text)


def load_checkpoint(run: Path) -> Checkpoint | None:
    """The checkpoint of a run, None without one; InputError if it is damaged."""
    path = run / CHECKPOINT
    if not path.exists():
        return None
    try:
        tensors, text = read_tensors(path)
        values, asked = parse_json(text["values"]), parse_json(text["asked"])
        return Checkpoint(Config(**parse_json(text["config"])), asked, State(tensors, values))
    except ValidationError as error:
        raise config_error(run, error) from None
    except (KeyError, ValueError, TypeError):
        raise InputError(
            f"{path} is damaged, or of another version of Backstory; train anew with `force`"
        ) from None


def is_finished(run: Path) -> bool:
    """Whether training came to its end; an interrupted run did not."""
    if not (run / CONFIG).exists():
        return False
    if members_of(run / CONFIG, read_config(run)) is not None:
        return True  # an ensemble's config is written after its last member
    return load_config(run).summary.get("stopped") != "interrupted"


def remove_checkpoint(run: Path) -> None:
    """Delete the checkpoint of a finished run, and the temporary files of killed processes."""
    for path in (run / CHECKPOINT, *leftovers(run)):
        path.unlink(missing_ok=True)


def prepare_resume(run: Path, epochs: list[Metrics]) -> None:
    """Cut the metrics back to the epochs of the checkpoint, and delete leftover temporary files."""
    check_links(run)
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
        metrics = [parse_json(line) for line in read_text(run / METRICS).splitlines()]
    except ValueError:
        raise InputError(f"{run / METRICS} is damaged: a line is not valid JSON") from None
    if not all(_is_epoch(line, number) for number, line in enumerate(metrics, 1)):
        raise InputError(f"{run / METRICS} is damaged: a line does not hold the metrics of its epoch")
    if any(list(map(_size, line.values())) != list(map(_size, metrics[0].values())) for line in metrics):
        raise InputError(f"{run / METRICS} is damaged: its lines do not hold the same metrics")
    return metrics


def _is_epoch(line: Any, number: int) -> bool:
    """Whether a line holds metrics of the epoch with this number: numbers, lists of numbers, or None."""
    if not isinstance(line, dict) or line.get("epoch") != number:
        return False
    values = [part for value in line.values() for part in (value if isinstance(value, list) else [value])]
    return all(part is None or isinstance(part, float) or _is_small(part) for part in values)


def _is_small(value: Any) -> bool:
    return isinstance(value, int) and abs(value) < LARGEST


def _size(value: Any) -> int:
    """The number of values of a metric: of a list its length."""
    return len(value) if isinstance(value, list) else 1


def append_metrics(run: Path, metrics: Metrics) -> None:
    """Add a line to metrics.jsonl, and one without lists to metrics.csv."""
    with writing(run / METRICS), (run / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(metrics) + "\n")
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    with writing(run / TABLE), (run / TABLE).open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, numbers)
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(numbers)
