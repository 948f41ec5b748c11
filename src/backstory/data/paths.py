"""Names and paths of data, without PyTorch, so that a wrong one is refused at once."""

import difflib
import os
from pathlib import Path
from typing import Any

from backstory.errors import InputError
from backstory.files import is_database, reading

EMBEDDED = ("digits",)  # names of embedded data sets
ACCEPTED = (
    ".npy, .npz, .csv, .tsv, .parquet or IDX (each also .gz), .xlsx, an image, or a folder of images or of "
    "IDX files"
)


def path_of(source: Any) -> Path | None:
    """The path of a source of data; None if it is in memory, in a database or embedded.

    InputError for a path that does not exist.
    """
    if not isinstance(source, str | os.PathLike) or source in EMBEDDED or is_database(source):
        return None
    path = Path(source).expanduser()
    with reading(path, "a data set"):
        if path.exists():
            return path
    near = difflib.get_close_matches(str(path), EMBEDDED, n=1)
    advice = f"did you mean {near[0]!r}?" if near else f"give {ACCEPTED}, or the embedded set 'digits'"
    raise InputError(f"expected a data set, got {str(path)!r}, which does not exist; {advice}")
