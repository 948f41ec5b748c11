"""Trained models inside estimators: in double precision, and packed as files for a pickle."""

from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from backstory.data.dataset import Dataset
from backstory.errors import InputError
from backstory.inference.mixture import log_mean_exp
from backstory.inference.scoring import MOST_ENTRIES, log_evidence, numbers
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
    rows = model._drawn(x)
    each = torch.stack([log_evidence(member.vae, rows) for member in model.members])
    return log_mean_exp(each).cpu().numpy()


def surprises(model: Trained, data: Dataset) -> np.ndarray:
    """E_q[−log p(x_j|z)] of each modelled cell, (n_samples, columns) in nats, as in `Trained.score`."""
    if model.schema.numel > MOST_ENTRIES:
        raise InputError(
            f"expected at most {MOST_ENTRIES} columns for the surprise of each, got {model.schema.numel}; "
            "leave some out"
        )
    batches = model._batches(data).draw(model._generator(0))
    return np.concatenate([numbers(model._look(batch).surprise) for batch in batches])


def drawn_seed(random_state: int | np.random.RandomState | None) -> int:
    """A seed of draws; without a `random_state` another one at each call."""
    if random_state is None:
        return torch.Generator().seed() % 2**31
    return int(check_random_state(random_state).randint(2**31 - 1))


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
