"""A run that is to replace another one: it is trained in a folder inside, and moved when it is finished.

    RUN/replacement           the new run in training, or interrupted; the earlier one in RUN is as it was
    RUN/replacement.finished  the new run is finished, and the files of the earlier one are being deleted
    RUN/replacement.moving    they are deleted, and the files of the new run are being moved to RUN

Each state begins with a rename, and what is done in it can be repeated. So after a kill at any moment RUN has
the earlier run, or `settle` completes the new one.
"""

import os
from contextlib import suppress
from pathlib import Path

from backstory.files import writing
from backstory.runs.folder import CONFIG, REPLACEMENT
from backstory.runs.making import check_links, check_place, is_blank, is_run, remove_run

FINISHED, MOVING = f"{REPLACEMENT}.finished", f"{REPLACEMENT}.moving"
SAVING = f"{REPLACEMENT}.saving"  # in which `save` writes a run that is to replace another one
PATIENCE = 60.0  # seconds to wait for a process that is moving files


def place_of(run: Path, force: bool, resume: bool) -> Path:
    """The folder in which a run is written: RUN itself, or beside the run that it is to replace.

    With `resume` the last one that was begun. InputError if RUN holds something that cannot be replaced.
    """
    check_links(run)
    if resume:
        place = in_training(run)
        if not is_run(place):
            check_place(place, force=False)
        return place
    check_place(run, force)
    return run if is_blank(run) else run / REPLACEMENT


def place_to_save(run: Path, force: bool) -> Path:
    """The folder in which a trained model is saved: RUN itself, or beside the run that it is to replace."""
    check_links(run)
    check_place(run, force)
    return run if is_blank(run) else run / SAVING


def in_training(run: Path) -> Path:
    """The folder of the run that is to replace the one in RUN; RUN itself if there is none."""
    return run / REPLACEMENT if (run / REPLACEMENT).is_dir() else run


def take_place(run: Path, place: Path) -> None:
    """Replace the run in RUN by the finished one in a folder inside."""
    with writing(run):
        place.rename(run / FINISHED)
    complete(run)


def discard(place: Path) -> None:
    """Delete a run that was to replace another one."""
    remove_run(place)
    with suppress(OSError):
        place.rmdir()


def settle(run: Path) -> None:
    """Complete what a process was doing when it was killed while it replaced a run by a finished one."""
    if not _is_unsettled(run):
        return
    from backstory.runs.lock import only_writer  # which is seldom needed here, and slow to import

    with only_writer(run, PATIENCE):
        complete(run)


def _is_unsettled(run: Path) -> bool:
    return (run / FINISHED).is_dir() or (run / MOVING).is_dir()


def complete(run: Path) -> None:
    """`settle` in the one process that writes to the run."""
    if (run / SAVING).is_dir():
        discard(run / SAVING)
    with writing(run):
        if (run / FINISHED).is_dir():
            remove_run(run)
            (run / FINISHED).rename(run / MOVING)
        if (run / MOVING).is_dir():
            _move(run / MOVING, run)


def _move(source: Path, target: Path) -> None:
    """Move the content of a folder into another one, and remove it; config.json comes last."""
    for path in sorted(source.iterdir(), key=lambda path: path.name == CONFIG):
        there = target / path.name
        if path.is_dir() and there.is_dir() and not there.is_symlink():
            _move(path, there)
        else:
            os.replace(path, there)
    source.rmdir()
