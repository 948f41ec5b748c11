"""`backstory fit`: training."""

import typer

from backstory.cli import parameters as o

# parameters of the command `fit` that are no options of `backstory.fit`
NOT_OPTIONS = ("data", "run", "resize", "column", "schema", "as_json")


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
    from backstory.cli import parsing, text
    from backstory.jobs import fit as job
    from backstory.runs.info import run_info

    backstory.keep_memory()
    options = {name: v for name, v in context.params.items() if name not in NOT_OPTIONS and v is not None}
    if hidden is not None:
        options["hidden"] = hidden.split(",")
    if objective_args is not None:
        options["objective_args"] = parsing.named_values(objective_args, "objective-args")
    options |= {"resize": parsing.size(resize), "columns": parsing.columns(column, schema)}
    with text.advice_to_resume(data, run):
        model = backstory.fit(data, run, **options)
    if console.hushed():  # one of many processes; the first goes on alone
        return
    job.write_training_pictures(run, model)
    if as_json:
        text.print_json(run_info(run))
    else:
        text.print_run(run_info(run))
        text.say(f"run written to {run}, its picture to {job.picture_of(run, model)}")
    if model.summary["stopped"] == "interrupted":
        with text.advice_to_resume(data, run):
            raise KeyboardInterrupt
