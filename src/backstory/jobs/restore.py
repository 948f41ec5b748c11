"""Restorations: x given what is left of it, a y that is masked, noisy, small, blurred or incomplete."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backstory.data.stored import StoredRows
from backstory.inference.restoration import Restoration
from backstory.jobs.checks import at_least_one
from backstory.jobs.damage import UNDAMAGED, Damage
from backstory.jobs.inverse_problem import InverseProblem, read_problem
from backstory.jobs.output import Output
from backstory.jobs.restoration_files import check_kind, is_sheet, write_restoration, write_sheet
from backstory.jobs.source import Source
from backstory.trained import Trained

SHEET_ROWS, SHEET_DRAWS = 16, 3  # of a picture, unless others are asked for


@dataclass(frozen=True)
class RestorationSettings:
    """How p(x|y) is estimated, and what of it is written beside the mean.

    Attributes:
        draws: write so many draws, to the file with `.draws` before the ending; None for none.
        std: write the standard deviations, to the file with `.std` before the ending.
        method: of `Model.restore`.
        budget: of the method `auto`, codes decoded for each row; None leaves it to the number of rows.
        seed: of all draws.
        progress: show a progress bar on a terminal.
    """

    draws: int | None = None
    std: bool = False
    method: str = "auto"
    budget: int | None = None
    seed: int = 0
    progress: bool = False


DEFAULT = RestorationSettings()


@dataclass(frozen=True)
class Restored:
    """Restorations that were written.

    Attributes:
        n: the number of observations.
        missing: how many entries of y were missing.
        methods: how z was inferred, with the number of observations; `observed` where nothing was missing,
            `constant` where only cells of constant columns were, and `prior` where everything was.
        ess, pareto_k, r_hat, acceptance: averages over the observations that have such a number; None
            without any.
        files: what was written.
        trained: how many of the rows the model was trained on.
    """

    n: int
    missing: int
    methods: dict[str, int]
    ess: float | None
    pareto_k: float | None
    r_hat: float | None
    acceptance: float | None
    files: tuple[Path, ...]
    trained: int


def restore(
    model: Trained,
    source: Source,
    output: Output,
    damage: Damage = UNDAMAGED,
    settings: RestorationSettings = DEFAULT,
    whole: bool = False,
) -> Restored:
    """Write E[x|y] of each row y in the data's own type; a `.png` of several images is a sheet.

    Args:
        model: the model.
        source: the rows; a sheet has the first 16 unless they are limited otherwise.
        output: where to write.
        damage: what happened to x.
        settings: how to estimate, and what else to write.
        whole: the rows are x itself, which is damaged first.

    Raises:
        InputError: the output cannot hold such data; see also `read_problem` and `Model.restore`.
    """
    at_least_one("draws", settings.draws)
    sheet = is_sheet(output, source)
    files = {"mean": output} if sheet else restoration_outputs(output, settings)
    check_outputs(files, model)
    rows = source.first(SHEET_ROWS) if sheet else source
    problem = read_problem(model, rows, damage, whole, settings.seed)
    restoration = solve(model, problem, settings, SHEET_DRAWS if sheet else 0)
    if sheet:
        write_sheet(output, problem, restoration, model.schema)
    else:
        write_restoration(files, problem, restoration)
    return restored(model, problem, restoration, files)


def restoration_outputs(output: Output, settings: RestorationSettings) -> dict[str, Output]:
    """The files to write, by what they hold."""
    files = {"mean": output}
    if settings.draws is not None:
        files["draws"] = output.beside("draws")
    if settings.std:
        files["std"] = output.beside("std")
    return files


def check_outputs(files: Mapping[str, Output], model: Trained) -> None:
    """Raise InputError, before any work, for files that cannot be written."""
    for file in files.values():
        file.check()
    check_kind(files["mean"], model.schema)


def solve(
    model: Trained, problem: InverseProblem, settings: RestorationSettings, draws: int = 0
) -> Restoration[np.ndarray]:
    """`Model.restore` of a problem, with so many draws unless the settings say otherwise."""
    budget: dict[str, Any] = {} if settings.budget is None else {"budget": settings.budget}
    return model.restore(
        StoredRows(problem.y, problem.given),
        problem.operator,
        settings.draws or draws,
        settings.method,
        settings.seed,
        settings.progress,
        **budget,
    )


def restored(
    model: Trained,
    problem: InverseProblem,
    restoration: Restoration[np.ndarray],
    files: Mapping[str, Output],
) -> Restored:
    """The record of a restoration that was written."""
    return Restored(
        n=len(restoration.mean),
        missing=int(np.isnan(problem.y).sum()) if problem.y.dtype.kind == "f" else 0,
        methods=dict(Counter(_methods(problem, restoration))),
        ess=_average(restoration.ess.numpy()),
        pareto_k=_average(restoration.pareto_k.numpy()),
        r_hat=_average(restoration.r_hat.numpy()),
        acceptance=_average(restoration.acceptance.numpy()),
        files=tuple(file.path for file in files.values()),
        trained=model.count_trained_on(problem.rows),
    )


def _methods(problem: InverseProblem, restoration: Restoration[np.ndarray]) -> list[str]:
    """How each observation was restored."""
    methods, gaps = list(restoration.methods), {row for cells in problem.constants for row in cells.empty}
    return ["constant" if n in gaps and how == "observed" else how for n, how in enumerate(methods)]


def _average(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
