"""Image files to a Dataset: a folder of them, or a single one.

A folder with a colour image is read as colour, one with an image of 16 bits as 16 bits. Transparent pixels
are laid on white unless they are kept. With the schema of a model, images get its channels and, if its images
were resized, its size.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from backstory import console
from backstory.data.arrays import from_array
from backstory.data.checks import listed
from backstory.data.dataset import Dataset
from backstory.data.decoding import Header, decode, header
from backstory.data.image_folder import ImageFiles, find_images, labels_of, rows_of
from backstory.data.reading import PLAIN, Reading
from backstory.data.rows import Rows, Spool
from backstory.data.schema import Schema
from backstory.errors import InputError, counted

_SIZES_SHOWN = 8
_ERRORS_SHOWN = 5

T = TypeVar("T")
R = TypeVar("R")
_Kind = tuple[str, tuple[int, ...]]  # type and shape of one image


def load_images(path: Path, reading: Reading = PLAIN, schema: Schema | None = None) -> Dataset:
    """The Dataset of a folder of images, sub-folders included, or of a single image.

    Args:
        path: the folder. Its first-level sub-folders become the labels; sub-folders called train, validation
            and test are parts of the data, and their sub-folders the labels.
        reading: how to read; its `limit` is of the test part if the folder has one, else of all images.
        schema: of a model that reads them.

    Raises:
        InputError: no images, damaged images, or images of several sizes without `resize`.
    """
    reading = _as_model(reading, schema)
    found = ImageFiles(path.parent, (path.name,)) if path.is_file() else find_images(path)
    files = found.first(reading.limit)
    failed: list[str] = []
    pages = _pages(path, files, reading, failed)
    channels = None if schema is None else _channels(schema)
    values, pages = _decoded(path, files, pages, reading, channels, failed)
    names, parts = tuple(page.name for page in pages), found.are_parts
    maximum = None if values.dtype.kind == "f" else int(np.iinfo(values.dtype).max)
    as_images = replace(reading, kind="images", channels=None)
    labels, test = labels_of(names, parts), rows_of("test", names, parts)
    data = from_array(values, str(path), labels=labels, test_rows=test, maximum=maximum, reading=as_images)
    aspect = None if reading.resize is None else reading.aspect or "stretch"
    own = data.schema.model_copy(update={"resized": aspect})
    validation = rows_of("validation", names, parts)
    return replace(data, schema=own, names=names, known_range=True, validation_rows=validation)


def _as_model(reading: Reading, schema: Schema | None) -> Reading:
    """The reading that a model's images had."""
    if schema is None:
        return reading
    alpha = reading.alpha or ("keep" if _channels(schema) == 4 else None)
    if reading.resize is not None or schema.resized is None:
        return replace(reading, alpha=alpha)
    size = (schema.shape[0], schema.shape[1])
    return replace(reading, alpha=alpha, resize=size, aspect=reading.aspect or schema.resized)


def _channels(schema: Schema) -> int:
    """The number of channels of a model's images, 0 if they are (H, W)."""
    return schema.shape[2] if len(schema.shape) > 2 else 0


@dataclass(frozen=True)
class _Page:
    """A page of an image file: its name in the data set, the file, its number and the file's header."""

    name: str
    file: str
    number: int
    header: Header


# -- headers ----------------------------------------------------------------------------------------------


def _pages(path: Path, files: ImageFiles, reading: Reading, failed: list[str]) -> list[_Page]:
    """The pages to decode, from the headers of the files.

    Raises:
        InputError: images of several sizes without `resize`, or damaged ones.
    """
    found = _each(files.names, lambda name: header(files.folder / name), failed, "look at images")
    if not found:
        _settle(path, failed, False, reading)
    pages = [page for name, head in found for page in _of_file(name, head, reading)]
    several = [name for name, head in found if head.pages > 1]
    if several and reading.pages is None:
        console.warn(
            f"{_some(len(several), len(found), path)} several pages, of which the first is read "
            f"({listed(several)}); give `pages` all to read the others as images of their own"
        )
    sizes = [page.header.size for page in pages]
    if reading.resize is None and len(set(sizes)) > 1:
        raise _several_sizes(sizes, [page.name for page in pages])
    _say_conversions(path, pages, reading)
    return pages


