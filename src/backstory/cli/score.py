"""`backstory score`: how unusual observations are."""

from dataclasses import replace

from backstory.cli import parameters as o
from backstory.cli.groups import RowOptions, TableOutputOptions
from backstory.errors import counted


def score(output: TableOutputOptions, rows: RowOptions, reference: o.Reference = None) -> None:
    """Write how unusual each row of DATA is: log p(x), a score, its p-value, and the columns behind it.

    The score joins log p(x) with the training rows that are near; sort by it, the lowest is the most unusual.
    The p-value is the share of held-out rows with a score no higher, with the same cells hidden. A column
    is named if at most one held-out row in twenty has a value as surprising; up to three are named, the most
    surprising first. A value that no training row has, in a column that was constant or empty in training, is
    the strangest there is: its row has the lowest score, and column=value is named before all others.
    """
    from backstory.cli import text
    from backstory.jobs.score import score as job

    source = rows.source()
    compared = None if reference is None else replace(source, data=reference, split="auto", limit=None)
    model = rows.open()
    done = job(model, source, output.target(), compared, rows.seed)
    text.say_written(f"scores of {counted(done.n, model.noun)}", done.files)
    text.say_trained(done.trained, done.n, rows.split)
