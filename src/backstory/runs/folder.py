"""The folder of a run: the names of its files, and what can be done with them without PyTorch.

A run of one model holds `FILES`. A run of an ensemble holds `config.json` and a run for each member in
`members/0`, `members/1`, …; until all members are trained it holds `ensemble.json` in place of `config.json`.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from backstory.errors import InputError
from backstory.files import parse_json

CONFIG, WEIGHTS, SPLITS, METRICS = "config.json", "model.safetensors", "splits.safetensors", "metrics.jsonl"
CHECKPOINT, TABLE = "checkpoint.safetensors", "metrics.csv"
CHECKSUM = "checksum"  # in a JSON file, of its other values
BOARD = "tensorboard"  # a folder of TensorBoard's event files
PICTURE = "training.png"
MEMBERS = "members"  # the folder of an ensemble's runs
ENSEMBLE = "ensemble.json"  # the number of members and the options of an ensemble that is in training
LOCK = ".lock"  # of the process that writes to the run
REPLACEMENT = (
    "replacement"  # a folder with a run that is to replace the one around it, see `runs.replacement`
)
FILES = (CONFIG, CHECKPOINT, WEIGHTS, SPLITS, METRICS, TABLE)


# -- reading ----------------------------------------------------------------------------------------------


def check_folder(run: Path) -> None:
    """InputError unless the path is a folder."""
    if not run.is_dir():
        raise InputError(f"no run at {run}: expected a folder made by backstory fit")


def read_config(run: Path) -> dict[str, Any]:
    """config.json of a finished run as a dict; InputError where it is missing or damaged."""
    path = run / CONFIG
    if not path.exists() and ((run / CHECKPOINT).exists() or (run / ENSEMBLE).exists()):
        raise InputError(f"{run} is a run that has not ended; go on with it by fit with `resume`")
    return read_record(path)


def read_record(path: Path) -> dict[str, Any]:
    """The record in a file that holds what `sealed` gave; InputError where it is missing or damaged."""
    return unsealed(read_text(path), path)


def sealed(record: dict[str, Any]) -> bytes:
    """A record as JSON with a checksum of its values, so that no change of them goes unnoticed."""
    return (json.dumps(record | {CHECKSUM: _checksum(record)}, indent=2) + "\n").encode()


def unsealed(text: str | bytes, path: Path) -> dict[str, Any]:
    """The record that was `sealed`; InputError, which names the file, for any other text."""
    try:
        record = parse_json(text)
        checksum = record.pop(CHECKSUM, None)
        actual = _checksum(record)
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise InputError(f"{path} is damaged: it is not valid JSON; train the model again") from None
    if checksum is None:
        raise not_understood(path, CHECKSUM)
    if checksum != actual:
        raise InputError(
            f"{path} was changed after it was written: its checksum differs; restore it, or train again"
        )
    return record


def _checksum(record: dict[str, Any]) -> str:
    """A checksum of the values of a record, however its JSON is laid out."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def file_checksum(content: bytes) -> str:
    """The checksum of a file as config.json has it, which is that of the program sha256sum."""
    return hashlib.sha256(content).hexdigest()


def not_understood(path: Path, where: str) -> InputError:
    """The error for a record, such as config.json, in which `where` is missing or has another type."""
    return InputError(
        f"{path} is not a config of this version of Backstory: {where} is missing or not understood"
    )


def member_folder(number: int) -> str:
    """The folder of a member within the run of its ensemble, with a slash at the end.

    >>> member_folder(2)
    'members/2/'
    """
    return f"{MEMBERS}/{number}/"


def members_of(path: Path, config: dict[str, Any]) -> int | None:
    """The number of members in the config of an ensemble, read from `path`; None for a single model."""
    if "ensemble" not in config:
        return None
    count = config["ensemble"]
    if not (isinstance(count, int) and count is not True and count > 0):
        raise not_understood(path, "ensemble")
    return count


def is_ensemble(run: Path) -> bool:
    """Whether the folder holds an ensemble, finished or in training."""
    return (run / ENSEMBLE).exists() or ((run / CONFIG).exists() and "ensemble" in read_config(run))


def read_text(path: Path) -> str:
    """The text of a file of a run; InputError where the file is missing or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise missing(path) from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is damaged: it is not text") from None


class TensorEntry(NamedTuple):
    """The type of a tensor, as safetensors names it, and its shape."""

    dtype: str
    shape: tuple[int, ...]


def tensor_entries(path: Path) -> dict[str, TensorEntry]:
    """Types and shapes from the header of a safetensors file: eight bytes with its length, then JSON.

    InputError where the file is missing, has no such header, or has another length than the header gives.
    """
    try:
        with path.open("rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            header: Any = parse_json(file.read(start - 8)) if start <= path.stat().st_size else None
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        end = start + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
        entries = {
            name: TensorEntry(str(entry["dtype"]), tuple(int(size) for size in entry["shape"]))
            for name, entry in tensors.items()
        }
    except FileNotFoundError:
        raise missing(path) from None
    except (OSError, ValueError, AttributeError, KeyError, IndexError, TypeError, OverflowError):
        raise damaged(path) from None
    if end != path.stat().st_size:
        raise damaged(path)
    return entries


def missing(path: Path) -> InputError:
    """The error for a file that the run does not have."""
    return InputError(f"{path.parent} is not a run: {path.name} is missing")


def damaged(path: Path) -> InputError:
    """The error for a file of tensors that cannot be read."""
    return InputError(f"{path} is damaged or truncated; train the model again")
