"""What a data set is, and what the columns of a table hold."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backstory.data.schema import Schema
from backstory.data.tables import summary
from backstory.errors import InputError
from backstory.jobs.output import Output
from backstory.jobs.schema_files import write_schema
from backstory.jobs.source import Source

if TYPE_CHECKING:
    from backstory.data.tables.columns import Columns


@dataclass(frozen=True)
class Description:
    """A data set in words.

    Attributes:
        source: where it came from.
        rows: the number of its observations.
        schema: what one observation is.
        file: the schema file that was written; None without one.
    """

    source: str
    rows: int
    schema: Schema
    file: Path | None = None

    def record(self) -> dict[str, Any]:
        """The description as one JSON object; a table also has `columns`, `relations` and `left_out`."""
        schema = self.schema
        record = {"source": self.source, "rows": self.rows}
        record |= schema.model_dump(mode="json", include={"kind", "shape", "dtype", "levels"})
        if schema.kinds:
            record["columns"] = [column.model_dump(mode="json") for column in schema.kinds]
            record["relations"] = [
                {
                    "relation": relation.text,
                    "kind": relation.kind,
                    "rows": relation.rows,
                    "told": relation.told,
                }
                for relation in schema.related.all
            ]
            record["left_out"] = [column.model_dump(mode="json") for column in schema.left_out]
        return record


def describe(
    source: Source, columns: "Columns | None" = None, schema_file: Output | None = None
) -> Description:
    """Describe a data set, and write what its columns hold to a schema file if one is given.

    Args:
        source: the data; its rows are not chosen from.
        columns: what some columns hold, by name; the kinds of the others are inferred.
        schema_file: `.json` or `.toml`.

    Raises:
        InputError: the data cannot be read, or a schema file is asked for data without columns.
    """
    if schema_file is not None:
        schema_file.check()
    data = source.load(columns=columns)
    if schema_file is not None:
        if not data.schema.kinds:
            raise InputError(
                f"expected a table for `schema`, got {data.source}, which has no columns; leave it out"
            )
        write_schema(schema_file, summary.records(data.schema))
    return Description(data.source, len(data), data.schema, None if schema_file is None else schema_file.path)
