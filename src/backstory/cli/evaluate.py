"""`backstory evaluate`: how well a model describes observations, or restores them."""

from dataclasses import dataclass

from backstory.cli import parameters as o
from backstory.cli.groups import DamageOptions, RowOptions


@dataclass(frozen=True)
class EvaluationOptions:
    """How to estimate; draws are of restorations, samples of the evidence."""

    samples: o.EvidenceSamples = None
    method: o.Method = None
    chunk: o.Chunk = None
    draws: o.IntervalDraws = None
    budget: o.Budget = None


@dataclass(frozen=True)
class AnnealingOptions:
    """Settings of annealed importance sampling."""

    steps: o.Steps = None
    leapfrog: o.Leapfrog = None
    start: o.Start = None
    schedule: o.Schedule = None
    resume: o.Resume = None


def evaluate(
    rows: RowOptions,
    evaluation: EvaluationOptions,
    annealing: AnnealingOptions,
    damage: DamageOptions,
    as_json: o.Json = False,
) -> None:
    """Report the ELBO, its two terms and the log-evidence log p(x) of DATA, in nats per observation.

    With --missing, --mask, --noise, --downscale or --blur: damage DATA, restore it, and report the errors of
    the restorations and the coverage of their intervals.
    """
    from backstory.cli import parsing, text
    from backstory.jobs import evaluate as jobs

    happened, source = damage.damage(), rows.source()
    options = parsing.given(**vars(evaluation))
    if happened:
        refused = {"samples": evaluation.samples, **vars(annealing)}
        parsing.refuse("the evidence of whole data", **refused)
        done = jobs.evaluate_restoration(rows.open(), source, happened, rows.seed, progress=True, **options)
    else:
        of_damage = "restoration, and needs --missing, --mask, --noise, --downscale or --blur"
        parsing.refuse(of_damage, draws=evaluation.draws)
        options |= parsing.given(**vars(annealing))
        done = jobs.evaluate(rows.open(), source, seed=rows.seed, progress=True, **options)
    if as_json:
        text.print_json(done.figures)
    elif happened:
        text.print_recovery(done.figures, done.noun)
    else:
        text.print_evaluation(done.figures, done.noun)
    text.say_trained(done.trained, done.n, rows.split)
