"""All options as a list, from which the command line and docs/options.md are made."""

from collections.abc import Iterable
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from backstory.options.choices import AUTO, CHOICES, UNDECIDED, bounds, limits, listed, literals
from backstory.options.model import MODEL_GROUPS, ModelOptions
from backstory.options.presets import PRESETS
from backstory.options.training import TrainOptions

MODEL, TRAINING = "The model", "Training"  # panels of the help


@dataclass(frozen=True)
class Option:
    """An option as people give it.

    Attributes:
        name: of the keyword argument.
        panel: of the help that it stands in.
        field: its type, default, bounds and description.
        words: the values that it can have, if these are a few words.
        group, owners: the choices that have it; () for an option of every model.
    """

    name: str
    panel: str
    field: FieldInfo
    words: tuple[str, ...] = ()
    group: str = ""
    owners: tuple[str, ...] = ()

    @property
    def kind(self) -> Any:
        """Its type without None: int, float, bool, str, or a tuple."""
        extra = self.field.json_schema_extra
        if self.words or (isinstance(extra, dict) and extra.get("text")):
            return str
        kind = self.field.annotation
        return next((k for k in get_args(kind) if get_origin(kind) is UnionType and k is not NoneType), kind)

    @property
    def metavar(self) -> str | None:
        """How the help calls its value; None leaves that to the type."""
        extra = self.field.json_schema_extra
        return str(extra["metavar"]) if isinstance(extra, dict) and "metavar" in extra else None

    @property
    def default(self) -> str:
        """Its default in words; "" if it is left to the data."""
        value = self.field.get_default(call_default_factory=True, validated_data={})
        if value is None or self.field.is_required():
            return ""
        return str(getattr(value, "name", value))

    @property
    def help(self) -> str:
        """What it is, its values and its default, in a line."""
        parts = [f"{(self.field.description or '').rstrip('.')}."]
        if self.owners:
            parts.append(f"For {self.group} {listed(self.owners)}.")
        if self.words:
            parts.append(f"Values: {', '.join(self.words)}.")
        if self.default and self.default != AUTO:
            parts.append(f"Default: {self.default}.")
        return " ".join(parts)

    @property
    def bounds(self) -> str:
        """The bounds of a number in words; "" for none."""
        return bounds(self.field) if limits(self.field) else ""


def options() -> list[Option]:
    """All options, flat, those of a choice behind it."""
    return [_preset(), *_options(ModelOptions, MODEL), *_options(TrainOptions, TRAINING)]


def _preset() -> Option:
    text = "Options of model and training under one name, see docs/options.md; those given beside it win"
    field = FieldInfo(annotation=str, default=None, description=f"{text}.")
    return Option("preset", MODEL, field, tuple(PRESETS))


def _options(record: Any, panel: str) -> Iterable[Option]:
    for name, field in record.model_fields.items():
        if name not in CHOICES:
            yield Option(name, panel, field, tuple(literals(field)))
            continue
        automatic = (AUTO,) if name in UNDECIDED else ()
        yield Option(name, panel, field, (*automatic, *CHOICES[name]))
        if name in MODEL_GROUPS:
            yield from _options_of(name, panel)
        else:
            yield _arguments(name, panel)


def _options_of(group: str, panel: str) -> Iterable[Option]:
    """The options of the choices of a group; one that several choices share comes once."""
    owners: dict[tuple[str, str | None], list[str]] = {}
    fields: dict[tuple[str, str | None], FieldInfo] = {}
    for name, record in CHOICES[group].items():
        for option, field in record.options().items():
            # those of a model are given flat, so one name is one option
            key = option, None if group in MODEL_GROUPS else field.description
            owners.setdefault(key, []).append(name)
            fields.setdefault(key, field)
    for key, field in fields.items():
        yield Option(key[0], panel, field, tuple(literals(field)), group, tuple(owners[key]))


def _arguments(group: str, panel: str) -> Option:
    """The arguments of all objectives, as one option."""
    each = [f"{name} has {listed(list(r.options()))}" for name, r in CHOICES[group].items() if r.options()]
    text = f"Arguments of the objective by name; {', '.join(each)}"
    field = FieldInfo(annotation=dict, default=None, description=text)
    field.json_schema_extra = {"metavar": "NAME=X,…"}
    return Option(f"{group}_args", panel, field)


# -- docs/options.md --------------------------------------------------------------------------------------

TOP = """# Options

All options of `backstory.fit` and of the command `fit`, which writes them with dashes. A choice is
given by its name or as a record: `fit(data, prior="mixture", components=5)` is
`fit(data, prior=MixturePrior(components=5))`, with the records of `backstory.options`. An option that the
choice does not have is an error. [Extending](extending.md) shows how to register choices of your own.

This page is made from the records by `python docs/render_options.py`.
"""

