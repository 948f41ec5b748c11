"""The options of the command line, each declared once; None leaves a choice to the API and its defaults.

The choices are spelt out here because the modules that define them are slow to import; a test compares them.
"""

from pathlib import Path
from typing import Annotated as A

from typer import Argument, Option

CHOICES = {
    "split": "train, validation, test, all",
    "method": "auto, is, variational, ais, exact",
    "restoration": "auto, encoder, importance, variational, hmc",
    "start": "posterior, prior",
    "schedule": "sigmoid, geometric, linear",
    "aspect": "stretch, crop, pad",
    "alpha": "white, keep",
    "pages": "first, all",
    "kind": "images, array",
    "channels": "first, last",
}

_DATA = (
    "An embedded data set (digits), a folder of images, an image, .npy, .npz, .csv, .parquet, .xlsx, an IDX "
    "file, a folder of the four MNIST-style files, or a table of a database (sqlite:///shop.db#customers)."
)
_OUTPUT = "File to write: .png, .npy, .npz, .csv, .parquet, or no ending for a folder of images."
_TABLE = "File to write: .csv, .parquet, .npy or .npz."
_TRAINING, _AIS = "Training", "Annealing (ais)"
_DAMAGE = "The damage to x: blur, then downscaling, then noise, then missing entries"
_DEVICES = "Several devices"

# positions, and what most commands share
Data = A[str, Argument(metavar="DATA", help=_DATA)]
Run = A[Path, Argument(metavar="RUN", help="A run folder, made by backstory fit.")]
RunOrData = A[str | None, Argument(metavar="RUN|DATA", help=f"A run folder, or data. {_DATA}")]
NewRun = A[Path, Option("-o", "--output", metavar="RUN", help="The run folder to write.")]
Output = A[Path, Option("-o", "--output", metavar="FILE", help=_OUTPUT)]
TableOutput = A[Path, Option("-o", "--output", metavar="FILE", help=_TABLE)]
Sheet = A[
    Path | None,
    Option("-o", "--output", metavar="FILE", help="File to write with the first images side by side, .png."),
]
Split = A[
    str,
    Option(
        help=f"Which rows to use: {CHOICES['split']}. auto: test if the data has a test part of its own, "
        "else all."
    ),
]
Limit = A[int | None, Option(metavar="N", help="Use the first N of these rows only.")]
Column = A[
    list[str] | None,
    Option(
        metavar="NAME=KIND",
        help="What a column of a table holds: continuous, grid (few distinct numbers), count, binary, "
        "categorical, ordinal:low,mid,high, date:%d/%m/%Y, duration or ignore. May be repeated; the kinds of "
        "the other columns are inferred.",
    ),
]
SchemaFile = A[
    Path | None,
    Option(
        metavar="FILE",
        help="File that says what columns hold, .json or .toml: {name: {kind: …}} under columns.",
    ),
]
NewSchemaFile = A[
    Path | None,
    Option(metavar="FILE", help="File to write with what the columns of a table hold, .json or .toml."),
]
Stream = A[
    bool | None,
    Option(
        "--stream/--no-stream",
        help="Leave the data in its file and read rows as they are needed; by default above 1 GiB.",
    ),
]
Seed = A[int, Option(help="Seed of all random draws: the same seed gives the same output.")]
FreeSeed = A[int | None, Option(help="Seed of all random draws; without it each call draws anew.")]
Device = A[str, Option(help="Where to compute: auto (a GPU if there is one), cpu, cuda, …")]
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
Force = A[bool, Option("--force", help="Replace files that exist.")]
Json = A[bool, Option("--json", help="Print one JSON object and nothing else.")]
Import = A[
    list[str] | None,
    Option("--import", metavar="MODULE", help="Import a module that registers choices of your own."),
]
Version = A[bool, Option("--version", help="Print the version.")]

