"""Plain records of the environment and of a run folder, without importing PyTorch, which takes seconds.

GPUs are listed through NVML by ctypes, which needs no package and no PyTorch.
"""

import ctypes
import os
import platform
import runpy
import sys
from importlib.metadata import version
from importlib.util import find_spec
from itertools import takewhile
from math import prod
from pathlib import Path
from typing import Any

from backstory import __version__
from backstory.data.paths import EMBEDDED
from backstory.errors import InputError
from backstory.files import is_database
from backstory.runs.folder import (
    CHECKPOINT,
    CONFIG,
    ENSEMBLE,
    LOCK,
    METRICS,
    WEIGHTS,
    check_folder,
    member_folder,
    members_of,
    read_config,
    tensor_entries,
)
from backstory.runs.record import shown
from backstory.runs.replacement import settle

LIBRARIES = ("torch", "numpy", "pandas", "scikit-learn")
OF_RUNS = (CONFIG, CHECKPOINT, ENSEMBLE, WEIGHTS, METRICS)  # files of which a run has at least one

NVML = {"linux": "libnvidia-ml.so.1", "win32": "nvml.dll"}  # comes with NVIDIA's driver
NAME_BYTES = 96  # NVML_DEVICE_NAME_V2_BUFFER_SIZE


# -- the machine ------------------------------------------------------------------------------------------


def environment() -> dict[str, Any]:
    """Versions, devices and embedded data sets.

    `gpus` are the names of the NVIDIA GPUs that the driver lists. `devices` are the values of the option
    `device`, as far as they can be determined without PyTorch, which alone can try them: a build of PyTorch
    for the CPU uses no GPU, and CUDA_VISIBLE_DEVICES hides some. Other GPUs than those of NVIDIA and Apple
    are not detected.

    >>> environment()["data"]
    ['digits']
    """
    names = gpus()
    return {
        "backstory": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "gpus": names,
        "devices": devices(len(names), _torch_has_cuda(), os.environ.get("CUDA_VISIBLE_DEVICES")),
        "data": list(EMBEDDED),
    }


def devices(count: int, has_cuda: bool, visible: str | None) -> list[str]:
    """Names of devices, as PyTorch calls them.

    Args:
        count: number of GPUs that the driver lists.
        has_cuda: whether PyTorch was built with CUDA.
        visible: the variable CUDA_VISIBLE_DEVICES, numbers or identifiers, which ends at the first that is
            empty or negative; None if it is not set.

    >>> devices(2, True, None)[:3], devices(2, True, "1,-1")[:2], devices(2, False, None)[:1]
    (['cpu', 'cuda:0', 'cuda:1'], ['cpu', 'cuda:0'], ['cpu'])
    """
    shown = count
    if visible is not None:
        words = takewhile(lambda word: word and not word.startswith("-"), map(str.strip, visible.split(",")))
        shown = min(count, len(list(words)))
    apple = ["mps"] if sys.platform == "darwin" and platform.machine() == "arm64" else []
    return ["cpu", *(f"cuda:{i}" for i in range(shown if has_cuda else 0)), *apple]


def gpus() -> list[str]:
    """Names of the NVIDIA GPUs that the driver's library NVML lists; empty without a driver."""
    try:
        nvml = ctypes.CDLL(NVML[sys.platform])
        if nvml.nvmlInit_v2() != 0:
            return []
    except (KeyError, OSError, AttributeError):
        return []
    try:
        count = ctypes.c_uint()
        nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
        return [_gpu_name(nvml, i) for i in range(count.value)]
    finally:
        nvml.nvmlShutdown()


def _gpu_name(nvml: ctypes.CDLL, index: int) -> str:
    """Name of the model of a GPU, such as NVIDIA H200; `GPU` if the driver gives none."""
    device, name = ctypes.c_void_p(), ctypes.create_string_buffer(NAME_BYTES)
    told = (
        nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(device)) == 0
        and nvml.nvmlDeviceGetName(device, name, ctypes.c_uint(NAME_BYTES)) == 0
    )
    return name.value.decode(errors="replace") if told else "GPU"


def _torch_has_cuda() -> bool:
    """Whether PyTorch was built with CUDA, read from the few assignments in torch/version.py.

    The version in the package's metadata does not always end in +cpu for a build without CUDA.
    """
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    return runpy.run_path(str(Path(spec.origin).with_name("version.py"))).get("cuda") is not None


# -- data or a run ----------------------------------------------------------------------------------------


def is_data(name: str) -> bool:
    """Whether this names a data set: an embedded one, a file, or a folder of files that is no run.

    InputError for the name of a file that does not exist.
    """
    if is_database(name):
        return True
    path = Path(name).expanduser()
    if not path.exists() and name not in EMBEDDED and path.suffix:
        raise InputError(f"expected a run folder or data, got {name!r}, which does not exist; check the path")
    if path.is_dir():
        return any(path.iterdir()) and not any((path / file).exists() for file in OF_RUNS)
    return path.is_file() or (name in EMBEDDED and not path.exists())


def run_info(run: str | Path) -> dict[str, Any]:
    """Record of a run: its data, model, training and files; `summary` has the metrics of the kept epoch.

    For an ensemble it is the record of the first member, with the files and parameters of all members and
    their number, `ensemble`.

    Raises:
        InputError: there is no run in the folder, or it is damaged.
    """
    folder = Path(run)
    check_folder(folder)
    settle(folder)
    config = read_config(folder)
    count = members_of(folder / CONFIG, config)
    if count is not None:
        return _ensemble_info(folder, count)
    record = shown(folder, config)
    return {
        "run": str(folder),
        "source": record["source"],
        "rows": record["rows"],
        "weights": _weights(record),
        "preset": record.get("asked", {}).get("preset"),
        "parameters": sum(map(prod, (entry.shape for entry in tensor_entries(folder / WEIGHTS).values()))),
        "summary": {k: v for k, v in record["summary"].items() if k != "fingerprint"},
        "data": record["data"],
        "model": record["model"],
        "training": record["training"],
        "backstory": record["backstory"],
        "torch": record["torch"],
        "files": _files(folder),
    }


def _weights(record: dict[str, Any]) -> dict[str, Any] | None:
    """What the weights of the rows are, and their total, None where all are equal; None without weights."""
    name = record.get("asked", {}).get("weights")
    return None if name is None else {"of": name, "total": record.get("total_weight")}


def _ensemble_info(folder: Path, count: int) -> dict[str, Any]:
    members = [run_info(folder / member_folder(number)) for number in range(count)]
    parameters = sum(member["parameters"] for member in members)
    several = {"ensemble": count, "parameters": parameters, "files": _files(folder)}
    return members[0] | {"run": str(folder)} | several


def _files(folder: Path) -> dict[str, int]:
    """Size of each file in bytes, by its path in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != LOCK)
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
