"""`backstory fit`: training. The options of model and training are made from the records of `options`."""

import inspect
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from backstory.cli import parameters as o
from backstory.cli.groups import ReadingOptions
from backstory.data.paths import path_of
from backstory.training.launcher import launcher_of

if TYPE_CHECKING:
    from backstory.options.catalogue import Option

# parameters of the command `fit` that are no options of `backstory.fit`
NOT_OPTIONS = ("data", "run", "column", "given", "schema", "as_json")
RECORDS = "backstory.records"  # where a command line keeps the parameters that are made from the records


class FitCommand(TyperCommand):
    """A command with the options of model and training, also of choices that `--import` registered."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters that its function declares, after those made from the records."""
        if RECORDS not in ctx.meta:
            ctx.meta[RECORDS] = record_parameters()
        return [*ctx.meta[RECORDS], *super().get_params(ctx)]

    def invoke(self, ctx: Any) -> Any:
        """Call its function; `context.obj` has the options made from the records that were given."""
        from backstory.options.catalogue import options

        made = {option.name: ctx.params.pop(option.name) for option in options()}
        ctx.obj = {name: value for name, value in made.items() if value is not None}
        return super().invoke(ctx)


def record_parameters() -> list[Any]:
    """The options of model and training as parameters of a command."""

    from backstory.options.catalogue import options

    def command(**values: Any) -> None: ...

    made = [_parameter(option) for option in options()]
    command.__signature__ = inspect.Signature(made)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in made}
    app = typer.Typer(add_completion=False)
    app.command()(command)
    parameters: list[Any] = typer.main.get_command(app).params
    return parameters


def _parameter(option: "Option") -> inspect.Parameter:
    kind = option.kind if option.kind in (bool, int, float) else str
    info = typer.Option(metavar=option.metavar, help=option.help, rich_help_panel=option.panel)
    annotation = Annotated[kind | None, info]  # type: ignore[valid-type]
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def option_names() -> dict[str, str]:
    """How the command line writes each option of model and training."""
    from backstory.options.catalogue import options

    return {option.name: "--" + option.name.replace("_", "-") for option in options()}


def fit(
    context: typer.Context,
    data: o.Data,
    run: o.NewRun,
    reading: ReadingOptions,
    validation: o.Validation = None,
    ensemble: o.EnsembleSize = None,
    device: o.Device = "auto",
    devices: o.Devices = None,
    nodes: o.Nodes = None,
    column: o.Column = None,
    given: o.GivenNames = None,
    weights: o.Weights = None,
    labelled: o.Labelled = None,
    schema: o.SchemaFile = None,
    checkpoint_every: o.CheckpointEvery = 60.0,
    tensorboard: o.TensorBoard = False,
    resume: o.GoOn = False,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Train a model on DATA and write it to the folder RUN."""
    from backstory.options.given import asked_options
    from backstory.options.presets import with_preset

    made = _parsed(context.obj)
    # a run that goes on has options of its own, and of many processes the first one refuses
    if not resume and launcher_of(os.environ) is None:
        path_of(data)
        asked_options(with_preset(made))
    import backstory  # with PyTorch, after what is wrong was refused
    from backstory import console
    from backstory.cli import parsing, text
    from backstory.jobs import fit as job
    from backstory.runs.info import run_info
    from backstory.runs.replacement import in_training

    backstory.keep_memory()
    left = (*NOT_OPTIONS, *vars(reading))
    options = {name: v for name, v in context.params.items() if name not in left and v is not None}
    options |= made | reading.given()
    options |= {"columns": parsing.columns(column, schema), "given": parsing.names(given)}
    with text.advice_to_resume(data, run):
        model = backstory.fit(data, run, **options)
    if console.hushed():  # one of many processes; the first goes on alone
        return
    folder = in_training(run)  # of an interrupted run that was to replace the one in RUN
    job.write_training_pictures(folder, model)
    if as_json:
        text.print_json(run_info(folder))
    else:
        text.print_run(run_info(folder))
        text.say(f"run written to {folder}, its picture to {job.picture_of(folder, model)}")
    if model.summary["stopped"] == "interrupted":
        with text.advice_to_resume(data, run):
            raise KeyboardInterrupt


def _parsed(given: dict[str, Any]) -> dict[str, Any]:
    """The options with lists of numbers taken apart."""
    from backstory.cli import parsing
    from backstory.options.catalogue import options

    parsed = dict(given)
    for option in options():
        if option.name in given and str(option.kind).startswith("tuple"):
            parsed[option.name] = given[option.name].split(",")
        if option.name in given and option.kind is dict:
            parsed[option.name] = parsing.named_values(given[option.name], option.name.replace("_", "-"))
    return parsed
