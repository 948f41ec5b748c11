"""Restorations as a picture: a column of small images for each observation, a labelled line for each kind.

whole        the true image, if it is known
damaged      the observed pixels; missing ones are blue
mean         E[x|y]
draw 1, …    draws of p(x|y)
uncertainty  standard deviation of each pixel under p(x|y), on a colour scale
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from backstory.files import atomic_path
from backstory.report.training import HEAT, INK

CELL, GAP, BLOCK_GAP, PER_BLOCK = 64, 3, 18, 16  # pixels, pixels, pixels, images
PAPER, MISSING = (255, 255, 255), (150, 182, 219)
FONT_SIZE = 15
LEGEND_WIDTH, RAMP_WIDTH = 430, 90  # pixels
LEAST_RANGE = 0.05  # smallest standard deviation, as a fraction of the full range, with the hottest colour


def restoration_sheet(
    lines: Mapping[str, np.ndarray], std: np.ndarray, shape: tuple[int, ...], per_block: int = PER_BLOCK
) -> Image.Image:
    """The picture of N restorations, in blocks of `per_block` observations.

    Args:
        lines: images by label, (N, H', W') or (N, H', W', C) in fractions of the full range, NaN where a
        pixel
            is missing; smaller images are enlarged to the size of the others.
        std: standard deviations, (N, H, W) or (N, H, W, C), in the same fractions.
        shape: of one x, (H, W) or (H, W, C).
        per_block: observations side by side.
    """
    scale = max(1, round(CELL / max(shape[:2])))
    size = (shape[0] * scale, shape[1] * scale)
    spread = std if std.ndim == 3 else std.mean(axis=-1)
    hottest = max(LEAST_RANGE, float(np.quantile(spread, 0.999)))
    pictures = {label: [_enlarged(_colours(x), size) for x in images] for label, images in lines.items()}
    pictures["uncertainty"] = [_enlarged(x, size) for x in _heat(spread / hottest)]
    sheet = _Sheet(pictures, size, per_block)
    sheet.draw_pictures()
    sheet.draw_legend(hottest, missing=any(np.isnan(images).any() for images in lines.values()))
    return sheet.image


def save(sheet: Image.Image, path: Path, force: bool = False) -> None:
    """Write the picture as PNG, whole or not at all; InputError if the file exists and `force` is false."""
    with atomic_path(path, force) as temporary:
        sheet.save(temporary, format="PNG")


@dataclass
class _Sheet:
    """A sheet of paper with a place for each picture.

    Attributes:
        pictures: RGB images by the label of their line, all of the same size.
        size: height and width of a picture in pixels.
        per_block: pictures side by side.
        image: the sheet.
    """

    pictures: dict[str, list[np.ndarray]]
    size: tuple[int, int]
    per_block: int
    image: Image.Image = field(init=False)

    def __post_init__(self) -> None:
        self.font = ImageFont.load_default(FONT_SIZE)
        count = len(next(iter(self.pictures.values())))
        self.blocks = math.ceil(count / self.per_block)
        self.cell = (self.size[0] + GAP, self.size[1] + GAP)
        self.block_height = len(self.pictures) * self.cell[0] + GAP + BLOCK_GAP
        self.margin = 4 * GAP + math.ceil(max(self.font.getlength(label) for label in self.pictures))
        width = max(min(count, self.per_block) * self.cell[1] + GAP, LEGEND_WIDTH)
        height = self.blocks * self.block_height + FONT_SIZE + 2 * GAP
        self.image = Image.new("RGB", (self.margin + width, height), PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def draw_pictures(self) -> None:
        """Draw all pictures and the labels of their lines."""
        for block, (line, label) in itertools.product(range(self.blocks), enumerate(self.pictures)):
            top = block * self.block_height + GAP + line * self.cell[0]
            middle = top + self.size[0] // 2
            self.draw.text((self.margin - 2 * GAP, middle), label, INK, self.font, anchor="rm")
            first = block * self.per_block
            for column, picture in enumerate(self.pictures[label][first : first + self.per_block]):
                self.image.paste(Image.fromarray(picture), (self.margin + column * self.cell[1], top))

    def draw_legend(self, hottest: float, missing: bool) -> None:
        """Draw the colour scale up to the standard deviation `hottest`, and the colour of missing pixels."""
        top = self.image.height - FONT_SIZE - 2 * GAP
        left = self._text("deviation: 0 ", self.margin, top)
        ramp = np.broadcast_to(np.linspace(0, 1, RAMP_WIDTH), (FONT_SIZE - 3, RAMP_WIDTH))
        self.image.paste(Image.fromarray(_heat(ramp)), (left, top + 3))
        left = self._text(f"{hottest:.2f} of the full range", left + RAMP_WIDTH + 6, top)
        if missing:
            left += 40
            box = (left, top + 3, left + FONT_SIZE - 3, top + FONT_SIZE - 1)
            self.draw.rectangle(box, fill=MISSING)
            self._text("missing", left + FONT_SIZE + 3, top)

    def _text(self, text: str, left: int, top: int) -> int:
        """Write a text, and return where it ends."""
        self.draw.text((left, top), text, INK, self.font)
        return left + math.ceil(self.font.getlength(text))


def _heat(fractions: np.ndarray) -> np.ndarray:
    """RGB colours of fractions of the scale, (…) to (…, 3)."""
    return (255 * HEAT(np.clip(fractions, 0, 1))[..., :3]).astype(np.uint8)


def _colours(x: np.ndarray) -> np.ndarray:
    """RGB of an image in fractions of the full range, (H, W) or (H, W, C); missing pixels are blue."""
    channels = x.reshape(*x.shape[:2], -1)
    values = np.rint(255 * np.clip(np.nan_to_num(channels), 0, 1)).astype(np.uint8)
    rgb = np.repeat(values, 3, -1) if values.shape[-1] == 1 else values[..., :3].copy()
    rgb[np.isnan(channels).any(axis=-1)] = MISSING
    return rgb


def _enlarged(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image with each pixel as a block, or nearly so where the sides do not divide."""
    image = Image.fromarray(rgb).resize((size[1], size[0]), Image.Resampling.NEAREST)
    return np.asarray(image)
