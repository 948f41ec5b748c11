"""The options of reading data, each declared once; see `backstory.cli.parameters`."""

from typing import Annotated as A

from typer import Option

from backstory.cli.parameters import CHOICES

_IMAGES, _ARRAYS, _TABLES = "Image files", "Arrays", "Tables (a run keeps these)"

Resize = A[
    str | None,
    Option(
        metavar="HxW",
        help="Resize all images to this size, such as 32 or 32x24. A run keeps it.",
        rich_help_panel=_IMAGES,
    ),
]
Aspect = A[
    str | None,
    Option(
        help=f"What happens to images of another shape: {CHOICES['aspect']} (stretch).",
        rich_help_panel=_IMAGES,
    ),
]
Alpha = A[
    str | None,
    Option(
        help=f"What happens to transparent pixels: {CHOICES['alpha']}; laid on white, or kept as a channel "
        "(white).",
        rich_help_panel=_IMAGES,
    ),
]
Pages = A[
    str | None,
    Option(
        help=f"What to read of image files with several pages: {CHOICES['pages']} (first).",
        rich_help_panel=_IMAGES,
    ),
]
SkipDamaged = A[
    bool, Option("--skip-damaged", help="Leave damaged image files out.", rich_help_panel=_IMAGES)
]
Kind = A[
    str | None,
    Option(
        help=f"What an array holds: {CHOICES['kind']}, which is other numbers; by default as they look.",
        rich_help_panel=_ARRAYS,
    ),
]
Channels = A[
    str | None,
    Option(
        help=f"Where an array of images has its channels: {CHOICES['channels']} (last).",
        rich_help_panel=_ARRAYS,
    ),
]
Range = A[
    str | None,
    Option(
        metavar="LOW,HIGH",
        help="The numbers of black and of white in an array of images, such as -1,1.",
        rich_help_panel=_ARRAYS,
    ),
]
Separator = A[
    str | None,
    Option(
        metavar="SIGN",
        help="What separates the cells of a text table: a comma, ;, | or tab; by default as it looks.",
        rich_help_panel=_TABLES,
    ),
]
Decimal = A[
    str | None,
    Option(
        metavar="SIGN",
        help="The sign before decimals, a point or a comma; by default as the cells tell.",
        rich_help_panel=_TABLES,
    ),
]
Encoding = A[
    str | None,
    Option(
        metavar="NAME",
        help="The encoding of a text table, such as cp1252; by default UTF-8, or as it looks.",
        rich_help_panel=_TABLES,
    ),
]
Header = A[
    bool | None,
    Option(
        "--header/--no-header",
        help="Whether the first row of a text table names the columns; by default as it looks.",
        rich_help_panel=_TABLES,
    ),
]
Index = A[
    str | None,
    Option(metavar="COLUMN", help="A column that names the rows, to leave out.", rich_help_panel=_TABLES),
]
MissingMarks = A[
    str | None,
    Option(
        "--missing",
        metavar="TEXT,…",
        help="Texts of cells that are empty, besides NA, NaN, null, ? and the like, such as -200,unknown.",
        rich_help_panel=_TABLES,
    ),
]
KeepMissing = A[
    list[str] | None,
    Option(
        "--keep-missing-as-level",
        metavar="COLUMN",
        help="Take empty cells of this column for a level, NA. May be repeated.",
        rich_help_panel=_TABLES,
    ),
]
NoRelation = A[
    list[str] | None,
    Option(
        metavar="RELATION",
        help="A relation of columns that is not to be kept: as printed, a column that takes part in none, "
        "or all. May be repeated.",
        rich_help_panel=_TABLES,
    ),
]
Constraint = A[
    list[str] | None,
    Option(
        metavar="TEXT",
        help="A relation that holds in every row, besides those that are recognised: 'end >= start', "
        "'total = a + b', 'bmi = weight / height^2' or 'zone -> borough'. May be repeated.",
        rich_help_panel=_TABLES,
    ),
]
