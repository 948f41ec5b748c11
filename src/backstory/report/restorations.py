"""Restorations as a picture: each observation a column of small images, each line labelled.

whole        what was damaged here, if it is known
damaged      what was seen; pixels that were not are blue
mean         E[x|y]
draw 1, …    of p(x|y)
uncertainty  the standard deviation of each pixel of p(x|y), in the colours of heat
"""

import itertools
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from backstory.files import atomic_path
from backstory.report.training import HEAT, INK

CELL, GAP, BLOCK_GAP, PER_BLOCK = 64, 3, 18, 16
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
PAPER, UNSEEN = (255, 255, 255), (150, 182, 219)
FONT_SIZE = 15
LEGEND = 430  # pixels that it takes
LEAST_RANGE = 0.05  # deviation, as a fraction of the full range, that is shown as the hottest at least


def restoration_sheet(
    lines: Mapping[str, np.ndarray], std: np.ndarray, shape: tuple[int, ...], per_block: int = PER_BLOCK
) -> Image.Image:
    """The picture of N restorations, in blocks of `per_block` observations.

    Args:
        lines: by label, (N, H', W') or (N, H', W', C) in fractions of the full range, NaN where nothing was
            seen; smaller images are enlarged to the size of the others.
        std: (N, H, W) or (N, H, W, C), in the same fractions.
        shape: of one x, (H, W) or (H, W, C).
    """
    scale = max(1, round(CELL / max(shape[:2])))
    size = (shape[0] * scale, shape[1] * scale)
    spread = std if std.ndim == 3 else std.mean(axis=-1)
    hottest = max(LEAST_RANGE, float(np.quantile(spread, 0.999)))
    pictures = {label: [_enlarged(_colours(x), size) for x in images] for label, images in lines.items()}
    heat = (255 * HEAT(np.clip(spread / hottest, 0, 1))[..., :3]).astype(np.uint8)
    pictures["uncertainty"] = [_enlarged(x, size) for x in heat]

    font = ImageFont.load_default(FONT_SIZE)
    margin = 2 * GAP + math.ceil(max(font.getlength(label) for label in pictures)) + 2 * GAP
    count = len(std)
    columns, blocks = min(count, per_block), math.ceil(count / per_block)
    cell = (size[0] + GAP, size[1] + GAP)
    height = len(pictures) * cell[0] + GAP
    width = max(columns * cell[1] + GAP, LEGEND)
    whole = (margin + width, blocks * (height + BLOCK_GAP) + FONT_SIZE + 2 * GAP)
    sheet = Image.new("RGB", whole, PAPER)
    draw = ImageDraw.Draw(sheet)
    for block, (line, label) in itertools.product(range(blocks), enumerate(pictures)):
        top = block * (height + BLOCK_GAP) + GAP + line * cell[0]
        draw.text((margin - 2 * GAP, top + size[0] // 2), label, INK, font, anchor="rm")
        for j, image in enumerate(pictures[label][block * per_block : (block + 1) * per_block]):
            sheet.paste(Image.fromarray(image), (margin + j * cell[1], top))
    gaps = any(np.isnan(images).any() for images in lines.values())
    _legend(sheet, draw, font, margin, hottest, gaps)
    return sheet


def _legend(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, font: Font, left: int, hottest: float, gaps: bool
) -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 90), (FONT_SIZE - 3, 90))
    top = sheet.height - FONT_SIZE - 2 * GAP
    draw.text((left, top), "deviation: 0", INK, font)
    start = left + math.ceil(font.getlength("deviation: 0 "))
    sheet.paste(Image.fromarray((255 * HEAT(ramp)[..., :3]).astype(np.uint8)), (start, top + 3))
    text = f"{hottest:.2f} of the full range"
    draw.text((start + 96, top), text, INK, font)
    if gaps:
        start += 96 + math.ceil(font.getlength(text)) + 40
        draw.rectangle((start, top + 3, start + FONT_SIZE - 3, top + FONT_SIZE - 1), fill=UNSEEN)
        draw.text((start + FONT_SIZE + 3, top), "not seen", INK, font)


def _colours(x: np.ndarray) -> np.ndarray:
    """RGB of one image in fractions, its missing pixels blue."""
    grey = np.rint(255 * np.clip(np.nan_to_num(x), 0, 1)).astype(np.uint8)
    rgb = (
        np.repeat(grey.reshape(*grey.shape[:2], -1)[..., :1], 3, -1)
        if x.ndim == 2 or x.shape[2] == 1
        else grey
    )
    rgb = rgb[..., :3].copy()
    unseen = np.isnan(x) if x.ndim == 2 else np.isnan(x).any(axis=-1)
    rgb[unseen] = UNSEEN
    return rgb


def _enlarged(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Each pixel as a block, where the sides divide, as near to it otherwise."""
    image = Image.fromarray(rgb).resize((size[1], size[0]), Image.Resampling.NEAREST)
    return np.asarray(image)


def save(sheet: Image.Image, path: Path, force: bool = False) -> None:
    """Write the picture as PNG, whole or not at all."""
    with atomic_path(path, force) as temporary:
        sheet.save(temporary, format="PNG")
