"""The options of the command line, each declared once; None leaves a choice to the API and its defaults.

The choices are spelt out here because the modules that define them are slow to import; a test compares them.
"""

from pathlib import Path
from typing import Annotated as A

from typer import Argument, Option

CHOICES = {
    "likelihood": "auto, bernoulli, categorical, logistic, gaussian, gaussian-fixed, gaussian-per-entry, "
    "gaussian-predicted, joint, student",
    "network": "auto, mlp, residual, plain, conv, linear",
    "activation": "relu, tanh, silu, gelu",
    "prior": "normal, mixture",
    "posterior": "gaussian, delta",
    "missingness": "random, self, self-high, self-low",
    "objective": "elbo, elbo-sampled, free-bits, capacity, stl, score, iwae, miwae, dreg, renyi, tcvae, mmd",
    "split": "train, validation, test, all",
    "method": "is, ais, exact",
    "restoration": "auto, encoder, importance, variational, hmc",
    "start": "posterior, prior",
    "schedule": "sigmoid, geometric, linear",
    "precision": "float32, bf16",
}

_DATA = (
    "An embedded data set (digits), a folder of images, an image, .npy, .npz, .csv, .parquet, an IDX file, "
    "or a folder of the four MNIST-style files."
)
_OUTPUT = "Where to write: .png, .npy, .npz, .csv, .parquet, or no ending for a folder of images."
_TABLE = "Where to write: .csv, .parquet, .npy or .npz."
_MODEL, _TRAINING, _AIS = "The model", "Training", "Annealing (ais)"
_DAMAGE = "What happened: blurred, then downscaled, then noisy, then partly seen"
_DEVICES = "Several devices"

# positions, and what most commands share
Data = A[str, Argument(metavar="DATA", help=_DATA)]
Run = A[Path, Argument(metavar="RUN", help="A run folder, made by backstory fit.")]
RunOrData = A[str | None, Argument(metavar="RUN|DATA", help=f"A run folder, or data. {_DATA}")]
NewRun = A[Path, Option("-o", "--output", metavar="RUN", help="The run folder to write.")]
Output = A[Path, Option("-o", "--output", metavar="FILE", help=_OUTPUT)]
TableOutput = A[Path, Option("-o", "--output", metavar="FILE", help=_TABLE)]
Reference = A[
    str | None,
    Option(
        metavar="DATA",
        help="Rows held out of training; by default those that fit kept, of tables and arrays.",
    ),
]
Split = A[
    str,
    Option(help=f"Rows: {CHOICES['split']}. auto: test where the data has a test part of its own, else all."),
]
Limit = A[int | None, Option(metavar="N", help="Take the first N rows only.")]
Resize = A[str | None, Option(metavar="HxW", help="Bring images to one size, such as 32 or 32x24.")]
Column = A[
    list[str] | None,
    Option(
        metavar="NAME=KIND",
        help="What a column of a table holds: continuous, grid (few numbers), count, binary, categorical, "
        "ordinal:low,mid,high, date:%d/%m/%Y or ignore. May be repeated; other columns are found out.",
    ),
]
SchemaFile = A[
    Path | None,
    Option(metavar="FILE", help="What columns hold, .json or .toml: {name: {kind: …}} under columns."),
]
NewSchemaFile = A[
    Path | None,
    Option(metavar="FILE", help="Write what the columns of a table hold, .json or .toml."),
]
Stream = A[
    bool | None,
    Option(
        "--stream/--no-stream",
        help="Leave the data in a file, and read rows when they are needed; by default above 1 GiB.",
    ),
]
Seed = A[int, Option(help="The same seed gives the same output.")]
FreeSeed = A[int | None, Option(help="The same seed gives the same output; a new one each time by default.")]
Device = A[str, Option(help="auto (a GPU where there is one), cpu, cuda, …")]
Devices = A[
    int | None,
    Option(
        metavar="N",
        help="Processes on each machine, each on a GPU or all on processors (1, or as torchrun has it).",
        rich_help_panel=_DEVICES,
    ),
]
Nodes = A[
    int | None, Option(metavar="N", help="Machines (1, or as torchrun has it).", rich_help_panel=_DEVICES)
]
Force = A[bool, Option("--force", help="Replace what is there.")]
Json = A[bool, Option("--json", help="Print one JSON object and nothing else.")]
Version = A[bool, Option("--version", help="Print the version.")]

