"""Options that commands share, as records: a command takes a record, and Typer reads its fields."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, get_type_hints

from backstory.cli import parameters as o
from backstory.cli import reading_parameters as r
from backstory.data.paths import path_of
from backstory.runs.folder import check_folder

if TYPE_CHECKING:
    from backstory.data.conditions import Condition
    from backstory.jobs.damage import Damage
    from backstory.jobs.output import Output
    from backstory.jobs.restore import RestorationSettings
    from backstory.jobs.source import Source
    from backstory.trained import Trained

Command = Callable[..., None]


def grouped(command: Command) -> Command:
    """The same command with the fields of its records as parameters of their own.

    >>> @dataclass(frozen=True)
    ... class Size:
    ...     width: int
    ...     height: int = 3
    >>> @grouped
    ... def draw(size: Size, colour: str) -> None:
    ...     print(size, colour)
    >>> inspect.signature(draw)
    <Signature (*, width: int, height: int = 3, colour: str) -> None>
    >>> draw(width=2, height=1, colour="red")
    Size(width=2, height=1) red
    """
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if is_dataclass(parameter.annotation):
            groups[name] = parameter.annotation
            parameters += _parameters_of(parameter.annotation)
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def flat(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    flat.__signature__ = inspect.Signature(parameters, return_annotation=None)  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flat


def _parameters_of(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]


@dataclass(frozen=True)
class DataOptions:
    """A run, and data to use it on."""

    run: o.Run
    data: o.Data
    seed: o.Seed = 0
    stream: o.Stream = None
    given: o.Given = None
    device: o.Device = "auto"
    resize: r.Resize = None
    aspect: r.Aspect = None
    pages: r.Pages = None
    skip_damaged: r.SkipDamaged = False

    def __post_init__(self) -> None:  # before a command imports PyTorch
        check_folder(self.run)
        path_of(self.data)

    def open(self) -> "Trained":
        """The model of the run; prints which conditions are read from the data."""
        model = self.model()
        self.say_given(model.schema.conditions)
        return model

    def model(self) -> "Trained":
        """The model of the run."""
        import backstory

        return backstory.open(self.run, self.device)

    def say_given(self, conditions: "Sequence[Condition]") -> None:
        """Print which conditions are read from the data, if they are not given on the command line."""
        from backstory.cli import text

        if conditions and not self.given:
            gaps = [f"; {c.name} is inferred in rows without it" for c in conditions if c.inferred]
            names = ", ".join(condition.name for condition in conditions)
            text.say(f"given {names}: read from {self.data}{''.join(gaps)}")

    def source(self) -> "Source":
        """All rows of the data."""
        from backstory.cli.parsing import cells, size
        from backstory.data.reading import Reading
        from backstory.jobs.source import Source

        reading = Reading.of(
            resize=size(self.resize),
            aspect=self.aspect,
            pages=self.pages,
            skip_damaged=self.skip_damaged,
            stream=self.stream,
        )
        return Source(self.data, split="all", given=cells(self.given, "given"), reading=reading)


@dataclass(frozen=True)
class RowOptions(DataOptions):
    """A run, and the rows of some data to use it on."""

    split: o.Split = "auto"
    limit: o.Limit = None

    def source(self) -> "Source":
        """The chosen rows of the data."""
        return replace(super().source(), split=self.split, limit=self.limit)


@dataclass(frozen=True)
class ReadingOptions:
    """How data is read where it does not tell by itself."""

    resize: r.Resize = None
    aspect: r.Aspect = None
    alpha: r.Alpha = None
    pages: r.Pages = None
    skip_damaged: r.SkipDamaged = False
    kind: r.Kind = None
    channels: r.Channels = None
    range: r.Range = None
    separator: r.Separator = None
    decimal: r.Decimal = None
    encoding: r.Encoding = None
    header: r.Header = None
    index: r.Index = None
    missing: r.MissingMarks = None
    keep_missing_as_level: r.KeepMissing = None
    no_relation: r.NoRelation = None
    constraint: r.Constraint = None
    stream: o.Stream = None

    def given(self) -> dict[str, Any]:
        """The options that were given, as `load` takes them."""
        from backstory.cli.parsing import pair, sign, size

        parsed: dict[str, Any] = {"resize": size(self.resize), "range": pair(self.range, "range")}
        parsed |= {"separator": sign(self.separator)}
        parsed |= {"constraints": self.constraint, "constraint": None}
        parsed |= {"missing": self.missing.split(",") if self.missing else None}
        given = vars(self) | parsed
        return {name: value for name, value in given.items() if value not in (None, [])}


@dataclass(frozen=True)
class OutputOptions:
    """The file to write, for observations."""

    output: o.Output
    force: o.Force = False

    def target(self) -> "Output":
        """Where a job is to write."""
        from backstory.jobs.output import Output

        return Output(self.output, self.force)


@dataclass(frozen=True)
class TableOutputOptions(OutputOptions):
    """The file to write, for a table of results."""

    output: o.TableOutput


@dataclass(frozen=True)
class DamageOptions:
    """What happened to x, or is to happen to it."""

    mask: o.MaskFile = None
    noise: o.NoiseSigma = None
    downscale: o.Factor = None
    blur: o.BlurSigma = None
    missing: o.HiddenShare = None

    def damage(self) -> "Damage":
        """The damage as jobs take it."""
        from backstory.jobs.damage import Damage

        return Damage(**vars(self))


@dataclass(frozen=True)
class RestorationOptions:
    """How to restore, and what to write beside the mean."""

    draws: o.RestoredDraws = None
    std: o.Std = False
    method: o.Restoring = "auto"
    budget: o.Budget = None

    def settings(self, seed: int) -> "RestorationSettings":
        """The settings as jobs take them."""
        from backstory.jobs.restore import RestorationSettings

        return RestorationSettings(**vars(self), seed=seed, progress=True)
