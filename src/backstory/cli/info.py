"""`backstory info`: a run, data, or the installation."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backstory.cli import parameters as o
from backstory.cli.groups import ReadingOptions
from backstory.errors import InputError

if TYPE_CHECKING:
    from backstory.jobs.output import Output


@dataclass(frozen=True)
class DescriptionOptions:
    """The files to write with a description."""

    schema: o.NewSchemaFile = None
    output: o.Sheet = None
    force: o.Force = False

    def target(self, path: Path | None) -> "Output | None":
        """Where a job is to write one of them."""
        from backstory.jobs.output import Output

        return None if path is None else Output(path, self.force)


def info(
    reading: ReadingOptions,
    *,
    about: o.RunOrData = None,
    column: o.Column = None,
    files: DescriptionOptions,
    as_json: o.Json = False,
) -> None:
    """Describe a run, or data and what the columns of a table hold; without either, the installation.

    A folder of images is described by the headers of its files; -o writes a contact sheet of the first 64.
    --schema writes what the columns hold to a file, which can be corrected and given to fit --schema.
    """
    from backstory.cli import parsing, text
    from backstory.runs.info import environment, is_data, run_info

    if about is not None and is_data(about):
        if _is_images(about):
            _describe_images(about, files, as_json)
            return
        parsing.refuse("images", output=files.output)
        _describe(about, parsing.columns(column, None), files, as_json, reading.given())
        return
    if column or files.schema:
        raise InputError("--column and --schema of info are about the columns of a table; give a table")
    parsing.refuse("images", output=files.output)
    record = environment() if about is None else run_info(about)
    if as_json:
        text.print_json(record)
    elif about is None:
        text.print_table(record)
    else:
        text.print_run(record)


def _is_images(data: str) -> bool:
    """Whether this is a folder of images or an image."""
    from backstory.data.load import holds_images

    path = Path(data).expanduser()
    return path.exists() and holds_images(path)


def _describe_images(data: str, files: DescriptionOptions, as_json: bool) -> None:
    from backstory.cli import text
    from backstory.jobs.describe_images import describe_images

    described = describe_images(Path(data).expanduser(), files.target(files.output))
    if as_json:
        text.print_json(described.record())
    else:
        text.print_table(described.lines())
    if described.sheet is not None:
        text.say_written("a contact sheet", [described.sheet])


def _describe(
    data: str, columns: dict[str, Any], files: DescriptionOptions, as_json: bool, ways: dict[str, Any]
) -> None:
    from backstory.cli import text
    from backstory.data.reading import Reading
    from backstory.data.tables import summary
    from backstory.jobs.describe import describe
    from backstory.jobs.source import Source

    source = Source(data, reading=Reading.of(**ways))
    description = describe(source, columns, files.target(files.schema))
    if as_json:
        text.print_json(description.record())
    else:
        text.print_data(description.record())
        summary.show(description.schema, stderr=False)
    if description.file is not None:
        text.say(
            f"what the columns hold, written to {description.file}: correct it, and give it to fit --schema"
        )
