"""The files of a run folder, as far as they can be read without PyTorch: JSON, and the headers of tensors."""

import json
from pathlib import Path
from typing import Any

from backstory.errors import InputError

CONFIG, WEIGHTS, SPLITS, METRICS = "config.json", "model.safetensors", "splits.safetensors", "metrics.jsonl"
CHECKPOINT, TABLE = "checkpoint.safetensors", "metrics.csv"
BOARD = "tensorboard"  # a folder with the files of events that TensorBoard reads
PICTURE = "training.png"
MEMBERS = "members"  # the folder of the runs of an ensemble
ENSEMBLE = "ensemble.json"  # how an ensemble was begun that has not ended
FILES = (CONFIG, CHECKPOINT, WEIGHTS, SPLITS, METRICS, TABLE)


def check_folder(run: Path) -> None:
    """InputError unless there is a folder."""
    if not run.is_dir():
        raise InputError(f"no run at {run}: expected a folder made by backstory fit")


def read_config(run: Path) -> dict[str, Any]:
    """config.json of a run that has ended, as it is; InputError where it is missing or no JSON object."""
    path = run / CONFIG
    if not path.exists() and ((run / CHECKPOINT).exists() or (run / ENSEMBLE).exists()):
        raise InputError(f"{run} is a run that has not ended; go on with it by fit with --resume")
    try:
        config = json.loads(read_text(path))
    except json.JSONDecodeError:
        config = None
    if not isinstance(config, dict):
        raise InputError(f"{path} is damaged: it is not valid JSON; train the model again")
    return config


def not_understood(run: Path, where: str) -> InputError:
    """What to say of a config with something missing or of another kind."""
    return InputError(
        f"{run / CONFIG} is not a config of this version of Backstory: {where} is missing or not understood"
    )


def member_folder(number: int) -> str:
    """Of the runs of an ensemble, with a slash at the end.

    >>> member_folder(2)
    'members/2/'
    """
    return f"{MEMBERS}/{number}/"


def members_of(run: Path, config: dict[str, Any]) -> int | None:
    """How many runs an ensemble's config says that there are; None of a single run."""
    if "ensemble" not in config:
        return None
    count = config["ensemble"]
    if not (isinstance(count, int) and count > 0):
        raise not_understood(run, "ensemble")
    return count


def read_text(path: Path) -> str:
    """The text of a file of a run; InputError where it is missing or no text."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise missing(path) from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is damaged: it is not text") from None


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Shapes by name, from the header of a safetensors file: eight bytes with its length, then JSON.

    InputError where the file is missing, has no such header, or is not as long as the header says.
    """
    try:
        with path.open("rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            header: Any = json.loads(file.read(start - 8)) if start <= path.stat().st_size else None
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        end = start + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
        shapes = {name: [int(size) for size in entry["shape"]] for name, entry in tensors.items()}
    except FileNotFoundError:
        raise missing(path) from None
    except (OSError, ValueError, AttributeError, KeyError, IndexError, TypeError):
        raise damaged(path) from None
    if end != path.stat().st_size:
        raise damaged(path)
    return shapes


def missing(path: Path) -> InputError:
    """What to say where a file of a run is not there."""
    return InputError(f"{path.parent} is not a run: {path.name} is missing")


def damaged(path: Path) -> InputError:
    """What to say of a file with tensors that cannot be read."""
    return InputError(f"{path} is damaged or truncated; train the model again")