# of single commands
Number = A[int, Option("-n", "--number", metavar="N", help="How many.")]
Mean = A[bool, Option("--mean", help="Write means E\\[x|z], which are no draws of x.")]
Temperature = A[float, Option(help="Factor of the prior's standard deviation.")]
Where = A[
    list[str] | None,
    Option(
        metavar="NAME=VALUE",
        help="Draw rows of a table given this cell, as it would stand in the file. May be repeated.",
    ),
]
LaterPrior = A[
    str | None, Option(help="mixture: draw z from a Gaussian mixture fitted to the codes of training rows.")
]
PriorData = A[str | None, Option(metavar="DATA", help="Data for --prior, by default the run's own.")]
Std = A[bool, Option("--std", help="Also write standard deviations, .std before the ending.")]
CodeDraws = A[
    int | None, Option(metavar="M", help="Also write M draws of z for each row, .draws before the ending.")
]
Draw = A[bool, Option("--draw", help="Write draws of z and x, not means.")]
EvidenceSamples = A[
    int | None, Option(metavar="K", help="Draws (is: 1000) or chains (ais: 16) for each observation.")
]
Method = A[
    str | None,
    Option(
        help=f"Of log p(x): {CHOICES['method']} (is); importance sampling, annealed, closed form. "
        f"Of restoration: {CHOICES['restoration']} (auto)."
    ),
]
Chunk = A[int | None, Option(help="Decodings held at once: changes memory, not the result.")]

# restoration
Restoring = A[
    str, Option("--method", help=f"{CHOICES['restoration']}; auto is the cheapest that will do for a row.")
]
Budget = A[
    int | None,
    Option(
        metavar="CODES", help="Of auto: codes decoded for each row (40000; less for more than 2500 rows)."
    ),
]
RestoredDraws = A[
    int | None,
    Option(metavar="M", help="Also write M draws of p(x|y): .draws before the ending, or lines of a sheet."),
]
IntervalDraws = A[int | None, Option(metavar="M", help="Of restoration: draws for its intervals (100).")]
MaskFile = A[
    Path | None,
    Option(
        metavar="FILE",
        help=".npy of booleans or black and white .png, true or white where a value was observed; for all "
        "rows, or for each.",
        rich_help_panel=_DAMAGE,
    ),
]
NoiseSigma = A[
    float | None,
    Option(
        "--noise",
        metavar="SIGMA",
        help="Fraction of the full range of images, of the deviation of a column.",
        rich_help_panel=_DAMAGE,
    ),
]
Factor = A[
    int | None,
    Option(
        "--downscale", metavar="R", help="Blocks of R × R pixels became their means.", rich_help_panel=_DAMAGE
    ),
]
BlurSigma = A[
    float | None, Option("--blur", metavar="SIGMA", help="Gaussian, in pixels.", rich_help_panel=_DAMAGE)
]
Whole = A[
    bool,
    Option("--damage", help="DATA is whole: damage it first, by these options.", rich_help_panel=_DAMAGE),
]
HiddenShare = A[
    float | None,
    Option(
        "--missing",
        metavar="FRACTION",
        help="Hide this fraction of the entries of whole data, of images the pixels.",
        rich_help_panel=_DAMAGE,
    ),
]

# annealed importance sampling
Steps = A[int | None, Option(metavar="T", help="Increments of β from 0 to 1 (200).", rich_help_panel=_AIS)]
Leapfrog = A[int | None, Option(metavar="L", help="Steps of a trajectory (3).", rich_help_panel=_AIS)]
Start = A[str | None, Option(help=f"q(z|x) or p(z): {CHOICES['start']}.", rich_help_panel=_AIS)]
Schedule = A[str | None, Option(help=f"Of β: {CHOICES['schedule']}.", rich_help_panel=_AIS)]
Resume = A[
    Path | None,
    Option(metavar="FILE", help="Keep finished rows here, and take them up again.", rich_help_panel=_AIS),
]

