"""Originals above their reconstructions, as one picture."""

import math

import numpy as np

from backstory.data.pictures import contact_sheet, pixels
from backstory.data.rows import Rows
from backstory.data.schema import Schema
from backstory.files import atomic_path
from backstory.jobs.output import Output


def write_pair_sheet(output: Output, originals: Rows, x: Rows, schema: Schema) -> None:
    """Write a picture: lines of originals (N, *shape), each above the line of their reconstructions x."""
    above, below = pixels(np.asarray(originals), schema), pixels(np.asarray(x), schema)
    columns = min(len(above), max(10, math.isqrt(2 * len(above))))
    lines = []
    for start in range(0, len(above), columns):
        for images in (above, below):
            line = images[start : start + columns]
            blank = np.zeros((columns - len(line), *line.shape[1:]), np.uint8)
            lines.append(np.concatenate([line, blank]))
    with atomic_path(output.path, output.force) as temporary:
        contact_sheet(np.concatenate(lines), columns).save(temporary, format="PNG")
