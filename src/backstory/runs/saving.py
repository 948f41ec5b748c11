"""A trained model to a run folder, in place of another run where that is asked for."""

from collections.abc import Callable
from pathlib import Path

from backstory.errors import InputError
from backstory.runs.lock import only_writer
from backstory.runs.making import new_folder
from backstory.runs.replacement import complete, discard, place_to_save, take_place
from backstory.runs.run import write_files


def save_run(folder: Path, pack: Callable[[], dict[str, bytes]], force: bool) -> None:
    """Write a run folder; InputError if it holds anything and `force` is false.

    Args:
        folder: of the run. With `force` a run in it is replaced when the new one is complete; other files are
            kept.
        pack: gives the files of the run by path, config.json last.
        force: see `folder`.
    """
    with only_writer(folder):
        complete(folder)
        place = place_to_save(folder, force)
        new_folder(place)
        try:
            write_files(place, pack())
            if place != folder:
                take_place(folder, place)
        except InputError:
            if place != folder and place.is_dir():
                discard(place)
            raise
