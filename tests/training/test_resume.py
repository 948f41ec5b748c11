"""A run that is cut off at any moment, and taken up again, ends as if nothing had happened."""

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from killed import OPTIONS, STAGES, data, train
from mixed import mixed_table

import backstory
from backstory import InputError
from backstory.cli.main import main
from backstory.runs import checkpoint
from backstory.training.trainer import Trainer

HERE = Path(__file__).parent
SHORT = {**OPTIONS, "epochs": 3}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run without an interruption."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(folder, every=60.0)
    return folder


def assert_same_run(folder, whole):
    assert {file.name for file in folder.iterdir()} == {file.name for file in whole.iterdir()}
    for name in ("model.safetensors", "splits.safetensors", "config.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    untimed = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in checkpoint.read_metrics(run)]
        for run in (folder, whole)
    ]
    assert untimed[0] == untimed[1]


def killed(folder, *how):
    """How many processes were killed for each of the runs in the folder."""
    command = [sys.executable, str(HERE / "killed.py"), str(folder), *how]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return {name: int(count) for name, count in map(str.split, done.stdout.splitlines())}


def test_killed_while_a_checkpoint_is_written_and_at_random_moments(tmp_path, whole):
    counts = killed(tmp_path, *STAGES, "0")
    assert all(counts[stage] >= 3 for stage in STAGES)
    for how in counts:
        assert_same_run(tmp_path / how, whole)


@pytest.mark.slow
def test_killed_at_many_random_moments(tmp_path, whole):
    counts = killed(tmp_path, *map(str, range(1, 16)))
    assert sum(counts.values()) > 10
    for how in counts:
        assert_same_run(tmp_path / how, whole)


# -- Ctrl-C -----------------------------------------------------------------------------------------------


class Interrupted:
    """A step after which Ctrl-C is pressed."""

    def __init__(self, monkeypatch, step, times=1, number=signal.SIGINT):
        self.steps, self.step, self.times = 0, step, times
        original = Trainer._step

        def counted(trainer, *arguments):
            self.steps += 1
            if self.steps == step:
                for _ in range(times):
                    signal.raise_signal(number)
            return original(trainer, *arguments)

        monkeypatch.setattr(Trainer, "_step", counted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_finish_the_checkpoint(tmp_path, whole, monkeypatch, number):
    with monkeypatch.context() as patch:
        Interrupted(patch, 25, number=number)
        model = backstory.fit(data(), tmp_path / "run", checkpoint_every=1e6, **OPTIONS)
    assert model.summary["stopped"] == "interrupted"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    held = checkpoint.load_checkpoint(tmp_path / "run")
    assert held.state.values["position"]["epoch"] == 3
    assert held.state.values["position"]["step"] == 5
    assert backstory.open(tmp_path / "run").summary["stopped"] == "interrupted"
    backstory.fit(data(), tmp_path / "run", resume=True, progress=False)  # options may be left out
    assert_same_run(tmp_path / "run", whole)


def test_a_second_ctrl_c_interrupts_at_once(tmp_path, whole, monkeypatch):
    with monkeypatch.context() as patch:
        Interrupted(patch, 5, times=2)
        with pytest.raises(KeyboardInterrupt):
            backstory.fit(data(), tmp_path / "run", checkpoint_every=1e6, **OPTIONS)
    assert checkpoint.load_checkpoint(tmp_path / "run").state.values["position"]["step"] == 0
    with pytest.raises(InputError, match=r"has not ended; go on with it by fit with `resume`"):
        backstory.open(tmp_path / "run")
    train(tmp_path / "run", every=60.0)
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_how_to_go_on(tmp_path, monkeypatch, capfd, number):
    np.save(tmp_path / "data.npy", data())
    command = ["fit", str(tmp_path / "data.npy"), "-o", str(tmp_path / "my run")]
    options = ["--hidden", "16", "--latent", "2", "--epochs", "4", "--batch-size", "16"]
    with monkeypatch.context() as patch:
        Interrupted(patch, 3, number=number)
        assert main([*command, *options]) == 130
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1] == "interrupted"
    assert lines[-2] == f"go on with: backstory fit {command[1]} -o '{command[3]}' --resume"
    assert main([*command, "--resume"]) == 0
    assert "finished after 4 epochs" in capfd.readouterr().out
    assert backstory.open(tmp_path / "my run").summary["epochs"] == 4
    assert main([*command, "--resume"]) == 0
    assert "is finished: there is nothing to go on with" in capfd.readouterr().err


