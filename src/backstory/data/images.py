"""Image files: folders of images to a Dataset, and stored values to pixels, files and contact sheets.

Every image is converted to one of four kinds: 8-bit grey, 16-bit grey, floating-point grey, 8-bit RGB.
Transparent pixels are laid on white. A folder with a colour image is read as colour, otherwise as grey.
"""

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from backstory import console
from backstory.data.arrays import from_array
from backstory.data.checks import listed
from backstory.data.dataset import Dataset
from backstory.data.rows import Rows, Spool
from backstory.data.schema import Schema
from backstory.errors import InputError

SUFFIXES = ("bmp", "gif", "jpeg", "jpg", "pbm", "pgm", "png", "pnm", "ppm", "tif", "tiff", "webp")

_Kind = tuple[str, tuple[int, ...]]  # type and shape of one image

_SIZES_SHOWN = 8
_SHEET_CELL = 64  # pixels; small images are enlarged until their longer side has about this length
_SHEET_GAP = 2
_SHEET_GREY = 128


def load_images(path: Path, resize: tuple[int, int] | None = None, limit: float = math.inf) -> Dataset:
    """The Dataset of a folder of images, sub-folders included, or of a single image.

    Args:
        path: the folder; its first-level sub-folders become the labels, hidden files are skipped.
        resize: (height, width) that every image is brought to; None if all images have one size.
        limit: bytes that the pixels may take in memory; more go to a temporary file.

    Raises:
        InputError: no images, a damaged image, or images of several sizes without `resize`.
    """
    folder, names = (path.parent, (path.name,)) if path.is_file() else (path, _find(path))
    values = _decoded(path, folder, names, resize, limit)
    classes = [name.partition("/")[0] if "/" in name else "" for name in names]
    labels = np.array(classes) if any(classes) else None
    maximum = None if values.dtype.kind == "f" else int(np.iinfo(values.dtype).max)
    return from_array(values, str(path), labels=labels, names=names, maximum=maximum)


def _find(folder: Path) -> tuple[str, ...]:
    """The image files in a folder and its sub-folders, sorted, as paths relative to it with slashes."""
    files = []
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = Path(base).relative_to(folder).as_posix().removeprefix(".")
        stem = f"{inside}/" if inside else ""
        files += [stem + n for n in names if not n.startswith(".") and os.path.isfile(os.path.join(base, n))]
    images = [name for name in files if os.path.splitext(name)[1].lower().removeprefix(".") in SUFFIXES]
    if not images:
        others = sorted(os.path.basename(name) for name in files)
        got = f"only other files ({listed(others)})" if files else "an empty folder"
        raise InputError(
            f"expected images (.png, .jpg, …) or MNIST-style IDX files in {folder}, got {got}; "
            "check the path, or give the data file itself"
        )
    return tuple(sorted(images))


def _decoded(
    path: Path, folder: Path, names: Sequence[str], resize: tuple[int, int] | None, limit: float
) -> Rows:
    """The pixels of all images, with one type and one number of channels."""
    kinds: list[_Kind] = []
    known: dict[_Kind, _Kind] = {}  # one record for all images of a kind
    with console.progress("read images", len(names)) as bar:
        for name in names:
            array = _decode(folder / name, resize)
            if not kinds:
                spool = Spool(limit, expected=len(names) * array.nbytes)
            spool.write(array)
            kind = (array.dtype.name, array.shape)
            kinds.append(known.setdefault(kind, kind))
            bar.advance()
    dtypes, colour = {dtype for dtype, _ in known}, any(len(shape) == 3 for _, shape in known)
    if len(dtypes) > 1 and "float32" in dtypes:
        raise InputError(
            f"expected images of one kind in {path}, got floating-point images among images with levels; "
            "convert them to one kind"
        )
    if len({shape[:2] for _, shape in known}) > 1:
        raise _several_sizes([shape[:2] for _, shape in kinds], names)
    if len(known) == 1:
        return spool.array((len(names), *kinds[0][1]), kinds[0][0])
    return _of_one_kind(spool, kinds, wide="uint16" in dtypes and not colour, colour=colour)


def _of_one_kind(spool: Spool, kinds: Sequence[_Kind], wide: bool, colour: bool) -> Rows:
    converted, offset = Spool(spool.limit), 0
    for dtype, shape in kinds:
        array = spool.array(shape, dtype, offset)[:]
        offset += array.nbytes
        array = _converted(array, wide, colour)
        converted.write(array)
    return converted.array((len(kinds), *array.shape), array.dtype)


