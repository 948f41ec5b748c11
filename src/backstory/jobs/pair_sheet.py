"""Images above others, as one picture: originals and reconstructions, means and draws."""

import math

import numpy as np

from backstory.data.pictures import contact_sheet, pixels
from backstory.data.rows import Rows
from backstory.data.schema import Schema
from backstory.files import atomic_path
from backstory.jobs.output import Output


def write_pair_sheet(
    output: Output, first: Rows, second: Rows, schema: Schema, columns: int | None = None
) -> None:
    """Write a picture: lines of images (N, *shape), each above the line of the N images beside them.

    Args:
        output: where to write.
        first, second: the images above, and those below.
        schema: of the images.
        columns: number of images in a line; by default ten or more.
    """
    above, below = pixels(np.asarray(first), schema), pixels(np.asarray(second), schema)
    columns = min(len(above), columns or max(10, math.isqrt(2 * len(above))))
    lines = []
    for start in range(0, len(above), columns):
        for images in (above, below):
            line = images[start : start + columns]
            blank = np.zeros((columns - len(line), *line.shape[1:]), np.uint8)
            lines.append(np.concatenate([line, blank]))
    with atomic_path(output.path, output.force) as temporary:
        contact_sheet(np.concatenate(lines), columns).save(temporary, format="PNG")
