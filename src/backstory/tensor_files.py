"""Files of tensors and texts: safetensors whose header has a checksum of all content."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from backstory.files import atomic_path

CHECKSUM = "checksum"  # the name of the checksum beside the texts


def write_tensors(path: Path, tensors: dict[str, Tensor], texts: dict[str, str]) -> None:
    """Replace a file of tensors; a kill at any moment leaves the old or the new one.

    InputError if it cannot be written.
    """
    copies = on_cpu(tensors)
    content = save(copies, texts | {CHECKSUM: _checksum(copies, texts)})
    del copies
    with atomic_path(path, force=True) as temporary:
        temporary.write_bytes(content)  # safetensors itself would tell a full disk in its own way


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and texts of a file that `write_tensors` wrote; ValueError if it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            texts: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(str(error)) from error
    if texts.pop(CHECKSUM, None) != _checksum(tensors, texts):
        raise ValueError("the checksum differs")
    return tensors, texts


def on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU: safetensors refuses shared memory, which a head and its model have."""
    return {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}


def _checksum(tensors: dict[str, Tensor], texts: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)} ".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
