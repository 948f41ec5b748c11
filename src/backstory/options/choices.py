"""Options as typed records, without PyTorch: choices by name, and one sentence for a value that cannot be.

A `Record` holds options: each field has its type, default, bounds and help. A `Choice` is a record for one
answer to a question such as which prior: the records of a `group` differ by their `name`, so a choice is a
discriminated union that code outside the package can extend (see `backstory.register`).

    CHOICES["network"]["mlp"]                       the record type MLPNetwork
    make("network", "mlp", {"hidden": (64,)})       MLPNetwork(hidden=(64,))
"""

import inspect
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from backstory.errors import InputError, meant

CHOICES: dict[str, dict[str, "type[Choice]"]] = {
    group: {} for group in ("likelihood", "network", "prior", "posterior", "objective")
}
Need = Literal["density", "units", "kl"]  # what an objective may need of prior and posterior
RESERVED = ("name", "path")  # fields of a choice that are no options
AUTO = "auto"

C = TypeVar("C", bound="type[Choice]")


class OptionError(InputError):
    """An option that cannot be; `option` is its dotted name."""

    def __init__(self, sentence: str, option: str):
        super().__init__(sentence)
        self.option = option


class NotRegistered(OptionError):
    """A choice that was registered outside the package, and is not registered in this process."""


class Record(BaseModel):
    """Options as fields; an InputError of one sentence for a value that cannot be."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    def __init__(self, **values: Any):
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise option_error(type(self), error) from None


class Choice(Record):
    """One answer to a question; the first line of its docstring is its help."""

    group: ClassVar[str]
    decided: ClassVar[bool] = True
    name: str

    @classmethod
    def options(cls) -> dict[str, FieldInfo]:
        """Its fields by name, without those that say which choice it is."""
        return {name: field for name, field in cls.model_fields.items() if name not in RESERVED}

    @property
    def values(self) -> dict[str, Any]:
        """Its options by name."""
        return {name: getattr(self, name) for name in self.options()}

    @classmethod
    def help(cls) -> str:
        """What it is, in a line."""
        return (cls.__doc__ or "").strip().partition("\n")[0].rstrip(".")


class Undecided(Choice):
    """A choice that is left to the data, and the options that were given for it."""

    decided: ClassVar[bool] = False
    name: Literal["auto"] = "auto"
    given: dict[str, Any] = Field(default_factory=dict)

    @property
    def values(self) -> dict[str, Any]:
        return self.given


def auto(record: type[Undecided]) -> type[Undecided]:
    """Let the choices of a group be left to the data."""
    UNDECIDED[record.group] = record
    return record


UNDECIDED: dict[str, type[Undecided]] = {}


def choice(record: C) -> C:
    """Enter a record type into CHOICES under its group and name.

    Raises:
        InputError: another group has an option of this name already, so it would not be clear whose it is.
    """
    for option in record.options() if record.group != "objective" else ():
        for group in CHOICES:
            if group not in (record.group, "objective") and (others := owners(group, option)):
                raise InputError(
                    f"{record.group} {name_of(record)} has an option {option!r}, which is one of "
                    f"{group} {others[0]} already; give it another name"
                )
    CHOICES[record.group][name_of(record)] = record
    return record


def name_of(record: type[Choice]) -> str:
    """The name of a choice."""
    return str(record.model_fields["name"].default)


def find(group: str, name: str, path: str | None = None) -> type[Choice]:
    """The record type of a choice.

    Args:
        group, name: such as `prior` and `mixture`.
        path: where the choice was defined, if outside the package, as a run says.

    Raises:
        NotRegistered: the choice comes from outside the package, and nothing here has registered it.
        InputError: there is no such choice.
    """
    known = CHOICES[group]
    if name not in known and (path is not None or "." in name):
        home = path or name
        module = home.rpartition(".")[0]
        raise NotRegistered(
            f"{group} {name!r} is {home}, which is not registered here; import its module first "
            f"(import {module}; on the command line, give it to `import` before the command)",
            group,
        )
    one_of(group, name, [AUTO, *known] if group in UNDECIDED else list(known))
    own = known[name].model_fields.get("path")
    if path is not None and (own is None or own.default != path):
        raise NotRegistered(
            f"{group} {name!r} is {path}, and another one is registered here under this name; "
            "import the module that the run was made with",
            group,
        )
    return known[name]


def make(group: str, name: str, given: Mapping[str, Any]) -> Choice:
    """The record of a choice with the options that were given; InputError for one that it does not have."""
    record = find(group, name)
    for option in given:
        if option not in record.options():
            raise OptionError(_no_such(group, record, option), option)
    return record(**given)


def _no_such(group: str, record: type[Choice], option: str) -> str:
    mine, others = record.options(), owners(group, option)
    if group == "objective":
        if not mine:
            return f"objective {name_of(record)} takes no arguments, got {option!r}; leave objective_args out"
        return (
            f"an argument of objective {name_of(record)} is one of {', '.join(mine)}, got {option!r}; "
            f"{meant(option, list(mine))}"
        )
    has = f"{listed(others)} {'has' if len(others) == 1 else 'have'} it"
    return f"{group} {name_of(record)} has no {option}; {has}"


def owners(group: str, option: str) -> list[str]:
    """Names of the choices of a group that have an option."""
    return [name for name, record in CHOICES[group].items() if option in record.options()]


def spelt_out(group: str, value: Any) -> tuple[str, dict[str, Any]]:
    """Name and options of a choice that comes as a name, a record, or a record's JSON."""
    if isinstance(value, str):
        return value, {}
    if isinstance(value, Choice):
        if value.group != group:
            raise OptionError(f"expected a {group}, got {value.group} {value.name}", group)
        return value.name, _without_none(value.values)
    if isinstance(value, Mapping):
        record = dict(value)
        name, path = record.pop("name", None), record.pop("path", None)
        if isinstance(name, str):
            if name != AUTO:
                find(group, name, path)
            return name, _without_none(record.pop("given", record) if name == AUTO else record)
    raise OptionError(f"{group}: expected a name or a record of its options, got {value!r}", group)


