"""Finished rows of a long computation, kept in a file so that it can be interrupted and resumed.

The file is safetensors: log-weights, acceptance and a hash for each row, and in its header the settings of
the computation. When more rows are finished, the whole file is written under another name and then renamed.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from backstory.data.observation import Observation
from backstory.data.splits import row_hashes
from backstory.errors import InputError
from backstory.files import parse_json
from backstory.tensor_files import read_tensors, write_tensors

NAMES = ("log_weight", "acceptance", "hash")


class RowStore:
    """Results of rows in order, in memory, and in a file if a path is given.

    Args:
        path: the file; if it exists, its rows are used. None for no file.
        model: a hash of its weights is one of the settings.
        settings: what else the results depend on.

    Raises:
        InputError: the file is of another kind, or has other settings.
    """

    def __init__(self, path: str | Path | None, model: nn.Module, settings: dict[str, Any]):
        self.path = None if path is None else Path(path)
        self.settings = {**settings, "model": _weights_hash(model)} if path else settings
        self.parts: list[tuple[Tensor, Tensor, Tensor]] = []
        self.count = 0
        if self.path is not None and self.path.exists():
            self._take_up(self.path)

    def matching(self, batch: Observation, first: int) -> int:
        """The number of finished rows at the beginning of a batch with rows `first`, `first` + 1, ….

        InputError if the file holds other rows in their place.
        """
        done = max(0, min(len(batch), self.count - first))
        if done and not torch.equal(self._all()[2][first : first + done], _hashes(batch.rows(slice(done)))):
            raise InputError(f"{self.path} holds results of other rows; give another file, or remove it")
        return done

    def append(self, batch: Observation, log_weight: Tensor, acceptance: Tensor) -> None:
        """Add the results of B rows: log-weights (B, C) and acceptance (B,)."""
        hashes = _hashes(batch) if self.path else torch.zeros(len(batch), dtype=torch.int64)
        self.parts.append((log_weight.cpu(), acceptance.cpu(), hashes))
        self.count += len(batch)
        if self.path is not None:
            tensors = dict(zip(NAMES, self._all(), strict=True))
            write_tensors(self.path, tensors, {"settings": json.dumps(self.settings)})

    def rows(self, count: int) -> tuple[Tensor, Tensor]:
        """Log-weights (count, C) and acceptance (count,) of the first rows."""
        log_weight, acceptance, _ = self._all()
        return log_weight[:count], acceptance[:count]

    def _all(self) -> tuple[Tensor, Tensor, Tensor]:
        if len(self.parts) > 1:
            log_weight, acceptance, hashes = (torch.cat(part) for part in zip(*self.parts, strict=True))
            self.parts = [(log_weight, acceptance, hashes)]
        return self.parts[0]

    def _take_up(self, path: Path) -> None:
        try:
            tensors, texts = read_tensors(path)
            settings = parse_json(texts["settings"])
            log_weight, acceptance, hashes = (tensors[name] for name in NAMES)
        except (KeyError, ValueError):
            raise InputError(
                f"{path} is not a file of finished rows; give another file, or remove it"
            ) from None
        for name, value in self.settings.items():
            if settings.get(name) != value:
                raise InputError(
                    f"{path} was made with {name} {settings.get(name)}, now it is {value}; "
                    "give the same settings, or another file"
                )
        self.parts, self.count = [(log_weight, acceptance, hashes)], len(log_weight)


def _hashes(batch: Observation) -> Tensor:
    x = batch.x if batch.given is None else torch.cat((batch.x.flatten(1), batch.given.to(batch.x)), 1)
    return torch.from_numpy(row_hashes(x.detach().cpu().numpy()).astype("int64"))


def _weights_hash(model: nn.Module) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
