"""Trained models from run folders, and from packed files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from backstory.data.observation import Observation
from backstory.ensemble import Ensemble
from backstory.errors import InputError
from backstory.model import KNOWN, REFERENCE, Model
from backstory.models import build
from backstory.models.defaults import resolve
from backstory.models.vae import VAE
from backstory.runs.folder import (
    CONFIG,
    SPLITS,
    WEIGHTS,
    check_folder,
    member_folder,
    members_of,
    read_config,
    unsealed,
)
from backstory.runs.provenance import Provenance, parts_from
from backstory.runs.replacement import settle
from backstory.runs.run import Config, Run
from backstory.training.devices import pick_device


def open(run: str | Path, device: str = "auto") -> Model | Ensemble:
    """Open a run folder, of a model or an ensemble.

    InputError, one sentence, where it is missing, damaged or not a run.
    """
    folder = Path(run)
    check_folder(folder)
    settle(folder)
    count = members_of(folder / CONFIG, read_config(folder))
    if count is None:
        return open_single(folder, device)
    return Ensemble([open_single(folder / member_folder(number), device) for number in range(count)])


def open_single(folder: Path, device: str = "auto") -> Model:
    """Open the run folder of a single model."""
    return _model(Run.read(folder), folder, device)


def unpack(files: dict[str, bytes], device: str = "auto") -> Model | Ensemble:
    """The model or ensemble that its `pack` packed."""
    folder = Path("packed")
    count = members_of(folder / CONFIG, unsealed(files[CONFIG], folder / CONFIG))
    if count is None:
        return _model(Run.unpack(files, folder), folder, device)
    members = []
    for number in range(count):
        start = member_folder(number)
        own = {name.removeprefix(start): v for name, v in files.items() if name.startswith(start)}
        members.append(_model(Run.unpack(own, folder / start), folder / start, device))
    return Ensemble(members)


def _model(run: Run, folder: Path, device: str) -> Model:
    """The model of a run; errors name the folder."""
    config = run.config
    vae = _untrained(config, run.weights, folder)
    run.check_weights(vae, folder)
    vae.load_state_dict(run.weights)
    try:
        splits, hashes, weightless = parts_from(run.rows, config.rows)
    except KeyError as error:
        raise InputError(f"{folder / SPLITS} is damaged: {error.args[0]} is missing") from None
    except ValueError as error:
        raise InputError(f"{folder / SPLITS} is damaged: {error}; train the model again") from None
    provenance = Provenance(
        config.source,
        config.fingerprint,
        config.validation,
        splits,
        hashes,
        config.training,
        config.asked,
        config.total_weight,
        weightless,
    )
    model = Model(vae.to(pick_device(device)).eval(), config.data, config.model, provenance, config.summary)
    if REFERENCE[0] in run.rows:
        kept = Observation(run.rows[REFERENCE[0]], run.rows.get(REFERENCE[1]))
        model.reference = kept.to(model.device)
    if KNOWN in run.rows:
        model.known = Observation(run.rows[KNOWN]).to(model.device)
    return model


def _untrained(config: Config, weights: dict[str, Tensor], folder: Path) -> VAE:
    """The model that a config describes; InputError, before much is allocated, if it needs other weights."""
    try:
        with _Allowance(sum(value.numel() for value in weights.values())):
            return build.build(*resolve(config.data, config.model))
    except InputError:
        raise
    except _TooLarge:
        raise InputError(
            f"{folder / WEIGHTS} does not belong to {folder / CONFIG}: its tensors are too small"
        ) from None
    except (
        RuntimeError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        AssertionError,
        Warning,
    ) as error:
        raise InputError(
            f"{folder / CONFIG} describes no model that can be built ({type(error).__name__}); train again"
        ) from error


class _TooLarge(Exception):
    """A model needs far more memory than its weights."""


class _Allowance(TorchFunctionMode):
    """A context in which new tensors may have so many entries together, and some more.

    Tensors that are not among the weights, such as constants, are small or as large as weights.
    """

    MAKERS = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye)
    MORE, FACTOR = 1 << 22, 4

    def __init__(self, entries: int):
        super().__init__()
        self.left = self.FACTOR * entries + self.MORE

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in self.MAKERS:
            shape = {name: value for name, value in kwargs.items() if name != "generator"}
            self.left -= func(*args, **{**shape, "device": "meta"}).numel()
            if self.left < 0:
                raise _TooLarge
        return func(*args, **kwargs)