def gather(
    groups: Sequence[str], defaults: Mapping[str, str], values: Mapping[str, Any]
) -> tuple[dict[str, Choice], dict[str, Any]]:
    """The choices of several groups from flat options, and the options that belong to none of them.

    Args:
        groups: whose options stand beside each other under their own names.
        defaults: the choice of a group that was not given.
        values: options by name; None means not given.

    Raises:
        InputError: an option that the chosen one does not have, or a choice that does not exist.
    """
    rest, chosen, given = _without_none(values), {}, {}
    for group in groups:
        chosen[group], given[group] = spelt_out(group, rest.pop(group, defaults[group]))
    for group in groups:
        for option in [o for o in rest if owners(group, o)]:
            if option in given[group]:
                raise OptionError(f"{option} was given twice, by itself and with its {group}", option)
            given[group][option] = rest.pop(option)
    return {group: settle(group, chosen[group], given[group]) for group in groups}, rest


def settle(group: str, name: str, given: dict[str, Any]) -> Choice:
    """The record of a choice, or what was given for one that is left to the data."""
    if name == AUTO and group in UNDECIDED:
        return UNDECIDED[group](
            given={option: _checked(group, option, value) for option, value in given.items()}
        )
    return make(group, name, given)


def _checked(group: str, option: str, value: Any) -> Any:
    """The value as the first choice that has the option takes it; as it is if none has."""
    for name in owners(group, option):
        return make(group, name, {option: value}).values[option]
    return value


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def flat(record: Record, groups: Iterable[str]) -> dict[str, Any]:
    """A record's options by name, those of its choices beside its own."""
    values = record.model_dump(mode="json")
    for group in groups:
        part = values.pop(group)
        part.pop("path", None)
        values[group] = part.pop("name")
        part = part.get("given", part)
        values |= {"objective_args": part} if group == "objective" else part
    return values


# -- choices from outside the package ---------------------------------------------------------------------

IMPLEMENTED: dict[Any, type[Choice]] = {}  # records of classes and functions that were registered


def record_of(base: type[Choice], name: str, implementation: Any, supplied: Collection[str]) -> type[Choice]:
    """A new choice, entered into CHOICES, with the parameters of a class or function as its options.

    Args:
        base: the record type of its group.
        name: of the choice.
        implementation: its parameters have annotations, which may be `Annotated[float, Field(...)]` with
            bounds and a description; the first line of its docstring is the help.
        supplied: parameters that the caller supplies, which are no options.

    Raises:
        InputError: the name is taken by the package, or a parameter has no annotation.
    """
    earlier = CHOICES[base.group].get(name)
    if earlier is not None and "path" not in earlier.model_fields:
        raise InputError(f"{base.group} {name!r} is one of Backstory's own; choose another name")
    signature = inspect.signature(implementation, eval_str=True)
    fields: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        if parameter.name in supplied:
            continue
        if parameter.annotation is parameter.empty or parameter.kind is parameter.VAR_KEYWORD:
            raise InputError(
                f"parameter {parameter.name!r} of {path_of(implementation)} becomes an option; "
                "give it a type, such as float"
            )
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (parameter.annotation, default)
    path = path_of(implementation)
    fields |= {"name": (Literal[name], name), "path": (Literal[path], path)}
    record = create_model(f"{implementation.__name__}Options", __base__=base, **fields)
    record.__doc__ = implementation.__doc__ or f"{path}."
    IMPLEMENTED[implementation] = choice(record)
    return record