def _of_file(name: str, head: Header, reading: Reading) -> list[_Page]:
    if reading.pages != "all" or head.pages == 1:
        return [_Page(name, name, 0, head)]
    stem, ending = os.path.splitext(name)
    digits = len(str(head.pages - 1))
    return [_Page(f"{stem}.{k:0{digits}d}{ending}", name, k, head) for k in range(head.pages)]


def _say_conversions(path: Path, pages: Sequence[_Page], reading: Reading) -> None:
    """Warn of what the images lose or gain so that all are of one kind."""
    see_through = sum(page.header.transparent for page in pages)
    if see_through and reading.alpha is None:
        console.warn(
            f"{_some(see_through, len(pages), path)} transparent pixels, which are laid on white; give "
            "`alpha` keep to keep them"
        )
    depths = {page.header.bits for page in pages}
    if depths == {8, 16}:
        console.warn(f"images of 8 and of 16 bits in {path} are all read as images of 16 bits")


def _some(count: int, of: int, path: Path) -> str:
    """The beginning of a sentence about some of the images."""
    images = f"of {counted(of, 'image')} in {path}"
    return f"{path} has" if path.is_file() else counted(count, f"{images} has", f"{images} have")


def _several_sizes(sizes: Sequence[tuple[int, ...]], names: Sequence[str]) -> InputError:
    counts = Counter(sizes).most_common()
    shown = [
        f"{h} x {w}: {n} (such as {os.path.basename(names[sizes.index((h, w))])})"
        for (h, w), n in counts[:_SIZES_SHOWN]
    ]
    if len(counts) > _SIZES_SHOWN:
        shown.append(counted(len(counts) - _SIZES_SHOWN, "more size"))
    return InputError(
        f"expected images of one size, got {len(counts)} sizes (height x width) {', '.join(shown)}; "
        "use `resize` to bring them to one size"
    )


def _each(items: Sequence[T], function: Callable[[T], R], failed: list[str], title: str) -> list[tuple[T, R]]:
    """The results for the items that can be read; `failed` gets the sentences of the others."""
    done = []
    with console.progress(title, len(items)) as bar:
        for item in items:
            try:
                done.append((item, function(item)))
            except InputError as error:
                failed.append(str(error))
            bar.advance()
    return done


def _settle(path: Path, failed: Sequence[str], anything: bool, reading: Reading) -> None:
    """Warn of damaged files that are left out; InputError, which names all, if they are not to be."""
    if failed and not (reading.skip_damaged and anything):
        raise _damaged(path, failed)
    if failed:
        some = counted(len(failed), f"damaged image in {path} is", f"damaged images in {path} are")
        console.warn(f"{some} left out: {_reasons(failed)}")


def _reasons(failed: Sequence[str]) -> str:
    """What is wrong with the first few files, without advice."""
    more = f", and {len(failed) - _ERRORS_SHOWN} more" if len(failed) > _ERRORS_SHOWN else ""
    return ", ".join(sentence.partition("; ")[0] for sentence in failed[:_ERRORS_SHOWN]) + more


def _damaged(path: Path, failed: Sequence[str]) -> InputError:
    if len(failed) == 1:
        advice = "" if path.is_file() else ", or use `skip_damaged` to leave it out"
        return InputError(failed[0] + advice)
    return InputError(
        f"expected images in {path}, got {len(failed)} files that cannot be read: {_reasons(failed)}; "
        "replace or remove them, or use `skip_damaged` to leave them out"
    )


# -- pixels -----------------------------------------------------------------------------------------------