# the model
Likelihood = A[str | None, Option(help=f"p(x|z): {CHOICES['likelihood']}.", rich_help_panel=_MODEL)]
Network = A[str | None, Option(help=f"{CHOICES['network']}; mlp is gated.", rich_help_panel=_MODEL)]
Hidden = A[
    str | None,
    Option(metavar="300,300", help="Widths of the hidden layers of the encoder.", rich_help_panel=_MODEL),
]
Activation = A[
    str | None,
    Option(help=f"Of plain and residual networks: {CHOICES['activation']}.", rich_help_panel=_MODEL),
]
Latent = A[int | None, Option(help="Number of units of z.", rich_help_panel=_MODEL)]
Prior = A[str | None, Option(help=f"p(z): {CHOICES['prior']}.", rich_help_panel=_MODEL)]
Components = A[int | None, Option(help="Components of a mixture prior (10).", rich_help_panel=_MODEL)]
Posterior = A[
    str | None,
    Option(help=f"q(z|x): {CHOICES['posterior']}; delta is a plain autoencoder.", rich_help_panel=_MODEL),
]
Sigma = A[
    float | None,
    Option(
        help="Of gaussian-fixed: a fraction of the range of images, of the deviation of a column.",
        rich_help_panel=_MODEL,
    ),
]
Missingness = A[
    str | None,
    Option(
        help=f"{CHOICES['missingness']}: entries are missing at random, or by their own value; self-high if "
        "high values vanish, self-low if low ones.",
        rich_help_panel=_MODEL,
    ),
]
SigmaFloor = A[
    float | None,
    Option(help="Least learned or predicted σ, a fraction of the deviation.", rich_help_panel=_MODEL),
]
Bounded = A[
    bool | None,
    Option(
        help="Whether gaussian means of images lie within the full range; by default they do.",
        rich_help_panel=_MODEL,
    ),
]

# training
Objective = A[
    str | None,
    Option(
        help=f"{CHOICES['objective']}; by default elbo, or iwae for tables with gaps.",
        rich_help_panel=_TRAINING,
    ),
]
ObjectiveArgs = A[
    str | None,
    Option(metavar="NAME=X,…", help="Of the objective, such as alpha=0.5.", rich_help_panel=_TRAINING),
]
Draws = A[
    int | None,
    Option(
        "--samples",
        help="Draws of z per row and step (1; 20 for tables with gaps).",
        rich_help_panel=_TRAINING,
    ),
]
Beta = A[float | None, Option(help="Factor of the KL term; 1 is the ELBO (1).", rich_help_panel=_TRAINING)]
Warmup = A[
    int | None, Option(metavar="EPOCHS", help="Epochs in which β rises from 0.", rich_help_panel=_TRAINING)
]
WarmupCycles = A[
    int | None, Option(metavar="N", help="How often β rises from 0 (1).", rich_help_panel=_TRAINING)
]
Epochs = A[int | None, Option(help="Passes over the rows.", rich_help_panel=_TRAINING)]
Minutes = A[float | None, Option(help="A budget of time.", rich_help_panel=_TRAINING)]
BatchSize = A[int | None, Option(help="Rows of a step.", rich_help_panel=_TRAINING)]
LearningRate = A[float | None, Option("--lr", help="Highest learning rate.", rich_help_panel=_TRAINING)]
Ema = A[
    float | None,
    Option(
        metavar="DECAY",
        help="Keep an average of the weights and use it (0.995 for tables with gaps).",
        rich_help_panel=_TRAINING,
    ),
]
Clip = A[float | None, Option(metavar="NORM", help="Scale larger gradients down.", rich_help_panel=_TRAINING)]
SkipSpikes = A[
    float | None,
    Option(metavar="X", help="Skip gradients above X medians of their norm.", rich_help_panel=_TRAINING),
]
Compile = A[
    bool | None,
    Option(help="Compile the step; by default in long runs.", rich_help_panel=_TRAINING),
]
Precision = A[str | None, Option(help=f"Of the networks: {CHOICES['precision']}.", rich_help_panel=_TRAINING)]
TensorBoard = A[
    bool, Option("--tensorboard", help="Also write metrics to RUN/tensorboard.", rich_help_panel=_TRAINING)
]
Patience = A[
    int | None,
    Option(metavar="EPOCHS", help="Stop after so many without an improvement.", rich_help_panel=_TRAINING),
]
Keep = A[
    str | None,
    Option(
        metavar="best|last",
        help="Which epoch's weights are kept: the best on validation rows, or the last (best; last for "
        "tables of numbers with gaps).",
        rich_help_panel=_TRAINING,
    ),
]
Validation = A[
    float | None,
    Option(
        help="Fraction of the rows held out of training, to choose the best epoch; 0 for none (0.1).",
        rich_help_panel=_TRAINING,
    ),
]
FitSeed = A[int | None, Option(help="Of the split, the first weights and every draw (0).")]
EnsembleSize = A[
    int | None,
    Option(
        "--ensemble",
        metavar="N",
        help="Train N models one after the other and average what they say (1).",
        rich_help_panel=_TRAINING,
    ),
]
GoOn = A[
    bool,
    Option("--resume", help="Go on where the run was cut off, or begin it; its options may be left out."),
]
CheckpointEvery = A[
    float, Option(metavar="SECONDS", help="How often the run's state is written.", rich_help_panel=_TRAINING)
]
