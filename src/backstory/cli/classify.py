"""`backstory classify`: the levels of a condition, inferred from x."""

from backstory.cli import parameters as o
from backstory.cli.groups import RowOptions
from backstory.errors import counted


def _of(part: str) -> str:
    return "" if part == "all" else f" of the {part} part"


def classify(
    rows: RowOptions,
    output: o.MaybeTable = None,
    force: o.Force = False,
    condition: o.ConditionName = None,
    samples: o.LevelSamples = None,
    method: o.LevelMethod = "bayes",
    as_json: o.Json = False,
) -> None:
    """Write the most probable class of each row of DATA and p(c|x) of all classes, for a run of p(x|c).

    By Bayes' rule from the evidence log p(x|c) of each class and its share in training. Where DATA has
    classes, report how well they agree: accuracy, log-loss, calibration, and the share of the majority.
    """
    from backstory.cli import text
    from backstory.jobs.classify import classify as job
    from backstory.jobs.output import Output

    target = None if output is None else Output(output, force)
    model = rows.model()
    asked = model.classified(condition)
    rows.say_given([other for other in model.schema.conditions if other != asked])
    done = job(model, rows.source(), target, condition, samples, rows.seed, True, method)
    if done.files:
        text.say_written(f"classes of {counted(done.n, model.noun)}{_of(done.part)}", done.files)
    elif done.figures:
        text.say(f"{counted(done.n, model.noun)}{_of(done.part)}")
    if as_json:
        text.print_json({"rows": done.n, "part": done.part, **done.figures})
    elif done.figures:
        text.print_quality(done.figures)
    elif not done.files:
        text.say("DATA has no classes to compare with: give -o FILE for those that are inferred")
    text.say_trained(done.trained, done.n, rows.split)
