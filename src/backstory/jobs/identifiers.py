"""The columns of a table that name or number its rows, which stand before results of these rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from backstory.files import EXCEL, TABLES, format_of
from backstory.jobs.output import Output
from backstory.jobs.source import ChosenRows, Source


def identified(
    columns: Mapping[str, np.ndarray], output: Output, source: Source, chosen: ChosenRows
) -> dict[str, Any]:
    """Results by column, each (N,), after the identifiers and the index of the rows if a table is written.

    An identifier with the name of a result gets the sign _ after it.
    """
    path, schema = source.path, chosen.data.schema
    names = [column.name for column in schema.left_out if column.reason in ("identifier", "index")]
    if not names or output.format not in TABLES or path is None or format_of(path) not in (*TABLES, *EXCEL):
        return dict(columns)
    from backstory.data.tables.frames import whole_frame  # with pandas, which is slow to import

    frame = whole_frame(path, chosen.data).iloc[chosen.index]
    known = {str(name).strip(): cells.to_numpy() for name, cells in frame.items()}
    own = {name + "_" * (name in columns): known[name] for name in names if name in known}
    return own | dict(columns)
