"""Trained models inside estimators: in double precision, and packed as files for a pickle."""

from typing import Any

import numpy as np
import torch

from backstory.data.observation import Observation
from backstory.inference.mixture import log_mean_exp
from backstory.inference.scoring import log_evidence
from backstory.opening import unpack
from backstory.runs.folder import CONFIG, WEIGHTS
from backstory.trained import Trained


def in_double(model: Trained) -> Trained:
    """The model, with its weights in double precision unless p(x|z) is costly."""
    for member in model.members:
        if member.vae.codes_to_weigh is None:
            member.vae.double()
    return model


def log_density(model: Trained, x: np.ndarray) -> np.ndarray:
    """log p(x) of the observed cells of stored rows, (n_samples,) in nats."""
    rows = model.schema.prepare(torch.tensor(x))
    each = torch.stack([log_evidence(member.vae, Observation(rows)) for member in model.members])
    return log_mean_exp(each).cpu().numpy()


def packed(value: Any) -> Any:
    """An attribute of an estimator with each model as the files of its run, also inside a list."""
    if isinstance(value, list):
        return [packed(item) for item in value]
    return value.pack() if isinstance(value, Trained) else value


def unpacked(value: Any) -> Any:
    """The attribute that `packed` was given, with models on the CPU."""
    if isinstance(value, list):
        return [unpacked(item) for item in value]
    return in_double(unpack(value, "cpu")) if _is_packed(value) else value


def _is_packed(value: Any) -> bool:
    return isinstance(value, dict) and CONFIG in value and any(WEIGHTS in name for name in value)
