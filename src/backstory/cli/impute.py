"""`backstory impute`: tables without gaps."""

from backstory.cli import parameters as o
from backstory.cli.groups import DataOptions, OutputOptions, RestorationOptions


def impute(
    output: OutputOptions, data: DataOptions, restoration: RestorationOptions, as_json: o.Json = False
) -> None:
    """Fill the empty cells of DATA with their best guess: the conditional mean, or the most probable level.

    --draws gives several imputations, each of which may be the truth. Cells that are not empty stay as they
    stand in the file, and whole numbers stay whole.
    """
    from backstory.cli import text
    from backstory.jobs.impute import impute as job

    settings = restoration.settings(data.seed)
    model = data.open()
    done = job(model, data.source(), output.target(), settings)
    if as_json:
        record = text.record_of(done, without=("trained", "columns", "cells"))
        text.print_json(record | {"filled": done.filled, "columns": done.columns})
    else:
        text.print_filled(done.columns, done.n, done.cells, model.noun)
    text.say_restored(done, model.noun)
