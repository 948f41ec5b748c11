"""The record of a run that people are shown, from config.json as it is.

The records of `backstory.options` are not needed, so `info` answers at once, also for a run with choices from
outside the package that are not registered.
"""

from functools import reduce
from operator import getitem
from pathlib import Path
from types import NoneType
from typing import Any

from backstory.runs.folder import CONFIG, not_understood

NUMBER = (int, float, NoneType)
SHOWN: dict[str, Any] = {
    "backstory": str,
    "torch": str,
    "source": str,
    "rows": dict,
    "data": dict,
    "data.kind": str,
    "data.shape": list,
    "data.dtype": str,
    "data.levels": (int, NoneType),
    "data.presentation": str,
    "data.conditions": list,
    "model": dict,
    "model.likelihood": str,
    "model.network": str,
    "model.hidden": list,
    "model.latent": int,
    "model.prior": str,
    "model.posterior": str,
    "training": dict,
    "training.epochs": (int, NoneType),
    "asked": dict,
    "total_weight": NUMBER,
    "summary": dict,
    "summary.stopped": str,
    "summary.epochs": int,
    "summary.best_epoch": int,
    "summary.active_units": int,
    "summary.elbo": NUMBER,
    "summary.reconstruction": NUMBER,
    "summary.kl": NUMBER,
}
OPTIONAL = ("model.hidden", "data.conditions", "asked", "total_weight")  # of some networks, models and runs


def shown(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The config of a run with flat options; InputError if a part that people are shown is not understood."""
    record = config | {name: _flat(config[name]) for name in ("model", "training") if name in config}
    for path, kinds in SHOWN.items():
        if not _is_understood(record, path, kinds):
            raise not_understood(folder / CONFIG, path)
    return record


def _flat(options: Any) -> Any:
    """Options by name, those of a choice beside its name, as `options.choices.flat` has them."""
    if not isinstance(options, dict):
        return options
    flat: dict[str, Any] = {}
    for option, value in options.items():
        if isinstance(value, dict) and "name" in value:
            own = {name: part for name, part in value.items() if name not in ("name", "path")}
            flat |= {option: value["name"]}
            flat |= {"objective_args": own} if option == "objective" else own
        else:
            flat[option] = value
    return flat


def _is_understood(record: dict[str, Any], path: str, kinds: Any) -> bool:
    try:
        value = reduce(getitem, path.split("."), record)
    except KeyError:
        return path in OPTIONAL
    return isinstance(value, kinds)