def _decode(file: Path, resize: tuple[int, int] | None) -> np.ndarray:
    """(H, W) of uint8, uint16 or float32, or (H, W, 3) of uint8."""
    with _reading(file), Image.open(file) as opened:
        image = _plain(ImageOps.exif_transpose(opened))
        if resize is None:
            return _array(image, file)
        size = (resize[1], resize[0])
        if image.mode.startswith("I"):
            # 16-bit modes cannot be filtered; as 32-bit floats they lose nothing
            array = _array(image, file)
            resized = Image.fromarray(array.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
            return np.rint(np.asarray(resized)).astype(array.dtype)
        return np.array(image.resize(size, Image.Resampling.BILINEAR))


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(
            f"expected an image in {file} from its name, got another file; remove it or rename it"
        ) from error
    except Exception as error:  # the decoders raise errors of nearly every type for damaged files
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(f"cannot read the image {file} ({reason}); replace it or remove it") from error


def _plain(image: Image.Image) -> Image.Image:
    """The image in mode L, I…, F or RGB."""
    if image.mode.startswith("I") or image.mode in ("L", "F", "RGB"):
        grey = image.mode != "RGB"
        return (
            _on_white(image, grey) if "transparency" in image.info and image.mode in ("L", "RGB") else image
        )
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("LA", "La"):
        return _on_white(image, grey=True)
    if image.mode in ("P", "PA"):
        colour = _on_white(image, grey=False)
        return colour.convert("L") if _same_channels(colour) else colour
    if image.mode in ("RGBA", "RGBa"):
        return _on_white(image, grey=False)
    return image.convert("RGB")


def _on_white(image: Image.Image, grey: bool) -> Image.Image:
    top = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(top)
    return white.convert("L" if grey else "RGB")


def _same_channels(image: Image.Image) -> bool:
    array = np.asarray(image)
    return bool((array == array[:, :, :1]).all())


def _array(image: Image.Image, file: Path) -> np.ndarray:
    array = np.array(image)
    if array.dtype.kind in "iu" and array.dtype != np.uint8:
        if array.min() < 0 or array.max() > 65535:
            raise InputError(
                f"expected at most 16 bits per pixel in {file}, got values "
                f"from {array.min()} to {array.max()}; rescale the image, or save the values as .npy"
            )
        return array.astype(np.uint16)
    return array


def _converted(array: np.ndarray, wide: bool, colour: bool) -> np.ndarray:
    if wide and array.dtype == np.uint8:
        array = array.astype(np.uint16) * 257
    if colour and array.dtype == np.uint16:
        array = np.rint(array / 257).astype(np.uint8)
    return np.repeat(array[:, :, None], 3, axis=2) if colour and array.ndim == 2 else array


def _several_sizes(sizes: Sequence[tuple[int, ...]], names: Sequence[str]) -> InputError:
    counts = Counter(sizes).most_common()
    shown = [
        f"{h} x {w}: {n} (such as {os.path.basename(names[sizes.index((h, w))])})"
        for (h, w), n in counts[:_SIZES_SHOWN]
    ]
    if len(counts) > _SIZES_SHOWN:
        shown.append(f"{len(counts) - _SIZES_SHOWN} more sizes")
    return InputError(
        f"expected images of one size, got {len(counts)} sizes (height x width) {', '.join(shown)}; "
        "use `resize` to bring them to one size"
    )


def pixels(values: np.ndarray, schema: Schema) -> np.ndarray:
    """Stored values of images as uint8 of the same shape; the top level becomes 255.

    >>> schema = Schema(kind="images", shape=(1, 2), dtype="uint8", levels=17, maximum=16)
    >>> pixels(np.array([[[0, 16]]], dtype=np.uint8), schema)
    array([[[  0, 255]]], dtype=uint8)
    """
    _check_kind(schema)
    return _scaled(values, schema, np.dtype(np.uint8))


def _check_kind(schema: Schema) -> None:
    if schema.kind != "images":
        raise InputError(
            f"expected images for an image file, got a data set of kind {schema.kind!r}; write .csv or .npy"
        )


def _scaled(values: np.ndarray, schema: Schema, dtype: np.dtype) -> np.ndarray:
    highest = int(np.iinfo(dtype).max)
    maximum = float(schema.maximum or 1)
    if values.dtype == dtype and maximum == highest:
        return values
    # a missing pixel is NaN and becomes black
    return np.rint(np.clip(np.nan_to_num(values / maximum), 0, 1) * highest).astype(dtype)


def write_image(handle: BinaryIO, value: np.ndarray, schema: Schema) -> None:
    """Writes one image (H, W) or (H, W, C) as PNG: 16 bits for grey with more than 256 levels, else 8."""
    _check_kind(schema)
    grey = value.ndim == 2 or value.shape[2] == 1
    deep = grey and schema.levels is not None and schema.levels > 256
    array = _scaled(value, schema, np.dtype(np.uint16 if deep else np.uint8))
    _image(array).save(handle, format="PNG")


def _image(array: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(array[:, :, 0] if array.shape[2:] == (1,) else array))


def contact_sheet(rows: np.ndarray, columns: int | None = None, scale: int | None = None) -> Image.Image:
    """A picture of images in rows and columns with thin grey gaps.

    Args:
        rows: (N, H, W) or (N, H, W, C) of uint8, C of 1, 3 or 4.
        columns: number of images in a row; by default the sheet is nearly square.
        scale: whole factor that each pixel is enlarged by; by default small images are enlarged.

    >>> contact_sheet(np.zeros((4, 8, 8), np.uint8), scale=1).size
    (22, 22)
    """
    count, height, width = rows.shape[:3]
    columns = min(count, columns or max(1, math.ceil(math.sqrt(count * height / width))))
    scale = scale or max(1, _SHEET_CELL // max(height, width))
    lines = math.ceil(count / columns)
    cell = (height * scale + _SHEET_GAP, width * scale + _SHEET_GAP)
    size = (lines * cell[0] + _SHEET_GAP, columns * cell[1] + _SHEET_GAP)
    sheet = np.full((*size, *rows.shape[3:]), _SHEET_GREY, np.uint8)
    if rows.shape[3:] == (4,):
        sheet[..., 3] = 255
    for i, row in enumerate(rows):
        top, left = (k * c + _SHEET_GAP for k, c in zip(divmod(i, columns), cell, strict=True))
        large = row.repeat(scale, axis=0).repeat(scale, axis=1)
        sheet[top : top + height * scale, left : left + width * scale] = large
    return _image(sheet)
