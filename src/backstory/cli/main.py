"""The command line: parsing and printing only. Every command is a job, or a call or two of the public API.

What a command computes goes to the file of `-o`, or to standard output where it is a table or, with
`--json`, one JSON object. Everything else (progress, notes, warnings) goes to standard error.
Exit status: 0 done, 2 the user's mistake, 1 a failure of ours, 130 interrupted by Ctrl-C or SIGTERM; one line
says which.
Modules that need PyTorch are imported inside the commands, so that `--help` and `info` answer at once.
"""

import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence
from functools import cache
from typing import Any

import typer

from backstory import __version__
from backstory.cli import parameters as o
from backstory.cli.classify import classify
from backstory.cli.compare import compare
from backstory.cli.encode import encode
from backstory.cli.evaluate import evaluate
from backstory.cli.fit import FitCommand, fit, option_names
from backstory.cli.groups import grouped
from backstory.cli.impute import impute
from backstory.cli.info import info
from backstory.cli.parsing import import_module
from backstory.cli.reconstruct import reconstruct
from backstory.cli.restore import restore
from backstory.cli.sample import sample
from backstory.cli.score import score
from backstory.console import terminable
from backstory.errors import InputError, TrainingFailed

COMMANDS = (fit, sample, encode, reconstruct, restore, impute, score, classify, evaluate, compare, info)

app = typer.Typer(
    name="backstory",
    help="Variational autoencoders on your own data: train, sample, encode, and use p(x).",
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in COMMANDS:
    app.command(cls=FitCommand if _command is fit else None)(grouped(_command))


@app.callback(invoke_without_command=True)
def start(context: typer.Context, version: o.Version = False, modules: o.Import = None) -> None:
    if version:
        typer.echo(f"backstory {__version__}")
        raise typer.Exit
    for module in modules or ():
        import_module(module)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), nl=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, by default the process's own; the exit status."""
    command = typer.main.get_command(app)
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_Warning("warning: %(message)s"))
    logger = logging.getLogger("backstory")
    logger.addHandler(handler)
    try:
        with terminable():
            status = command.main(
                None if arguments is None else list(arguments), prog_name="backstory", standalone_mode=False
            )
    except (Exception, KeyboardInterrupt) as error:
        return fail(error)
    finally:
        logger.removeHandler(handler)
    if status == 130:  # how newer versions of Typer pass Ctrl-C on
        return fail(KeyboardInterrupt())
    return status if isinstance(status, int) else 0


def fail(error: BaseException) -> int:
    """Print one line on standard error; the exit status."""
    line, status = _line_of(error)
    if getattr(error, "told", False):  # by another of many processes, of which the first has the status
        from backstory import console

        return 0 if console.hushed() else status
    print(with_dashes(" ".join(line.split())), file=sys.stderr)
    if os.environ.get("BACKSTORY_DEBUG"):
        traceback.print_exception(error)
    return status


def _line_of(error: BaseException) -> tuple[str, int]:
    """What to print of an error, and the exit status."""
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return "interrupted", 130
    if isinstance(error, InputError):
        return f"error: {error}", 2
    if isinstance(error, TrainingFailed):
        return f"error: {error}", 1
    if hasattr(error, "format_message"):  # Typer's own, for a command line that cannot be parsed
        return f"error: {_usage(error)}", 2
    if isinstance(error, OSError):
        return f"error: {error.strerror or error}: {error.filename or 'file system'}", 2
    hint = "a bug in backstory, or not enough memory; BACKSTORY_DEBUG=1 shows where"
    return f"error: {type(error).__name__}: {error} ({hint})", 1


def _usage(error: Any) -> str:
    text = error.format_message().rstrip(".")
    path = error.ctx.command_path if getattr(error, "ctx", None) else "backstory"
    return text if "id you mean" in text else f"{text}; see {path} --help"


# -- names of options -----------------------------------------------------------------------------------


def with_dashes(text: str) -> str:
    """A message of the library, which writes options in backticks, in the spelling of the command line.

    >>> with_dashes("x.csv exists; use `force` to replace it")
    'x.csv exists; use --force to replace it'
    """
    return re.sub(r"`(\w+)`", lambda match: _option_names().get(match[1], match[0]), text)


@cache
def _option_names() -> dict[str, str]:
    """The option that each parameter of a command is, such as --objective-args for objective_args."""
    group: Any = typer.main.get_command(app)
    options = [option for command in group.commands.values() for option in command.params]
    names = {option.name: option.opts[-1] for option in options if option.opts[-1].startswith("--")}
    others = {"columns": "--column", "constraints": "--constraint", "import": "--import"}  # of one name each
    return names | option_names() | others


class _Warning(logging.Formatter):
    """Warnings of the library as lines of the command line."""

    def format(self, record: logging.LogRecord) -> str:
        return with_dashes(super().format(record))


if __name__ == "__main__":
    sys.exit(main())
