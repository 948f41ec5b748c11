"""The command line: parsing and printing only. Every command is a call or two of the public API.

What a command computes goes to the file of `-o`, or to standard output where it is a table or, with
`--json`, one JSON object. Everything else (progress, notes, warnings) goes to standard error.
Exit status: 0 done, 2 the user's mistake, 1 a failure of ours, 130 interrupted; one line says which.
Modules that need PyTorch are imported inside the commands, so that `--help` and `info` answer at once.
"""

import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from backstory import __version__
from backstory.cli import parameters as o
from backstory.errors import InputError, TrainingFailed

app = typer.Typer(
    name="backstory",
    help="Variational autoencoders on your own data: train, sample, encode, and use p(x).",
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


# parameters of the command `fit` that are no options of `backstory.fit`
NOT_OPTIONS = ("data", "run", "resize", "column", "schema", "as_json")


@app.callback(invoke_without_command=True)
def start(context: typer.Context, version: o.Version = False) -> None:
    if version:
        typer.echo(f"backstory {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), nl=False)


@app.command()
def fit(
    context: typer.Context,
    data: o.Data,
    run: o.NewRun,
    likelihood: o.Likelihood = None,
    network: o.Network = None,
    hidden: o.Hidden = None,
    activation: o.Activation = None,
    latent: o.Latent = None,
    prior: o.Prior = None,
    components: o.Components = None,
    posterior: o.Posterior = None,
    sigma: o.Sigma = None,
    sigma_floor: o.SigmaFloor = None,
    bounded: o.Bounded = None,
    missingness: o.Missingness = None,
    objective: o.Objective = None,
    objective_args: o.ObjectiveArgs = None,
    samples: o.Draws = None,
    beta: o.Beta = None,
    warmup: o.Warmup = None,
    warmup_cycles: o.WarmupCycles = None,
    epochs: o.Epochs = None,
    minutes: o.Minutes = None,
    batch_size: o.BatchSize = None,
    lr: o.LearningRate = None,
    ema: o.Ema = None,
    clip: o.Clip = None,
    skip_spikes: o.SkipSpikes = None,
    patience: o.Patience = None,
    keep: o.Keep = None,
    compile: o.Compile = None,
    ensemble: o.EnsembleSize = None,
    precision: o.Precision = None,
    validation: o.Validation = None,
    seed: o.FitSeed = None,
    device: o.Device = "auto",
    devices: o.Devices = None,
    nodes: o.Nodes = None,
    strategy: o.Strategy = "ddp",
    resize: o.Resize = None,
    stream: o.Stream = None,
    column: o.Column = None,
    schema: o.SchemaFile = None,
    checkpoint_every: o.CheckpointEvery = 60.0,
    tensorboard: o.TensorBoard = False,
    resume: o.GoOn = False,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Train a model on DATA and write it to the folder RUN."""
    import backstory
    from backstory import console
    from backstory.cli import text
    from backstory.jobs import rows as io
    from backstory.runs.info import run_info

    backstory.keep_memory()
    options = {name: v for name, v in context.params.items() if name not in NOT_OPTIONS and v is not None}
    if hidden is not None:
        options["hidden"] = hidden.split(",")
    if objective_args is not None:
        options["objective_args"] = io.named_values(objective_args, "objective-args")
    options |= {"resize": io.size(resize), "columns": io.said_of_columns(column, schema)}
    with text.advice_to_resume(data, run):
        model = backstory.fit(data, run, **options)
    if console.hushed():  # one of many processes; the first goes on alone
        return
    io.write_training_pictures(run, model)
    if as_json:
        text.print_json(run_info(run))
    else:
        text.print_run(run_info(run))
        text.say(f"run written to {run}, its picture to {io.picture_of(run, model)}")
    if model.summary["stopped"] == "interrupted":
        with text.advice_to_resume(data, run):
            raise KeyboardInterrupt


@app.command()
def sample(
    run: o.Run,
    output: o.Output,
    number: o.Number = 64,
    mean: o.Mean = False,
    temperature: o.Temperature = 1.0,
    where: o.Where = None,
    seed: o.FreeSeed = None,
    prior: o.LaterPrior = None,
    components: o.Components = None,
    data: o.PriorData = None,
    device: o.Device = "auto",
    force: o.Force = False,
) -> None:
    """Draw new observations: z ~ p(z), then x ~ p(x|z); with --where from p(x | what is given)."""
    import backstory
    from backstory.cli import text
    from backstory.jobs import rows as io

    io.check_paths([output], force)
    model = backstory.open(run, device)
    if prior is not None:
        io.fit_prior(model, prior, components, data, seed or 0)
    elif components is not None or data is not None:
        raise InputError("--components and --data belong to --prior mixture; add it, or leave them out")
    given = None if where is None else io.given_cells(model.schema, where)
    x = model.sample(number, mean=mean, temperature=temperature, seed=seed, where=given)
    io.write_observations(output, x, model.schema, None, force)
    what = "means E[x|z], which are no draws of x" if mean else "draws of x"
    what += f" given {', '.join(where)}" if where else ""
    text.say(f"{number} {what}, written to {output}")


@app.command()
def encode(
    run: o.Run,
    data: o.Data,
    output: o.TableOutput,
    std: o.Std = False,
    draws: o.CodeDraws = None,
    split: o.Split = "auto",
    limit: o.Limit = None,
    seed: o.Seed = 0,
    resize: o.Resize = None,
    stream: o.Stream = None,
    device: o.Device = "auto",
    force: o.Force = False,
) -> None:
    """Write the posterior means of DATA, the columns z_0, z_1, … of a table."""
    import backstory
    from backstory.cli import text
    from backstory.jobs import rows as io

    std_file, draws_file = io.beside(output, "std"), io.beside(output, "draws")
    files = [output] + [std_file] * std + [draws_file] * (draws is not None)
    io.check_paths(files, force)
    io.at_least_one("draws", draws)
    model = backstory.open(run, device)
    if len(files) > 1 and model.vae.is_autoencoder:
        raise InputError("a plain autoencoder has codes without a spread; leave --std and --draws out")
    rows = io.rows(model, data, resize, stream, split, limit)
    q = model.encode(rows, seed)
    io.write_codes(output, q.mean, force)
    if std:
        io.write_codes(std_file, q.std, force)
    if draws is not None:
        io.write_code_draws(draws_file, q, draws, seed, force)
    text.say(f"codes of {len(q.mean)} observations, written to {', '.join(map(str, files))}")
    io.report_seen(model, rows.values, split)


@app.command()
def reconstruct(
    run: o.Run,
    data: o.Data,
    output: o.Output,
    draw: o.Draw = False,
    split: o.Split = "auto",
    limit: o.Limit = None,
    seed: o.Seed = 0,
    resize: o.Resize = None,
    stream: o.Stream = None,
    device: o.Device = "auto",
    force: o.Force = False,
) -> None:
    """Write what remains of DATA after x -> z -> x.

    A .png shows originals above their reconstructions, of the first 30 rows unless --limit says otherwise.
    """
    import backstory
    from backstory.cli import text
    from backstory.jobs import rows as io

    io.check_paths([output], force)
    model = backstory.open(run, device)
    sheet = output.suffix.lower() == ".png"
    rows = io.rows(model, data, resize, stream, split, 30 if sheet and limit is None else limit)
    x = model.reconstruct(rows, mean=not draw, seed=seed)
    if sheet:
        io.write_pairs(output, rows.values, x, model.schema, force)
    else:
        io.write_observations(output, x, model.schema, rows.names, force)
    what = "draws of x" if draw else "means E[x|z]"
    text.say(
        f"{len(x)} {'originals above their ' if sheet else ''}reconstructions ({what}), written to {output}"
    )
    io.report_seen(model, rows.values, split)


@app.command()
def restore(
    run: o.Run,
    data: o.Data,
    output: o.Output,
    mask: o.MaskFile = None,
    noise: o.NoiseSigma = None,
    downscale: o.Factor = None,
    blur: o.BlurSigma = None,
    whole: o.Whole = False,
    missing: o.HiddenShare = None,
    draws: o.RestoredDraws = None,
    std: o.Std = False,
    method: o.Restoring = "auto",
    budget: o.Budget = None,
    split: o.Split = "auto",
    limit: o.Limit = None,
    seed: o.Seed = 0,
    resize: o.Resize = None,
    stream: o.Stream = None,
    device: o.Device = "auto",
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Write the best guess of x where DATA is what is left of it: masked, noisy, small, blurred, incomplete.

    Empty cells and NaN are missing without a mask. A .png shows what came, its restoration, draws and what is
    uncertain, of the first 16 images unless --limit says otherwise; one image file becomes an image.
    """
    import backstory
    from backstory.cli import text
    from backstory.jobs import restore as restoring
    from backstory.jobs import rows as io
    from backstory.jobs.damage import Damage, read_case

    io.at_least_one("draws", draws)
    sheet = restoring.is_sheet(output, data)
    files = restoring.files_of(output, sheet, draws, std)
    io.check_paths(list(files.values()), force)
    model = backstory.open(run, device)
    restoring.check_output(output, model)
    damage = Damage(mask, noise, downscale, blur, missing)
    limit = restoring.SHEET_ROWS if sheet and limit is None else limit
    case = read_case(model, data, damage, whole, resize, stream, split, limit, seed)
    count = draws or (restoring.SHEET_DRAWS if sheet else 1)
    found = model.restore(case.y, case.operator, count, method, seed, True, **io.given(budget=budget))
    if sheet:
        restoring.write_sheet(output, model, case, found, force)
    else:
        restoring.write_results(files, case, found, data, force)
    if as_json:
        text.print_json(restoring.record_of(case, found, files))
    restoring.say_untouched(found)
    restoring.say_written(found, files)
    io.report_seen(model, case.rows, split)


@app.command()
def impute(
    run: o.Run,
    data: o.Data,
    output: o.Output,
    draws: o.RestoredDraws = None,
    std: o.Std = False,
    method: o.Restoring = "auto",
    budget: o.Budget = None,
    seed: o.Seed = 0,
    stream: o.Stream = None,
    device: o.Device = "auto",
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Fill the empty cells of DATA with their best guess: the conditional mean, or the most probable level.

    --draws gives several imputations, of which each may be the truth. What is there is written as it stands
    in the file, and whole numbers stay whole.
    """
    import backstory
    from backstory.cli import text
    from backstory.jobs import restore as restoring
    from backstory.jobs import rows as io
    from backstory.jobs.damage import Damage, read_case

    io.at_least_one("draws", draws)
    files = restoring.files_of(output, False, draws, std)
    io.check_paths(list(files.values()), force)
    model = backstory.open(run, device)
    restoring.check_output(output, model)
    case = read_case(model, data, Damage(), stream=stream)
    found = model.restore(case.y, case.operator, draws or 1, method, seed, True, **io.given(budget=budget))
    restoring.write_results(files, case, found, data, force)
    columns = restoring.filled(case)
    if as_json:
        record = restoring.record_of(case, found, files)
        text.print_json(record | {"filled": sum(columns.values()), "columns": columns})
    else:
        text.print_filled(columns, len(found.mean), found.mean.size // len(columns))
    restoring.say_untouched(found)
    restoring.say_written(found, files)


@app.command()
def score(
    run: o.Run,
    data: o.Data,
    output: o.TableOutput,
    reference: o.Reference = None,
    split: o.Split = "auto",
    limit: o.Limit = None,
    seed: o.Seed = 0,
    resize: o.Resize = None,
    stream: o.Stream = None,
    device: o.Device = "auto",
    force: o.Force = False,
) -> None:
    """Write how strange each row of DATA is: log p(x), its p-value, and the columns that make it strange.

    The p-value is the share of held-out training rows with a log p(x) no higher. A column is named
    where at most one held-out row in twenty has a value as surprising, up to three, the most surprising
    first.
    """
    import backstory
    from backstory.cli import text
    from backstory.jobs import rows as io

    io.check_paths([output], force)
    model = backstory.open(run, device)
    rows = io.rows(model, data, resize, stream, split, limit)
    held_out = None if reference is None else io.rows(model, reference, resize, stream, "auto").values
    scores = model.score(rows.values, held_out, seed)
    io.write_scores(output, scores, model.schema, force)
    text.say(f"scores of {len(scores.p_value)} observations, written to {output}")
    io.report_seen(model, rows.values, split)


@app.command()
def evaluate(
    run: o.Run,
    data: o.Data,
    samples: o.EvidenceSamples = None,
    method: o.Method = None,
    steps: o.Steps = None,
    leapfrog: o.Leapfrog = None,
    start: o.Start = None,
    schedule: o.Schedule = None,
    resume: o.Resume = None,
    chunk: o.Chunk = None,
    missing: o.HiddenShare = None,
    mask: o.MaskFile = None,
    noise: o.NoiseSigma = None,
    downscale: o.Factor = None,
    blur: o.BlurSigma = None,
    draws: o.IntervalDraws = None,
    budget: o.Budget = None,
    split: o.Split = "auto",
    limit: o.Limit = None,
    seed: o.Seed = 0,
    resize: o.Resize = None,
    stream: o.Stream = None,
    device: o.Device = "auto",
    as_json: o.Json = False,
) -> None:
    """Report the ELBO, its two terms and the log-evidence log p(x) of DATA, in nats per observation.

    With --missing, --mask, --noise, --downscale or --blur: damage DATA so, restore it, and report how near
    that comes, and whether the intervals of the draws hold what they promise.
    """
    from dataclasses import asdict

    import backstory
    from backstory.cli import text
    from backstory.inference.evidence import check_settings
    from backstory.jobs import restore as restoring
    from backstory.jobs import rows as io
    from backstory.jobs.damage import Damage

    annealing = {"steps": steps, "leapfrog": leapfrog, "start": start, "schedule": schedule, "resume": resume}
    damage = Damage(mask, noise, downscale, blur, missing)
    io.at_least_one("chunk", chunk)
    io.at_least_one("draws", draws)
    where = (resize, stream, split, limit)
    seen: Any  # rows as they came
    if damage:
        io.refuse("the evidence of whole data", samples=samples, **annealing)
        how = io.given(draws=draws, budget=budget, chunk=chunk, method=method)
        model = backstory.open(run, device)
        seen, recovery = restoring.evaluate(model, data, damage, where, seed, how)
        result = asdict(recovery)
    else:
        io.refuse(
            "restoration, and needs --missing, --mask, --noise, --downscale or --blur",
            draws=draws,
            budget=budget,
        )
        how = io.given(**annealing)
        check_settings(method or "is", samples, **how)
        model = backstory.open(run, device)
        seen = io.rows(model, data, *where).values
        result = asdict(model.evaluate(seen, samples, seed, chunk, True, method or "is", **how))
    if as_json:
        text.print_json(result)
    elif damage:
        text.print_recovery(result, model.schema.kind == "images")
    else:
        text.print_evaluation(result)
    io.report_seen(model, seen, split)


@app.command()
def info(
    about: o.RunOrData = None,
    column: o.Column = None,
    schema: o.NewSchemaFile = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Describe a run, or data and what the columns of a table hold; without either, the installation.

    --schema writes what the columns hold to a file, to be corrected and given to fit --schema.
    """
    from backstory.cli import text
    from backstory.runs.info import environment, is_data, run_info

    if about is not None and is_data(about):
        _describe_data(about, column, schema, force, as_json)
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


def _describe_data(
    source: str, column: list[str] | None, schema: Path | None, force: bool, as_json: bool
) -> None:
    from backstory.cli import text
    from backstory.data.tables import summary as column_table
    from backstory.jobs import rows as io

    io.check_paths([schema] if schema else [], force)
    data = io.read(source, None, None, io.said_of_columns(column, None))
    if schema is not None:
        if not data.schema.kinds:
            raise InputError(
                f"expected a table for --schema, got {source}, which has no columns; leave it out"
            )
        io.write_schema(schema, column_table.records(data.schema), force)
    if as_json:
        text.print_json(io.record_of_data(data))
    else:
        text.print_data(io.record_of_data(data))
        column_table.show(data.schema, stderr=False)
    if schema is not None:
        text.say(f"what the columns hold, written to {schema}: correct it, and give it to fit --schema")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, by default the process's own; the exit status."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("warning: %(message)s"))
    logger = logging.getLogger("backstory")
    logger.addHandler(handler)
    command = typer.main.get_command(app)
    try:
        status = command.main(
            None if arguments is None else list(arguments), prog_name="backstory", standalone_mode=False
        )
    except (Exception, KeyboardInterrupt) as error:
        return _fail(error)
    finally:
        logger.removeHandler(handler)
    if status == 130:  # how newer versions of Typer pass Ctrl-C on
        return _fail(KeyboardInterrupt())
    return status if isinstance(status, int) else 0


def _fail(error: BaseException) -> int:
    """One line on standard error, and the exit status."""
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        text, status = "interrupted", 130
    elif isinstance(error, InputError):
        text, status = f"error: {_with_dashes(str(error))}", 2
    elif isinstance(error, TrainingFailed):
        text, status = f"error: {error}", 1
    elif hasattr(error, "format_message"):  # Typer's own, for a command line that cannot be parsed
        text, status = f"error: {_usage(error)}", 2
    elif isinstance(error, OSError):
        text, status = f"error: {error.strerror or error}: {error.filename or 'file system'}", 2
    else:
        hint = "a bug in backstory, or not enough memory; BACKSTORY_DEBUG=1 shows where"
        text, status = f"error: {type(error).__name__}: {error} ({hint})", 1
    if getattr(error, "told", False):  # by another of many processes, of which the first has the status
        from backstory import console

        return 0 if console.hushed() else status
    print(" ".join(text.split()), file=sys.stderr)
    if os.environ.get("BACKSTORY_DEBUG"):
        traceback.print_exception(error)
    return status


def _with_dashes(text: str) -> str:
    """A message of the library with its options, which stand in backticks, as the command line has them."""
    return re.sub(r"`([a-z_]+)`", lambda match: "--" + match[1].replace("_", "-"), text)


def _usage(error: Any) -> str:
    text = error.format_message().rstrip(".")
    path = error.ctx.command_path if getattr(error, "ctx", None) else "backstory"
    return text if "id you mean" in text else f"{text}; see {path} --help"


if __name__ == "__main__":
    sys.exit(main())
