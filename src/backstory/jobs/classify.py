"""The levels of a condition, inferred from x: p(c | x) of each row."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from backstory.data.conditions import Condition
from backstory.data.write import write_table
from backstory.jobs.identifiers import identified
from backstory.jobs.output import Output
from backstory.jobs.source import Source, read_rows
from backstory.trained import Trained


@dataclass(frozen=True)
class Classified:
    """What `classify` did.

    Attributes:
        files: what it wrote.
        n: the number of rows.
        part: of the data that they are, such as `test`.
        trained: how many of them the model was trained on.
        figures: of the agreement with levels that the data has, see `Quality`; empty without levels.
    """

    files: tuple[Path, ...]
    n: int
    part: str
    trained: int
    figures: dict[str, Any]


def classify(
    model: Trained,
    source: Source,
    output: Output | None = None,
    condition: str | None = None,
    samples: int | None = None,
    seed: int = 0,
    progress: bool = False,
    method: str = "bayes",
) -> Classified:
    """Write the most probable level of each row, and p(c | x) of every level.

    Args:
        model: of p(x | c).
        source: the rows; `given` may hold the other conditions, and need not.
        output: a `.csv`, `.parquet`, `.npy` or `.npz` file; None writes nothing.
        condition: its name; None for the only one that has levels.
        samples: draws of z for each row and level.
        seed: of all draws.
        progress: show a progress bar.
        method: see `Trained.classify`.

    Raises:
        InputError: the model has no such condition; see also `read_rows`.
    """
    if output is not None:
        output.check()
    asked = model.classified(condition)
    first = {asked.name: (asked.levels or ("",))[0]}  # stands for the level, where x is read without it
    truth = None
    if source.given:
        source = replace(source, given={**source.given, **first})
    elif len(model.schema.conditions) == 1:
        truth = _levels_in(model, source, asked)
        if truth is None or np.isnan(truth).any():
            source = replace(source, given=first)
    read = read_rows(model, source)
    if not source.given and read.data.stated is not None:
        truth = read.data.stated[:, model.schema.conditions.index(asked)]
    elif truth is not None:
        truth = truth[read.chosen.index]
    found = model.classify(read.data, asked.name, samples, seed, progress, method=method)
    quality = None if truth is None else found.quality(truth)
    if output is not None:
        write_table(output.path, identified(found.columns(), output, source, read.chosen), output.force)
    files = () if output is None else (output.path,)
    figures = {} if quality is None else asdict(quality)
    trained = model.count_trained_on(read.data.values)
    return Classified(files, len(read.data), read.chosen.part, trained, figures)


def _levels_in(model: Trained, source: Source, condition: Condition) -> np.ndarray | None:
    """The number of each row's level, (N,), NaN where it is missing; None where the data has no levels."""
    data = source.load(model.schema.without_conditions())
    if condition.column is None:
        if data.labels is None:
            return None
        return condition.stored(data.labels.tolist(), data.source)
    if condition.name not in [column.name for column in data.schema.left_out]:
        return None
    open_to_gaps = condition.model_copy(update={"known": 0.0})
    stated = source.load(model.schema.model_copy(update={"conditions": (open_to_gaps,)})).stated
    return None if stated is None else stated[:, 0]
