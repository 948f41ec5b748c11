"""Folders for new runs: which folders may hold one, and how an earlier run is deleted.

Links in a run are never followed: a folder that a link stands for is neither written to nor deleted from.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from backstory.errors import InputError
from backstory.files import parse_json, writing
from backstory.runs.folder import (
    BOARD,
    CHECKPOINT,
    CONFIG,
    ENSEMBLE,
    FILES,
    LOCK,
    MEMBERS,
    METRICS,
    PICTURE,
    REPLACEMENT,
    SPLITS,
    TABLE,
)

OURS = ("backstory", "ensemble")  # a key of config.json, and one of ensemble.json


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, finished or in training, even a damaged one.

    A config.json alone does not make a run: other programs have files of this name, too.
    """
    for name in (CONFIG, ENSEMBLE):
        if (folder / name).exists():
            record = _json(folder / name)
            if record is not None:
                return any(key in record for key in OURS)
    return (folder / SPLITS).exists() or (folder / CHECKPOINT).exists()


def _json(path: Path) -> dict[str, object] | None:
    """The object in a JSON file; None if there is none."""
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def is_blank(folder: Path) -> bool:
    """Whether a folder is missing, empty, or holds only what a run without a checkpoint leaves."""
    if not folder.is_dir():
        return not folder.exists()
    names = {path.name for path in folder.iterdir()} - {LOCK, *(path.name for path in leftovers(folder))}
    metrics = folder / METRICS
    if metrics.is_file() and not metrics.stat().st_size:
        names -= {METRICS, TABLE, BOARD}
    return not names


def leftovers(run: Path) -> list[Path]:
    """The temporary files that a killed process left."""
    names = (*FILES, ENSEMBLE, PICTURE)
    return [path for name in names for path in run.glob(f".{'[0-9a-f]' * 8}-{name}")]


def check_place(run: Path, force: bool) -> None:
    """InputError unless a new run can be written to the folder: into it if it is blank, or beside its run.

    The run that a folder holds is replaced with `force` only, and other files are not.
    """
    if is_blank(run):
        return
    beside = run / REPLACEMENT
    if not (is_run(run) or is_run(beside)) or not (is_run(beside) or is_blank(beside)):
        raise InputError(f"{run} holds files that are no run of Backstory; choose another folder")
    if not force:
        raise InputError(f"{run} is not empty; choose another folder, or overwrite the run with `force`")


def check_links(run: Path) -> None:
    """InputError where a folder of a run is a link: what it stands for is not the run's."""
    for folder in _folders(run):
        if folder.is_symlink():
            raise InputError(
                f"expected a folder in the run, got {folder}, a link to {os.readlink(folder)}, which is not "
                "followed; remove the link, or choose another folder"
            )


def _folders(run: Path) -> Iterator[Path]:
    """The folders in a run, outer ones first."""
    yield from (run / BOARD, run / REPLACEMENT, run / MEMBERS)
    for member in _members(run):
        yield from (member, member / BOARD)
    if (run / REPLACEMENT).is_dir():
        yield from _folders(run / REPLACEMENT)


def _members(run: Path) -> list[Path]:
    return sorted((run / MEMBERS).glob("[0-9]*"))


def new_folder(run: Path) -> None:
    """Make a folder for a run, empty but for files that are none of a run's; InputError if it cannot be."""
    remove_run(run)
    with writing(run):
        run.mkdir(parents=True, exist_ok=True)


def remove_run(run: Path) -> None:
    """Delete the files of a run; other files stay, with the folders that hold them."""
    check_links(run)
    with writing(run):
        for path in (*(run / name for name in (*FILES, ENSEMBLE, PICTURE)), *leftovers(run)):
            path.unlink(missing_ok=True)
        for events in (run / BOARD).glob("events.out.tfevents.*"):
            events.unlink()
    for member in _members(run):
        if is_run(member) or is_blank(member):
            remove_run(member)
    for folder in (run / BOARD, *_members(run), run / MEMBERS):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
