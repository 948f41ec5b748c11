"""The folder of a run: the names of its files, and what can be done with them without PyTorch.

A run of one model holds `FILES`. A run of an ensemble holds `config.json` and a run for each member in
`members/0`, `members/1`, …; until all members are trained it holds `ensemble.json` in place of `config.json`.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backstory.errors import InputError

CONFIG, WEIGHTS, SPLITS, METRICS = "config.json", "model.safetensors", "splits.safetensors", "metrics.jsonl"
CHECKPOINT, TABLE = "checkpoint.safetensors", "metrics.csv"
BOARD = "tensorboard"  # a folder of TensorBoard's event files
PICTURE = "training.png"
MEMBERS = "members"  # the folder of an ensemble's runs
ENSEMBLE = "ensemble.json"  # the number of members and the options of an ensemble that is in training
FILES = (CONFIG, CHECKPOINT, WEIGHTS, SPLITS, METRICS, TABLE)


# -- reading ----------------------------------------------------------------------------------------------


def check_folder(run: Path) -> None:
    """InputError unless the path is a folder."""
    if not run.is_dir():
        raise InputError(f"no run at {run}: expected a folder made by backstory fit")


def read_config(run: Path) -> dict[str, Any]:
    """config.json of a finished run as a dict; InputError where it is missing or not a JSON object."""
    path = run / CONFIG
    if not path.exists() and ((run / CHECKPOINT).exists() or (run / ENSEMBLE).exists()):
        raise InputError(f"{run} is a run that has not ended; go on with it by fit with `resume`")
    try:
        config = json.loads(read_text(path))
    except json.JSONDecodeError:
        config = None
    if not isinstance(config, dict):
        raise InputError(f"{path} is damaged: it is not valid JSON; train the model again")
    return config


def not_understood(run: Path, where: str) -> InputError:
    """The error for a config in which `where` is missing or has another type."""
    return InputError(
        f"{run / CONFIG} is not a config of this version of Backstory: {where} is missing or not understood"
    )


def member_folder(number: int) -> str:
    """The folder of a member within the run of its ensemble, with a slash at the end.

    >>> member_folder(2)
    'members/2/'
    """
    return f"{MEMBERS}/{number}/"


def members_of(run: Path, config: dict[str, Any]) -> int | None:
    """The number of members in the config of an ensemble; None for a single model."""
    if "ensemble" not in config:
        return None
    count = config["ensemble"]
    if not (isinstance(count, int) and count > 0):
        raise not_understood(run, "ensemble")
    return count


def is_ensemble(run: Path) -> bool:
    """Whether the folder holds an ensemble, finished or in training."""
    if (run / ENSEMBLE).exists():
        return True
    return (run / CONFIG).exists() and "ensemble" in read_config(run)


def read_text(path: Path) -> str:
    """The text of a file of a run; InputError where the file is missing or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise missing(path) from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is damaged: it is not text") from None


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Shapes by name, from the header of a safetensors file: eight bytes with its length, then JSON.

    InputError where the file is missing, has no such header, or has another length than the header gives.
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
    """The error for a file that the run does not have."""
    return InputError(f"{path.parent} is not a run: {path.name} is missing")


def damaged(path: Path) -> InputError:
    """The error for a file of tensors that cannot be read."""
    return InputError(f"{path} is damaged or truncated; train the model again")


# -- making -----------------------------------------------------------------------------------------------


def prepare_folder(run: Path, force: bool) -> None:
    """Make the folder of a single run; InputError if it holds anything and `force` is false."""
    clear_folder(run, force)
    with _writing_to(run):
        (run / METRICS).touch()


def clear_folder(run: Path, force: bool) -> None:
    """Make a folder without a run; InputError if it holds anything and `force` is false.

    With `force` the files of an earlier run are deleted, and no others.
    """
    if run.exists() and not run.is_dir():
        raise InputError(f"{run} is a file; give a folder for the run")
    if run.is_dir() and any(run.iterdir()):
        if not force:
            raise InputError(f"{run} is not empty; choose another folder, or overwrite the run with `force`")
        for name in (*FILES, ENSEMBLE):
            (run / name).unlink(missing_ok=True)
        _remove_members(run / MEMBERS)
        for events in (run / BOARD).glob("events.out.tfevents.*"):
            events.unlink()
    with _writing_to(run):
        run.mkdir(parents=True, exist_ok=True)


def _remove_members(folder: Path) -> None:
    """Delete the runs of an ensemble; other files stay, with the folders that hold them."""
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


def has_begun(run: Path) -> bool:
    """Whether the folder holds more than what a run killed before its first checkpoint leaves."""
    return run.is_dir() and any(
        path.name not in (METRICS, TABLE, BOARD) and path not in leftovers(run) for path in run.iterdir()
    )


def leftovers(run: Path) -> list[Path]:
    """The temporary files that a killed process left."""
    return [path for name in (*FILES, ENSEMBLE) for path in run.glob(f".{'[0-9a-f]' * 8}-{name}")]
