"""Schema files: what the columns of a table hold, as `.json` or `.toml`, for people to correct."""

import json
import tomllib
from pathlib import Path
from typing import Any

import tomli_w

from backstory.data.write import write_text
from backstory.errors import InputError
from backstory.files import format_of, reading
from backstory.jobs.output import Output


def read_schema(path: Path) -> dict[str, Any]:
    """The columns that a schema file describes, by name; InputError for a file of another content."""
    with reading(path, "a schema file"):
        text = path.read_text(encoding="utf-8")
        record = tomllib.loads(text) if format_of(path) == "toml" else json.loads(text)
    columns = record.get("columns") if isinstance(record, dict) else None
    if not isinstance(columns, dict):
        raise InputError(f'expected {{"columns": {{name: {{"kind": …}}}}}} in {path}; write it so')
    return columns


def write_schema(output: Output, columns: dict[str, dict[str, Any]]) -> None:
    """Write a schema file that `read_schema` reads; InputError for an ending but `.json` or `.toml`."""
    record = {"columns": columns}
    if output.format == "json":
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    elif output.format == "toml":
        text = tomli_w.dumps(record)
    else:
        raise InputError(f"expected a schema file that ends in .json or .toml, got {output.path}; name it so")
    write_text(output.path, text, output.force)