def _decoded(
    path: Path,
    files: ImageFiles,
    pages: Sequence[_Page],
    reading: Reading,
    channels: int | None,
    failed: list[str],
) -> tuple[Rows, list[_Page]]:
    """The pixels of the pages with one type and number of channels, and the pages that could be read."""
    spool = Spool(reading.memory, expected=len(pages) * _bytes(pages[0], reading))
    known: dict[_Kind, _Kind] = {}  # one record for all images of a kind

    def write(page: _Page) -> _Kind:
        array = decode(files.folder / page.file, reading, page.number)
        spool.write(array)
        kind = (array.dtype.name, array.shape)
        return known.setdefault(kind, kind)

    done = _each(pages, write, failed, "read images")
    _settle(path, failed, bool(done), reading)
    kinds, read = [kind for _, kind in done], [page for page, _ in done]
    dtypes = {dtype for dtype, _ in known}
    if len(dtypes) > 1 and "float32" in dtypes:
        raise InputError(
            f"expected images of one kind in {path}, got floating-point images among images with levels; "
            "convert them to one kind"
        )
    if len({shape[:2] for _, shape in known}) > 1:
        raise _several_sizes([shape[:2] for _, shape in kinds], [page.name for page in read])
    deepest = "float32" if "float32" in dtypes else "uint16" if "uint16" in dtypes else "uint8"
    own = max(shape[2] if len(shape) > 2 else 0 for _, shape in known)
    wanted = own if channels is None else channels
    _say_channels(path, own, wanted)
    target = (deepest, wanted)
    if len(known) == 1 and wanted == own:
        return spool.array((len(read), *kinds[0][1]), kinds[0][0]), read
    return _of_one_kind(spool, kinds, *target), read


def _say_channels(path: Path, own: int, wanted: int) -> None:
    if own in (3, 4) and wanted in (0, 1):
        console.warn(f"the colour images in {path} are read as grey ones, as the model was trained on")


def _bytes(page: _Page, reading: Reading) -> int:
    """About how many bytes the pixels of a page take."""
    height, width = reading.resize or page.header.size
    return height * width * len(page.header.mode.partition(";")[0]) * page.header.bits // 8


def _of_one_kind(spool: Spool, kinds: Sequence[_Kind], dtype: str, channels: int) -> Rows:
    """The images of several kinds in one array (N, H, W), or (N, H, W, channels)."""
    converted, offset = Spool(spool.limit), 0
    for own, shape in kinds:
        array = spool.array(shape, own, offset)[:]
        offset += array.nbytes
        array = _converted(array, np.dtype(dtype), channels)
        converted.write(array)
    return converted.array((len(kinds), *array.shape), array.dtype)


def _converted(array: np.ndarray, dtype: np.dtype, channels: int) -> np.ndarray:
    if array.dtype == np.uint8 and dtype == np.uint16:
        array = array.astype(np.uint16) * 257
    own = array.shape[2] if array.ndim > 2 else 0
    if own == channels or channels not in (0, 1, 3, 4):
        return array
    if channels < 3:
        return _grey(array) if channels == 0 else np.atleast_3d(_grey(array))
    colour = np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2) if own < 3 else array[..., :3]
    if channels == 3:
        return colour
    opaque = 1 if dtype.kind == "f" else np.iinfo(dtype).max
    return np.concatenate([colour, np.full((*array.shape[:2], 1), opaque, dtype)], axis=2)


def _grey(array: np.ndarray) -> np.ndarray:
    """The brightness of an image, as Pillow weights its channels (ITU-R 601-2)."""
    if array.ndim == 2 or array.shape[2] == 1:
        return array.reshape(array.shape[:2])
    weighted = array[..., :3] @ np.array([0.299, 0.587, 0.114])
    return weighted.astype(array.dtype) if array.dtype.kind == "f" else np.rint(weighted).astype(array.dtype)
