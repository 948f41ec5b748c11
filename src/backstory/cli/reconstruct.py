"""`backstory reconstruct`: observations after x → z → x."""

from backstory.cli import parameters as o
from backstory.cli.groups import OutputOptions, RowOptions
from backstory.errors import counted


def reconstruct(output: OutputOptions, rows: RowOptions, draw: o.Draw = False) -> None:
    """Write what remains of DATA after x → z → x.

    A .png shows originals above their reconstructions, of the first 30 rows unless --limit says otherwise.
    """
    from backstory.cli import text
    from backstory.jobs.reconstruct import reconstruct as job

    done = job(rows.open(), rows.source(), output.target(), not draw, rows.seed)
    what = "draws of x" if draw else "means E[x|z]"
    above = "originals above " if done.sheet else ""
    text.say_written(f"{above}{counted(done.n, 'reconstruction')} ({what})", done.files)
    text.say_trained(done.trained, done.n, rows.split)
