"""`backstory encode`: codes of observations."""

from backstory.cli import parameters as o
from backstory.cli.groups import RowOptions, TableOutputOptions
from backstory.errors import counted


def encode(
    output: TableOutputOptions, rows: RowOptions, std: o.Std = False, draws: o.CodeDraws = None
) -> None:
    """Write the posterior means of DATA, the columns z_0, z_1, … of a table."""
    from backstory.cli import text
    from backstory.jobs.encode import encode as job

    model = rows.open()
    done = job(model, rows.source(), output.target(), std, draws, rows.seed)
    text.say_written(f"codes of {counted(done.n, model.noun)}", done.files)
    text.say_trained(done.trained, done.n, rows.split)