# sample
Number = A[
    int | None,
    Option("-n", "--number", metavar="N", help="How many observations to draw: 64, or 8 at each level."),
]
Mean = A[bool, Option("--mean", help="Write means E\\[x|z], which are no draws of x.")]
Temperature = A[
    str,
    Option(
        metavar="T",
        help="Multiply the standard deviation of the prior by this factor; of z in levels, T1,T2,… has "
        "one for each level given those above, from x upwards.",
    ),
]
Where = A[
    list[str] | None,
    Option(
        metavar="NAME=VALUE",
        help="Draw rows of a table given this cell, written as in the file; LOW..HIGH is a range, A|B are "
        "possible values, and double quotes keep a value with such signs whole. May be repeated.",
    ),
]
MissingCells = A[
    str,
    Option(
        metavar="fill|keep",
        help="Draw every cell of a table (fill), or leave cells empty as rows held out of training have them "
        "(keep).",
    ),
]
Given = A[
    list[str] | None,
    Option(
        metavar="NAME=VALUE",
        help="A condition, for a run of p(x|c), written as in the file, such as class=3; in place of those "
        "in DATA. May be repeated.",
    ),
]
EachLevel = A[
    str | None,
    Option(
        metavar="NAME",
        help="Draw N observations at each level of this condition, such as class; a sheet has a line for "
        "each level, and a folder of images a folder.",
    ),
]
GivenNames = A[
    list[str] | None,
    Option(
        metavar="NAME,…",
        help="Learn p(x|c): what c is, class for the labels of images, or columns of a table, which leave x.",
    ),
]
Weights = A[
    str | None,
    Option(
        metavar="COLUMN",
        help="Column of a table with a weight for each row, which leaves x: a row of weight 2 counts as two.",
    ),
]
Labelled = A[
    int | None,
    Option(
        metavar="N",
        help="Keep the class of N training rows, balanced, and infer it in the others, with --given class.",
    ),
]
NearestImages = A[
    str | None,
    Option(metavar="DATA", help="Show the three nearest training images of DATA beside each draw (.png)."),
]
LaterPrior = A[
    str | None,
    Option(help="mixture: draw z from a Gaussian mixture that is fitted to the codes of the training rows."),
]
LaterComponents = A[int | None, Option(help="Components of that mixture; by default as in the run (10).")]
PriorData = A[
    str | None, Option(metavar="DATA", help="Data to fit that mixture to; by default the run's own.")
]

# encode, reconstruct, score
Std = A[bool, Option("--std", help="Also write standard deviations, to FILE with .std before its ending.")]
CodeDraws = A[
    int | None,
    Option(metavar="M", help="Also write M draws of z for each row, to FILE with .draws before its ending."),
]
Draw = A[bool, Option("--draw", help="Write draws of z and x instead of means.")]
Reference = A[
    str | None,
    Option(
        metavar="DATA",
        help="Rows to compare with, held out of training; by default those of tables and arrays that fit "
        "held out.",
    ),
]

# evaluate
EvidenceSamples = A[
    int | None,
    Option(
        metavar="K",
        help="Draws (is: 1000, variational: 300) or chains (ais: 16) for each observation; with auto, "
        "draws of is.",
    ),
]
Method = A[
    str | None,
    Option(
        help=f"How to estimate log p(x): {CHOICES['method']}, where auto takes the cheapest of the "
        "next three that will do for each observation (auto). How to restore: "
        f"{CHOICES['restoration']} (auto)."
    ),
]
Chunk = A[
    int | None, Option(help="How many codes are decoded at once; changes the memory used, not the result.")
]
IntervalDraws = A[
    int | None, Option(metavar="M", help="Draws from which the intervals of a restoration are made (100).")
]

# compare
RunOrTable = A[
    str, Argument(metavar="RUN|SYNTHETIC", help="A run to draw rows from, or a table of synthetic rows.")
]
RealTable = A[str, Argument(metavar="REAL", help="The table of real rows.")]
HeldOut = A[
    str | None,
    Argument(
        metavar="HELD-OUT",
        help="A table of real rows that the synthetic rows were not learned from; by default the rows of "
        "REAL that RUN was not trained on, or else a half of REAL.",
        show_default=False,
    ),
]
Target = A[
    list[str] | None,
    Option(
        metavar="COLUMN",
        help="Column to predict by models of synthetic and of real rows; by default the one that "
        "the others predict best. May be repeated.",
    ),
]
Report = A[
    Path | None, Option("-o", "--output", metavar="FILE", help="File to write with all figures, .json.")
]