# -- what is refused --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """A run that was interrupted in its first epoch."""
    folder = tmp_path_factory.mktemp("cut") / "run"
    with pytest.MonkeyPatch.context() as patch:
        Interrupted(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            backstory.fit(data(), folder, **SHORT)
    return folder


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 9}, r"the run was begun with epochs 3, got 9; leave it out"),
        ({"lr": 0.1}, r"begun with lr 0.02, got 0.1"),
        ({"hidden": (8,)}, r"begun with hidden \[16\], got \[8\]"),
        ({"seed": 1}, r"begun with seed 0, got 1"),
        ({"validation": 0.3}, r"begun with validation 0.2, got 0.3"),
        ({"samples": 2}, r"begun with samples 1, got 2"),
        ({"force": True}, r"resume goes on with a run and force replaces it"),
        ({"epoch": 3}, r"did you mean 'epochs'"),
    ],
)
def test_other_options_are_refused(cut, options, message):
    before = contents(cut)
    with pytest.raises(InputError, match=message):
        backstory.fit(data(), cut, resume=True, progress=False, **options)
    assert contents(cut) == before


@pytest.mark.parametrize("change", ["value", "rows", "shape"])
def test_other_data_is_refused(cut, change):
    values = data()
    if change == "value":
        values[7, 1] += 1e-9
    values = {"value": values, "rows": values[:-1], "shape": values.reshape(100, 8)}[change]
    before = contents(cut)
    with pytest.raises(InputError, match=r"begun with other data, array with 200 rows, got array"):
        backstory.fit(values, cut, resume=True, progress=False)
    assert contents(cut) == before


def test_the_same_options_may_be_given_again_as_they_were_or_as_they_were_understood(cut, tmp_path):
    folder = shutil.copytree(cut, tmp_path / "run")
    model = backstory.fit(data(), folder, resume=True, **{**SHORT, "hidden": ["16"], "beta": 1})
    assert model.summary["epochs"] == 3
    assert equal_weights(model, backstory.fit(data(), **SHORT))


def equal_weights(a, b):
    other = b.vae.state_dict()
    return all((value == other[name]).all() for name, value in a.vae.state_dict().items())


def test_resume_needs_a_folder_and_begins_where_there_is_nothing(tmp_path):
    with pytest.raises(InputError, match="needs the folder of a run"):
        backstory.fit(data(), resume=True, **SHORT)
    with pytest.raises(InputError, match="checkpoint_every has to be positive"):
        backstory.fit(data(), tmp_path / "run", checkpoint_every=0, **SHORT)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds files that are no run of Backstory"):
        backstory.fit(data(), tmp_path, resume=True, **SHORT)
    backstory.fit(data(), tmp_path / "new", resume=True, **SHORT)
    assert checkpoint.is_finished(tmp_path / "new")


def test_a_finished_run_refuses_other_options_and_takes_its_own(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "run")
    before = contents(folder)
    for options, message in [({"epochs": 9}, "begun with epochs"), ({"seed": 7}, "begun with seed")]:
        with pytest.raises(InputError, match=message):
            backstory.fit(data(), folder, resume=True, progress=False, **options)
    assert contents(folder) == before
    backstory.fit(data(), folder, resume=True, **OPTIONS)
    assert_same_run(folder, whole)


def test_a_kill_just_before_the_checkpoint_is_removed(cut, whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "run")
    for name in (checkpoint.CHECKPOINT, f".0123abcd-{checkpoint.CHECKPOINT}"):
        shutil.copy(cut / checkpoint.CHECKPOINT, folder / name)
    backstory.fit(data(), folder, resume=True, progress=False)
    assert_same_run(folder, whole)


