"""`backstory info`: a run, data, or the installation."""

from pathlib import Path

from backstory.cli import parameters as o
from backstory.errors import InputError


def info(
    about: o.RunOrData = None,
    column: o.Column = None,
    schema: o.NewSchemaFile = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Describe a run, or data and what the columns of a table hold; without either, the installation.

    --schema writes what the columns hold to a file, which can be corrected and given to fit --schema.
    """
    from backstory.cli import text
    from backstory.runs.info import environment, is_data, run_info

    if about is not None and is_data(about):
        _describe(about, column, schema, force, as_json)
        return
    if column or schema:
        raise InputError("--column and --schema of info are about the columns of a table; give a table")
    record = environment() if about is None else run_info(about)
    if as_json:
        text.print_json(record)
    elif about is None:
        text.print_table(record)
    else:
        text.print_run(record)


def _describe(data: str, column: list[str] | None, schema: Path | None, force: bool, as_json: bool) -> None:
    from backstory.cli import parsing, text
    from backstory.data.tables import summary
    from backstory.jobs.describe import describe
    from backstory.jobs.output import Output
    from backstory.jobs.source import Source

    file = None if schema is None else Output(schema, force)
    description = describe(Source(data), parsing.columns(column, None), file)
    if as_json:
        text.print_json(description.record())
    else:
        text.print_data(description.record())
        summary.show(description.schema, stderr=False)
    if description.file is not None:
        text.say(
            f"what the columns hold, written to {description.file}: correct it, and give it to fit --schema"
        )
