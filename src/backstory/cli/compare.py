"""`backstory compare`: synthetic rows beside real ones."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backstory.cli import parameters as o
from backstory.data.paths import path_of
from backstory.runs.folder import check_folder
from backstory.runs.info import is_data

if TYPE_CHECKING:
    from backstory.comparing.comparison import Comparison
    from backstory.jobs.compare_images import ImageComparison
    from backstory.jobs.output import Output
    from backstory.trained import Trained

SHOWN = 10  # columns and pairs, the least alike first


@dataclass(frozen=True)
class TableOptions:
    """The tables to compare, and how they are read."""

    synthetic: o.RunOrTable
    real: o.RealTable
    held_out: o.HeldOut = None
    column: o.Column = None
    device: o.Device = "auto"

    def __post_init__(self) -> None:  # before the command imports PyTorch
        if not is_data(self.synthetic):
            check_folder(Path(self.synthetic))
        for data in (self.real, self.held_out):
            path_of(data)

    def model(self) -> "Trained | None":
        """The model of the run; None if a synthetic table is named."""
        import backstory
        from backstory.cli.parsing import refuse

        if is_data(self.synthetic):
            return None
        refuse("tables, and a run knows its columns", column=self.column)
        return backstory.open(self.synthetic, self.device)


@dataclass(frozen=True)
class ReportOptions:
    """The file to write with all figures."""

    output: o.Report = None
    force: o.Force = False

    def target(self) -> "Output | None":
        """Where to write them, after a check that it can be written to."""
        from backstory.jobs.compare import check_report
        from backstory.jobs.output import Output

        if self.output is None:
            return None
        check_report(target := Output(self.output, self.force))
        return target


def compare(
    tables: TableOptions,
    report: ReportOptions,
    target: o.Target = None,
    seed: o.Seed = 0,
    as_json: o.Json = False,
) -> None:
    """Compare synthetic rows with the rows of a real table: how alike they are, and whether they repeat them.

    Of a run of images, draws with real images: the Fréchet distance of features, and the nearest images.

    A run draws as many rows as REAL has. Shapes of columns and trends of pairs are those of SDMetrics; a
    two-sample test, models that learn from synthetic rows, nearest rows and copies come beside them. Empty
    cells are a level of their own among levels, and are left out of numbers.
    """
    from backstory.cli import parsing, text
    from backstory.jobs.compare import compare as job
    from backstory.jobs.compare import write_report

    file = report.target()
    kinds = parsing.columns(tables.column, None) or None
    model = tables.model()
    if model is not None and model.schema.kind == "images":
        _compare_images(model, tables, report, seed, as_json)
        return
    done = job(model or tables.synthetic, tables.real, tables.held_out, target or (), kinds, seed)
    if file is not None:
        write_report(file, done)
    if as_json:
        text.print_json(done.record())
    else:
        _print(done)
    if file is not None:
        text.say_written("all figures", [file.path])


def _compare_images(
    model: "Trained", tables: TableOptions, report: ReportOptions, seed: int, as_json: bool
) -> None:
    from backstory.cli import text
    from backstory.jobs.compare import write_report
    from backstory.jobs.compare_images import compare_images

    file = report.target()
    done = compare_images(model, tables.real, seed)
    if file is not None:
        write_report(file, done)
    if as_json:
        text.print_json(done.record())
    else:
        _print_images(done)
    if file is not None:
        text.say_written("all figures", [file.path])


def _print_images(done: "ImageComparison") -> None:
    from backstory.cli import text

    lines = {"frechet": f"{done.frechet:.4g}", "distance": f"{done.distance:.4g}"}
    if done.held_out_frechet is not None and done.held_out_distance is not None:
        lines["frechet"] += f", held-out {done.held_out_frechet:.4g}"
        lines["distance"] += f", held-out {done.held_out_distance:.4g}"
    of = {"classifier": "a classifier of their labels", "encoder": "the model's own encoder"}[done.features]
    notes = {
        "frechet": f"of draws and training images, by the features of {of}; 0 for equal Gaussians",
        "distance": "median of a draw to the nearest training image; far below held-out: copies",
    }
    text.print_table(lines, notes)


def _print(done: "Comparison") -> None:
    from backstory.cli import text
    from backstory.comparing.comparison import MEANINGS

    lines, notes = {}, {}
    for name, (value, meaning) in _figures(done).items():
        lines[name], notes[name] = value, MEANINGS[meaning]
    text.print_table(lines, notes)
    _print_least("column", "shape", done.shapes)
    _print_least("pair", "similarity", {" × ".join(names): score for names, score in done.pairs.items()})
    if done.left_out:
        text.say(f"not compared: {', '.join(f'{name} ({why})' for name, why in done.left_out.items())}")
    for note in done.notes:
        text.say(note.replace("`target`", "--target"))


def _figures(done: "Comparison") -> dict[str, tuple[str, str]]:
    """What to print of each figure, and the name of its meaning."""
    near, lines = done.nearness, {name: (_shown(mean), name) for name, mean in done.means.items()}
    lines["two-sample"] = f"{done.two_sample:.3f}", "two_sample"
    for one in done.transfer:
        measure = {"r2": "R²", "auroc": "AUROC"}[one.measure]
        lines[f"transfer {one.target}"] = (
            f"{measure} {_shown(one.synthetic)}, real {_shown(one.real)}",
            "transfer",
        )
    held_out = "" if done.held_out_copies is None else f", held-out {done.held_out_copies}"
    return lines | {
        "nearer to training": (f"{near.nearer_to_training:.3f}", "nearer_to_training"),
        "distance": (
            f"{near.distance:.3g}, held-out {near.held_out_distance:.3g}: {near.verdict}",
            "distance",
        ),
        "copies": (f"{done.copies} of {done.rows['synthetic']}{held_out}", "copies"),
        "membership": (f"{near.membership:.3f}", "membership"),
    }


def _shown(figure: float) -> str:
    """A figure, or a dash for one that does not exist."""
    return "-" if math.isnan(figure) else f"{figure:.3f}"


def _print_least(what: str, measure: str, scores: dict[str, float]) -> None:
    """Print the smallest scores, and how many there are in all."""
    from rich.console import Console
    from rich.table import Table

    from backstory.errors import printable

    known = sorted((score, name) for name, score in scores.items() if score == score)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(f"least alike {what} of {len(scores)}", overflow="fold")
    table.add_column(measure, justify="right")
    for score, name in known[:SHOWN]:
        table.add_row(printable(name), f"{score:.3f}")
    if known:
        printer = Console(highlight=False, markup=False)
        printer.print()
        printer.print(table)