@pytest.mark.parametrize("keep", [0, 7, 3000, -1])
def test_a_damaged_checkpoint_is_said(cut, tmp_path, keep):
    folder = shutil.copytree(cut, tmp_path / "run")
    path = folder / checkpoint.CHECKPOINT
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"checkpoint\.safetensors is damaged"):
        backstory.fit(data(), folder, resume=True, progress=False)


def test_another_version_of_torch_is_noted(cut, tmp_path, caplog):
    folder = shutil.copytree(cut, tmp_path / "run")
    held = checkpoint.load_checkpoint(folder)
    old = checkpoint.Checkpoint(held.config.model_copy(update={"torch": "1.0"}), held.asked, held.state)
    checkpoint.save_checkpoint(folder, old)
    backstory.fit(data(), folder, resume=True, progress=False)
    assert "begun with torch 1.0" in caplog.text


def test_the_checkpoint_is_safetensors_and_json(cut):
    content = (cut / checkpoint.CHECKPOINT).read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert json.loads(header["__metadata__"]["config"])["training"]["epochs"] == 3
    assert json.loads(header["__metadata__"]["asked"])["hidden"] == [16]
    assert json.loads(header["__metadata__"]["values"])["position"]["step"] == 2
    assert {"generator", "order", "sums"} < set(header)


# -- tables -----------------------------------------------------------------------------------------------


def test_a_run_knows_its_columns_when_it_goes_on(tmp_path, monkeypatch):
    frame = mixed_table(300, 0)[["country", "age", "stars", "joined", "income"]]
    file = tmp_path / "table.csv"
    frame.to_csv(file, index=False)
    options = {"hidden": (8,), "latent": 2, "batch_size": 64, "epochs": 3, "device": "cpu", "progress": False}
    said = {"stars": "categorical", "age": "continuous", "joined": "ignore"}
    backstory.fit(file, tmp_path / "whole", columns=said, **options)
    with monkeypatch.context() as patch:
        Interrupted(patch, 7)
        backstory.fit(file, tmp_path / "run", columns=said, checkpoint_every=1e6, **options)
    for wrong in ({**said, "stars": "ordinal"}, {"age": "continuous"}):
        with pytest.raises(InputError, match="the run was begun with"):
            backstory.fit(file, tmp_path / "run", columns=wrong, resume=True, progress=False)
    model = backstory.fit(file, tmp_path / "run", resume=True, progress=False)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    assert [column.kind for column in model.schema.kinds] == [
        "categorical",
        "continuous",
        "categorical",
        "continuous",
    ]
    # a path stands for the table that it names
    assert torch.equal(model.encode(file).mean, model.encode(frame).mean)
    assert np.array_equal(model.restore(str(file), draws=2).mean, model.restore(frame, draws=2).mean)


# -- a full disk ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoint.safetensors", "model.safetensors"])
def test_a_full_disk_ends_the_run_and_loses_nothing(tmp_path, whole, monkeypatch, capfd, name):
    np.save(tmp_path / "data.npy", data())
    command = ["fit", str(tmp_path / "data.npy"), "-o", str(tmp_path / "run")]
    options = ["--latent", "2", "--hidden", "16", "--epochs", "6", "--batch-size", "16", "--patience", "3"]
    options += ["--lr", "0.02", "--warmup", "1", "--validation", "0.2", "--device", "cpu"]
    opened, times = io.open, 0

    def full(file, mode="r", *arguments, **other):
        nonlocal times
        if str(file).endswith(name) and set(mode) & set("wa"):
            times += 1
            if times > 2 or name == "model.safetensors":
                raise OSError(errno.ENOSPC, "No space left on device")
        return opened(file, mode, *arguments, **other)

    with monkeypatch.context() as patch:
        patch.setattr(io, "open", full)
        assert main([*command, *options, "--checkpoint-every", "0.000001"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1] == (
        f"error: cannot write {tmp_path / 'run' / name}: No space left on device; "
        "free some space and go on with --resume: all is kept up to the last checkpoint"
    )
    assert lines[-2] == f"go on with: backstory fit {command[1]} -o {command[3]} --resume"
    assert main([*command, "--resume"]) == 0
    (tmp_path / "run" / "training.png").unlink()
    assert equal_weights(backstory.open(tmp_path / "run"), backstory.open(whole))
