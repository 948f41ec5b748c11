"""What names or numbers rows, which stands before their results: columns of a table, names of files."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from backstory.files import EXCEL, TABLES, format_of
from backstory.jobs.output import Output
from backstory.jobs.source import ChosenRows, Source

FILE = "file"  # the column of the names of image files
ROW = "row"  # the column of the numbers of rows


def identified(
    columns: Mapping[str, np.ndarray], output: Output, source: Source, chosen: ChosenRows
) -> dict[str, Any]:
    """Results by column, each (N,), after the identifiers and the index of the rows if a table is written.

    The images of a folder have the column `file`. Rows of a part of the data that have no identifier have the
    column `row`, their numbers in the data, from 0. An identifier with the name of a result gets the sign _
    after it.
    """
    path, schema = source.path, chosen.data.schema
    if chosen.names is not None and output.format in TABLES:
        return {FILE: np.array(chosen.names, object), **columns}
    names = [column.name for column in schema.left_out if column.reason in ("identifier", "index")]
    is_known = bool(names) and path is not None and format_of(path) in (*TABLES, *EXCEL)
    if output.format not in TABLES or not is_known or path is None:
        is_part = output.format in TABLES and len(chosen.index) < len(chosen.data) and ROW not in columns
        return {ROW: chosen.index, **columns} if is_part else dict(columns)
    from backstory.data.tables.frames import whole_frame  # with pandas, which is slow to import

    frame = whole_frame(path, chosen.data).iloc[chosen.index]
    known = {str(name).strip(): cells.to_numpy() for name, cells in frame.items()}
    own = {name + "_" * (name in columns): known[name] for name in names if name in known}
    return own | dict(columns)
