"""The command line: parsing and printing only. Every command is a call or two of the public API.

What a command computes goes to the file of `-o`, or to standard output where it is a table or, with
`--json`, one JSON object. Everything else (progress, notes, warnings) goes to standard error.
Exit status: 0 done, 2 the user's mistake, 1 a failure of ours, 130 interrupted; one line says which.
Modules that need PyTorch are imported inside the commands, so that `--help` and `info` answer at once.
"""

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer

from backstory import __version__
from backstory import cli_options as o
from backstory.errors import InputError, TrainingFailed

app = typer.Typer(
    name="backstory",
    help="Variational autoencoders on your own data: train, sample, encode, and use p(x).",
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


# parameters of the command `fit` that are no options of `backstory.fit`
NOT_OPTIONS = ("data", "run", "resize", "stream", "as_json")


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
    compile: o.Compile = None,
    precision: o.Precision = None,
    validation: o.Validation = None,
    seed: o.FitSeed = None,
    device: o.Device = "auto",
    resize: o.Resize = None,
    stream: o.Stream = None,
    checkpoint_every: o.CheckpointEvery = 60.0,
    tensorboard: o.TensorBoard = False,
    resume: o.GoOn = False,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Train a model on DATA and write it to the folder RUN."""
    import backstory
    from backstory import cli_io as io
    from backstory import cli_text as text
    from backstory.info import run_info

    backstory.keep_memory()
    options = {name: v for name, v in context.params.items() if name not in NOT_OPTIONS and v is not None}
    if hidden is not None:
        options["hidden"] = hidden.split(",")
    if objective_args is not None:
        options["objective_args"] = io.named_values(objective_args, "objective-args")
    with text.advice_to_resume(data, run):
        model = backstory.fit(io.read(data, resize, stream), run, **options)
    io.write_training_picture(run, model.summary["best_epoch"])
    if as_json:
        text.print_json(run_info(run))
    else:
        text.print_run(run_info(run))
        text.say(f"run written to {run}, its picture to {run / 'training.png'}")
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
    seed: o.FreeSeed = None,
    prior: o.LaterPrior = None,
    components: o.Components = None,
    data: o.PriorData = None,
    device: o.Device = "auto",
    force: o.Force = False,
) -> None:
    """Draw new observations: z ~ p(z), then x ~ p(x|z)."""
    import backstory
    from backstory import cli_io as io
    from backstory import cli_text as text

    io.refuse_existing([output], force)
    model = backstory.open(run, device)
    if prior is not None:
        io.fit_prior(model, prior, components, data, seed or 0)
    elif components is not None or data is not None:
        raise InputError("--components and --data belong to --prior mixture; add it, or leave them out")
    x = model.sample(number, mean=mean, temperature=temperature, seed=seed)
    io.write_observations(output, x, model.schema, None, force)
    what = "means E[x|z], which are no draws of x" if mean else "draws of x"
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
    from backstory import cli_io as io
    from backstory import cli_text as text

    std_file, draws_file = io.beside(output, "std"), io.beside(output, "draws")
    files = [output] + [std_file] * std + [draws_file] * (draws is not None)
    io.refuse_existing(files, force)
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
    from backstory import cli_io as io
    from backstory import cli_text as text

    io.refuse_existing([output], force)
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
def evaluate(
    run: o.Run,
    data: o.Data,
    samples: o.EvidenceSamples = None,
    method: o.Method = "is",
    steps: o.Steps = None,
    leapfrog: o.Leapfrog = None,
    start: o.Start = None,
    schedule: o.Schedule = None,
    resume: o.Resume = None,
    chunk: o.Chunk = None,
    split: o.Split = "auto",
    limit: o.Limit = None,
    seed: o.Seed = 0,
    resize: o.Resize = None,
    stream: o.Stream = None,
    device: o.Device = "auto",
    as_json: o.Json = False,
) -> None:
    """Report the ELBO, its two terms and the log-evidence log p(x) of DATA, in nats per observation."""
    from dataclasses import asdict

    import backstory
    from backstory import cli_io as io
    from backstory import cli_text as text
    from backstory.inference.evidence import check_settings

    how: dict[str, Any] = {"steps": steps, "leapfrog": leapfrog, "start": start, "schedule": schedule}
    how = {name: value for name, value in {**how, "resume": resume}.items() if value is not None}
    check_settings(method, samples, **how)
    io.at_least_one("chunk", chunk)
    model = backstory.open(run, device)
    rows = io.rows(model, data, resize, stream, split, limit)
    result = asdict(model.evaluate(rows, samples, seed, chunk, True, method, **how))
    if as_json:
        text.print_json(result)
    else:
        text.print_evaluation(result)
    io.report_seen(model, rows.values, split)


@app.command()
def info(run: o.AnyRun = None, as_json: o.Json = False) -> None:
    """Describe a run; without RUN, the versions, devices and embedded data sets."""
    from backstory import cli_text as text
    from backstory.info import environment, run_info

    record = environment() if run is None else run_info(run)
    if as_json:
        text.print_json(record)
    elif run is None:
        text.print_table(record)
    else:
        text.print_run(record)


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
        text, status = f"error: {error}", 2
    elif isinstance(error, TrainingFailed):
        text, status = f"error: {error}", 1
    elif hasattr(error, "format_message"):  # Typer's own, for a command line that cannot be parsed
        text, status = f"error: {_usage(error)}", 2
    elif isinstance(error, OSError):
        text, status = f"error: {error.strerror or error}: {error.filename or 'file system'}", 2
    else:
        hint = "a bug in backstory, or not enough memory; BACKSTORY_DEBUG=1 shows where"
        text, status = f"error: {type(error).__name__}: {error} ({hint})", 1
    print(" ".join(text.split()), file=sys.stderr)
    if os.environ.get("BACKSTORY_DEBUG"):
        traceback.print_exception(error)
    return status


def _usage(error: Any) -> str:
    text = error.format_message().rstrip(".")
    path = error.ctx.command_path if getattr(error, "ctx", None) else "backstory"
    return text if "id you mean" in text else f"{text}; see {path} --help"


if __name__ == "__main__":
    sys.exit(main())
