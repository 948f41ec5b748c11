"""The ways in which the cells of a column of numbers may be written, and the recognition of a column's own.

A way of writing is a record that reads texts (`numbers`) and writes them (`text`). It is kept with the
column, so that files that are written look like those that were read; the model gets the numbers. A new way
is a class like `Amount` with a line in `WAYS` and in `Writing`.
"""

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

from backstory.data.tables.amounts import Amount
from backstory.data.tables.clocks import Clock, Span

WAYS = (Amount, Clock, Span)
Writing = Annotated[Amount | Clock | Span, Field(discriminator="way")]
MOSTLY = 0.9  # share of the cells of one kind from which the rest is taken for mistakes


def recognised(counts: Mapping[str, int], decimal: str | None = None) -> Amount | Clock | Span | None:
    """The way that reads the most cells, at least nine of ten; None if there is none.

    Args:
        counts: number of cells by text, numbers in the usual way included.
        decimal: the sign before decimals, where it is known.

    >>> print(recognised({"$5.00": 9, "$1,250.00": 3}))
    written as $1,234.50
    """
    weights = np.array(list(counts.values()), np.float64)
    ways = [way for kind in WAYS if (way := kind.recognised(counts, decimal)) is not None]
    shares = [float(weights @ ~np.isnan(way.numbers(counts))) for way in ways]
    best = int(np.argmax(shares)) if ways else 0
    return ways[best] if ways and shares[best] >= MOSTLY * weights.sum() else None
