"""What the numbers of an array mean: images or other numbers, levels, and the values of black and white.

Images are (N, H, W) or (N, H, W, C) with C of 1, 3 or 4. Integers are levels, 0 … maximum; floats are
fractions of the full range if they lie in [0, 1], levels if all are whole, otherwise plain numbers. A person
may say otherwise (`Reading`). Where an array leaves room for doubt, a warning tells what it was taken for.
"""

import numpy as np

from backstory import console
from backstory.data.checks import extremes
from backstory.data.origins import array_origins
from backstory.data.reading import Reading
from backstory.data.rows import Rows, blocks, mapped
from backstory.data.schema import Schema
from backstory.errors import InputError

HIGHEST_LEVEL = 65535
CHANNELS = (1, 3, 4)  # of images that are recognised as such


def schema_of(values: Rows, reading: Reading, source: str, maximum: int | None = None) -> Schema:
    """The schema of an array (N, …), of which images have their channels last.

    Args:
        values: the array.
        reading: what a person says of it.
        source: where it came from, for messages.
        maximum: top level of integer data if it is known; otherwise it is guessed from the values.

    Raises:
        InputError: the array cannot be what the person says.
    """
    asked = reading.kind or ("images" if reading.range or reading.channels else None)
    if asked == "images":
        return _images(values, reading, source, maximum)
    schema = guessed_schema(values, maximum, images=asked is None)
    if asked is None and (doubt := _doubt(values, schema)):
        console.warn(f"{source} is taken as {doubt}")
    return schema


def channels_last(values: Rows, reading: Reading, source: str) -> Rows:
    """The array with the channels of its images as the last axis."""
    if reading.channels != "first":
        return values
    if values.ndim != 4:
        raise InputError(
            f"expected images of shape (N, C, H, W) in {source}, because `channels` is first, got "
            f"{values.shape}; leave it out, or reshape the array"
        )
    return mapped(lambda block: np.ascontiguousarray(np.moveaxis(block, 1, -1)), values)


def guessed_schema(values: Rows, maximum: int | None = None, images: bool = True) -> Schema:
    """The schema that the numbers suggest; of an array that holds no images if `images` is false."""
    shape, dtype = values.shape[1:], values.dtype.name
    image_shaped = images and (len(shape) == 2 or (len(shape) == 3 and shape[2] in CHANNELS))
    low, high = extremes(values)
    fractions = values.dtype.kind == "f" and low >= 0 and high <= 1
    levels: int | None = None
    top: float | None = 1 if fractions and image_shaped else None
    if values.dtype.kind != "f" or ((image_shaped or fractions) and _whole(values)):
        levels, top = _levels(values, low, high, image_shaped, maximum)
    if image_shaped and top is not None:
        return Schema(kind="images", shape=shape, dtype=dtype, levels=levels, maximum=top)
    origin = array_origins(values) if levels is None else ()
    return Schema(kind="array", shape=shape, dtype=dtype, levels=levels, maximum=top, origin=origin)


def _doubt(values: Rows, schema: Schema) -> str:
    """What an array was taken for and how to change it, where it may be something else; else nothing."""
    size = " × ".join(map(str, schema.shape))
    if schema.kind == "images":
        bytes_like = values.dtype.kind == "b" or values.dtype.name in ("uint8", "uint16")
        if len(schema.shape) > 2 or bytes_like or schema.shape[0] == schema.shape[1]:
            return ""
        return f"grey images of {size}; if it holds other numbers, such as series, give `kind` array"
    if len(schema.shape) < 2:
        return ""
    return (
        f"observations of {size} numbers, not as images; if it holds images, give `kind` images, with "
        "`channels` first or last and with the `range` of its values if need be"
    )


def _levels(
    values: Rows, low: float, high: float, image_shaped: bool, maximum: int | None
) -> tuple[int | None, float | None]:
    """The number of levels and the top level of whole numbers; None for both if they are not levels."""
    if not (low >= 0 and high <= HIGHEST_LEVEL):
        return None, None
    guess = high
    if values.dtype == np.uint8 and high > 63:
        guess = 255
    elif values.dtype == np.uint16 and image_shaped and high > 4095:
        guess = 65535
    # Two values are binary data whatever the upper one is; a single value does not tell its maximum.
    upper = maximum or max(high, 1)
    if (low == 0 or high <= 1) and only(values, 0, upper):
        return 2, upper
    top = int(maximum or guess)
    return top + 1, top


# -- images, because a person says so -------------------------------------------------------------------


def _images(values: Rows, reading: Reading, source: str, maximum: int | None) -> Schema:
    if values.ndim not in (3, 4):
        raise InputError(
            f"expected images of shape (N, H, W) or (N, H, W, C) in {source}, got {values.shape}; reshape "
            "the array, or give `kind` array"
        )
    low, high = extremes(values)
    channels = reading.channels or "last"
    whole = _whole(values)
    if reading.range is None:
        fractions = values.dtype.kind == "f" and low >= 0 and high <= 1
        levels, top = _levels(values, low, high, True, maximum) if whole else (None, None)
        if top is not None or fractions:
            return Schema(
                kind="images",
                shape=values.shape[1:],
                dtype=values.dtype.name,
                levels=levels,
                maximum=top or 1,
                channels=channels,
            )
    black, white = reading.range or _usual_range(values, low, high, source, reading.by_model)
    if low < black or high > white:
        raise InputError(
            f"expected numbers from {black:g} to {white:g} in {source}, as `range` says, got numbers from "
            f"{low:g} to {high:g}; correct it"
        )
    levels = int(white - black) + 1 if whole and black == int(black) and white == int(white) else None
    levels = 2 if only(values, black, white) else levels
    return Schema(
        kind="images",
        shape=values.shape[1:],
        dtype=values.dtype.name,
        levels=None if levels is not None and levels > HIGHEST_LEVEL + 1 else levels,
        maximum=white - black,
        origin=(black,) if black else (),
        channels=channels,
    )


def _usual_range(values: Rows, low: float, high: float, source: str, by_model: bool) -> tuple[float, float]:
    """The values of black and white of images that are neither levels from 0 nor fractions."""
    usual = values.dtype.kind == "f" and low >= -1 and high <= 1
    black, white = (-1.0, 1.0) if usual else (low, high)
    if not black < white:
        black, white = (0.0, 1.0) if black != white else (black, black + 1)
    if not by_model:
        console.warn(
            f"black and white of the images in {source} are taken to be {black:g} and {white:g}; give "
            "`range` to change it"
        )
    return black, white


# -- values -----------------------------------------------------------------------------------------------


def only(values: Rows, low: float, high: float) -> bool:
    """Whether every entry is one of two numbers or missing."""
    return all(((b == low) | (b == high) | _isnan(b)).all() for b in blocks(values))


def _whole(values: Rows) -> bool:
    if values.dtype.kind != "f":
        return True
    with np.errstate(invalid="ignore"):  # of NaN that signal
        return all(((b == np.rint(b)) | _isnan(b)).all() for b in blocks(values))


def _isnan(values: np.ndarray) -> np.ndarray | bool:
    return np.isnan(values) if values.dtype.kind == "f" else False
