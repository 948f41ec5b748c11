"""Images above others, as one picture: originals and reconstructions, means and draws."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from backstory.data.pictures import GREY, contact_sheet, labelled, pixels
from backstory.data.rows import Rows
from backstory.data.schema import Schema
from backstory.files import atomic_path
from backstory.jobs.output import Output


def write_line_sheet(
    output: Output,
    lines: Mapping[str, Rows],
    schema: Schema,
    columns: int | None = None,
    blocks: Sequence[str] | None = None,
) -> None:
    """Write a picture: lines of images, each with its label, in blocks of so many columns.

    Args:
        output: where to write.
        lines: N images, (N, *shape), by the label of their line; images i of all lines stand in a column.
        schema: of the images.
        columns: number of images in a line; by default ten or more.
        blocks: labels of the blocks, before those of their lines.
    """
    pictures = {label: pixels(np.asarray(images), schema) for label, images in lines.items()}
    count = len(next(iter(pictures.values())))
    columns = min(count, columns or max(10, math.isqrt(2 * count)))
    cells, labels = [], []
    for block, start in enumerate(range(0, count, columns)):
        for label, images in pictures.items():
            line = images[start : start + columns]
            blank = np.full((columns - len(line), *line.shape[1:]), GREY, np.uint8)
            cells.append(np.concatenate([line, blank]))
            labels.append(label if blocks is None else f"{blocks[block]} {label}".rstrip())
    with atomic_path(output.path, output.force) as temporary:
        labelled(contact_sheet(np.concatenate(cells), columns), labels).save(temporary, format="PNG")