# classify
MaybeTable = A[Path | None, Option("-o", "--output", metavar="FILE", help=_TABLE)]
ConditionName = A[
    str | None,
    Option(metavar="NAME", help="The condition to infer, of a run with several that have levels."),
]
LevelMethod = A[
    str,
    Option(
        metavar="NAME",
        help="bayes, or encoder: the network q(c|x) of a run with rows without a class, which is faster.",
    ),
]
LevelSamples = A[int | None, Option(metavar="K", help="Draws of z for each row and class; 50 by default.")]

# restore, impute
Restoring = A[
    str,
    Option(
        "--method",
        help=f"How to infer z: {CHOICES['restoration']}. auto takes the cheapest method that suffices for a "
        "row.",
    ),
]
Budget = A[
    int | None,
    Option(
        metavar="CODES",
        help="Codes that the method auto may decode for each row (40000; fewer for more than 2500 rows).",
    ),
]
RestoredDraws = A[
    int | None,
    Option(
        metavar="M",
        help="Also write M draws of p(x|y), to FILE with .draws before its ending, or as lines of a sheet.",
    ),
]
MaskFile = A[
    Path | None,
    Option(
        metavar="FILE",
        help="Which entries were observed: .npy of booleans or black and white .png, true or white where a "
        "value was observed; one mask for all rows, or one for each.",
        rich_help_panel=_DAMAGE,
    ),
]
NoiseSigma = A[
    float | None,
    Option(
        "--noise",
        metavar="SIGMA",
        help="Standard deviation of Gaussian noise: a fraction of the full range of images, or of a column's "
        "standard deviation.",
        rich_help_panel=_DAMAGE,
    ),
]
Factor = A[
    int | None,
    Option(
        "--downscale",
        metavar="R",
        help="Each block of R × R pixels became its mean.",
        rich_help_panel=_DAMAGE,
    ),
]
BlurSigma = A[
    float | None,
    Option(
        "--blur",
        metavar="SIGMA",
        help="Standard deviation of a Gaussian blur, in pixels.",
        rich_help_panel=_DAMAGE,
    ),
]
Whole = A[
    bool,
    Option(
        "--damage",
        help="DATA is whole: damage it by these options, then restore it.",
        rich_help_panel=_DAMAGE,
    ),
]
HiddenShare = A[
    float | None,
    Option(
        "--missing",
        metavar="FRACTION",
        help="Hide this fraction of the entries of whole data; of images, this fraction of the pixels.",
        rich_help_panel=_DAMAGE,
    ),
]

# annealed importance sampling
Steps = A[
    int | None,
    Option(metavar="T", help="Steps in which β goes from 0 to 1 (200).", rich_help_panel=_AIS),
]
Leapfrog = A[
    int | None,
    Option(metavar="L", help="Leapfrog steps of each trajectory (3).", rich_help_panel=_AIS),
]
Start = A[
    str | None,
    Option(help=f"Where chains start: {CHOICES['start']}, q(z|x) or p(z).", rich_help_panel=_AIS),
]
Schedule = A[str | None, Option(help=f"How β goes from 0 to 1: {CHOICES['schedule']}.", rich_help_panel=_AIS)]
Resume = A[
    Path | None,
    Option(
        metavar="FILE",
        help="Keep finished rows in this file, and go on from it after an interruption.",
        rich_help_panel=_AIS,
    ),
]

Components = A[int | None, Option(help="Number of Gaussians of prior mixture (10).")]

# of fit
TensorBoard = A[
    bool, Option("--tensorboard", help="Also write metrics to RUN/tensorboard.", rich_help_panel=_TRAINING)
]
Validation = A[
    float | None,
    Option(
        help="Fraction of the rows held out of training, to choose the best epoch; 0 for none (0.1).",
        rich_help_panel=_TRAINING,
    ),
]
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
