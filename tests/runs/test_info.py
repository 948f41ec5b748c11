"""What is told of the machine and of a run, without PyTorch."""

import ctypes
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import backstory
from backstory import InputError
from backstory.data.load import _MAKERS
from backstory.data.paths import EMBEDDED
from backstory.runs import checkpoint, info
from backstory.runs.folder import read_config, sealed

HEAVY = {"torch", "numpy", "pandas", "scipy", "sklearn", "matplotlib", "safetensors"}


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["fit", "--help"], ["--version"], ["info"], ["info", "--json"], ["info", "RUN"]],
    ids=" ".join,
)
def test_quick_commands_import_nothing_slow(run, arguments):
    code = (
        "import sys; from backstory.cli.main import main; status = main(sys.argv[1:]); "
        "print(*sys.modules, file=sys.stderr); sys.exit(status)"
    )
    words = [str(run) if word == "RUN" else word for word in arguments]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert not HEAVY & set(done.stderr.split())


# -- the machine ------------------------------------------------------------------------------------------


def test_the_environment_is_what_pytorch_says():
    told = info.environment()
    assert told["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert told["data"] == list(EMBEDDED) == list(_MAKERS)
    assert told["devices"][0] == "cpu"
    assert ("cuda:0" in told["devices"]) == torch.cuda.is_available()
    assert ("mps" in told["devices"]) == torch.backends.mps.is_available()
    assert info._torch_has_cuda() == (torch.version.cuda is not None)


@pytest.mark.parametrize(
    ("count", "has_cuda", "visible", "expected"),
    [
        (0, True, None, 0),
        (2, True, None, 2),
        (2, False, None, 0),
        (2, True, "", 0),
        (2, True, "-1", 0),
        (2, True, "1", 1),
        (2, True, "1,0", 2),
        (2, True, "0,-1,1", 1),
        (2, True, "GPU-8932f937,GPU-1", 2),
        (1, True, "0,1,2", 1),
    ],
)
def test_devices(monkeypatch, count, has_cuda, visible, expected):
    monkeypatch.setattr(sys, "platform", "linux")
    told = info.devices(count, has_cuda, visible)
    assert told == ["cpu", *(f"cuda:{i}" for i in range(expected))]


def test_apple_silicon_has_a_device_of_its_own(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert info.devices(0, False, None) == ["cpu", "mps"]
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert info.devices(0, False, None) == ["cpu"]


class Driver:
    """In the place of NVIDIA's library, with the names of its GPUs; None where it does not tell one."""

    def __init__(self, names: list[str | None], status: int = 0):
        self.names, self.status, self.closed = names, status, False

    def nvmlInit_v2(self) -> int:
        return self.status

    def nvmlShutdown(self) -> int:
        self.closed = True
        return 0

    def nvmlDeviceGetCount_v2(self, count) -> int:
        count._obj.value = len(self.names)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index, device) -> int:
        device._obj.value = 4096 + index.value
        return 0

    def nvmlDeviceGetName(self, device, name, size) -> int:
        told = self.names[device.value - 4096]
        if told is None:
            return 1
        assert len(told) < size.value == ctypes.sizeof(name)
        name.value = told.encode()
        return 0


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_gpus_are_those_of_the_driver(monkeypatch, platform):
    driver = Driver(["NVIDIA H200", None])
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", {info.NVML[platform]: driver}.__getitem__)
    assert info.gpus() == ["NVIDIA H200", "GPU"]
    assert driver.closed


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_without_a_driver_there_are_no_gpus(monkeypatch, platform):
    def absent(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert info.gpus() == []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver(["NVIDIA H200"], status=9))
    assert info.gpus() == []  # the library is there, and the driver is not loaded


def test_pytorch_that_is_not_there_has_no_cuda(monkeypatch):
    assert find_spec("torch") is not None
    monkeypatch.setattr(info, "find_spec", lambda name: None)
    assert not info._torch_has_cuda()


# -- a run ------------------------------------------------------------------------------------------------


def test_a_run_is_what_its_model_says(run):
    told, model = info.run_info(run), backstory.open(run, device="cpu")
    config = model.config.model_dump(mode="json")
    assert told["parameters"] == sum(value.numel() for value in model.vae.state_dict().values())
    for name in ("source", "rows", "data", "backstory", "torch"):
        assert told[name] == config[name]
    assert (told["model"], told["training"]) == (model.options.flat(), model.training.flat())
    assert told["summary"] == {k: v for k, v in config["summary"].items() if k != "fingerprint"}
    assert told["files"] == {file.name: file.stat().st_size for file in run.iterdir()}


def assert_refused(folder: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        info.run_info(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_damage_is_said_as_when_the_run_is_opened(copy, name):
    path = copy / name
    content = path.read_bytes().rstrip()
    for damaged in (b"", content[:1], content[:7], content[:100], content[:-1], b"\xff\xfe\x00garbage" * 50):
        path.write_bytes(damaged)
        with pytest.raises(InputError) as caught:
            backstory.open(copy, device="cpu")
        assert_refused(copy, "is damaged")
        with pytest.raises(InputError) as told:
            info.run_info(copy)
        assert str(told.value) == str(caught.value)
    path.unlink()
    assert_refused(copy, rf"is not a run: {name} is missing")


def test_what_is_not_a_run(tmp_path, copy):
    assert_refused(tmp_path / "nowhere", "no run at .*: expected a folder made by backstory fit")
    (copy / "config.json").rename(copy / checkpoint.CHECKPOINT)
    assert_refused(copy, "has not ended; go on with it by fit with `resume`")


@pytest.mark.parametrize(
    ("keys", "value", "where"),
    [
        (["torch"], None, "torch"),
        (["rows"], [1, 2], "rows"),
        (["data"], "images", "data"),
        (["data", "shape"], 64, "data.shape"),
        (["model", "network", "hidden"], 8, "model.hidden"),
        (["model", "latent"], None, "model.latent"),
        (["summary", "elbo"], "low", "summary.elbo"),
        (["summary", "stopped"], None, "summary.stopped"),
    ],
)
def test_a_config_that_was_edited(copy, keys, value, where):
    config = read_config(copy)
    record = config
    for key in keys[:-1]:
        record = record[key]
    if value is None:
        del record[keys[-1]]
    else:
        record[keys[-1]] = value
    (copy / "config.json").write_bytes(sealed(config))
    assert_refused(copy, rf"not a config of this version of Backstory: {where} is missing or not understood")
