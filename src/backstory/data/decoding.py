"""One image file to an array: its header, its pages, its pixels.

Every image is converted to one of a few kinds: grey or RGB of 8 or 16 bits, RGBA where transparency is kept,
or floating-point grey.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from backstory.data.reading import Reading
from backstory.data.schema import Aspect
from backstory.errors import InputError

MOST_PIXELS = 1 << 28  # of one image
_ORIENTATION, _SIDEWAYS = 0x0112, 5  # the EXIF tag, and its first value that swaps height and width
# They run other programs, are no pictures, or need readers of their own
_NOT_READ = ("BUFR", "EPS", "FITS", "GRIB", "HDF5", "MPEG", "WMF")
_WITHOUT_MAGIC = {"TGA": (".tga", ".icb", ".vda", ".vst")}  # any file could be one
_OTHER_ORDER = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
_SWAPPED = {f"{c};{order}": f"{c};{other}" for c in ("RGB", "RGBA") for order, other in _OTHER_ORDER.items()}


@dataclass(frozen=True)
class Header:
    """What an image file tells before its pixels are decoded.

    Attributes:
        size: height and width, upright.
        pages: number of pages or frames.
        mode: of Pillow, such as `RGB`.
        bits: of one channel.
        transparent: whether it has a channel of transparency.
    """

    size: tuple[int, int]
    pages: int
    mode: str
    bits: int
    transparent: bool


@cache
def suffixes() -> frozenset[str]:
    """The endings of image files, without a point."""
    Image.init()
    known = {end.removeprefix(".") for end, name in Image.EXTENSION.items() if name in _formats("")}
    return frozenset(known | {end.removeprefix(".") for end in _WITHOUT_MAGIC["TGA"]})


@cache
def _formats(suffix: str) -> tuple[str, ...]:
    """The formats of Pillow that are tried for a file with this ending."""
    Image.init()
    closed = {name for name, ends in _WITHOUT_MAGIC.items() if suffix not in ends}
    return tuple(name for name in Image.OPEN if name not in closed and name not in _NOT_READ)


def is_image(file: Path) -> bool:
    """Whether a file is an image, whatever its name says."""
    try:
        with _open(file):
            return True
    except Exception:  # the readers raise errors of nearly every type
        return False


def header(file: Path) -> Header:
    """The header of an image file.

    Raises:
        InputError: it is none, or it is too large.
    """
    with reading_image(file), _open(file) as image:
        width, height = image.size
        # Pillow would decode a PNG to look for EXIF behind the pixels
        exif: Any = image.getexif() if image.format != "PNG" or "exif" in image.info else {}
        sideways = exif.get(_ORIENTATION, 1) >= _SIDEWAYS
        bits = 16 if _deep_tiles(image) or image.mode.startswith("I") else 32 if image.mode == "F" else 8
        transparent = image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info
        size = (width, height) if sideways else (height, width)
        return Header(size, int(getattr(image, "n_frames", 1)), image.mode, bits, transparent)


def decode(file: Path, reading: Reading, page: int = 0) -> np.ndarray:
    """(H, W) of uint8, uint16 or float32, (H, W, 3) of uint8 or uint16, or (H, W, 4) where alpha is kept.

    Raises:
        InputError: the file is damaged.
    """
    with reading_image(file), _open(file) as opened:
        if page:
            opened.seek(page)
        if reading.resize is not None and not _deep_tiles(opened):  # of JPEG, decodes no more than needed
            opened.draft(None, (max(reading.resize), max(reading.resize)))
        keep = reading.alpha == "keep"
        if _deep_tiles(opened):
            array = _deep_colour(file, page, keep)
        else:
            image = _plain(ImageOps.exif_transpose(opened), keep)
            if reading.resize is not None and image.mode in ("L", "RGB", "RGBA"):
                return _resized_image(image, reading.resize, reading.aspect)
            array = _array(image, file)
        return array if reading.resize is None else _resized_array(array, reading.resize, reading.aspect)


@contextmanager
def reading_image(file: Path) -> Iterator[None]:
    """Turns the errors of damaged and foreign files into an InputError."""
    try:
        yield
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(_unidentified(file)) from error
    except Exception as error:  # the decoders raise errors of nearly every type for damaged files
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
        raise InputError(f"cannot read the image {file} ({reason}); replace it or remove it") from error


def _unidentified(file: Path) -> str:
    with file.open("rb") as handle:
        tiff = handle.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    if tiff:
        return (
            f"expected a TIFF of whole numbers or 32-bit floats in {file}, got one of a kind that Pillow "
            "does not read, such as 64-bit floats; save it as one of these, or its values as .npy"
        )
    return f"expected an image in {file} from its name, got another file; remove it or rename it"


@contextmanager
def _open(file: Path) -> Iterator[Image.Image]:
    """The open image, whose pixels are not decoded yet."""
    with file.open("rb") as handle:
        _check_webp(handle.read(30), file)
    most, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # the limit here is our own
    try:
        image = Image.open(file, formats=_formats(file.suffix.lower()))
    finally:
        Image.MAX_IMAGE_PIXELS = most
    with image:
        _check_pixels(image.width, image.height, MOST_PIXELS, file)
        yield image


def _check_webp(start: bytes, file: Path) -> None:
    """Raise InputError for a large canvas of WebP, for which Pillow takes memory as it opens the file."""
    if start[:4] == b"RIFF" and start[8:16] == b"WEBPVP8X" and len(start) == 30:
        width, height = (1 + int.from_bytes(start[i : i + 3], "little") for i in (24, 27))
        _check_pixels(width, height, MOST_PIXELS // 4, file)


def _check_pixels(width: int, height: int, most: int, file: Path) -> None:
    if width * height > most:
        raise InputError(
            f"expected at most {most // 10**6} million pixels in {file}, got {width} × {height}; make the "
            "image smaller"
        )


# -- colours ----------------------------------------------------------------------------------------------


def _plain(image: Image.Image, keep_alpha: bool) -> Image.Image:
    """The image in mode L, I…, F or RGB; in RGBA if it is transparent and that is kept."""
    has_alpha = image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info
    if keep_alpha and has_alpha and not image.mode.startswith(("I", "F")):
        return _with_alpha(image)
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


def _with_alpha(image: Image.Image) -> Image.Image:
    return image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")


def _on_white(image: Image.Image, grey: bool) -> Image.Image:
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(_with_alpha(image))
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


# -- colours of 16 bits -----------------------------------------------------------------------------------


def _raw_mode(tile: Any) -> str:
    """How the pixels of a part of an image lie in its file, such as `RGB;16B`."""
    return tile[3] if isinstance(tile[3], str) else str(tile[3][0]) if tile[3] else ""


def _deep_tiles(image: Image.Image) -> bool:
    """Whether this is a colour image of 16 bits, of which Pillow would keep the upper 8."""
    tiles = getattr(image, "tile", None) or ()  # None in icons by some releases
    modes = [_raw_mode(tile) for tile in tiles]
    return image.mode in ("RGB", "RGBA") and bool(modes) and all(mode in _SWAPPED for mode in modes)


def _deep_colour(file: Path, page: int, keep_alpha: bool) -> np.ndarray:
    """The pixels of a colour image of 16 bits, (H, W, 3 or 4) of uint16."""
    high, low = (np.asarray(_half(file, page, lower)) for lower in (False, True))
    array = high.astype(np.uint16) * 256 + low
    if array.shape[-1] == 4 and not keep_alpha:
        share = array[..., 3:] / 65535
        return np.rint(array[..., :3] * share + 65535 * (1 - share)).astype(np.uint16)
    return array


def _half(file: Path, page: int, lower: bool) -> Image.Image:
    """The upper or the lower 8 bits: the latter are the upper ones of the other order of bytes."""
    image: Any
    with _open(file) as image:
        if page:
            image.seek(page)
        if lower:
            image.tile = [_swapped(tile) for tile in image.tile]
        upright: Image.Image = ImageOps.exif_transpose(image)
        return upright.copy()


def _swapped(tile: Any) -> Any:
    other = _SWAPPED[_raw_mode(tile)]
    arguments = other if isinstance(tile[3], str) else (other, *tile[3][1:])
    make = getattr(tile, "_make", tuple)  # tiles have names since Pillow 11
    return make((*tile[:3], arguments))


# -- sizes ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """How an image gets another size: the part of it to take, and the size that this part gets.

    Attributes:
        box: left, upper, right and lower edge.
        inner: height and width; smaller than the new size where black is added.
    """

    box: tuple[int, int, int, int]
    inner: tuple[int, int]

    @classmethod
    def of(cls, height: int, width: int, size: tuple[int, int], aspect: Aspect | None) -> "_Plan":
        """The plan for an image of this height and width.

        `crop` takes the largest part of the new shape in the middle; `pad` adds black at the sides.
        """
        factors = height / size[0], width / size[1]
        if aspect == "crop":
            tall, wide = (
                max(1, min(n, round(s * min(factors)))) for n, s in zip((height, width), size, strict=True)
            )
            top, left = (height - tall) // 2, (width - wide) // 2
            return cls((left, top, left + wide, top + tall), size)
        whole = (0, 0, width, height)
        if aspect != "pad":
            return cls(whole, size)
        inner = (max(1, min(s, round(n / max(factors)))) for n, s in zip((height, width), size, strict=True))
        return cls(whole, (next(inner), next(inner)))


def _resized_image(image: Image.Image, size: tuple[int, int], aspect: Aspect | None) -> np.ndarray:
    """An image of 8 bits with another height and width."""
    plan = _Plan.of(image.height, image.width, size, aspect)
    if (image.height, image.width) != size:
        image = image.resize((plan.inner[1], plan.inner[0]), Image.Resampling.BILINEAR, box=plan.box)
    return _padded(np.array(image), size)


def _resized_array(array: np.ndarray, size: tuple[int, int], aspect: Aspect | None) -> np.ndarray:
    """An image of 16 bits or of floats with another height and width, of the same type.

    These cannot be filtered as integers; as 32-bit floats they lose nothing.
    """
    if array.shape[:2] == size:
        return array
    plan = _Plan.of(array.shape[0], array.shape[1], size, aspect)
    planes = np.moveaxis(np.atleast_3d(array), -1, 0).astype(np.float32)
    shape = plan.inner[1], plan.inner[0]
    done = [Image.fromarray(p).resize(shape, Image.Resampling.BILINEAR, box=plan.box) for p in planes]
    values = np.stack([np.asarray(plane) for plane in done], axis=-1).reshape(*plan.inner, *array.shape[2:])
    return _padded(values if array.dtype.kind == "f" else np.rint(values).astype(array.dtype), size)


def _padded(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image with black around it."""
    if array.shape[:2] == size:
        return array
    sides = [((s - n) // 2, s - n - (s - n) // 2) for s, n in zip(size, array.shape, strict=False)]
    return np.pad(array, sides + [(0, 0)] * (array.ndim - 2))
