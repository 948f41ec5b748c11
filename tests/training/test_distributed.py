"""Training by two processes is that of one, but for rounding; one of them writes, and none is left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from spread import AS_SLURM, CASES
from test_step import grey, run_of

import backstory
from backstory.data.stored import Stored
from backstory.errors import InputError
from backstory.objectives.registry import OBJECTIVES
from backstory.options import TrainOptions
from backstory.runs import checkpoint
from backstory.training import distributed
from backstory.training.compile import decide
from backstory.training.launcher import launcher_of

HERE = Path(__file__).parent
FILES = {"config.json", "metrics.csv", "metrics.jsonl", "model.safetensors", "splits.safetensors"}
COMMAND = ["--epochs", "3", "--batch-size", "7", "--hidden", "8", "--latent", "2", "--device", "cpu"]

# Sums over a batch are made in another order, in single precision, and Adam enlarges the difference where a
# gradient is small. The largest that was seen is 7e-6 of a metric and 2e-5 in a weight.
CLOSE = {"rel": 1e-4, "abs": 1e-5}


def metrics(run):
    lines = checkpoint.read_metrics(run)
    return [{k: v for k, v in line.items() if k != "seconds" and v is not None} for line in lines]


def assert_close(run, other):
    for line, expected in zip(metrics(run), metrics(other), strict=True):
        for name in [name for name in line if isinstance(line[name], list)]:  # KL of units and levels
            assert line.pop(name) == pytest.approx(expected.pop(name), **CLOSE)
        assert line == pytest.approx(expected, **CLOSE)
    found, weights = (load_file(folder / "model.safetensors") for folder in (run, other))
    assert list(found) == list(weights)
    for name, value in found.items():
        assert value.shape == weights[name].shape
        assert torch.allclose(value, weights[name], rtol=0, atol=2e-4), name


def assert_same(run, other):
    assert metrics(run) == metrics(other)
    for name in ("model.safetensors", "config.json", "splits.safetensors"):
        assert (run / name).read_bytes() == (other / name).read_bytes()


def told(ends):
    """Exit statuses, and the lines on standard error that tell an error."""
    lines = [line for _, text in ends for line in text.splitlines()]
    return [code for code, _ in ends], [line for line in lines if "error" in line.lower()]


def test_groups_of_processes(tmp_path):
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "error,default::DeprecationWarning",
    }
    program = [sys.executable, str(HERE / "spread.py"), str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout.splitlines()[-1])

    # What two processes learn, what they write, and that the second one says nothing
    for name in (*CASES, *(f"{case}-slurm" for case in AS_SLURM), "mmd-killed", "table-killed"):
        assert [code for code, _ in ends[name]] == [0, 0], ends[name]
        assert ends[name][1][1] == ""
    for case in CASES:
        assert {file.name for file in (tmp_path / f"{case}-two").iterdir()} == FILES
        assert [line["epoch"] for line in metrics(tmp_path / f"{case}-two")] == [1, 2, 3, 4, 5]
    for case in [case for case in CASES if case != "mmd"]:
        assert_close(tmp_path / f"{case}-two", tmp_path / f"{case}-one")
    for case in AS_SLURM:
        assert_close(tmp_path / f"{case}-slurm", tmp_path / f"{case}-one")
    assert metrics(tmp_path / "weights-two") != metrics(tmp_path / "table-two")
    for case in ("table", "mmd"):  # the objective of a batch as a whole: here of halves, with their own draws
        assert metrics(tmp_path / "mmd-two") != metrics(tmp_path / f"{case}-one")

    # Killed and gone on with
    assert_same(tmp_path / "mmd-killed", tmp_path / "mmd-two")
    assert_same(tmp_path / "table-killed", tmp_path / "table-two")
    assert_close(tmp_path / "table-one-left", tmp_path / "table-one")  # begun by two

    # Errors
    assert told(ends["fails"]) == ([1, 2], ["error: input/output error: rows.npy"])
    codes, lines = told(ends["lost"])
    assert codes == [1, -9]
    assert lines == [
        "error: another process of this run has ended, and without it training cannot go on",
    ]
    codes, (line,) = told(ends["other_rows"])
    assert codes == [2, 2]
    assert "every process has to train on the same data" in line
    assert told(ends["refused"]) == ([2, 0], ["error: lr has to be positive, got -1"])
    assert not list(tmp_path.glob("refused/*"))

    # Ctrl-C and clocks
    assert [code for code, _ in ends["interrupted"]] == [130, 0]
    assert ends["interrupted"][0][1].splitlines()[-1] == "interrupted"
    assert ends["interrupted"][1][1] == ""
    held = checkpoint.load_checkpoint(tmp_path / "interrupted").state.values
    assert (held["position"]["epoch"], held["position"]["step"]) == (2, 2)
    assert [code for code, _ in ends["hurried"]] == [0, 0]
    assert backstory.open(tmp_path / "hurried").summary["stopped"] == "finished"


def test_processes_that_are_started_by_the_command_itself_and_by_torchrun(tmp_path):
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(30, 4)).astype("float32"))
    fit = ["backstory", "fit", str(tmp_path / "rows.npy"), *COMMAND, "--json", "-o"]
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    commands = {
        "itself": [*fit, str(tmp_path / "itself"), "--devices", "2"],
        "torchrun": [*torchrun, *fit, str(tmp_path / "torchrun")],
    }
    for name, command in commands.items():
        done = subprocess.run(
            [sys.executable, "-m", *command], capture_output=True, text=True, env=environment, timeout=240
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["summary"]["epochs"] == 3  # one object, from one process
        assert done.stderr.count("finished after 3 epochs") == 1
        assert {file.name for file in (tmp_path / name).iterdir()} == {*FILES, "training.png"}
    model = backstory.fit(
        tmp_path / "rows.npy", tmp_path / "one", epochs=3, batch_size=7, hidden=(8,), latent=2, device="cpu"
    )
    assert model.summary["epochs"] == 3
    assert_close(tmp_path / "itself", tmp_path / "one")
    assert_close(tmp_path / "torchrun", tmp_path / "one")


# -- what is refused --------------------------------------------------------------------------------------

CLEAN = ("TORCHELASTIC_RUN_ID", "SLURM_STEP_ID", "SLURM_JOB_NAME", "LOCAL_RANK", "MASTER_ADDR")
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}
SLURM = {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"}


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in CLEAN:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("asked", "environment", "found"),
    [
        ((None, None), {}, (1, 1)),
        ((2, None), {}, (2, 1)),
        ((2, 3), {}, (2, 3)),
        ((None, None), TORCHRUN, (4, 2)),
        ((4, 2), TORCHRUN, (4, 2)),
        ((None, None), SLURM, (4, 2)),
        ((2, None), {**SLURM, "SLURM_JOB_NAME": "bash"}, (2, 1)),
    ],
)
def test_how_many_processes(asked, environment, found):
    launcher = launcher_of(environment)
    assert distributed._counts(*asked, launcher, environment) == found


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ({"devices": 0}, {}, r"devices has to be at least 1, got 0"),
        ({"nodes": -1}, {}, r"nodes has to be at least 1, got -1"),
        ({"devices": 2, "device": "mps"}, {}, r"take device auto, cpu or cuda, got 'mps'"),
        (
            {"nodes": 2},
            {},
            r"several machines need a launcher, got none and no MASTER_ADDR; start with torchrun",
        ),
        ({"devices": 3}, TORCHRUN, r"torchrun started 4 processes on each of 2 machines, got devices 3 and"),
        ({"nodes": 1}, SLURM, r"srun started 4 processes on each of 2 machines, got devices 4 and nodes 1"),
    ],
)
def test_processes_that_cannot_be_had(arguments, environment, message, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    values = {"device": "cpu", "devices": None, "nodes": None, **arguments}
    with pytest.raises(InputError, match=message):
        distributed.start(**values)
    with pytest.raises(InputError, match=message):
        backstory.fit(np.zeros((4, 2)), **values)


def test_more_gpus_than_there_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with pytest.raises(InputError, match=r"at most 3, the number of GPUs here, got 4; ask for fewer"):
        distributed.start("auto", 4, None)


@pytest.mark.parametrize("where", ["shell", "standard input"])
def test_a_session_that_cannot_be_run_again(where, monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys, "argv", ["-c"])
    if where == "shell":
        monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with pytest.raises(InputError, match=r"a notebook or interactive session; use the command line"):
        distributed.start("cpu", 2, None)


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    monkeypatch.setattr(sys, "argv", [__file__])  # a worker of the tests has none
    with pytest.raises(InputError, match=r"not installed; pip install 'backstory\[distributed\]'"):
        distributed.start("cpu", 2, None)


def test_one_process_does_not_need_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    assert backstory.fit(np.eye(20), epochs=1, progress=False).summary["epochs"] == 1


# -- the part of one process ------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_part_of_a_short_batch(objective, rows):
    """Of a last batch with one row, all processes but one have none, and all have a gradient."""
    run = run_of(objective)
    batch = run.bound.batch(Stored(grey()[:rows]), 1, torch.Generator().manual_seed(0), 1 - rows, 2)
    parts = run.bound(batch, 1.0, 24, torch.Generator().manual_seed(0))
    assert parts.objective.shape == (rows,)
    assert parts.sums().isfinite().all()
    parts.objective.sum().backward()
    for parameter in run.updates.parameters:
        assert parameter.grad.isfinite().all()
        assert rows or not parameter.grad.any()


def test_several_processes_are_not_compiled(caplog):
    options = TrainOptions(epochs=10**6, batch_size=1, objective="elbo")
    for choice, lines in ((None, 0), (False, 0), (True, 1)):
        asked = options.model_copy(update={"compile": choice})
        assert decide(asked, 100, torch.device("cpu"), world=2).compile is False
        assert len(caplog.messages) == lines
    assert "compilation is left out" in caplog.text
