"""config.json of a run as typed records, as far as people are shown it. Needs no PyTorch."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from backstory.errors import InputError
from backstory.options import ModelOptions, TrainOptions
from backstory.options.choices import NotRegistered, OptionError
from backstory.runs.folder import not_understood


class Data(BaseModel):
    """The parts of a schema that people are shown, without the libraries that `data.schema` needs."""

    kind: str
    shape: tuple[int, ...]
    dtype: str
    levels: int | None
    presentation: str


class Summary(BaseModel):
    """The parts of a training's summary that people are shown."""

    stopped: str
    epochs: int
    best_epoch: int
    active_units: int
    elbo: float | None
    reconstruction: float | None
    kl: float | None


class ConfigView(BaseModel):
    """config.json as far as people are shown it; the rest is passed on as it is."""

    backstory: str
    torch: str
    source: str
    rows: dict[str, int]
    training: TrainOptions
    data: Data
    model: ModelOptions
    summary: Summary


def checked(folder: Path, config: dict[str, Any]) -> ConfigView:
    """The config of a run; InputError if it is not one of this version, or left something undecided."""
    try:
        run = ConfigView(**config)
    except ValidationError as error:
        raise config_error(folder, error) from None
    for name, value in (("model.latent", run.model.latent), ("training.epochs", run.training.epochs)):
        if value is None:  # left to the data, which a run has decided
            raise not_understood(folder, name)
    return run


def config_error(run: Path, error: ValidationError) -> InputError:
    """What to say of a config that its records refuse: a choice that is not registered, or another value."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, NotRegistered):
        return cause
    where = ".".join(map(str, first["loc"]))
    return not_understood(run, f"{where}.{cause.option}" if isinstance(cause, OptionError) else where)
