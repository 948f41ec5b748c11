"""Masks in files: which entries were observed."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from backstory.errors import InputError
from backstory.files import format_of, reading
from backstory.jobs.source import ChosenRows

BLACK, WHITE = 0, 255


def read_mask(path: Path, shape: tuple[int, ...], chosen: ChosenRows, images: bool) -> np.ndarray:
    """Which entries of the chosen rows were observed, (N, *shape) of bool, in the columns of the data.

    Args:
        path: a `.npy` of booleans, true where a value was observed, or a black and white picture, white where
            it was. It holds for all rows, or has one mask for each row of the data or of the chosen ones. A
            mask of colour images without channels holds for all channels.
        shape: of one y.
        chosen: the rows.
        images: whether a third axis of `shape` are the channels of an image.

    Raises:
        InputError: the file is no such mask, or has another size.
    """
    mask = _load_mask(path)
    n, rows = len(chosen.index), len(chosen.data)
    colour = images and len(shape) == 3
    for form in [shape, shape[:2]] if colour else [shape]:
        channels = (1,) * (len(shape) - len(form))
        if mask.shape == form:
            return np.broadcast_to(mask.reshape(*form, *channels), (n, *shape))
        if mask.shape[1:] == form and len(mask) in (rows, n):
            each = mask[chosen.index] if len(mask) == rows else mask
            return np.broadcast_to(each.reshape(*each.shape, *channels), (n, *shape))
    one, all_rows, got = (" × ".join(map(str, sizes)) for sizes in (shape, (rows, *shape), mask.shape))
    raise InputError(
        f"expected a mask of {one} for all observations, or of {all_rows} for each, got {got} in {path}; "
        "give one of these"
    )


def _load_mask(path: Path) -> np.ndarray:
    with reading(path, "a mask"):
        return _load_array(path) if format_of(path) == "npy" else _load_picture(path)


def _load_array(path: Path) -> np.ndarray:
    mask = np.load(path, allow_pickle=False)
    kind = getattr(mask, "dtype", "several arrays (.npz)")
    if kind != np.dtype(bool):
        raise InputError(
            f"expected a mask of booleans in {path}, true where a value was observed, got {kind}; "
            "save it with numpy.save(path, mask.astype(bool))"
        )
    return np.asarray(mask)


def _load_picture(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            grey = np.asarray(image.convert("L"))
    except UnidentifiedImageError:
        raise InputError(
            "expected a .npy of booleans or a black and white .png for `mask`, true or white where a value "
            f"was observed, got {path}, which is neither"
        ) from None
    shades = np.unique(grey)
    if not np.isin(shades, (BLACK, WHITE)).all():
        raise InputError(
            f"expected a mask that is black ({BLACK}) and white ({WHITE}) in {path}, white where a value was "
            f"observed, got {len(shades)} shades from {shades[0]} to {shades[-1]}; save it without grey"
        )
    return np.asarray(grey == WHITE)
