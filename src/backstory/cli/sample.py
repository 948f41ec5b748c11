"""`backstory sample`: new observations."""

from dataclasses import dataclass

from backstory.cli import parameters as o
from backstory.cli.groups import OutputOptions
from backstory.errors import InputError, counted
from backstory.runs.folder import check_folder


@dataclass(frozen=True)
class SamplingOptions:
    """What to draw."""

    number: o.Number = None
    mean: o.Mean = False
    temperature: o.Temperature = "1"
    where: o.Where = None
    given: o.Given = None
    each: o.EachLevel = None
    nearest: o.NearestImages = None
    missing_cells: o.MissingCells = "fill"
    seed: o.FreeSeed = None


@dataclass(frozen=True)
class PriorOptions:
    """A prior that is fitted before."""

    prior: o.LaterPrior = None
    components: o.LaterComponents = None
    data: o.PriorData = None


def sample(
    run: o.Run,
    output: OutputOptions,
    sampling: SamplingOptions,
    later: PriorOptions,
    device: o.Device = "auto",
) -> None:
    """Draw new observations: z ~ p(z), then x ~ p(x|z); with --where from p(x | given cells)."""
    check_folder(run)  # before PyTorch is imported
    import backstory
    from backstory.cli import parsing, text
    from backstory.jobs.sample import Sampling, fit_prior
    from backstory.jobs.sample import sample as job

    target, where = output.target(), parsing.wanted(sampling.where)
    given = parsing.cells(sampling.given, "given")
    target.check()
    model = backstory.open(run, device)
    if later.prior is not None:
        fit_prior(model, later.prior, later.components, later.data, sampling.seed or 0)
    elif later.components is not None or later.data is not None:
        raise InputError("--components and --data belong to --prior mixture; add it, or leave them out")
    drawn = Sampling(
        sampling.number,
        sampling.mean,
        parsing.numbers(sampling.temperature, "temperature"),
        where,
        sampling.seed,
        given,
        sampling.missing_cells,
        sampling.each,
        sampling.nearest,
    )
    done = job(model, target, drawn)
    one, several = (
        ("mean E[x|z], which is no draw of x", "means E[x|z], which are no draws of x")
        if sampling.mean
        else ("draw of x", "draws of x")
    )
    what = counted(done.n, one, several)
    known = [*(sampling.given or ()), *(sampling.where or ())]
    what += f" given {', '.join(known)}" if known else ""
    if sampling.each is not None:
        levels = text.shortened(model.classified(sampling.each).levels or ())
        what += f", {drawn.number} of each {sampling.each}: {levels}"
    if sampling.nearest is not None:
        what += ", each with the three nearest training images"
    what += ", each below its mean E[x|z]" if drawn.shows_means(target) else ""
    text.say_written(what, done.files)