def path_of(implementation: Any) -> str:
    """Module and name of a class or function, such as `my_module.MyPrior`."""
    return f"{implementation.__module__}.{implementation.__qualname__}"


def as_tuple(value: Any) -> Any:
    """A single whole number as a tuple of one; anything else as it is."""
    return (value,) if isinstance(value, int) else value


# -- sentences --------------------------------------------------------------------------------------------


def one_of(name: str, value: str, choices: Sequence[str]) -> str:
    """`value` if it is among the choices; otherwise an InputError that names the one that may be meant."""
    if value in choices:
        return value
    raise OptionError(f"{name} is one of {', '.join(choices)}, got {value!r}; {meant(value, choices)}", name)


def check_option(function: str, name: str, known: Sequence[str]) -> None:
    """InputError for a name that is no option of a function, with the one that may be meant."""
    if name not in known:
        advice = meant(name, known, f"its options are {', '.join(known)}")
        raise InputError(f"{function} has no option {name!r}; {advice}")


def listed(words: Sequence[str]) -> str:
    """Words in a sentence.

    >>> listed(["mlp", "residual", "plain"])
    'mlp, residual and plain'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def option_error(record: type[BaseModel], error: ValidationError) -> InputError:
    """One sentence for the first value that cannot be."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InputError):
        return cause
    where, got = [str(part) for part in first["loc"]], first.get("input")
    name, field = ".".join(where), record.model_fields.get(where[0] if where else "")
    number = f"{got:g}" if isinstance(got, float) else repr(got)
    if first["type"] in BOUNDED and field is not None:
        infinite = first["type"] == "finite_number" and "gt" not in limits(field)
        return OptionError(
            f"{name} has to be {'a finite number' if infinite else bounds(field)}, got {number}", name
        )
    if first["type"] == "literal_error" and field is not None:
        words = literals(field)
        return OptionError(
            f"{name} is one of {', '.join(words)}, got {got!r}; {meant(str(got), words)}", name
        )
    return _wrong_type(where, first, got)


TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false", "string": "a word"}
TYPES |= {"tuple": "whole numbers, such as 64,32"}


def _wrong_type(where: Sequence[str], error: Any, got: Any) -> OptionError:
    kind = error["type"].partition("_")[0]
    if kind in TYPES and where and all(part.isdigit() for part in where[1:]):
        expected = TYPES["tuple" if where[1:] else kind]
        return OptionError(f"{where[0]} has to be {expected}, got {got!r}", where[0])
    name = ".".join(where)
    return OptionError(f"{name}: {error['msg'].lower()}, got {got!r}", name)


BOUNDED = ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number")


def literals(field: FieldInfo) -> list[str]:
    """The words that a field may have; [] if it is not one of a few words."""
    for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
        if getattr(kind, "__origin__", None) is Literal:
            return [str(word) for word in kind.__args__]
    return []


def bounds(field: FieldInfo) -> str:
    """The bounds of a number in words.

    >>> bounds(FieldInfo(annotation=float, gt=0, lt=1)), bounds(FieldInfo(annotation=int, ge=1))
    ('between 0 and 1', 'at least 1')
    """
    found = limits(field)
    low, high = found.get("gt", found.get("ge")), found.get("lt", found.get("le"))
    example = f", such as {field.examples[0]}" if field.examples else ""
    if low is None:
        return "a finite number" if high is None else f"below {high:g}"
    if high is not None:
        return f"between {low:g} and {high:g}{example}"
    if "ge" in found:
        return f"at least {low:g}"
    return "positive" if low == 0 else f"above {low:g}{example}"


def limits(field: FieldInfo) -> dict[str, float]:
    """The bounds of a number by their names in pydantic: gt, ge, lt, le."""
    found: dict[str, float] = {}
    for part in field.metadata:
        for name in ("gt", "ge", "lt", "le"):
            if getattr(part, name, None) is not None:
                found[name] = getattr(part, name)
    return found
