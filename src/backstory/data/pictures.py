"""Stored values of images as pictures: pixels, PNG files and contact sheets."""

import math
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from backstory.data.schema import Schema
from backstory.errors import InputError

_CELL = 64  # pixels; small images are enlarged until their longer side has about this length
_GAP = 2
_FONT = 14  # pixels
GREY = 128
_CHANNELS = (1, 3, 4)  # that a PNG shows as colours


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
    if values.dtype == dtype and schema.bounds == (0, highest):
        return values
    # a missing pixel is NaN and becomes black
    return np.rint(np.clip(np.nan_to_num(schema.fractions(values)), 0, 1) * highest).astype(dtype)


def write_image(handle: BinaryIO, value: np.ndarray, schema: Schema) -> None:
    """Writes one image (H, W) or (H, W, C) as PNG: 16 bits for grey with more than 256 levels, else 8.

    Channels that are no colours (2, or more than 4) are written side by side.
    """
    _check_kind(schema)
    value = side_by_side(value[None])[0]
    grey = value.ndim == 2 or value.shape[2] == 1
    deep = grey and schema.levels is not None and schema.levels > 256
    array = _scaled(value, schema, np.dtype(np.uint16 if deep else np.uint8))
    _image(array).save(handle, format="PNG")


def _image(array: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(array[:, :, 0] if array.shape[2:] == (1,) else array))


def side_by_side(values: np.ndarray) -> np.ndarray:
    """Images (N, H, W, C) with channels that are no colours as grey ones, (N, H, C · W); others as they are.

    >>> side_by_side(np.zeros((2, 4, 5, 3))).shape, side_by_side(np.zeros((2, 4, 5, 13))).shape
    ((2, 4, 5, 3), (2, 4, 65))
    """
    if values.ndim == 3 or values.shape[3] in _CHANNELS:
        return values
    n, height, width, channels = values.shape
    return np.moveaxis(values, 3, 2).reshape(n, height, channels * width)


def contact_sheet(rows: np.ndarray, columns: int | None = None, scale: int | None = None) -> Image.Image:
    """A picture of images in rows and columns with thin grey gaps.

    Args:
        rows: (N, H, W) or (N, H, W, C) of uint8.
        columns: number of images in a row; by default the sheet is nearly square.
        scale: whole factor that each pixel is enlarged by; by default small images are enlarged.

    >>> contact_sheet(np.zeros((4, 8, 8), np.uint8), scale=1).size
    (22, 22)
    """
    rows = side_by_side(rows)
    count, height, width = rows.shape[:3]
    columns = min(count, columns or max(1, math.ceil(math.sqrt(count * height / width))))
    scale = scale or max(1, _CELL // max(height, width))
    lines = math.ceil(count / columns)
    cell = (height * scale + _GAP, width * scale + _GAP)
    size = (lines * cell[0] + _GAP, columns * cell[1] + _GAP)
    sheet = np.full((*size, *rows.shape[3:]), GREY, np.uint8)
    if rows.shape[3:] == (4,):
        sheet[..., 3] = 255
    for i, row in enumerate(rows):
        top, left = (k * c + _GAP for k, c in zip(divmod(i, columns), cell, strict=True))
        large = row.repeat(scale, axis=0).repeat(scale, axis=1)
        sheet[top : top + height * scale, left : left + width * scale] = large
    return _image(sheet)


def labelled(sheet: Image.Image, labels: Sequence[str]) -> Image.Image:
    """The sheet with a label to the left of each of its lines, which are equally high.

    >>> labelled(contact_sheet(np.zeros((4, 8, 8), np.uint8)), ["draw", "mean"]).height
    134
    """
    font = ImageFont.load_default(_FONT)
    margin = 2 * _GAP + math.ceil(max(map(font.getlength, labels)))
    wider = Image.new(sheet.mode, (margin + sheet.width, sheet.height), "white")
    wider.paste(sheet, (margin, 0))
    pen, height = ImageDraw.Draw(wider), sheet.height / len(labels)
    for i, label in enumerate(labels):
        pen.text((margin - _GAP, (i + 0.5) * height), label, "black", font, anchor="rm")
    return wider
