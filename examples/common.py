"""Shared by the experiments of docs/theory.md: arguments, tables, figures, and a training run step by step.

Each script `theory_N_name.py` has two functions: `measure(quick)` returns a record of numbers, which
`report` prints, and `draw(record)` makes the figure.
"""

import argparse
import inspect
import io
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from PIL import Image

import backstory
from backstory.data.dataset import Dataset
from backstory.data.splits import split
from backstory.files import atomic_path
from backstory.models import build
from backstory.models.defaults import ScheduleDefaults, resolve
from backstory.models.statistics import data_statistics
from backstory.options import ModelOptions, TrainOptions
from backstory.report.training import BLUE, FAINT, GREEN, INK, ORANGE
from backstory.training import schedule
from backstory.training.trainer import Trainer

__all__ = ["BLUE", "FAINT", "GREEN", "GREY", "INK", "ORANGE", "PURPLE", "Figure", "SubFigure"]
# What the numbers of docs/theory.md were measured with, whatever the defaults may become
SETTINGS = {"lr": 2e-3, "batch_size": 64, "patience": 1000}
PURPLE, GREY = "#6b46a0", "#8a93a0"


def main(
    measure: Callable[[bool], Any], report: Callable[[Any], None], draw: Callable[[Any], Figure]
) -> None:
    """The command line of an experiment: measure, print, draw."""
    name, text = Path(sys.argv[0]).stem, inspect.getmodule(measure).__doc__
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/theory"), help="folder of the figure")
    parser.add_argument("--quick", action="store_true", help="a small setting, which only shows that it runs")
    options = parser.parse_args()
    torch.set_num_threads(1)  # small networks are faster on one
    started = time.monotonic()
    result = measure(options.quick)
    report(result)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{name}.png"
    write(draw(result), path)
    print(f"\n{path}  ({time.monotonic() - started:.0f} seconds)")


# -- data and runs ---------------------------------------------------------------------------------------


def digits(quick: bool) -> Dataset:
    """The embedded data set; every third row of it in the quick setting."""
    data = backstory.load("digits")
    if not quick:
        return data
    test = np.isin(np.arange(len(data)), data.test_rows)[::3]
    return replace(data, values=data.values[::3], labels=None, test_rows=np.flatnonzero(test))


def fit(data: Any, **options: Any) -> backstory.Model:
    """`backstory.fit` without messages; by default β rises over the first quarter of the epochs."""
    settings = {**SETTINGS, "warmup": options["epochs"] // 4, **options}
    return backstory.fit(data, progress=False, device="cpu", **settings)


def trainer(
    data: Dataset, model: dict[str, Any], training: dict[str, Any], validation: float = 0.1, seed: int = 0
) -> Trainer:
    """The training run of `backstory.fit` before its first step, for experiments on its steps."""
    parts = split(data, validation, seed)
    values = data.values[parts.train]
    schema, options = resolve(data.schema, ModelOptions(**model))
    vae = build.build(schema, options, seed, data_statistics(values, schema))
    chosen = TrainOptions(**{**SETTINGS, **training}, seed=seed)
    chosen = schedule.resolve(chosen, len(values), ScheduleDefaults(SETTINGS["lr"]))
    rows, kept = torch.from_numpy(values), torch.from_numpy(data.values[parts.validation])
    return Trainer(vae, schema, rows, kept, chosen)


def held_out_values(data: Dataset) -> np.ndarray:
    """The held-out rows, which no model was trained on."""
    assert data.test_rows is not None
    return data.values[data.test_rows]


# -- tables -----------------------------------------------------------------------------------------------


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], digits: int = 2) -> None:
    """Print rows in columns: text to the left, numbers to the right."""
    cells = [[_cell(value, digits) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(header), *cells]) for i in range(len(header))]
    print()
    for line in [list(header), ["-" * width for width in widths], *cells]:
        sides = ["<" if isinstance(value, str) and value else ">" for value in rows[0]]
        pieces = [f"{text:{side}{width}}" for text, side, width in zip(line, sides, widths, strict=True)]
        print("  ".join(pieces).rstrip())


def _cell(value: Any, digits: int) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.{digits}e}" if 0 < abs(value) < 10**-digits else f"{value:.{digits}f}"
    return str(value)


# -- figures ----------------------------------------------------------------------------------------------


def figure(width: float = 10.0, height: float = 3.6) -> Figure:
    """An empty figure."""
    result = Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(result)
    return result


def write(drawn: Figure, path: Path) -> None:
    """Write a PNG of 128 colours, which looks the same at a third of the size."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png")
    with Image.open(buffer) as image, atomic_path(path, force=True) as temporary:
        colours = image.convert("RGB").quantize(
            128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
        )
        colours.save(temporary, format="PNG", optimize=True)


def panel(axes: Axes, title: str, x: str = "", y: str = "") -> Axes:
    """Set title, labels and the style of a panel."""
    axes.set_title(title, loc="left", fontsize=11, color=INK, fontweight="bold", pad=8)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.grid(True, color="#eceef1", lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=3, color=FAINT, labelsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)
    return axes


def legend(axes: Axes, **options: Any) -> None:
    """A legend without a frame."""
    axes.legend(**{"frameon": False, "fontsize": 9, "labelcolor": INK, **options})
