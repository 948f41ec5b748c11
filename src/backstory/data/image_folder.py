"""The image files of a folder: their names, their classes, and the parts of the data they belong to."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from backstory import console
from backstory.data.checks import listed
from backstory.data.decoding import is_image, suffixes
from backstory.errors import InputError, counted

# First-level folders that are parts of the data, not classes
_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class ImageFiles:
    """Image files, sorted, as paths relative to their folder with slashes.

    Attributes:
        folder: the folder.
        names: of the files.
    """

    folder: Path
    names: tuple[str, ...]

    @property
    def are_parts(self) -> bool:
        """Whether the first-level folders are a training part and other parts of the data."""
        parts = set(map(_part, self.names))
        return None not in parts and "train" in parts and len(parts) > 1

    def first(self, limit: int | None) -> "ImageFiles":
        """The first files of the test part if there is one, else of all of them."""
        if limit is None:
            return self
        test = tuple(name for name in self.names if _part(name) == "test") if self.are_parts else ()
        return replace(self, names=(test or self.names)[:limit])


def _part(name: str) -> str | None:
    """The part of the data that a file is in by its first-level folder; None for another folder."""
    return _PARTS.get(name.partition("/")[0].lower()) if "/" in name else None


def labels_of(names: Sequence[str], are_parts: bool) -> np.ndarray | None:
    """The folder of each file, within its part of the data: its class; None without folders."""
    inner = [name.partition("/")[2] for name in names] if are_parts else names
    classes = [name.partition("/")[0] if "/" in name else "" for name in inner]
    return np.array(classes) if any(classes) else None


def rows_of(part: str, names: Sequence[str], are_parts: bool) -> np.ndarray | None:
    """The numbers of the files in a part of the data; None without parts or files."""
    if not are_parts:
        return None
    own = [_part(name) == part for name in names]
    return np.flatnonzero(own) if any(own) else None


def find_images(folder: Path) -> ImageFiles:
    """The image files in a folder and its sub-folders; hidden ones are left out.

    Files without the ending of an image are opened to see whether they are images. Links are followed. A
    warning names what is left out.

    Raises:
        InputError: there are none.
    """
    files, broken = _files(folder)
    known = suffixes()
    named = {name for name in files if os.path.splitext(name)[1].lower().removeprefix(".") in known}
    images = {name for name in files if name in named or is_image(folder / name)}
    others = sorted(set(files) - images)
    if not images:
        names = sorted(os.path.basename(name) for name in others)
        got = f"only other files ({listed(names)})" if files else "an empty folder"
        raise InputError(
            f"expected images (.png, .jpg, …) or MNIST-style IDX files in {folder}, got {got}; "
            "check the path, or give the data file itself"
        )
    for what, names in (("no images", others), ("broken links", sorted(broken))):
        if names:
            files_are = counted(len(names), f"file in {folder} is", f"files in {folder} are")
            console.warn(f"{files_are} left out: {what}, {listed(names)}")
    return ImageFiles(folder, tuple(sorted(images)))


def _files(folder: Path) -> tuple[list[str], list[str]]:
    """The files, and the links that lead nowhere, by their paths relative to the folder."""
    files, broken = [], []
    root, visited = os.path.realpath(folder), set[str]()
    for base, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if _is_new(os.path.join(base, name), root, visited)]
        inside = Path(base).relative_to(folder).as_posix().removeprefix(".")
        stem = f"{inside}/" if inside else ""
        for name in names:
            whole = os.path.join(base, name)
            if name.startswith("."):
                continue
            if os.path.isfile(whole):
                files.append(stem + name)
            elif not os.path.exists(whole):
                broken.append(stem + name)
    return files, broken


def _is_new(folder: str, root: str, visited: set[str]) -> bool:
    """Whether a folder is not hidden, and no link to one that is read without it."""
    if os.path.basename(folder).startswith("."):
        return False
    if not os.path.islink(folder):
        return True
    real = os.path.realpath(folder)
    if real in visited or os.path.commonpath([real, root]) in (real, root):
        return False
    visited.add(real)
    return True
