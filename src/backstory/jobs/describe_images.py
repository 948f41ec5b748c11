"""What the image files of a folder are, from their headers, and a contact sheet of them."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from backstory.data.decoding import Header, header
from backstory.data.image_folder import ImageFiles, find_images, labels_of
from backstory.data.images import load_images
from backstory.data.reading import Reading
from backstory.data.write import write_sheet
from backstory.errors import InputError, counted
from backstory.jobs.output import Output

_SHEET, _SIDE = 64, 64  # images of a contact sheet, and the pixels of their sides
_SHOWN = 8  # sizes, classes or damaged files


@dataclass(frozen=True)
class ImageDescription:
    """A folder of images in words; each count is a number of files.

    Attributes:
        source: the folder or file.
        images: number of image files.
        sizes: by height and width.
        modes: by Pillow's mode, such as RGB.
        bits: by bits of a channel.
        classes: by folder; None without folders.
        pages: of all files together.
        transparent: files with a channel of transparency.
        damaged: what is wrong with files that cannot be read.
        sheet: the contact sheet that was written; None without one.
    """

    source: str
    images: int
    sizes: dict[str, int]
    modes: dict[str, int]
    bits: dict[str, int]
    classes: dict[str, int] | None
    pages: int
    transparent: int
    damaged: tuple[str, ...]
    sheet: Path | None = None

    def record(self) -> dict[str, Any]:
        """The description as one JSON object."""
        return {"kind": "images", **vars(self)}

    def lines(self) -> dict[str, Any]:
        """The description in few lines, for people."""
        lines: dict[str, Any] = {
            "data": f"{self.source}: {counted(self.images, 'image')}",
            "sizes": _counted(self.sizes),
            "modes": _counted(self.modes),
            "bits": _counted(self.bits),
        }
        if self.classes is not None:
            lines["classes"] = _counted(self.classes)
        if self.pages > self.images - len(self.damaged):
            lines["pages"] = self.pages
        if self.transparent:
            lines["transparent"] = self.transparent
        if self.damaged:
            shown = ", ".join(sentence.partition("; ")[0] for sentence in self.damaged[:_SHOWN])
            lines["damaged"] = f"{len(self.damaged)}: {shown}"
        return lines


def describe_images(path: Path, output: Output | None = None) -> ImageDescription:
    """Describe a folder of images or an image, and write a contact sheet of the first ones if asked.

    Raises:
        InputError: there are no images, or the sheet cannot be written.
    """
    if output is not None:
        output.check()
    files = ImageFiles(path.parent, (path.name,)) if path.is_file() else find_images(path)
    headers, damaged = _headers(files)
    labels = labels_of(files.names, files.are_parts)
    described = ImageDescription(
        source=str(path),
        images=len(files.names),
        sizes=_counts(f"{h.size[0]} x {h.size[1]}" for h in headers),
        modes=_counts(h.mode for h in headers),
        bits=_counts(str(h.bits) for h in headers),
        classes=None if labels is None else _counts(labels.tolist()),
        pages=sum(h.pages for h in headers),
        transparent=sum(h.transparent for h in headers),
        damaged=tuple(damaged),
    )
    if output is None:
        return described
    _write_sheet(path, output)
    return replace(described, sheet=output.path)


def _headers(files: ImageFiles) -> tuple[list[Header], list[str]]:
    """The headers of the files that have one, and what is wrong with the others."""
    headers, damaged = [], []
    for name in files.names:
        try:
            headers.append(header(files.folder / name))
        except InputError as error:
            damaged.append(str(error))
    return headers, damaged


def _write_sheet(path: Path, output: Output) -> None:
    reading = Reading(resize=(_SIDE, _SIDE), aspect="pad", limit=_SHEET, skip_damaged=True, pages="first")
    data = load_images(path, replace(reading, alpha="white"))
    write_sheet(output.path, np.asarray(data.values), data.schema, force=output.force)


def _counts(values: Any) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _counted(counts: dict[str, int]) -> str:
    shown = ", ".join(f"{name} ({count})" for name, count in list(counts.items())[:_SHOWN])
    return shown + (f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else "")
