"""Imputation: the empty cells of a table, or the missing entries of arrays and images."""

from dataclasses import dataclass

import numpy as np

from backstory.jobs.checks import at_least_one
from backstory.jobs.damage import UNDAMAGED
from backstory.jobs.inverse_problem import InverseProblem, read_problem
from backstory.jobs.output import Output
from backstory.jobs.restoration_files import write_restoration
from backstory.jobs.restore import (
    DEFAULT,
    RestorationSettings,
    Restored,
    check_outputs,
    restoration_outputs,
    restored,
    solve,
)
from backstory.jobs.source import Source
from backstory.trained import Trained


@dataclass(frozen=True)
class Imputed(Restored):
    """Imputations that were written.

    Attributes:
        columns: how many cells were filled in each column; in `all` of them if they have no names.
        cells: the number of cells of each column, filled or not.
    """

    columns: dict[str, int]
    cells: int

    @property
    def filled(self) -> int:
        """How many cells were filled."""
        return sum(self.columns.values())


def impute(
    model: Trained, source: Source, output: Output, settings: RestorationSettings = DEFAULT
) -> Imputed:
    """Write the rows with their gaps filled: by the conditional mean, or by the most probable level.

    Args:
        model: the model.
        source: the rows. If all rows of a text table are chosen and the output has its format, the text
            around the gaps stays as it is.
        output: where to write; it may be the file that the data came from.
        settings: how to estimate, and what else to write; draws are multiple imputations.

    Raises:
        InputError: the output cannot hold such data; see also `read_problem` and `Model.restore`.
    """
    at_least_one("draws", settings.draws)
    files = restoration_outputs(output, settings)
    check_outputs(files, model)
    problem = read_problem(model, source, UNDAMAGED, seed=settings.seed)
    restoration = solve(model, problem, settings)
    write_restoration(files, problem, restoration)
    columns, record = _filled(problem), restored(model, problem, restoration, files)
    cells = restoration.mean.size if problem.units.schema.columns is None else record.n
    return Imputed(**vars(record), columns=columns, cells=cells)


def _filled(problem: InverseProblem) -> dict[str, int]:
    """How many cells were filled, by column."""
    gaps, names = problem.fill, problem.units.schema.columns
    if names is None:
        return {"all": int(gaps.sum())}
    counts = {name: int(count) for name, count in zip(names, np.sum(gaps, axis=0), strict=True)}
    counts |= {} if problem.related is None else problem.related.empty(names)
    return counts | {cells.column.name: len(cells.empty) for cells in problem.constants if len(cells.empty)}
