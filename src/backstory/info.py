"""What is installed, and what a run folder holds: plain records, without loading a model."""

import platform
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

from backstory import __version__, checkpoint
from backstory.errors import InputError

LIBRARIES = ("torch", "numpy", "pandas", "scikit-learn")


def environment() -> dict[str, Any]:
    """Versions, devices and embedded data sets.

    >>> environment()["data"]
    ['digits']
    """
    import torch

    from backstory.data.load import EMBEDDED

    devices = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {
        "backstory": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "devices": devices,
        "data": list(EMBEDDED),
    }


def run_info(run: str | Path) -> dict[str, Any]:
    """What a run is: its data, model, training and files; `summary` has the values of the kept epoch.

    Raises:
        InputError: there is no run, or it is damaged.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise InputError(f"no run at {folder}: expected a folder made by backstory fit")
    config = checkpoint.load_config(folder).model_dump(mode="json")
    summary = {k: v for k, v in config["summary"].items() if k != "fingerprint"}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "run": str(folder),
        "source": config["source"],
        "rows": config["rows"],
        "parameters": _parameters(folder / checkpoint.WEIGHTS),
        "summary": summary,
        "data": config["data"],
        "model": config["model"],
        "training": config["training"],
        "backstory": config["backstory"],
        "torch": config["torch"],
        "files": {path.relative_to(folder).as_posix(): path.stat().st_size for path in files},
    }


def _parameters(path: Path) -> int:
    """The number of stored numbers, from the header of the weights."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as tensors:
            return sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"{path.parent} is not a run: {path.name} is missing") from None
    except (SafetensorError, OSError):
        raise InputError(f"{path} is damaged or truncated; train the model again") from None