PRESET_TOP = """## Presets

`fit(data, preset="restore")`, on the command line the option `preset`, sets the options of a line of this
table. An option that is given beside it wins, and another choice, such as another prior, also takes the place
of the options of the preset's choice. The run keeps the options and the name of the preset; `resume` needs
neither.

"""

CONDITIONS = """## Conditions

`fit(data, given="class")`, on the command line the option `given`, learns p(x|c): c is what is known of each
observation besides x. A condition is `class` (or `label`), for the labels of images (folders, IDX files, the
embedded digits), or the name of a column of a table, which leaves x; several are given as a list, on the
command line with commas: age,sex. In Python values do as well: `fit(x, given=labels)` with an array of labels
or numbers, (N,), or `given={"sex": …, "age": …}`. Levels become one number for each level, and numbers become
one standardised number. Conditions must be observed in every row, but for one with levels, see below. The
prior p(z) does not depend on c, unless it is `prior="conditional"`, a Gaussian p(z|c) whose mean and σ are
learned functions of c and begin as 0 and 1. The decoder, told of z and c, can learn the same p(x|c) without
it, and z then holds what c does not tell; with it, codes of the same c may lie together.

Every question to such a model needs c. A table or data set that has the conditions tells them. Elsewhere,
or in place of the data's own, `given={"sex": "f", "age": 40}` (on the command line `given` sex=f and
age=40) tells all of them, with one value for all rows; in Python, a sequence has one value for each row.
Tables that `sample`, `reconstruct`, `impute` and `restore` write hold the conditions that the answer was
made under, where the training table had them. `backstory info RUN` lists the conditions of a model.

    model = fit("digits", given="class")
    rows = model.sample(8, each="class")    # 8 draws at each level of class, in the order of the levels

The command `sample` with the option `each` writes the same draws, as a sheet with a line for each level.

### Rows without a level

One condition with levels may be missing in some training rows: NaN or None in an array of labels, an
empty cell of a column, an image outside of the folders of classes. Training then sums over the levels of
such a row with a network q(c|x) (Kingma et al. 2014, model M2); levels with q(c|x) below 0.01 are left
out, and the sum stays a lower bound. `label_weight` is the paper's α, and p(c) are the shares of the
levels in the rows that have one. `labelled` keeps so many labels of the training rows, balanced over the
levels, and hides the others, to see what they are worth.

    model = fit(x, given=labels)            # labels with None where they are not known
    model.classify(x).most_probable         # by Bayes' rule; method="encoder" is q(c|x)

Where c is missing, `log_evidence`, `evaluate` and `score` are of p(x) = Σ p(c) p(x|c), and the ELBO is
that of training; `sample` draws c from p(c); `restore` and `impute` restore each level, by its share
p(c|y) ∝ p(c) p(y|c) of the observed entries; `encode` and `reconstruct` take the most probable level of
q(c|x).
"""


def page() -> str:
    """docs/options.md."""
    every = options()
    parts = [TOP]
    for panel, record in ((MODEL, ModelOptions), (TRAINING, TrainOptions)):
        rows = [_row(option) for option in every if option.panel == panel and not option.owners]
        parts.append(_table(panel, ("option", "values", "default", ""), rows))
        for group in record.model_fields:
            if group in CHOICES:
                parts.append(_choices(group))
    return "\n".join([*parts, _presets(), CONDITIONS])


def _presets() -> str:
    rows = [
        (f"`{p.name}`", p.purpose, ", ".join(f"`{name}` {_shown(v)}" for name, v in p.options.items()))
        for p in PRESETS.values()
    ]
    return PRESET_TOP + _lines(("preset", "for", "options"), rows)


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _choices(group: str) -> str:
    rows = [(f"`{name}`", f"{record.help()}.") for name, record in CHOICES[group].items()]
    text = _table(group.capitalize(), (group, ""), rows)
    inside = [
        (*_row(option)[:1], ", ".join(option.owners), *_row(option)[1:]) for option in _options_of(group, "")
    ]
    return text + ("\n" + _lines(("option", "of", "values", "default", ""), inside) if inside else "")


def _row(option: Option) -> tuple[str, ...]:
    values = ", ".join(option.words) or option.bounds or KINDS.get(option.kind, "numbers")
    default = "required" if option.field.is_required() else option.default
    return f"`{option.name}`", values, default, option.field.description or ""


KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    dict: "names and numbers",
}


def _table(title: str, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return f"## {title}\n\n{_lines(head, rows)}"


def _lines(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
