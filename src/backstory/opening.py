"""Trained models from run folders, and from packed files."""

import json
from pathlib import Path

from backstory.data.observation import Observation
from backstory.ensemble import Ensemble
from backstory.errors import InputError
from backstory.model import REFERENCE, Model
from backstory.models import build
from backstory.models.defaults import resolve
from backstory.runs.folder import CONFIG, SPLITS, check_folder, member_folder, members_of, read_config
from backstory.runs.provenance import Provenance, parts_from
from backstory.runs.run import Run
from backstory.training.devices import pick_device


def open(run: str | Path, device: str = "auto") -> Model | Ensemble:
    """Open a run folder, of a model or an ensemble.

    InputError, one sentence, where it is missing, damaged or not a run.
    """
    folder = Path(run)
    check_folder(folder)
    count = members_of(folder, read_config(folder))
    if count is None:
        return open_single(folder, device)
    return Ensemble([open_single(folder / member_folder(number), device) for number in range(count)])


def open_single(folder: Path, device: str = "auto") -> Model:
    """Open the run folder of a single model."""
    return _model(Run.read(folder), folder, device)


def unpack(files: dict[str, bytes], device: str = "auto") -> Model | Ensemble:
    """The model or ensemble that its `pack` packed."""
    count = json.loads(files[CONFIG]).get("ensemble")
    if count is None:
        return _model(Run.unpack(files), Path("packed"), device)
    members = []
    for number in range(count):
        start = member_folder(number)
        own = {name.removeprefix(start): v for name, v in files.items() if name.startswith(start)}
        members.append(_model(Run.unpack(own), Path("packed") / start, device))
    return Ensemble(members)


def _model(run: Run, folder: Path, device: str) -> Model:
    """The model of a run; errors name the folder."""
    config = run.config
    vae = build.build(*resolve(config.data, config.model))
    run.load_weights(vae, folder)
    try:
        splits, hashes = parts_from(run.rows)
    except KeyError as error:
        raise InputError(f"{folder / SPLITS} is damaged: {error.args[0]} is missing") from None
    provenance = Provenance(
        config.source, config.fingerprint, config.validation, splits, hashes, config.training, config.asked
    )
    model = Model(vae.to(pick_device(device)).eval(), config.data, config.model, provenance, config.summary)
    if REFERENCE[0] in run.rows:
        kept = Observation(run.rows[REFERENCE[0]], run.rows.get(REFERENCE[1]))
        model.reference = kept.to(model.device)
    return model
