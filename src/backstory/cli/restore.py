"""`backstory restore`: observations that were masked, noisy, small, blurred or incomplete."""

from backstory.cli import parameters as o
from backstory.cli.groups import DamageOptions, OutputOptions, RestorationOptions, RowOptions


def restore(
    output: OutputOptions,
    rows: RowOptions,
    restoration: RestorationOptions,
    damage: DamageOptions,
    whole: o.Whole = False,
    as_json: o.Json = False,
) -> None:
    """Write the best guess of x where DATA is y, which is x masked, noisy, small, blurred or incomplete.

    Empty cells and NaN are missing without a mask. A .png shows y, the restoration of x, draws of x and their
    standard deviation, for the first 16 images unless --limit says otherwise. One image file becomes an image
    file.
    """
    from backstory.cli import text
    from backstory.jobs.restore import restore as job

    settings = restoration.settings(rows.seed)
    model = rows.open()
    done = job(model, rows.source(), output.target(), damage.damage(), settings, whole)
    if as_json:
        text.print_json(text.record_of(done, without=("trained",)))
    text.say_restored(done, model.noun)
    text.say_trained(done.trained, done.n, rows.split)
